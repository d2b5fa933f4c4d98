"""Predictions as files that other tools read."""

from __future__ import annotations

import csv
import json
import shutil
import uuid
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sslkit.contracts import ClassLabel, ClassSet, FlowField, Meta, Objects, SemanticMap
from sslkit.errors import ConfigError, PluginError

SAMPLES, OBJECTS, LABELS, OTHERS = "samples.csv", "objects.json", "labels.csv", "predictions.jsonl"
FLOW_TAG = b"PIEH"  # a .flo file begins with 202021.25 as a little-endian float
FLOW_UNKNOWN = 1e10  # what Middlebury's reader takes for unknown: beyond 1e9


class PredictionWriter:
    """Writes predictions to a folder, which is there at the end of the `with` block, whole, or not at all.

    samples.csv: id, name, width and height of each sample. The rest is named by the id, and depends on what
    is predicted; labels are 0..K-1.

    Objects: objects.json, COCO's results format (xywh boxes, masks as its compressed RLE; image_id is the id,
    category_id the label). SemanticMap: maps/ID.png, grey, a pixel is a label. ClassLabel: labels.csv, with
    the scores of all classes where it has them. ClassSet: labels.csv, the labels in one column with spaces
    between them, and the scores. FlowField: flow/ID.flo (Middlebury's format, Baker et al.
    2011), unknown vectors 1e10. Anything else: what its `to_json()` gives, a line of predictions.jsonl.

    views: of each sample. Where there are several, rows say which one they are of by a number `view`, and
    files are named ID-VIEW.

    A folder of that name is replaced. Raises ConfigError where nothing can be written.
    """

    def __init__(self, folder: Path, *, views: int = 1) -> None:
        self.folder, self.views = Path(folder), views
        self._aside = self.folder.with_name(f".{self.folder.name}.{uuid.uuid4().hex[:8]}.tmp")
        self._open = ExitStack()
        self._files: dict[str, IO[str]] = {}

    def __enter__(self) -> Self:
        self._attempt(lambda: self._aside.mkdir(parents=True))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._attempt(self._finish)
        finally:
            with suppress(OSError):  # what went wrong first is to be told
                self._open.close()
            shutil.rmtree(self._aside, ignore_errors=True)

    def write(self, meta: Meta, prediction: Any) -> None:
        """Take in the prediction of one sample; PluginError for a kind that cannot be written."""
        self._attempt(lambda: self._write(meta, prediction))

    def _write(self, meta: Meta, prediction: Any) -> None:
        height, width = meta.original
        if not meta.view:
            self._row(SAMPLES, ["id", "name", "width", "height"], [meta.id, meta.name, width, height])
        view = {"view": meta.view} if self.views > 1 else {}
        if isinstance(prediction, Objects):
            self._objects({"image_id": meta.id, **view}, prediction)
        elif isinstance(prediction, SemanticMap):
            pixels = prediction.labels.cpu().numpy().astype(np.uint8)
            Image.fromarray(pixels).save(self._path("maps", meta, ".png"))
        elif isinstance(prediction, ClassLabel):
            self._labels(meta, view, "label", prediction.label, prediction.scores)
        elif isinstance(prediction, ClassSet):
            present = " ".join(map(str, prediction.present.nonzero().flatten().tolist()))
            self._labels(meta, view, "labels", present, prediction.scores)
        elif isinstance(prediction, FlowField):
            self._path("flow", meta, ".flo").write_bytes(flow_bytes(prediction))
        elif callable(to_json := getattr(prediction, "to_json", None)):
            line = {"id": meta.id, "name": meta.name, **view, "prediction": to_json()}
            self._file(OTHERS).write(json.dumps(line) + "\n")
        else:
            raise PluginError(
                f"a prediction of type {type(prediction).__name__} cannot be written; give it a method "
                "to_json() that returns what JSON can hold"
            )

    def _labels(
        self, meta: Meta, view: dict[str, int], column: str, said: Any, scores: Tensor | None
    ) -> None:
        shown = [] if scores is None else [f"{score:.6g}" for score in scores.tolist()]
        header = ["id", "name", *view, column, *(f"score {label}" for label in range(len(shown)))]
        self._row(LABELS, header, [meta.id, meta.name, *view.values(), said, *shown])

    def _objects(self, image: dict[str, int], found: Objects) -> None:
        new = OBJECTS not in self._files
        file = self._file(OBJECTS)
        boxes, labels = found.boxes.tolist(), found.labels.tolist()
        scores = [1.0] * len(found) if found.scores is None else found.scores.tolist()
        if new:
            file.write("[")
            self._open.callback(file.write, "\n]\n")
        for place, ((left, top, right, bottom), label, score) in enumerate(
            zip(boxes, labels, scores, strict=True)
        ):
            xywh = [round(value, 3) for value in (left, top, right - left, bottom - top)]
            row: dict[str, Any] = {
                **image,
                "category_id": label,
                "bbox": xywh,
                "score": round(score, 7),
            }
            if found.masks is not None:
                row["segmentation"] = run_lengths(found.masks[place])
            file.write(("\n" if new else ",\n") + json.dumps(row))
            new = False

    def _row(self, name: str, header: list[str], row: list[Any]) -> None:
        new = name not in self._files
        rows = csv.writer(self._file(name))
        if new:
            rows.writerow(header)
        rows.writerow(row)

    def _file(self, name: str) -> IO[str]:
        if name not in self._files:
            opened = (self._aside / name).open("w", encoding="utf-8", errors="replace", newline="")
            self._files[name] = self._open.enter_context(opened)
        return self._files[name]

    def _path(self, kind: str, meta: Meta, suffix: str) -> Path:
        folder = self._aside / kind
        folder.mkdir(exist_ok=True)
        view = f"-{meta.view}" if self.views > 1 else ""
        return folder / f"{meta.id:06d}{view}{suffix}"

    def _finish(self) -> None:
        self._open.close()
        if self.folder.is_dir():  # a folder with something in it cannot be renamed over
            old = self._aside.with_suffix(".old")
            self.folder.replace(old)
            self._aside.replace(self.folder)
            shutil.rmtree(old, ignore_errors=True)
        else:
            self._aside.replace(self.folder)

    def _attempt(self, work: Any) -> None:
        try:
            work()
        except OSError as error:
            reason = error.strerror or str(error)
            raise ConfigError(f"cannot write {self.folder}: {reason}; choose another place") from error


def run_lengths(mask: Tensor) -> dict[str, Any]:
    """A mask (H, W) as COCO's compressed RLE: {"size": [H, W], "counts": text}.

    Runs of 0 and 1 in turn, column by column, 0 first. From the fourth on the difference to the run two
    before is written; five bits a character, the lowest first, 32 says that more follow, and 48 is added
    (cocoapi, maskApi.c, rleToString).
    """
    flat = mask.cpu().to(torch.bool).T.reshape(-1).numpy()
    edges = np.flatnonzero(np.diff(flat, prepend=False))
    runs = np.diff(edges, prepend=0, append=len(flat)).tolist()
    text = []
    for place, run in enumerate(runs):
        value = run - runs[place - 2] if place > 2 else run
        more = True
        while more:
            bits = value & 31
            value >>= 5
            more = value != (-1 if bits & 16 else 0)
            text.append(chr(bits + 48 + 32 * more))
    return {"size": list(mask.shape), "counts": "".join(text)}


def flow_bytes(flow: FlowField) -> bytes:
    """A flow field as the bytes of a .flo file: tag, width, height, then (x, y) row by row."""
    vectors = flow.vectors.cpu().float()
    if flow.valid is not None:
        vectors = torch.where(flow.valid.cpu(), vectors, FLOW_UNKNOWN)
    height, width = vectors.shape[1:]
    sides = np.array([width, height], "<i4").tobytes()
    return FLOW_TAG + sides + vectors.permute(1, 2, 0).contiguous().numpy().astype("<f4").tobytes()
