"""Time and memory of listing ten million images, their fingerprint and their labels.

    python tools/bench_listing.py [--files 10000000 --folders 10000]

The folders are made up: `os.scandir` and `os.stat` answer for files like n00000440/n00000440_10026.JPEG
that are nowhere, so what is measured is sslkit's own work, without the disk. Each row is a fresh process;
growth is its peak of resident memory beyond what it had before it began (imports done). "listed" reads every
folder and keeps the listing, "again" finds it kept, "one list" is a sorted Python list of the paths, hashed
and labelled: what this replaced.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import pickle
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

WAYS = ("listed", "again", "one list")


def main() -> None:
    """Run every way in a process of its own and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=10_000_000)
    parser.add_argument("--folders", type=int, default=10_000)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=["listed", "again"])
    parser.add_argument("--child", choices=WAYS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(_measured(given.child, given.files, given.folders)))
        return
    print(f"{given.files:,} files in {given.folders:,} folders")
    sizes = [f"--files={given.files}", f"--folders={given.folders}"]
    with tempfile.TemporaryDirectory() as cache:
        for way in given.ways:
            child = subprocess.run(
                [sys.executable, __file__, "--child", way, *sizes],
                check=True,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "SSLKIT_CACHE": cache},
            )
            found = json.loads(child.stdout)
            seconds = ", ".join(f"{name} {value:.1f}" for name, value in found["seconds"].items())
            print(
                f"{way:9} growth {found['growth']:6.0f} MiB, sent {found['sent']:5.1f} B/name, s: {seconds}"
            )
            print(f"{'':9} fingerprint {found['fingerprint']}")


def _measured(way: str, files: int, folders: int) -> dict[str, object]:
    from sslkit.data import listing
    from sslkit.data.class_folders import classes_and_labels
    from sslkit.data.decode.suffixes import EXTENSIONS

    made_up = _MadeUp("/nowhere", files, folders)
    stat = os.stat
    os.stat = lambda path, **more: (
        made_up.stat(path) if str(path).startswith(made_up.root) else stat(path, **more)
    )
    os.scandir = made_up.scandir
    before = _resident()
    watch = _Watch()
    if way == "one list":
        names = sorted(_plain("/nowhere", EXTENSIONS))
        watch.lap("names")
        classes = tuple(sorted({name.partition("/")[0] for name in names}))
        number = {name: label for label, name in enumerate(classes)}
        labels = np.fromiter((number[name.partition("/")[0]] for name in names), np.int64, len(names))
        watch.lap("labels")
        fingerprint = _one_list_fingerprint(names, labels, classes)
    else:
        names = listing.list_files("/nowhere", EXTENSIONS)
        watch.lap("names")
        classes, labels = classes_and_labels(names)
        watch.lap("labels")
        fingerprint = names.fingerprint(labels, classes)
    watch.lap("fingerprint")
    growth = _peak() - before
    assert len(names) == len(labels) == files
    watch.started = time.perf_counter()
    for id in range(0, files, max(1, files // 100_000)):
        names[id]
    watch.lap("100,000 names")
    sent = len(pickle.dumps(names)) / files
    return {"seconds": watch.seconds, "growth": growth, "sent": sent, "fingerprint": fingerprint}


class _Watch:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.started = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name], self.started = now - self.started, now


class _Entry:
    """What `os.scandir` gives, as far as it is asked."""

    __slots__ = ("_folder", "name", "path")

    def __init__(self, name: str, path: str, folder: bool) -> None:
        self.name, self.path, self._folder = name, path, folder

    def is_dir(self) -> bool:
        return self._folder

    def is_file(self) -> bool:
        return not self._folder

    def is_symlink(self) -> bool:
        return False


class _MadeUp:
    """`folders` folders under `root` with `files` files in all, which come in no order."""

    def __init__(self, root: str, files: int, folders: int) -> None:
        self.root, self.files, self.folders = root, files, folders

    def stat(self, path: str) -> os.stat_result:
        inode = 2 if path == self.root else 10 + self._number(path)
        return os.stat_result(
            (0o040755, inode, 1, 2, 0, 0, 4096, 1, 1, 1), {"st_mtime_ns": 1, "st_ctime_ns": 1}
        )

    @contextmanager
    def scandir(self, path: str) -> Iterator[Iterator[_Entry]]:
        if path == self.root:
            order = [number * 7919 % self.folders for number in range(self.folders)]
            yield (_Entry(name, f"{path}/{name}", True) for name in (f"n{number:08d}" for number in order))
            return
        number = self._number(path)
        count = self.files // self.folders + (number < self.files % self.folders)
        order = [place * 7919 % count for place in range(count)]
        folder = path.rpartition("/")[2]
        names = (f"{folder}_{place * 13}.JPEG" for place in order)
        yield (_Entry(name, f"{path}/{name}", False) for name in names)

    def _number(self, path: str) -> int:
        return int(path.rpartition("/n")[2])


def _plain(path: str, extensions: frozenset[str], prefix: str = "") -> Iterator[str]:
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from _plain(entry.path, extensions, f"{prefix}{entry.name}/")
            elif os.path.splitext(entry.name)[1].lower() in extensions and entry.is_file():  # noqa: PTH122
                yield prefix + entry.name


def _one_list_fingerprint(names: list[str], labels: np.ndarray, classes: tuple[str, ...]) -> str:
    encoded = [os.fsencode(name) for name in names]
    digest = hashlib.sha256(b"".join(encoded))
    digest.update(np.cumsum([len(name) for name in encoded], dtype=np.int64).tobytes())
    digest.update(labels.tobytes())
    digest.update("\0".join(classes).encode())
    return digest.hexdigest()[:32]


def _resident() -> float:
    """Resident memory of this process in MiB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 2**20


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


if __name__ == "__main__":
    main()
