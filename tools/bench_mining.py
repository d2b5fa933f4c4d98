"""Mining as a share of the training step: what the bank, the index and its refreshes add to it.

The step is forward, loss, backward and optimiser of SimCLR on views that are already on the device, in the
number format and layout the loop would choose. A step's mining: the batch's outputs are written to the bank,
its ids looked up in the index, and negatives read. A refresh: the snapshot, the build, and the comparison
with the index before it; its build counts in full, though it runs beside training. Vectors are made up, in
clusters as those of an encoder lie. All comes from one run; steps are timed before and after the rest.

On a machine that does other work too, `--clock cpu` with OMP_NUM_THREADS=1 compares processor time.

    python tools/bench_mining.py
    python tools/bench_mining.py --backbone resnet10t --size 96 --banks 20000:flat 60000:auto
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.contracts import Samples
from sslkit.mining.bank import Bank
from sslkit.mining.refresh import Refresher
from sslkit.models.creation import create_backbone
from sslkit.models.memory_layout import lay_out
from sslkit.neighbours.corpus import Kind
from sslkit.objectives.simclr import SimCLR
from sslkit.training.precision import PRECISIONS, choose_layout, memory_format

DIM = 128
CHUNK = 50_000
PROBES = 256
EVERY = 1000  # steps between refreshes, beside once an epoch
_clock: list[Callable[[], float]] = [time.perf_counter]  # the last one counts


def main() -> None:
    """Measure and print one line of JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=4, help="steps timed before, and again after")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--negatives", type=int, default=64)
    parser.add_argument("--candidates", type=int, default=500)
    parser.add_argument(
        "--banks", nargs="+", default=["100000:flat", "100000:auto", "1000000:auto"], help="COUNT:KIND ..."
    )
    given = parser.parse_args()
    if given.clock == "cpu":
        _clock.append(time.process_time)
    step, layout = _training_step(given.backbone, given.size, given.batch, given.precision)
    step()
    bare = [_seconds(step) for _ in range(given.steps)]
    banks = []
    for number, bank in enumerate(given.banks):
        count, kind = bank.split(":")
        beside = step if number + 1 == len(given.banks) else None
        banks.append(_bank_figures(int(count), kind, given, beside))
    bare += [_seconds(step) for _ in range(given.steps)]
    seconds = statistics.median(bare)
    for figures in banks:
        _add_shares(figures, seconds, given.batch)
    result = {
        "step_seconds": round(seconds, 4),
        "step_seconds_range": [round(min(bare), 4), round(max(bare), 4)],
        "banks": banks,
        "backbone": given.backbone,
        "size": given.size,
        "batch": given.batch,
        "layout": layout,
        "threads": torch.get_num_threads(),
        "clock": given.clock,
        "device": _device().type,
    }
    print(json.dumps(result))


def _training_step(name: str, size: int, batch: int, precision: str) -> tuple[Callable[[], Any], str]:
    """One optimiser step on two fixed views of a batch, and the layout it runs in."""
    device = _device()
    torch.manual_seed(0)
    backbone = create_backbone(name, size=size).to(device)
    objective = SimCLR(backbone).to(device)
    layout = choose_layout(
        backbone, precision=precision, channels_last="auto", size=size, batch=batch, device=device
    )
    lay_out(backbone, channels_last=layout.channels_last)
    views = [
        torch.randn(batch, 3, size, size, device=device).contiguous(memory_format=memory_format(layout))
        for _ in range(2)
    ]
    samples = Samples.of(torch.arange(batch, device=device))
    parameters = [*backbone.parameters(), *objective.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=0.01, momentum=0.9)
    dtype = PRECISIONS[layout.precision]

    def step() -> None:
        with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
            embeddings = objective.embed(backbone, views)
        objective.loss(embeddings, samples).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        _wait()

    return step, layout.precision + (" channels_last" if layout.channels_last else "")


def _bank_figures(
    count: int, kind: str, given: argparse.Namespace, beside: Callable[[], Any] | None
) -> dict[str, Any]:
    """Seconds of a step's mining and of a refresh with a full bank; beside: a step to slow by a build."""
    bank = Bank(count, DIM)
    for start in range(0, count, CHUNK):
        vectors = _clustered(min(CHUNK, count - start), groups=max(count // 200, 10), seed=start)
        bank.write(torch.arange(start, start + len(vectors)), vectors, 0)
    refresher = Refresher(bank, every=1, lag=0, start=0, kind=cast(Kind, kind))
    refresher.before_step(0)
    refreshing = _seconds(lambda: refresher.before_step(1))  # with a comparison to the one before
    assert refresher.current is not None, refresher.reports
    index, snapshot = refresher.current
    draw = torch.Generator().manual_seed(1)
    outputs = torch.randn(given.batch, DIM, device=_device())
    parts: dict[str, list[float]] = {"write": [], "search": [], "read": []}
    for repeat in range(12):
        ids = torch.randint(0, count, (given.batch,), generator=draw)
        queries = snapshot.vectors[ids.numpy()].astype(np.float32)
        parts["search"].append(_seconds(lambda: index.search(queries, given.candidates + 1)))  # noqa: B023
        chosen = torch.randint(0, count, (given.batch, given.negatives), generator=draw)
        parts["read"].append(_seconds(lambda: bank.read(chosen).to(_device())))  # noqa: B023
        parts["write"].append(_seconds(lambda: bank.write(ids, outputs, repeat)))  # noqa: B023
    figures: dict[str, Any] = {
        "count": count,
        "index": index.describe(),
        "refresh_seconds": round(refreshing, 3),
        **{f"{name}_seconds": round(statistics.median(times[2:]), 5) for name, times in parts.items()},
        **_recall(refresher, given.candidates),
    }
    if beside is not None:
        figures |= _slowdown(bank, cast(Kind, kind), beside)
    refresher.close()
    return figures


def _add_shares(figures: dict[str, Any], step: float, batch: int) -> None:
    """Mining over training, refreshes once an epoch and every 1000 steps included."""
    each = figures["write_seconds"] + figures["search_seconds"] + figures["read_seconds"]
    refresh = figures["refresh_seconds"]
    epoch = figures["count"] // batch
    figures["share_without_refresh"] = round(each / step, 5)
    figures[f"share_refresh_every_epoch_of_{epoch}_steps"] = round((each + refresh / epoch) / step, 5)
    figures[f"share_refresh_every_{EVERY}_steps"] = round((each + refresh / EVERY) / step, 5)


def _recall(refresher: Refresher, candidates: int) -> dict[str, float]:
    """Share of the true 10, and of all true candidates, that the index finds for 256 slots."""
    assert refresher.current is not None
    index, snapshot = refresher.current
    ids = np.linspace(0, len(snapshot.vectors) - 1, PROBES).astype(np.int64)
    queries = F.normalize(torch.from_numpy(snapshot.vectors[ids]).float(), dim=1)
    best, rows = torch.empty(PROBES, 0), torch.empty(PROBES, 0, dtype=torch.int64)
    for start in range(0, len(snapshot.vectors), CHUNK):
        block = torch.from_numpy(snapshot.vectors[start : start + CHUNK]).float()
        near = queries @ F.normalize(block, dim=1).T
        values, places = torch.cat([best, near], dim=1).topk(candidates + 1, dim=1)
        rows = torch.cat([rows, torch.arange(start, start + near.shape[1]).expand(PROBES, -1)], dim=1)
        best, rows = values, rows.gather(1, places)
    found = index.search(queries.numpy(), candidates + 1)[0]
    return {
        f"recall_at_{k}": round(
            float(
                np.mean(
                    [np.isin(rows[i, 1 : k + 1].numpy(), found[i, : k + 1]).mean() for i in range(PROBES)]
                )
            ),
            4,
        )
        for k in (10, candidates)
    }


def _slowdown(bank: Bank, kind: Kind, step: Callable[[], Any]) -> dict[str, float]:
    """How much slower steps are while an index is built beside them, and how long that lasts."""
    _clock.append(time.perf_counter)
    before = [_seconds(step) for _ in range(2)]
    refresher = Refresher(bank, every=1 << 30, lag=1 << 30, start=0, kind=kind)
    began = time.perf_counter()
    refresher.before_step(0)
    during: list[float] = []
    while refresher.building and len(during) < 20:
        during.append(_seconds(step))
    lasted = time.perf_counter() - began
    finished = not refresher.building
    refresher.close()
    after = [_seconds(step) for _ in range(2)]
    alone = statistics.median(before + after)
    _clock.pop()
    return {
        "step_while_building_over_step": round(statistics.median(during) / alone, 3),
        "steps_while_building": len(during),
        "build_beside_training_seconds": round(lasted, 1) if finished else float("nan"),
        "training_lost_to_build_seconds": round(sum(during) - alone * len(during), 2),
    }


def _clustered(count: int, *, groups: int, seed: int) -> Tensor:
    """Rows (count, 128) in clusters of clusters inside 24 dimensions, and noise in all of them."""
    shared = np.random.default_rng(0)
    basis = shared.standard_normal((24, DIM), dtype=np.float32)
    coarse = shared.standard_normal((50, 24), dtype=np.float32)
    centres = coarse[shared.integers(0, 50, groups)] + 0.7 * shared.standard_normal(
        (groups, 24), dtype=np.float32
    )
    own = np.random.default_rng(seed + 1)
    inner = centres[own.integers(0, groups, count)] + 0.5 * own.standard_normal((count, 24), dtype=np.float32)
    return torch.from_numpy(inner @ basis + 0.8 * own.standard_normal((count, DIM), dtype=np.float32))


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _seconds(work: Callable[[], Any]) -> float:
    _wait()
    began = _clock[-1]()
    work()
    _wait()
    return _clock[-1]() - began


if __name__ == "__main__":
    main()
