"""Does mining help? Pretrains one recipe under several settings and seeds, and prints a table with spreads.

    python tools/mining_study.py cifar10_subset.npz --study cifar10 --out runs/mining-study

Every run is measured on the test split by recall@1 (is a picture's nearest other picture of its class?),
and in the study cifar10, whose test classes are those of training, by the protocol knn-20. What is done is
kept in OUT/results.jsonl, so a stopped study goes on, and two processes may share the seeds between them.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import time
from pathlib import Path
from typing import Any

import sslkit
from sslkit.evaluation.features import joined
from sslkit.evaluation.knn import knn_leave_one_out
from sslkit.evaluation.metrics import top_share
from sslkit.registry import open_source
from sslkit.runs.embedder import Embedder, open_embedder
from sslkit.runs.evaluate import untrained_like

WARM = "mining.start_epoch=2"
HCL = ("objective.temperature=0.2", "objective.beta=2.0", "objective.prior=0.1")
COLD = ("objective.temperature=0.05",)
NEGATIVES = (WARM, "mining.negatives=64", "mining.candidates=500", "mining.skip_nearest=50")
BROAD = (
    WARM,
    "mining.negatives=128",
    "mining.candidates=2000",
    "mining.skip_nearest=100",
    "mining.weights.hardness=0.0",
)
NONE = (WARM, "mining.negatives=0", "mining.skip_nearest=0")
HARD_BATCHES = (*NONE, "mining.hard_batches.cluster=8", "mining.hard_batches.start_epoch=2")
ATTRACT = (
    *NONE,
    "mining.candidates=16",
    "mining.positives=1",
    "mining.bands=[{ranks: [0, 0], action: attract, weight: 0.5}]",
)
ATTRACT_4 = (
    *NONE,
    "mining.candidates=16",
    "mining.positives=4",
    "mining.bands=[{ranks: [0, 3], action: attract, weight: 0.5}]",
)


def triplet(negatives: str, *, labels: bool = False) -> tuple[str, ...]:
    """A triplet objective with an in-batch miner."""
    used = ", labels: true" if labels else ""
    return (f"objective={{name: triplet, projector_hidden: 512, negatives: {negatives}{used}}}",)


def mined_triplet(strategy: str) -> tuple[str, ...]:
    """A triplet objective whose negatives come from the whole corpus."""
    return (
        *triplet("random"),
        WARM,
        "mining.negatives=8",
        "mining.candidates=500",
        "mining.skip_nearest=20",
        f"mining.strategy={strategy}",
    )


CIFAR10 = {
    "plain T=.05": COLD,
    "plain T=.1": ("objective.temperature=0.1",),
    "plain T=.2": ("objective.temperature=0.2",),
    "debiased T=.05": (*COLD, "objective.prior=0.1"),
    "hard T=.1 beta=1": ("objective.temperature=0.1", "objective.beta=1.0", "objective.prior=0.1"),
    "hard T=.2 beta=2": HCL,
    "T=.05 + mined": (*COLD, *NEGATIVES),
    "T=.05 + raw mined": (*COLD, *NEGATIVES, "mining.weights.hardness=0.0", "mining.weights.prior=0.0"),
    "T=.05 + hard batches": (*COLD, *HARD_BATCHES),
    "T=.05 + attract": (*COLD, *ATTRACT),
    "hard T=.2 beta=2 + mined": (*HCL, *BROAD),
    "hard T=.2 beta=2 + hard batches": (*HCL, *HARD_BATCHES),
    "hard T=.2 beta=2 + attract": (*HCL, *ATTRACT),
    "hard T=.2 beta=2 + attract 4": (*HCL, *ATTRACT_4),
    "hard T=.2 beta=2 + hard batches + attract": (*HCL, *HARD_BATCHES, *ATTRACT),
    "triplet random": triplet("random"),
    "triplet semi-hard": triplet("semi_hard"),
    "triplet distance-weighted": triplet("distance_weighted"),
    "triplet hard": triplet("hard"),
    "triplet mined random": mined_triplet("random"),
    "triplet mined semi-hard": mined_triplet("semi_hard"),
}
RETRIEVAL = {
    **{name: setting for name, setting in CIFAR10.items() if name.startswith("triplet")},
    "triplet mined distance-weighted": mined_triplet("distance_weighted"),
    "triplet mined hard": mined_triplet("hard"),
    "labelled triplet semi-hard": triplet("semi_hard", labels=True),
    "labelled triplet hard": triplet("hard", labels=True),
    "plain T=.1": ("objective.temperature=0.1",),
    "T=.1 + mined": ("objective.temperature=0.1", *NEGATIVES),
    "T=.1 + hard batches": ("objective.temperature=0.1", *HARD_BATCHES),
}
STUDIES = {"cifar10": CIFAR10, "retrieval": RETRIEVAL}
RECIPE = "cifar10-cpu"
UNTRAINED = "random initialisation"


def main() -> None:
    """Run what is missing, then print the table."""
    given = _arguments()
    out: Path = given.out
    out.mkdir(parents=True, exist_ok=True)
    settings = STUDIES[given.study]
    wanted = {name: settings[name] for name in (given.only or settings)}
    done = _done(out)
    for seed in given.seeds:
        for name, overrides in wanted.items():
            if (name, seed) not in done:
                _keep(out, _run(given, name, (*overrides, *given.set), seed))
        if (UNTRAINED, seed) not in _done(out):
            _keep(out, _untrained(given, next(iter(wanted)), seed))
    print(_table(list(_done(out).values()), [UNTRAINED, *settings]))


def _keep(out: Path, row: dict[str, Any]) -> None:
    with (out / "results.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")
    print(row, flush=True)


def _untrained(given: argparse.Namespace, name: str, seed: int) -> dict[str, Any]:
    """The network of the named setting at its random initialisation."""
    run = _folder(given, name, seed)
    figures = {"recall_at_1": _recall(given, untrained_like(open_embedder(run), seed))}
    if given.study == "cifar10":
        figures["knn"] = _knn(given, run, seed)[1]
    return {"name": UNTRAINED, "seed": seed, "seconds": 0.0, **figures}


def _run(given: argparse.Namespace, name: str, overrides: tuple[str, ...], seed: int) -> dict[str, Any]:
    run = _folder(given, name, seed)
    shutil.rmtree(run, ignore_errors=True)
    fixed = (
        f"seed={seed}",
        f"schedule.epochs={given.epochs}",
        "checkpoint.keep=1",
        "monitor.every_epochs=100",
        "precision=bf16",
        "channels_last=true",
    )
    began = time.perf_counter()
    sslkit.pretrain(given.data, recipe=RECIPE, out=run, overrides=[*fixed, *overrides], progress=False)
    seconds = time.perf_counter() - began
    shutil.rmtree(run / "checkpoints")
    figures = {"recall_at_1": _recall(given, open_embedder(run))}
    if given.study == "cifar10":
        figures["knn"] = _knn(given, run, seed)[0]
    return {"name": name, "seed": seed, "seconds": round(seconds, 1), **figures}


def _folder(given: argparse.Namespace, name: str, seed: int) -> Path:
    folder: Path = given.out / "runs" / f"{name} {seed}".replace(" ", "-")
    return folder


def _recall(given: argparse.Namespace, embedder: Embedder) -> float:
    test = open_source(str(given.data), split="test")
    features = joined(embedder.stream(test, progress=False))
    votes = knn_leave_one_out(
        features.embeddings, features.labels, k=1, temperature=0.07, classes=len(test.classes)
    )
    return top_share(votes.ranking, features.labels, 1)


def _knn(given: argparse.Namespace, run: Path, seed: int) -> list[float]:
    """knn-20 of the run, then of the same network untrained."""
    found = sslkit.evaluate(run, given.data, head="knn", seed=seed, progress=False)
    return [result.score.figures["top1"] for result in found.results]


def _table(rows: list[dict[str, Any]], order: list[str]) -> str:
    lines = ["| setting | k-NN | recall@1 | seconds | seeds |", "| --- | --- | --- | --- | --- |"]
    for name in order:
        of_name = [row for row in rows if row["name"] == name]
        if of_name:
            cells = (
                _spread([row[key] for row in of_name]) for key in ("knn", "recall_at_1") if key in of_name[0]
            )
            seconds = statistics.median(row["seconds"] for row in of_name)
            lines.append(f"| {name} | {' | '.join(cells)} | {seconds:.0f} | {len(of_name)} |")
    return "\n".join(lines)


def _spread(values: list[float]) -> str:
    if not values:
        return "-"
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
    return parser.parse_args()


if __name__ == "__main__":
    main()
