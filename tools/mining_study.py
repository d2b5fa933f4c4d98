"""Does mining help? Pretrains one recipe under several settings and seeds, and prints a table with spreads.

    python tools/mining_study.py cifar10_subset.npz --study cifar10 --out runs/mining-study

Every run is measured on the test split: k-NN by the protocol knn-20, and recall@1 (is a test picture's nearest
other test picture of its class?). What is done is kept in OUT/results.jsonl, so that a stopped study goes on.
`--equal-time` gives each setting the epochs that fit the time of the first one, by seconds a step measured there.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import time
from pathlib import Path
from typing import Any

import torch

import sslkit
from sslkit.evaluation.features import joined
from sslkit.evaluation.knn import knn_leave_one_out
from sslkit.evaluation.metrics import top_share
from sslkit.registry import open_source
from sslkit.runs.embedder import open_embedder

HCL = ("objective.beta=2.0", "objective.prior=0.1", "objective.temperature=0.2")
MINED = ("mining.negatives=64", "mining.start_epoch=2")
TRIPLET = ("objective={name: triplet, projector_hidden: 512}",)

STUDIES: dict[str, tuple[str, dict[str, tuple[str, ...]]]] = {
    "cifar10": (
        "cifar10-cpu",
        {
            "plain T=.05": ("objective.temperature=0.05",),
            "plain T=.1": ("objective.temperature=0.1",),
            "plain T=.2": ("objective.temperature=0.2",),
        },
    ),
}


def main() -> None:
    """Run what is missing, then print the table."""
    given = _arguments()
    out: Path = given.out
    out.mkdir(parents=True, exist_ok=True)
    recipe, settings = STUDIES[given.study]
    wanted = {name: settings[name] for name in (given.only or settings)}
    done = _done(out)
    for seed in given.seeds:
        for name, overrides in wanted.items():
            if (name, seed) not in done:
                row = _run(given, recipe, name, (*overrides, *given.set), seed)
                with (out / "results.jsonl").open("a") as file:
                    file.write(json.dumps(row) + "\n")
                print(row, flush=True)
    print(_table(list(_done(out).values()), list(settings)))


def _run(
    given: argparse.Namespace, recipe: str, name: str, overrides: tuple[str, ...], seed: int
) -> dict[str, Any]:
    run = given.out / "run"
    shutil.rmtree(run, ignore_errors=True)
    fixed = (
        f"seed={seed}",
        f"schedule.epochs={given.epochs}",
        "checkpoint.keep=1",
        "monitor.every_epochs=100",
    )
    began = time.perf_counter()
    sslkit.pretrain(given.data, recipe=recipe, out=run, overrides=[*fixed, *overrides], progress=False)
    seconds = time.perf_counter() - began
    row = {"name": name, "seed": seed, "seconds": round(seconds, 1), **_measured(run, given.data, seed)}
    kept = given.out / "runs" / f"{name} {seed}".replace(" ", "-")
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(parents=True)
    for file in ("metrics.jsonl", "config.yaml"):
        shutil.copy(run / file, kept)
    return row


def _measured(run: Path, data: Path, seed: int) -> dict[str, float]:
    found = sslkit.evaluate(run, data, head="knn", baselines=False, seed=seed, progress=False)
    test = open_source(str(data), split="test")
    features = joined(open_embedder(run).stream(test, progress=False))
    votes = knn_leave_one_out(
        features.embeddings, features.labels, k=1, temperature=0.07, classes=len(test.classes)
    )
    return {
        "knn": found.results[0].score.figures["top1"],
        "recall_at_1": top_share(votes.ranking, features.labels, 1),
    }


def _table(rows: list[dict[str, Any]], order: list[str]) -> str:
    lines = ["| setting | k-NN | recall@1 | seconds | seeds |", "| --- | --- | --- | --- | --- |"]
    for name in order:
        of_name = [row for row in rows if row["name"] == name]
        if of_name:
            cells = (_spread([row[key] for row in of_name]) for key in ("knn", "recall_at_1"))
            seconds = statistics.median(row["seconds"] for row in of_name)
            lines.append(f"| {name} | {' | '.join(cells)} | {seconds:.0f} | {len(of_name)} |")
    return "\n".join(lines)


def _spread(values: list[float]) -> str:
    spread = f" +- {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{spread} ({', '.join(f'{value:.3f}' for value in values)})"


def _done(out: Path) -> dict[tuple[str, int], dict[str, Any]]:
    file = out / "results.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    return {(row["name"], row["seed"]): row for row in rows}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--study", choices=STUDIES, default="cifar10")
    parser.add_argument("--only", nargs="*", help="names of settings")
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--set", nargs="*", default=[], help="overrides for every run")
    parser.add_argument("--out", type=Path, default=Path("runs/mining-study"))
    torch.set_num_threads(torch.get_num_threads())
    return parser.parse_args()


if __name__ == "__main__":
    main()
