"""A data set of the Hugging Face Hub, or one that `datasets` wrote to a disk."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sslkit.contracts import Content, Item, Refused
from sslkit.errors import DataError, UnknownNameError

_MOST_CLASSES = 1_000_000  # a number beyond is no class but an identity


class HFSource:
    """The images of a NAME of the Hub, a folder written by save_to_disk, or one that load_dataset reads.

    split: by default train, or the only one there is. config: which of several data sets of one name. image:
    the column of images, by default the first of type Image; they stay encoded. label: the column of class
    numbers or names, by default the first ClassLabel; every row has a label or none has (-1 is none), and
    `labels=False` leaves them unread. Class names are those of all splits together.

    Only data is downloaded, no code of a data set is run. The fingerprint is that of `datasets` and lasts
    as long as its cache. Raises DataError where `datasets` is not installed or cannot load the address, and
    for columns without images or labels, UnknownNameError for a split or column that is not there.
    """

    def __init__(
        self,
        address: str | os.PathLike[str],
        *,
        split: str | None = None,
        config: str | None = None,
        image: str | None = None,
        label: str | None = None,
        labels: bool = True,
    ) -> None:
        loaded = _loaded(os.path.expanduser(address), config)  # noqa: PTH111 - NAME is no path
        self.splits: Sequence[str] = tuple(loaded) if len(loaded) > 1 else ()
        if split is not None and split not in loaded:
            raise UnknownNameError("split", split, loaded, f"(of {address})")
        self.split = split or ("train" if "train" in loaded else next(iter(loaded)))
        rows = loaded[self.split]
        if not len(rows):
            raise DataError(f"{address}: the split {self.split} has no rows")
        self.image = _image_column(rows, image, str(address))
        self.classes: Sequence[str] = ()
        self.labels: np.ndarray | None = None
        column = _label_column(rows, label) if labels else None
        if column is not None:
            self.classes, self.labels = _labelled(loaded, self.split, column, f"{address}: column {column}")
        from datasets import Image

        self._rows = rows.select_columns([self.image]).cast_column(self.image, Image(decode=False))
        self._above = f"{Path(address).expanduser().absolute()}/"
        digest = hashlib.sha256(f"{rows._fingerprint} {self.split} {self.image} {len(rows)}".encode())
        digest.update("\0".join(self.classes).encode(errors="replace"))
        digest.update(b"" if self.labels is None else self.labels.tobytes())
        self.fingerprint = digest.hexdigest()[:32]
        self.native_side: int | None = None

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, id: int) -> Item:
        return self.items([id])[0]

    def items(self, ids: Sequence[int] | np.ndarray) -> list[Item]:
        """Many items at once, from one look at the table."""
        asked = [int(id) for id in ids]
        for id in asked:
            if not 0 <= id < len(self):
                raise IndexError(f"id {id} is outside 0..{len(self) - 1}")
        images = self._rows[asked][self.image] if asked else []
        return [self._item(id, image or {}) for id, image in zip(asked, images, strict=True)]

    def _item(self, id: int, image: Mapping[str, Any]) -> Item:
        path = image.get("path")
        name = str(path).removeprefix(self._above) if path else f"{self.split}/{id}"
        content: Content = Refused(f"row {id} of {self.split} has no image")
        if image.get("bytes") is not None:
            content = image["bytes"]
        elif path:
            content = Path(path)
        return Item(content, name, None if self.labels is None else int(self.labels[id]))


def _loaded(address: str, config: str | None) -> dict[str, Any]:
    """The splits by name; a data set that is one whole is called train."""
    try:
        import datasets
    except ImportError as error:
        raise DataError("Hugging Face data sets need a package more: pip install 'sslkit[hf]'") from error
    folder = Path(address)
    written = [name for name in ("dataset_dict.json", "state.json") if (folder / name).is_file()]
    try:
        loaded = datasets.load_from_disk(address) if written else datasets.load_dataset(address, name=config)
    except Exception as error:  # of the network, of each file format, of a missing package, ...
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        mend = (
            "is it complete?"
            if folder.is_dir()
            else "look for it on huggingface.co/datasets; it must be public, or log in with `hf auth login`; "
            "without a network only what was downloaded before can be used"
        )
        raise DataError(f"cannot load the data set '{address}': {reason}; {mend}") from error
    if isinstance(loaded, datasets.Dataset):
        return {str(loaded.split or "train"): loaded}
    return {str(name): rows for name, rows in loaded.items()}


def _image_column(rows: Any, given: str | None, address: str) -> str:
    from datasets import Image

    columns = {name: type(feature).__name__ for name, feature in rows.features.items()}
    images = [name for name, feature in rows.features.items() if isinstance(feature, Image)]
    if given is not None and given not in columns:
        raise UnknownNameError("image column", given, columns)
    if not images or (given is not None and given not in images):
        shown = ", ".join(f"{name} ({kind})" for name, kind in columns.items())
        what = f"column {given} is no Image" if given else "no column is an Image"
        raise DataError(
            f"{address}: {what}; its columns are {shown}; cast one with cast_column(NAME, Image())"
        )
    return given or images[0]


def _label_column(rows: Any, given: str | None) -> str | None:
    from datasets import ClassLabel

    if given is not None and given not in rows.features:
        raise UnknownNameError("label column", given, rows.features)
    found = [name for name, feature in rows.features.items() if isinstance(feature, ClassLabel)]
    return given or next(iter(found), None)


def _labelled(
    loaded: Mapping[str, Any], split: str, column: str, shown: str
) -> tuple[tuple[str, ...], np.ndarray | None]:
    """Class names, and int64 labels of one split; () and None where no row has one."""
    values = _values(loaded[split], column, shown)
    if values is None:
        return (), None
    names = getattr(loaded[split].features[column], "names", None)
    if names is None:
        others = (_values(rows, column, shown) for rows in loaded.values() if column in rows.features)
        every = np.unique(np.concatenate([other for other in others if other is not None]))
        if every.dtype.kind in "OU":
            return tuple(map(str, every)), np.searchsorted(every, values).astype(np.int64)
        if every[-1] >= _MOST_CLASSES:
            raise DataError(
                f"{shown} holds {every[-1]}; classes are numbered 0, 1, ...; name another with label="
            )
        names = list(map(str, range(int(every[-1]) + 1)))
    if values.max() >= len(names):
        raise DataError(f"{shown} holds {values.max()}, but it has {len(names)} class names")
    return tuple(names), values.astype(np.int64)


def _values(rows: Any, column: str, shown: str) -> np.ndarray | None:
    """A column of class numbers from 0 or of strings; None where every row lacks it."""
    cells = rows.select_columns([column]).with_format("arrow")[:].column(0)
    if cells.null_count == len(cells):
        return None
    values: np.ndarray = cells.to_numpy()
    lacking = cells.null_count > 0
    if values.dtype.kind in "iu":
        if (values < 0).all():
            return None
        lacking = lacking or bool((values < 0).any())
    if lacking:
        raise DataError(
            f"{shown}: some rows have no label and others have; filter them, or open with labels=false"
        )
    if values.dtype.kind not in "iub" and not all(isinstance(value, str) for value in values):
        kind = type(rows.features[column]).__name__
        raise DataError(f"{shown} ({kind}) holds neither class numbers nor names; name another with label=")
    return values.astype(np.int64) if values.dtype.kind in "iub" else values
