"""Single files named one by one."""

import pytest

from sslkit.data.sources.files import FilesSource
from sslkit.errors import DataError
from sslkit.testing.source_kit import check_source


def test_named_files_are_a_source(photos) -> None:
    source = FilesSource(sorted(photos.rglob("*.jpg")))
    check_source(source)
    assert len(source) == 20
    assert source.labels is None


def test_a_missing_file_is_named(photos) -> None:
    with pytest.raises(DataError, match=r"nowhere\.jpg"):
        FilesSource([photos / "left" / "00.jpg", photos / "nowhere.jpg"])
    with pytest.raises(DataError, match="no image file was named"):
        FilesSource([])
