"""The catalogue claims nothing that no test proves."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROWS = [
    [cell.strip() for cell in line.strip("|\n").split("|")]
    for line in (ROOT / "docs" / "catalogue.md").read_text().splitlines()
    if re.match(r"\| [A-Z]\d\d \|", line)
]
DONE = [(row[0], test.strip()) for row in ROWS for test in row[-1].split(",") if test.strip()]


def test_every_row_has_a_status_column_and_ids_are_unique() -> None:
    assert len(ROWS) > 100
    assert {len(row) for row in ROWS} == {8}
    ids = [row[0] for row in ROWS]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize(("row", "test"), DONE)
def test_the_test_that_proves_a_row_exists(row: str, test: str) -> None:
    file, _, name = test.partition("::")
    assert re.search(rf"^def {re.escape(name)}\(", (ROOT / file).read_text(), re.MULTILINE), (row, test)
