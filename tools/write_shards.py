"""Write a folder or list of images as tar shards in WebDataset's layout, with labels.

Files go in as they are, never encoded again. They are shuffled first: an image folder is sorted by class, and
a shuffle buffer does not mix what lies far apart. Splits become folders; classes.txt names the classes.

    python tools/write_shards.py PHOTOS OUT --samples 5000
"""

from __future__ import annotations

import argparse
import io
import re
import tarfile
from collections.abc import Sequence
from pathlib import Path

from sslkit.contracts import Source
from sslkit.errors import ConfigError, DataError, SslkitError
from sslkit.keyed_random import permutation
from sslkit.registry.address import open_source


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the shards of every split."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", help="an image folder or a list file")
    parser.add_argument("out", type=Path, help="a new or empty folder")
    parser.add_argument("--samples", type=int, default=5000, help="samples in a shard")
    parser.add_argument("--seed", type=int, default=0, help="of the order")
    given = parser.parse_args(arguments)
    try:
        if given.samples < 1:
            raise ConfigError(f"--samples {given.samples}: a shard holds at least 1 sample")
        if given.out.exists() and any(given.out.iterdir()):
            raise ConfigError(f"{given.out} is not empty; name a new folder")
        source = open_source(given.data)
        for split in source.splits or (None,):
            part = open_source(given.data, split=split)
            folder = given.out / split if split else given.out
            count = write_shards(part, folder, samples=given.samples, seed=given.seed)
            print(f"{folder}: {len(part)} samples in {count} shards")
        if source.classes:
            (given.out / "classes.txt").write_text("\n".join(source.classes) + "\n", encoding="utf-8")
    except SslkitError as error:
        parser.exit(error.exit_code, f"{error}\n")


def write_shards(source: Source, folder: Path, *, samples: int, seed: int) -> int:
    """Write shard-000000.tar, ... of at most `samples` samples each; returns how many.

    A sample is its file, and its label as a number in `cls`. Raises DataError for content that is no file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    order = permutation(len(source), seed=seed, epoch=0).tolist()
    starts = range(0, len(order), samples)
    for number, start in enumerate(starts):
        path = folder / f"shard-{number:06d}.tar"
        aside = path.with_suffix(".tmp")
        with tarfile.open(aside, "w") as archive:
            for id in order[start : start + samples]:
                _add(archive, source, id)
        aside.replace(path)  # a shard is whole or is not there
    return len(starts)


def _add(archive: tarfile.TarFile, source: Source, id: int) -> None:
    item = source[id]
    if not isinstance(item.content, Path):
        raise DataError(f"{item.name} is no file; shards are written of image folders and list files")
    # The key ends at the first dot, and must be unlike that of 1.png beside 1.jpg.
    key = f"{id:08d}-{re.sub(r'[^A-Za-z0-9_-]', '_', item.content.stem)[:80]}"
    _add_member(archive, f"{key}{item.content.suffix.lower()}", item.content.read_bytes())
    if item.label is not None:
        _add_member(archive, f"{key}.cls", str(item.label).encode())


def _add_member(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


if __name__ == "__main__":
    main()
