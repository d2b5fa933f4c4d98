"""The diary: one record a line, cut back on resume."""

import json

from sslkit.training.monitor import Diary, read_diary


def test_records_are_read_back_in_order(tmp_path) -> None:
    diary = Diary(tmp_path / "metrics.jsonl")
    diary.write("step", 1, {"loss": 1.23456789})
    diary.write("monitor", 1, {"knn": 0.5})
    diary.close()
    records = read_diary(tmp_path / "metrics.jsonl")
    assert records == [
        {"kind": "step", "step": 1, "loss": 1.23457},
        {"kind": "monitor", "step": 1, "knn": 0.5},
    ]


def test_every_record_is_on_disk_at_once(tmp_path) -> None:
    diary = Diary(tmp_path / "metrics.jsonl")
    diary.write("step", 1, {})
    assert json.loads((tmp_path / "metrics.jsonl").read_text())["step"] == 1
    diary.close()


def test_resuming_drops_later_records_and_a_half_written_line(tmp_path) -> None:
    path = tmp_path / "metrics.jsonl"
    diary = Diary(path)
    for step in (10, 20, 30):
        diary.write("step", step, {})
    diary.close()
    path.write_text(path.read_text() + '{"kind": "st')
    resumed = Diary(path, resume_step=20)
    resumed.write("step", 30, {"again": True})
    resumed.close()
    assert [(r["step"], r.get("again")) for r in read_diary(path)] == [(10, None), (20, None), (30, True)]
