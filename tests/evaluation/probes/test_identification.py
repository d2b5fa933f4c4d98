"""The probe of identification: hand-made galleries, and the definition in plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from sslkit.contracts import Features
from sslkit.errors import ConfigError, DataError
from sslkit.evaluation.probes import identification
from sslkit.evaluation.probes.identification import Identification

NAMES = [str(k) for k in range(9)]


def people(labels: list[int], *, noise: float = 1.0, dim: int = 6) -> Features:
    random = torch.Generator().manual_seed(0)
    of = torch.tensor(labels)
    rows = torch.randn(9, dim, generator=random)[of] + noise * torch.randn(len(of), dim, generator=random)
    return Features(torch.arange(len(of)) + 5, rows, of)


def known_of(probe: Identification, test: Features, trial: int) -> list[int]:
    values = probe(None, test, NAMES, trial=trial).values
    return (values["rank1"].isnan() & (values["left_out"] == 0)).nonzero()[:, 0].tolist()


MANY = [0, 1, 2, 3, 4, 5, 6, 7] * 6


@pytest.mark.parametrize("gallery", [1, 2, 5])
@pytest.mark.parametrize("block", [512, 3])
def test_ranks_equal_the_definition_in_plain_loops(
    gallery: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identification, "_AT_ONCE", block)
    test, probe = people(MANY), Identification(gallery=gallery)
    judged = probe(None, test, NAMES, trial=1)
    known = known_of(probe, test, 1)
    assert sorted(test.labels[known].tolist()) == sorted(list(range(8)) * gallery)
    ranks = []
    for row in set(range(48)) - set(known):
        alike = {
            k: max(
                float(torch.cosine_similarity(test.embeddings[row], test.embeddings[other], dim=0))
                for other in known
                if test.labels[other] == k
            )
            for k in range(8)
        }
        order = sorted(alike, key=lambda k: (-alike[k], k))
        rank = order.index(int(test.labels[row])) + 1
        ranks.append(rank)
        assert float(judged.values["rank1"][row]) == (rank == 1)
        assert float(judged.values["rank5"][row]) == (rank <= 5)
        assert judged.predicted is not None
        assert int(judged.predicted[row]) == order[0]
    figures = judged.figures().figures
    assert figures["rank1"] == pytest.approx(np.mean([rank == 1 for rank in ranks]))
    assert figures["rank5"] == pytest.approx(np.mean([rank <= 5 for rank in ranks]))
    cmc = judged.curves["cmc"]
    assert cmc.x == tuple(range(1, 9))
    assert cmc.y == pytest.approx([np.mean([rank <= most for rank in ranks]) for most in range(1, 9)])


def test_a_hand_made_case() -> None:
    # Two of each: whichever is known, 0 is found, and 1's other lies nearer to 0.
    rows = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [1.0, -0.1]])
    test = Features(torch.arange(4), rows, torch.tensor([0, 0, 1, 1]))
    for trial in range(6):
        judged = Identification(gallery=1)(None, test, ["a", "b"], trial=trial)
        known = (judged.values["rank1"].isnan()).nonzero()[:, 0].tolist()
        expected = {"a": 1.0, "b": 0.0}
        if known == [1, 3]:
            expected = {"a": 1.0, "b": 0.0}  # the picture of 1 lies nearer to the known one of 0
        assert judged.figures().per_class == expected, known
        assert judged.figures().figures["rank5"] == 1.0


def test_the_gallery_is_a_draw_of_the_trial_and_of_ids_not_of_the_order() -> None:
    test, probe = people(MANY), Identification(gallery=2)
    draws = [known_of(probe, test, trial) for trial in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]
    turned = torch.arange(47, -1, -1)
    assert sorted(turned[known_of(probe, test[turned], 0)].tolist()) == draws[0]


def test_classes_with_too_few_samples_are_left_out_and_counted() -> None:
    test = people([0, 0, 0, 1, 1, 1, 2, 2, 8])
    judged = Identification(gallery=2)(None, test, NAMES, trial=0)
    assert judged.figures().figures["left_out"] == pytest.approx(3 / 9)
    assert set(judged.figures().per_class) == {"0", "1"}
    assert judged.values["rank1"][6:].isnan().all()
    assert judged.count == 9
    alone = Identification(gallery=2)(None, test[torch.arange(6)], NAMES, trial=0)
    assert alone.figures().figures["rank1"] == judged.figures().figures["rank1"]


def test_a_resample_draws_those_looked_up_before_the_same_gallery() -> None:
    judged = Identification(gallery=1)(None, people(MANY), NAMES, trial=0)
    found = judged.values["rank1"]
    rows = np.random.default_rng(0).integers(0, 48, 48)
    assert judged.figures(rows).figures["rank1"] == pytest.approx(float(found[rows].nanmean()))
    assert math.isnan(judged.figures(found.isnan().nonzero()[:2, 0].numpy()).figures["rank1"])


def test_equal_embeddings_find_no_more_than_chance() -> None:
    test = people(MANY)
    same = Features(test.ids, torch.ones(48, 2), test.labels)
    assert Identification(gallery=1)(None, same, NAMES, trial=0).figures().figures["rank1"] == 1 / 8


def test_bad_options_and_data_are_refused() -> None:
    with pytest.raises(ConfigError, match="gallery=0"):
        Identification(gallery=0)
    with pytest.raises(DataError, match="1 of 2 classes have more than gallery=2"):
        Identification(gallery=2)(None, people([0, 0, 0, 1, 1]), NAMES, trial=0)
