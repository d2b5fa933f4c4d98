"""Pictures and pages of a run."""

import numpy as np
import pytest
from PIL import Image

from sslkit.errors import ConfigError
from sslkit.runs.inspect import inspect
from sslkit.runs.pretrain import pretrain
from sslkit.runs.views import SHOWN, draw_sheet


def test_the_sheet_shows_samples_and_their_views(tmp_path, photos) -> None:
    out = draw_sheet(photos, out=tmp_path / "sheet.png", overrides=["views.size=32"])
    sheet = np.asarray(Image.open(out))
    assert sheet.shape[0] > SHOWN * 32
    assert len(np.unique(sheet.reshape(-1, 3), axis=0)) > 100


def test_the_sheet_follows_the_recipe(tmp_path, photos) -> None:
    plain = "views={name: custom, size: 32, policy: [[{op: original}]]}"
    first, second = (
        np.asarray(Image.open(draw_sheet(photos, out=tmp_path / f"{i}.png", overrides=[override])))
        for i, override in enumerate([plain, "views.size=32"])
    )
    assert first.shape != second.shape  # one view an epoch against two


def test_a_policy_with_a_wrong_operation_is_refused(tmp_path, photos) -> None:
    wrong = "views={name: custom, size: 32, policy: [[{op: crop_resise}]]}"
    with pytest.raises(ConfigError, match="crop_resize"):
        draw_sheet(photos, out=tmp_path / "sheet.png", overrides=[wrong])


def test_the_run_report_stands_alone(tmp_path, shapes, tiny) -> None:
    run = pretrain(shapes, out=tmp_path / "run", overrides=tiny, progress=False)
    page = (run / "report.html").read_text()
    assert page.count("<svg") == 3  # loss, k-NN, RankMe
    assert "data:image/" in page
    assert 'src="http' not in page
    assert "objective:" in page


def test_inspect_counts_what_is_there(photos) -> None:
    (photos / "left" / "broken.jpg").write_bytes(b"")
    found = inspect(photos).to_dict()
    assert found["count"] == 21
    assert found["classes"] == {"left": 11, "right": 10}
    assert len(found["unreadable"]) == 1
