"""Milliseconds an image: decoded from JPEG, and read from the cache of decoded canvases.

One core, page cache warm. Rounds alternate within one run, so that a drift of the machine's speed cancels.
"first" is the first reading of a row in a process, which compares its checksum, "again" is any other. Photos
are generated, 224 to 400 pixels on the longer side, unless a folder is given.

    python tools/bench_cache.py
    python tools/bench_cache.py PHOTOS --canvas 336
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from sslkit.data.decode.image import decode_image
from sslkit.data.decoded_cache import DecodedCache, stamp_of


def main() -> None:
    """Measure and print one line of JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", nargs="?", type=Path, help="a folder of JPEG files")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--canvas", type=int, default=336)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        photos = given.photos or _generated(Path(scratch) / "photos", given.images)
        paths = sorted(path for path in photos.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
        print(json.dumps(_measured(paths[: given.images], Path(scratch), given.canvas, given.rounds)))


def _measured(paths: list[Path], folder: Path, canvas: int, rounds: int) -> dict[str, object]:
    options = {"fingerprint": "bench", "count": len(paths), "canvas": canvas, "channels": 3}
    kept = DecodedCache(folder, **options)
    batch = np.empty((len(paths), 3, canvas, canvas), np.uint8)

    def decode() -> None:
        for row, path in enumerate(paths):
            batch[row] = decode_image(path, canvas=canvas)[0]

    def decode_and_put() -> None:
        for id, path in enumerate(paths):
            stamp = stamp_of(path)
            pixels, rectangle = decode_image(path, canvas=canvas)
            batch[id] = pixels
            kept.put(id, stamp, pixels, rectangle)

    def read(cache: DecodedCache) -> None:
        for id, path in enumerate(paths):
            if cache.read(id, stamp_of(path), batch[id]) is None:
                raise SystemExit(f"{path} was put and is not there")

    decode_and_put()
    expected = batch.copy()
    times: dict[str, list[float]] = {"decode": [], "decode_and_put": [], "first": [], "again": []}
    for _ in range(rounds):
        fresh = DecodedCache(folder, **options)
        fresh.open()
        times["decode"].append(_seconds(decode))
        times["decode_and_put"].append(_seconds(decode_and_put))
        times["first"].append(_seconds(lambda cache=fresh: read(cache)))
        times["again"].append(_seconds(lambda cache=fresh: read(cache)))
        assert np.array_equal(batch, expected)
    ratios = [slow / fast for slow, fast in zip(times["decode"], times["again"], strict=True)]
    medians = {name: statistics.median(seconds) for name, seconds in times.items()}
    return {
        **{f"{name}_ms_an_image": round(1e3 * seconds / len(paths), 3) for name, seconds in medians.items()},
        "decode_over_again": round(statistics.median(ratios), 1),
        "decode_over_first": round(medians["decode"] / medians["first"], 1),
        "put_over_decode": round(medians["decode_and_put"] / medians["decode"], 2),
        "images": len(paths),
        "canvas": canvas,
        "mean_kilobytes": round(sum(path.stat().st_size for path in paths) / len(paths) / 1e3, 1),
    }


def _generated(folder: Path, count: int) -> Path:
    """Gradients with noise, JPEG of quality 85: about as large as photos of the same size."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    for number in range(count):
        longer, shorter = generator.integers(224, 401), generator.integers(200, 301)
        width, height = (longer, shorter) if number % 2 else (shorter, longer)
        y, x = np.mgrid[0:height, 0:width]
        waves = [np.sin(x / generator.uniform(5, 60) + y / generator.uniform(5, 60)) for _ in range(3)]
        pixels = 128 + 90 * np.stack(waves, -1) + generator.normal(0, 12, (height, width, 1))
        image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
        image.save(folder / f"{number:04d}.jpg", quality=85)
    return folder


def _seconds(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
