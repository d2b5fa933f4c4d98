"""The filter options make one condition, and load no network to do so."""

import subprocess
import sys

import pytest

from sslkit.cli.filters import where_of
from sslkit.errors import ConfigError
from sslkit.retrieval.filters import Where


def test_no_option_is_no_condition() -> None:
    assert where_of(None, None, None, None) is None


def test_each_option_is_a_part_of_the_condition() -> None:
    assert where_of("year > 2000", "cat", "*/a.jpg", "3-5") == Where(
        "year > 2000", "cat", "*/a.jpg", (3.0, 5.0)
    )
    assert where_of(None, "", None, None) == Where(label="")  # a class may be called anything


def test_an_empty_condition_is_refused() -> None:
    with pytest.raises(ConfigError, match="--where is empty"):
        where_of(" ", None, None, None)
    with pytest.raises(ConfigError, match="stretch of time"):
        where_of(None, None, None, "later")


def test_conditions_are_made_without_torch() -> None:
    code = (
        "import sys; from sslkit.cli.filters import where_of; "
        "where_of('1', None, None, '1-2'); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
