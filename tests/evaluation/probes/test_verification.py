"""The probe of verification."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sslkit.contracts import Features
from sslkit.errors import ConfigError, DataError
from sslkit.evaluation.probes.verification import Verification


def people(count: int = 40, *, classes: int = 8, noise: float = 0.5, offset: float = 0.0) -> Features:
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % classes
    rows = torch.randn(classes, 16, generator=random)[labels] + noise * torch.randn(
        count, 16, generator=random
    )
    return Features(torch.arange(count), rows + offset, labels)


NAMES = [str(k) for k in range(8)]


def probe(*, pairs: int = 10_000, centre: bool = False, fars: tuple[float, ...] = (0.1,)) -> Verification:
    return Verification(pairs=pairs, centre=centre, fars=list(fars))


def test_alike_people_are_told_from_others_and_noise_is_not() -> None:
    assert probe()(None, people(), NAMES, trial=0).figures().figures["auc"] > 0.99
    noise = probe()(None, people(noise=50.0), NAMES, trial=0).figures().figures
    assert abs(noise["auc"] - 0.5) < 0.1


def test_similarity_is_the_cosine_of_each_pair_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sslkit.evaluation.probes.verification._AT_ONCE", 7)
    test = people(12, classes=3)
    found = probe()(None, test, NAMES, trial=0).figures().figures["auc"]
    genuine, impostors = [], []
    for i in range(12):
        for j in range(i + 1, 12):
            cosine = float(torch.cosine_similarity(test.embeddings[i], test.embeddings[j], dim=0))
            (genuine if test.labels[i] == test.labels[j] else impostors).append(cosine)
    assert found == pytest.approx(np.mean([[g > i for i in impostors] for g in genuine]))


def test_centring_takes_away_what_all_have() -> None:
    far_off = people(noise=2.0, offset=100.0)
    plain, centred = (
        probe(centre=centre)(None, far_off, NAMES, trial=0).figures().figures["auc"]
        for centre in (False, True)
    )
    assert centred > plain + 0.02
    assert centred == pytest.approx(
        probe(centre=True)(None, people(noise=2.0), NAMES, trial=0).figures().figures["auc"], abs=1e-3
    )


def test_a_draw_of_pairs_repeats_by_trial() -> None:
    one, again, other = (
        probe(pairs=100)(None, people(noise=2.0), NAMES, trial=trial).figures().figures["auc"]
        for trial in (0, 0, 1)
    )
    assert one == again != other


def test_bad_options_and_data_are_refused() -> None:
    for far in (0.0, 1.0, -0.1):
        with pytest.raises(ConfigError, match="between 0 and 1"):
            probe(fars=(far,))
    with pytest.raises(DataError, match="at least one of each"):
        probe()(None, people(8), NAMES, trial=0)
    with pytest.raises(DataError, match=r"outside 0\.\.2"):
        probe()(None, people(), NAMES[:3], trial=0)
