"""The probe of retrieval."""

from __future__ import annotations

import json

import pytest
import torch

from sslkit.contracts import Features, Score
from sslkit.errors import ConfigError, DataError
from sslkit.evaluation.probes.retrieval import Retrieval
from sslkit.evaluation.report import Result, markdown_table, results_json


def things(labels: list[int]) -> Features:
    of = torch.tensor(labels)
    rows = torch.eye(4)[of] + 0.1 * torch.randn(len(of), 4, generator=torch.Generator().manual_seed(0))
    return Features(torch.arange(len(of)), rows, of)


def test_those_alone_in_their_class_do_not_count_and_others_are_found() -> None:
    judged = Retrieval(ks=[5, 1])(None, things([0, 0, 1, 1, 1, 3]), ["a", "b", "c", "d"], trial=0)
    found = judged.figures()
    assert found.figures == {"recall@1": 1, "recall@5": 1, "map_at_r": 1, "r_precision": 1, "mrr": 1}
    assert found.per_class == {"a": 1.0, "b": 1.0}
    assert judged.count == 6


def test_names_of_figures_come_through_json_and_tables() -> None:
    found = Retrieval(ks=[1])(None, things([0, 0, 1]), ["a", "b"], trial=0).figures()
    result = Result(Score("x", found.figures, found.per_class), "p", "w", 0, 3, 2)
    assert json.loads(results_json([result]))["results"][0]["figures"]["recall@1"] == 1.0
    assert "| recall@1 |" in markdown_table([result])


def test_bad_options_and_data_are_refused() -> None:
    for ks in ([5], [], [0, 1]):
        with pytest.raises(ConfigError, match="numbers from 1 on"):
            Retrieval(ks=ks)
    with pytest.raises(DataError, match="nothing to find"):
        Retrieval(ks=[1])(None, things([0, 1, 2]), ["a", "b", "c"], trial=0)
