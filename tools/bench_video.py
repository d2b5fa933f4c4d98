"""Clips from video files against PyAV's bare decoding, with as many processes as a loader would have.

A sample is two clips of T frames at a random place of a video, shrunk to a canvas; its stretch is every frame
that any decoder must pass to show them, from the keyframe on. All rates are frames a second of one process
while the others do the same. `bare` decodes whole files and keeps nothing, `bare_rgb` makes every frame RGB;
`stretch` opens, seeks and decodes the stretches of our samples and keeps nothing; `clips` is decode_clips;
`clips_views` also makes two views of T x size pixels. The ways alternate; ratios are medians over rounds, to
`bare`. `loop` is the common way, in samples: PyAV by hand, wanted frames made RGB at full size.

    python tools/bench_video.py                      # H.264 and MPEG-4 files written on the spot
    python tools/bench_video.py FOLDER --strides 2   # the videos of a folder
    python tools/bench_video.py --leak 10000         # resident memory over as many clips, nothing else
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch

from sslkit.data.decode.packets import plan
from sslkit.data.decode.suffixes import VIDEO_EXTENSIONS
from sslkit.data.decode.video import decode_clips, probe_video
from sslkit.data.views.policy import ViewPolicy, build_views
from sslkit.keyed_random import Keys

CODECS = {"libx264": {"preset": "medium"}, "mpeg4": {}}
SIZES = ((320, 240), (180, 144))


def main() -> None:
    """Measure and print one line of JSON for each set of files and stride."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--canvas", type=int, default=128)
    parser.add_argument("--strides", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--gap", type=float, default=0.0, help="seconds between the two clips of a sample")
    parser.add_argument("--samples", type=int, default=16, help="of each way, round and process")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--engine", default="fused", help="what computes the views")
    parser.add_argument("--leak", type=int, default=0, help="count of clips")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sets = _sets(given.folder, Path(folder))
        if given.leak:
            print(json.dumps(_leak(sets, given.leak)))
            return
        for label, files in sets.items():
            for stride in given.strides:
                print(json.dumps({"files": label, "stride": stride, **_measured(files, stride, given)}))


def _measured(files: list[Path], stride: int, given: argparse.Namespace) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(given.processes), context.Queue()
    workers = [
        context.Process(target=_work, args=(files, stride, given, seed, barrier, answers))
        for seed in range(given.processes)
    ]
    for worker in workers:
        worker.start()
    rounds = [timing for _ in workers for timing in answers.get()]
    for worker in workers:
        worker.join()
    result: dict[str, Any] = {name: round(statistics.median(t[name] for t in rounds)) for name in rounds[0]}
    for name in ("stretch", "clips", "clips_views"):
        result[f"{name}/bare"] = round(statistics.median(t[name] / t["bare"] for t in rounds), 3)
    result["clips/stretch"] = round(statistics.median(t["clips"] / t["stretch"] for t in rounds), 3)
    result["samples/loop"] = round(statistics.median(t["samples"] / t["loop"] for t in rounds), 2)
    return result


def _work(
    files: list[Path], stride: int, given: argparse.Namespace, seed: int, barrier: Any, out: Any
) -> None:
    torch.set_num_threads(1)
    random = np.random.default_rng(seed)
    samples = [_sample(files, stride, given, random) for _ in range(given.samples)]
    passed = sum(_passed(path, times) for path, times in samples)
    half = (0.5, 0.5, 0.5)
    views = build_views("simclr", size=given.size, mean=half, std=half, engine=given.engine)
    whole = sorted({path for path, _ in samples})[:4]
    ways: dict[str, tuple[Callable[[], int], float]] = {
        "bare": (lambda: sum(_bare(path, rgb=False) for path in whole), 0),
        "bare_rgb": (lambda: sum(_bare(path, rgb=True) for path in whole), 0),
        "stretch": (lambda: sum(_stretch(*sample) for sample in samples), passed),
        "clips": (lambda: len(_clips(samples, given.canvas)[0]), passed),
        "clips_views": (lambda: _with_views(samples, given.canvas, views), passed),
        "loop": (lambda: sum(_loop(*sample) for sample in samples), len(samples)),
    }
    timings = []
    for round_number in range(given.rounds + 1):
        timing = {}
        for name, (way, count) in ways.items():
            barrier.wait()
            start = time.perf_counter()
            frames = way()
            timing[name] = (count or frames) / (time.perf_counter() - start)
        timing["samples"] = timing["clips"] * len(samples) / passed
        if round_number:  # the first one warms up
            timings.append(timing)
    out.put(timings)


def _sample(
    files: list[Path], stride: int, given: argparse.Namespace, random: np.random.Generator
) -> tuple[Path, np.ndarray]:
    path = files[random.integers(len(files))]
    header = probe_video(path)
    length = (given.frames - 1) * stride / header.rate
    start = random.uniform(0, max(0.0, header.duration - length - given.gap))
    starts = np.array([[start], [start + random.uniform(0, given.gap)]])
    return path, starts + np.arange(given.frames) * stride / header.rate


def _passed(path: Path, times: np.ndarray) -> int:
    with av.open(str(path)) as container:
        runs = plan(container, container.streams.video[0], np.unique(times).tolist()).runs
        return sum(len(run) for run in runs)


def _bare(path: Path, *, rgb: bool) -> int:
    count = 0
    with av.open(str(path)) as container:
        container.streams.video[0].thread_count = 1
        for frame in container.decode(video=0):
            count += 1
            if rgb:
                frame.to_ndarray(format="rgb24")
    return count


def _stretch(path: Path, times: np.ndarray) -> int:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_count = 1
        base = float(stream.time_base or 1)
        start = stream.start_time or 0
        container.seek(int(start + times.min() / base), stream=stream)
        for frame in container.decode(stream):
            if ((frame.pts or 0) - start) * base >= times.max():
                break
    return 1


def _loop(path: Path, times: np.ndarray) -> int:
    for clip in times:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_count = 1
            base, start = float(stream.time_base or 1), stream.start_time or 0
            container.seek(int(start + clip.min() / base), stream=stream)
            wanted = iter(clip.tolist())
            second = next(wanted)
            for frame in container.decode(stream):
                if ((frame.pts or 0) - start) * base >= second:
                    frame.to_ndarray(format="rgb24")
                    if (second := next(wanted, -1.0)) < 0:
                        break
    return 1


def _clips(samples: list[tuple[Path, np.ndarray]], canvas: int) -> tuple[list[np.ndarray], list[Any]]:
    decoded = [decode_clips(path, times, canvas=canvas) for path, times in samples]
    return [pixels for pixels, _ in decoded], [rectangle for _, rectangle in decoded]


def _with_views(samples: list[tuple[Path, np.ndarray]], canvas: int, views: ViewPolicy) -> int:
    pixels, rectangles = _clips(samples, canvas)
    keys = Keys(seed=0, epoch=0, ids=torch.arange(len(samples)))
    return len(views(torch.from_numpy(np.stack(pixels)), torch.tensor(rectangles), keys))


def _leak(sets: dict[str, list[Path]], clips: int) -> dict[str, Any]:
    """Resident memory before and after; the first hundredth of the clips warms up."""
    files = [file for group in sets.values() for file in group]
    times = np.array([[0.1, 0.2], [0.4, 0.5]])
    before, start = 0.0, 0.0
    for number in range(clips + clips // 100):
        if number == clips // 100:
            before, start = _resident(), time.perf_counter()
        decode_clips(files[number % len(files)], times, canvas=64)
    seconds = time.perf_counter() - start
    return {"clips": clips, "seconds": round(seconds), "grown_mb": round(_resident() - before, 2)}


def _resident() -> float:
    gc.collect()
    with Path("/proc/self/statm").open() as file:
        return int(file.read().split()[1]) * 4096 / 2**20


def _sets(folder: Path | None, written: Path) -> dict[str, list[Path]]:
    if folder is not None:
        return {folder.name: sorted(f for f in folder.rglob("*") if f.suffix.lower() in VIDEO_EXTENSIONS)}
    return {
        f"{codec} {width}x{height}": [
            _write(written / f"{codec}_{width}_{number}.mp4", codec, width, height, number)
            for number in range(2)
        ]
        for codec in CODECS
        for width, height in SIZES
    }


def _write(path: Path, codec: str, width: int, height: int, seed: int) -> Path:
    """Four seconds: a textured ground that pans, a bright square that moves, and noise."""
    random = np.random.default_rng(seed)
    small = random.integers(0, 256, (height // 8 + 16, width // 8 + 32, 3)).astype(np.uint8)
    ground = small.repeat(8, 0).repeat(8, 1)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=25, options=CODECS[codec])
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.gop_size = 12 if codec == "mpeg4" else 50
        stream.codec_context.bit_rate = 800_000
        for index in range(100):
            picture = ground[index // 2 : index // 2 + height, index : index + width].astype(np.int16)
            picture = picture // 2 + 64 + random.integers(-6, 7, picture.shape)
            picture[40 : 40 + height // 4, index : index + width // 4] = 230
            frame = av.VideoFrame.from_ndarray(picture.clip(0, 255).astype(np.uint8), format="rgb24")
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


if __name__ == "__main__":
    main()
