"""A folder of images and masks: the class of every pixel, in an image file beside each image."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from sslkit.contracts import IGNORE, Item, Refused, SemanticMap
from sslkit.errors import DataError
from sslkit_segmentation.sources.class_table import ClassTable, class_table
from sslkit_segmentation.sources.mask_files import read_header, read_ids
from sslkit_segmentation.sources.pairing import Pair, leaves, paired

_THREADS = min(8, os.cpu_count() or 1)
_LINK = "is a link that leaves the folder of the data; put the file itself there"


@dataclass(frozen=True)
class _Survey:
    """Pixels of each class in each image, int64 (N, K), and all that is wrong, one line each."""

    counts: np.ndarray
    problems: tuple[str, ...]


class MaskFolderSource:
    """Images and masks of the same stem, in folders such as `images` and `masks`; splits inside or around.

    Masks are lossless files of 8-bit ids, grey or palette indices, or with `colours` of RGB colours. images,
    masks: the folders, by default those of a known name. split: by default that of training, where there is
    one. classes: a JSON list, a JSON mapping of ids to names, or a text file of a name a line; by default
    classes.json or classes.txt in the folder, else the ids found. colours: JSON, CSV or text of a name and
    r, g, b each. ignore: an id (with `colours` a row) that becomes 255, as 255 itself and classes called
    unlabelled, void or ignore do; the others close up to 0..K-1. Raises DataError for a folder without
    images or masks and for files of classes that cannot be used, ConfigError for options that cannot.
    """

    target_kind = "semantic"
    labels: np.ndarray | None = None  # of whole images; pixels have theirs in the targets
    native_side: int | None = None

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        split: str | None = None,
        images: str | None = None,
        masks: str | None = None,
        classes: str | None = None,
        colours: str | None = None,
        ignore: int | None = None,
    ) -> None:
        self.path = Path(path).absolute()
        pairing = paired(self.path, split=split, images=images, masks=masks)
        self.splits: Sequence[str] = pairing.splits
        self._pairs, self._lonely, self._looked = pairing.pairs, pairing.lonely, pairing.looked
        self._ignores = ignore is not None

        self._table: ClassTable = class_table(
            self.path,
            classes=classes,
            colours=colours,
            ignore=ignore,
            highest=lambda: self._highest(pairing.every),
        )
        self.classes: Sequence[str] = self._table.classes
        self.fingerprint = self._hashed()
        self._survey: _Survey | None = None

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, id: int) -> Item:
        name = self._pair(id).image
        if leaves(self.path, name):
            return Item(Refused(f"{self.path / name}: {_LINK}"), name)
        return Item(self.path / name, name)

    def target(self, id: int) -> SemanticMap:
        """The class of every pixel of an image, uint8; raises DataError that names the file at fault."""
        pair = self._pair(id)
        ids = self._ids(pair)
        self._check(pair, ids)
        return SemanticMap(torch.from_numpy(self._table.labels[ids].astype(np.uint8)))

    def problems(self) -> list[str]:
        """Faults of masks and images, one line each; reads every mask once."""
        return list(self._surveyed().problems)

    def class_counts(self) -> np.ndarray:
        """Pixels of each class in each image, int64 (N, K), none for a faulty mask; reads every mask once."""
        return self._surveyed().counts.copy()

    def _pair(self, id: int) -> Pair:
        if not 0 <= id < len(self):
            raise IndexError(f"id {id} is outside 0..{len(self) - 1}")
        return self._pairs[id]

    def _ids(self, pair: Pair) -> np.ndarray:
        """Ids of an image's mask, uint8 (H, W); raises DataError for files that are missing or broken."""
        image = self.path / pair.image
        if not pair.masks:
            raise DataError(
                f"{image}: has no mask of its stem in {self._looked}; add it, or remove the image"
            )
        if len(pair.masks) > 1:
            raise DataError(f"{image}: has {len(pair.masks)} masks ({', '.join(pair.masks)}); leave one")
        (name,) = pair.masks
        if leaves(self.path, name):
            raise DataError(f"{self.path / name}: {_LINK}")
        try:
            return self._table.read(self.path / name)
        except DataError as error:
            raise DataError(f"{self.path / name}: {error}") from error

    def _check(self, pair: Pair, ids: np.ndarray) -> None:
        """Raise DataError where a mask does not fit its image, or holds ids of no class."""
        height, width = ids.shape
        image = self.path / pair.image
        try:
            if leaves(self.path, pair.image):
                raise DataError(_LINK)
            header = read_header(image)
        except DataError as error:
            raise DataError(f"{image}: {error}") from error
        where = f"{self.path / pair.masks[0]}"
        if (width, height) not in (header.upright, header.stored):
            has = f"the image has {header.upright[0]} x {header.upright[1]}"
            raise DataError(f"{where}: has {width} x {height} pixels, {has}: {pair.image}")
        if header.orientation != 1 and (width, height) == header.stored:
            # Also where sizes cannot tell, as on squares and upside down.
            raise DataError(
                f"{image}: EXIF turns it (orientation {header.orientation}) when it is shown, its mask lies "
                "as the pixels are stored; store the image upright"
            )
        stray = self._table.stray(np.bincount(ids.ravel(), minlength=IGNORE + 1))
        if stray:
            raise DataError(f"{where}: {stray}")

    def _surveyed(self) -> _Survey:
        if self._survey is None:
            counts = np.zeros((len(self), len(self.classes)), np.int64)
            lines: list[str] = []
            seen: set[int] = set()
            with ThreadPoolExecutor(_THREADS) as pool:
                for place, found in enumerate(pool.map(self._looked_at, self._pairs)):
                    if isinstance(found, str):
                        lines.append(found)
                    else:
                        counts[place] = self._table.counts(found)
                        seen.update(np.flatnonzero(found).tolist())
            lines += [f"{self.path / name}: is a mask, but no image has its stem" for name in self._lonely]
            if seen == {0, IGNORE} and not self._ignores and self._table.colours is None:
                lines.append(
                    f"{self.path}: its masks hold 0 and {IGNORE} alone, and {IGNORE} is ignored; of masks of "
                    f"two classes name both colours with colours=FILE, else say ignore={IGNORE}"
                )
            self._survey = _Survey(counts, tuple(lines))
        return self._survey

    def _looked_at(self, pair: Pair) -> np.ndarray | str:
        """Pixels by id, int64 (256,), or what is wrong."""
        try:
            ids = self._ids(pair)
            self._check(pair, ids)
        except DataError as error:
            return str(error)
        return np.bincount(ids.ravel(), minlength=IGNORE + 1)

    def _highest(self, names: Sequence[str]) -> int:
        """The largest id in masks but 255; raises DataError where none can be read."""

        def one(name: str) -> int | str:
            try:
                if leaves(self.path, name):
                    raise DataError(_LINK)
                ids = read_ids(self.path / name)
            except DataError as error:
                return f"{self.path / name}: {error}"
            return int(ids[ids != IGNORE].astype(np.int16).max(initial=-1))

        with ThreadPoolExecutor(_THREADS) as pool:
            found = list(pool.map(one, names))
        faults = [fault for fault in found if isinstance(fault, str)]
        if len(faults) == len(found):
            raise DataError(
                faults[0]
                if faults
                else f"{self.path}: {self._looked} holds no masks; say where with masks=FOLDER"
            )
        return max(highest for highest in found if isinstance(highest, int))

    def _hashed(self) -> str:
        """Of names, sizes and times of the files, and of what ids mean."""
        table = self._table
        digest = hashlib.sha256(repr((table.classes, table.labels.tolist())).encode())
        digest.update(b"" if table.colours is None else table.colours.tobytes())
        for pair in self._pairs:
            for name in (pair.image, *pair.masks):
                try:
                    status = (self.path / name).stat()
                except OSError:  # a link that leads nowhere
                    digest.update(f"{name}\0".encode(errors="surrogateescape"))
                    continue
                # Images are known by name and size as in other folders; masks are small and are redrawn.
                time = status.st_mtime_ns if name in pair.masks else 0
                digest.update(f"{name}\0{status.st_size}\0{time}\0".encode(errors="surrogateescape"))
        return digest.hexdigest()[:32]
