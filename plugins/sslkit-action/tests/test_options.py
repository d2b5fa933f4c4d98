"""What a head was given is taken or refused in words."""

from __future__ import annotations

from typing import Any

import pytest

from sslkit.errors import ConfigError
from sslkit_action.options import below_one, one_of, whole


def test_what_fits_is_given_back() -> None:
    assert one_of("norm", "batch", ("none", "batch")) == "batch"
    assert whole("layers", 2, most=2) == 2
    assert whole("layers", 0, least=0) == 0
    assert below_one("dropout", 0) == 0.0


def test_a_word_nobody_knows_names_the_others() -> None:
    with pytest.raises(ConfigError, match="norm is 'bach'; it is one of none, batch; did you mean 'batch'"):
        one_of("norm", "bach", ("none", "batch"))


@pytest.mark.parametrize("value", [0, -1, 2.0, True, "2"])
def test_a_number_that_is_not_whole_or_too_small_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"width is .*; it is a whole number, at least 1"):
        whole("width", value)


def test_a_number_that_is_too_large_is_refused() -> None:
    with pytest.raises(ConfigError, match="layers is 3; it is a whole number, 1 to 2"):
        whole("layers", 3, most=2)


@pytest.mark.parametrize("value", [-0.1, 1.0, float("nan")])
def test_a_share_stays_below_one(value: float) -> None:
    with pytest.raises(ConfigError, match=r"dropout is .*; it is at least 0 and less than 1"):
        below_one("dropout", value)
