"""Does it help? Pretrains one recipe under several settings and seeds, and prints a table with spreads.

    python tools/study.py cifar10_subset.npz --study cifar10 --out runs/mining-study
    python tools/study.py video:ACTIONS,every=0.25 --study video --out runs/video-study

Every run is measured on the test split: by recall@1 (is a picture's nearest other picture of its class?),
and by the protocol knn-20 where the test classes are those of training. What is done is kept in
OUT/results.jsonl, so a stopped study goes on, and two processes may share the seeds between them.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import time
from pathlib import Path
from typing import Any

from study_settings import STUDIES

import sslkit
from sslkit.evaluation.features import joined
from sslkit.evaluation.knn import knn_leave_one_out
from sslkit.evaluation.metrics import top_share
from sslkit.registry import open_source
from sslkit.runs.embedder import Embedder, open_embedder, untrained_like

COLUMNS = {"knn": "k-NN", "knn_of_clips": "k-NN of clips", "recall_at_1": "recall@1"}
UNTRAINED = "random initialisation"


def main() -> None:
    """Run what is missing, then print the table."""
    given = _arguments()
    out: Path = given.out
    out.mkdir(parents=True, exist_ok=True)
    study = STUDIES[given.study]
    wanted = {name: study.settings[name] for name in (given.only or study.settings)}
    done = _done(out)
    for seed in given.seeds:
        for name, overrides in wanted.items():
            if (name, seed) not in done:
                _keep(out, _run(given, name, (*overrides, *given.set), seed))
        if (UNTRAINED, seed) not in _done(out):
            _keep(out, _untrained(given, next(iter(wanted)), seed))
    print(_table(list(_done(out).values()), [UNTRAINED, *study.settings]))


def _keep(out: Path, row: dict[str, Any]) -> None:
    with (out / "results.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")
    print(row, flush=True)


def _untrained(given: argparse.Namespace, name: str, seed: int) -> dict[str, Any]:
    """The network of the named setting at its random initialisation."""
    run = _folder(given, name, seed)
    return {"name": UNTRAINED, "seed": seed, "seconds": 0.0, **_figures(given, run, seed, trained=False)}


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
    recipe = STUDIES[given.study].recipe
    began = time.perf_counter()
    sslkit.pretrain(given.data, recipe=recipe, out=run, overrides=[*fixed, *overrides], progress=False)
    seconds = time.perf_counter() - began
    shutil.rmtree(run / "checkpoints")
    return {
        "name": name,
        "seed": seed,
        "seconds": round(seconds, 1),
        **_figures(given, run, seed, trained=True),
    }


def _figures(given: argparse.Namespace, run: Path, seed: int, *, trained: bool) -> dict[str, float]:
    """The study's columns for the network of a run, or for the same network untrained."""
    figures: dict[str, float] = {}
    for column in STUDIES[given.study].columns:
        if column == "recall_at_1":
            embedder = open_embedder(run)
            figures[column] = _recall(given, embedder if trained else untrained_like(embedder, seed))
        else:
            model = _seeing_clips(run) if column == "knn_of_clips" else run
            figures[column] = _knn(given, model, seed)[0 if trained else 1]
    return figures


def _seeing_clips(run: Path) -> Path:
    """The same network, embedding eight frames of a moment, every other one, by their mean."""
    folder = run / "seeing-clips"
    folder.mkdir(exist_ok=True)
    card = json.loads((run / "backbone.json").read_text())
    (folder / "backbone.json").write_text(json.dumps({**card, "frames": 8, "stride": 2.0}))
    shutil.copy(run / "backbone.safetensors", folder)
    return folder


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
    columns = [column for column in COLUMNS if rows and column in rows[0]]
    head = ["setting", *(COLUMNS[column] for column in columns), "seconds", "seeds"]
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    for name in order:
        of_name = [row for row in rows if row["name"] == name]
        if of_name:
            cells = (_spread([row[column] for row in of_name]) for column in columns)
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
    parser.add_argument("data", help="any DATA with the splits train and test")
    parser.add_argument("--study", choices=STUDIES, default="cifar10")
    parser.add_argument("--only", nargs="*", help="names of settings")
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--set", nargs="*", default=[], help="overrides for every run")
    parser.add_argument("--out", type=Path, default=Path("runs/study"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
