"""The backbones of a transfer matrix: the one asked about, and those it is compared with."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from sslkit.errors import ConfigError, SslkitError
from sslkit.evaluation.transfer_results import Subject
from sslkit.runs.embedder import UNTRAINED, Embedder, open_embedder, untrained_like
from sslkit.runs.run_folder import RunFolder
from sslkit.training.monitor import read_diary

RANDOM = "random"
"""The first subject's architecture at random initialisation, with other weights for every seed."""


@dataclass(frozen=True)
class Contender:
    """A backbone by name. model: a run folder or a network's name; untrained: its weights are not loaded."""

    name: str
    model: str
    untrained: bool = False

    def embedder(self, seed: int) -> Embedder:
        """The backbone, ready to embed; of an untrained one the weights are those of the seed."""
        loaded = _opened(self.model)
        return untrained_like(loaded, seed) if self.untrained else loaded

    def described(self) -> Subject:
        """What a reader of the matrix is told of it."""
        embedder = _opened(self.model)
        return Subject(
            self.name,
            RANDOM if self.name == RANDOM else self.model,
            "random" if self.untrained else embedder.model_hash,
            embedder.backbone.architecture.described,
            {} if self.untrained else pretraining(self.model),
        )


def contenders(model: str, against: Sequence[str]) -> list[Contender]:
    """The model, then what it is compared with; the untrained network is always among them.

    Names are those of folders or networks, told apart by a number. Raises ConfigError for one given twice.
    """
    given = [model, *against]
    if RANDOM not in given:
        given.append(RANDOM)
    twice = sorted({one for one in given if given.count(one) > 1})
    if twice:
        raise ConfigError(f"'{twice[0]}' is given twice; each backbone stands once in the matrix")
    found: list[Contender] = []
    for one in given:
        taken = {other.name for other in found}
        if one == RANDOM:
            if model == RANDOM:
                raise ConfigError("'random' is what a model is compared with; name a run or network first")
            # Of a network by name the weights are not even fetched.
            known = Path(model).is_dir() or model.startswith(UNTRAINED)
            found.append(Contender(RANDOM, model if known else f"{UNTRAINED}{model}", untrained=True))
            continue
        name = _name(one, taken | {RANDOM})
        found.append(Contender(name, one, one.startswith(UNTRAINED)))
    return found


def _name(model: str, taken: set[str]) -> str:
    own = Path(model).resolve().name if Path(model).is_dir() else model
    base = re.sub(r"[^\w.:-]+", "-", own).strip("-.") or "model"
    name, number = base, 2
    while name in taken:
        name, number = f"{base}-{number}", number + 1
    return name


@lru_cache(maxsize=4)
def _opened(model: str) -> Embedder:
    return open_embedder(model)


def pretraining(model: str) -> dict[str, Any]:
    """What a run says of itself: data, objective, epochs, steps, images a second, seconds, shares of a step.

    Empty for a network by name, or where the run does not say.
    """
    folder = RunFolder(Path(model))
    if not folder.path.is_dir() or not folder.config.is_file():
        return {}
    try:
        recipe = folder.recipe()
        steps = [one for one in read_diary(folder.metrics) if one["kind"] == "step"]
    except (SslkitError, OSError, ValueError, json.JSONDecodeError):
        return {}
    told: dict[str, Any] = {
        "data": recipe.data.path,
        "objective": recipe.objective.name,
        "mining": recipe.mining is not None,
        "backbone": recipe.backbone.name,
        "views": f"{recipe.views.name}, {recipe.views.size} px",
        "epochs": recipe.schedule.epochs,
        "batch": recipe.batch.size,
    }
    rates = [one["images_per_second"] for one in steps if one.get("images_per_second")]
    if steps and rates:
        rate = len(rates) / sum(1 / one for one in rates)
        told |= {"steps": steps[-1]["step"], "images_per_second": round(rate, 1)}
        told["seconds"] = round(steps[-1]["step"] * recipe.batch.size / rate)
    names = sorted({name for one in steps for name in one if name.startswith("share_")})
    for name in names:
        shares = [one[name] for one in steps if name in one]
        told[name] = round(sum(shares) / len(shares), 4)
    return told
