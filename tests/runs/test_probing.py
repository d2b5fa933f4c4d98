"""Probes end to end: from pictures through a small untrained network to figures."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sslkit.contracts import Features
from sslkit.errors import ConfigError, DataError
from sslkit.registry import open_source
from sslkit.runs.evaluate import Evaluation, evaluate
from sslkit.runs.probing import choose_probe, probed, with_sets
from sslkit.runs.splits import open_splits

NETWORK = "random:test_resnet"
COLOURS = ("red", "green", "blue")


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 plain pictures: a list of the colours in each, and an array with one class for each mixture."""
    folder = tmp_path_factory.mktemp("colours")
    random = np.random.default_rng(0)
    mixtures, lines, pictures, labels = list(product((0, 1), repeat=3)), [], [], []
    for id in range(48):
        mixture = mixtures[id % 8]
        picture = np.clip(200 * np.array(mixture) + random.integers(0, 40, (32, 32, 3)), 0, 255)
        Image.fromarray(picture.astype(np.uint8)).save(folder / f"{id}.png")
        held = [name for name, on in zip(COLOURS, mixture, strict=True) if on]
        lines.append(f"{id}.png\t{'|'.join(held) or '|'}")
        pictures.append(picture.astype(np.uint8))
        labels.append(id % 8)
    (folder / "list.txt").write_text("\n".join(lines))
    np.savez(folder / "set.npz", images=np.stack(pictures), labels=np.array(labels))
    return folder


def judged(head: str, data: Path, *, seeds: int = 1, **changes: object) -> Evaluation:
    settings = [f"options.{name}={value}" for name, value in changes.items()]
    return evaluate(NETWORK, data, head=head, settings=settings, baselines=False, seeds=seeds, progress=False)


@pytest.mark.parametrize(
    ("head", "metric", "least", "names"),
    [
        ("verification", "auc", 0.8, {"auc", "eer", "tar_at_far_1e-1", "tar_at_far_1e-2", "tar_at_far_1e-3"}),
        ("identification", "rank1", 0.8, {"rank1", "rank5", "left_out"}),
        (
            "retrieval",
            "recall@1",
            0.8,
            {"recall@1", "recall@5", "recall@10", "map_at_r", "r_precision", "mrr"},
        ),
    ],
)
def test_colours_are_told_apart_without_any_training_set(
    colours: Path, head: str, metric: str, least: float, names: set[str]
) -> None:
    found = judged(head, colours / "set.npz", seeds=2)
    (result,) = found.results
    assert set(result.score.figures) == names
    assert result.score.figures[metric] >= least
    assert (result.train, result.test, result.classes, result.seeds) == (0, 48, 8, 2)
    assert found.data == str(colours / "set.npz")
    assert metric in found.to_text()


def test_figures_of_any_trial_repeat(colours: Path) -> None:
    one, again = (judged("identification", colours / "set.npz", seeds=3).results for _ in range(2))
    assert one[0].score == again[0].score
    assert one[0].spread == again[0].spread


def test_a_list_of_sets_is_learnt_and_judged_on_a_held_out_fifth(colours: Path) -> None:
    (result,) = judged("multi_label", colours / "list.txt").results
    assert set(result.score.figures) == {"map", "micro_f1", "lrap"}
    assert set(result.score.per_class) == set(COLOURS)
    assert result.score.figures["map"] > 0.9
    assert (result.train, result.test, result.classes) == (38, 10, 3)


def test_sets_follow_the_samples_that_were_embedded(colours: Path) -> None:
    source = open_source(str(colours / "list.txt"))
    ids = torch.tensor([7, 0, 5])
    plain = Features(ids, torch.zeros(3, 2), torch.full((3,), -1))
    found = with_sets(plain, source)
    assert found.sets is not None
    assert found.sets.int().tolist() == [[1, 1, 1], [0, 0, 0], [1, 0, 1]]  # by name: blue, green, red
    assert source.classes == ("blue", "green", "red")
    assert with_sets(plain, open_source(str(colours / "set.npz"))) is plain


def test_samples_of_no_class_are_judged_and_those_without_a_label_are_not() -> None:
    protocol, probe = choose_probe("retrieval", None)
    assert protocol.id == "retrieval-cosine"
    labels = torch.tensor([0, 0, -1, 1, 1])
    features = Features(torch.arange(5), torch.eye(5), labels)
    assert probed(probe, None, features, ["a", "b"], trial=0).count == 4


def test_an_open_set_is_judged_whole_and_the_wrong_kind_of_label_is_refused(colours: Path) -> None:
    splits = open_splits(str(colours / "set.npz"), None, fitted=False)
    assert splits.train is None
    assert len(splits.test) == 48
    sets = open_splits(str(colours / "list.txt"), None, target="labels")
    assert (len(sets.fitted), len(sets.test)) == (38, 10)
    with pytest.raises(DataError, match="several labels on a line"):
        open_splits(str(colours / "set.npz"), None, target="labels")
    with pytest.raises(DataError, match="no labels of at least two classes"):
        judged("retrieval", colours / "list.txt")


@pytest.mark.parametrize(
    ("head", "protocol"),
    [
        ("verification", "verification-cosine"),
        ("identification", "identification-1"),
        ("retrieval", "retrieval-cosine"),
        ("multi_label", "multi-label-lbfgs"),
    ],
)
def test_each_probe_has_a_protocol_that_fits_it(head: str, protocol: str) -> None:
    described, probe = choose_probe(head, None)
    assert (described.id, described.head, described.version) == (protocol, head, 1)
    assert type(probe).protocol == protocol
    with pytest.raises(ConfigError):
        choose_probe(head, None, ["options.nothing=1"])
