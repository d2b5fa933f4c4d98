"""What the page is answered, over the wire."""

import io
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from sslkit.runs.search import search
from tests.runs.serving.conftest import CLASSES, Served


def sent(served: Served, name: str) -> str:
    content = (served.photos / name).read_bytes()
    key: str = served.told("/sslkit/pictures", method="POST", body=content)["picture"]
    return key


def test_the_facts_are_those_of_the_index(served) -> None:
    facts = served.told("/sslkit/facts")
    assert facts["name"] == "photos.index"
    assert facts["count"] == 30
    assert facts["classes"] == list(CLASSES)
    assert facts["keys"] == ["said", "year"]
    assert facts["moments"] is False


@pytest.mark.parametrize("box", [None, [0.25, 0.5, 0.5, 0.25]])
def test_a_picture_finds_what_the_command_line_finds(served, box) -> None:
    query = served.photos / "amber" / "04.png"
    (expected,) = search(served.index, [query], k=7, box=None if box is None else (12, 20, 24, 10))
    found = served.search(picture=sent(served, "amber/04.png"), k=7, box=box)
    assert [hit["id"] for hit in found["hits"]] == [hit.id for hit in expected.hits]
    assert [hit["similarity"] for hit in found["hits"]] == pytest.approx(
        [hit.similarity for hit in expected.hits], abs=1e-4
    )
    assert found["query"].keys() == {"picture"}


def test_an_item_finds_others_and_a_part_of_it_may_find_itself(served) -> None:
    found = served.search(item=5, k=29)
    assert sorted(hit["id"] for hit in found["hits"]) == [id for id in range(30) if id != 5]
    assert found["query"]["name"] == served.index.items([5])[0].name
    whole = served.search(item=5, k=30, box=[0, 0, 1, 1])
    assert whole["hits"][0]["id"] == 5
    assert whole["hits"][0]["similarity"] == pytest.approx(1, abs=1e-3)
    part = served.search(item=5, k=30, box=[0, 0, 0.3, 0.3])
    assert part["hits"][0]["similarity"] < 0.9999


def test_a_hit_tells_all_that_is_known_of_it(served) -> None:
    hit = served.search(item=0, k=1, where="id = 12")["hits"][0]
    similarity = float(served.index.vectors([0])[0] @ served.index.vectors([12])[0])
    assert hit == {
        "id": 12,
        "name": "blue <b>/02.png",
        "label": "blue <b>",
        "time": None,
        "metadata": {"year": 2012, "said": '<i>"it\'s"</i>'},
        "similarity": pytest.approx(similarity, abs=1e-4),
    }


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"label": "green"}, range(20, 30)),
        ({"path": "amber/*"}, range(10)),
        ({"where": "year >= 2025 AND label = 'green'"}, range(25, 30)),
        ({"label": "green", "where": "id < 23", "exact": True}, range(20, 23)),
        ({"time": "1-2"}, ()),
    ],
)
def test_conditions_hold_of_all_results(served, condition, expected) -> None:
    hits = served.search(item=15, k=30, **condition)["hits"]
    assert sorted(hit["id"] for hit in hits) == list(expected)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"item": 0, "where": "colour = 1"}, "may name id, path, label"),
        ({"item": 0, "where": "1; DROP TABLE items"}, "cannot be used"),
        ({"item": 999}, "no item 999"),
        ({"picture": "gone"}, "choose it again"),
        ({"item": 0, "time": "soon"}, "no stretch of time"),
        ({"item": 0, "k": 10**6}, "can be shown"),
        ({"item": 0, "label": "no such"}, "unknown class"),
        ({}, "search by an item"),
    ],
)
def test_what_cannot_be_asked_is_explained(served, asked, told) -> None:
    status, answer, _ = served.ask("/sslkit/search", method="POST", body=asked)
    assert status == 400
    assert told in json.loads(answer)["error"]
    assert len(served.index) == 30


@pytest.mark.parametrize("body", [b"", b"{", b"[" * 60000, b"\xff\xfe", b"[1]"])
def test_what_is_no_json_is_refused(served, body: bytes) -> None:
    status, answer, _ = served.ask("/sslkit/search", method="POST", body=body)
    assert status == 400
    assert json.loads(answer)["error"]


def test_pictures_are_those_of_the_items(served) -> None:
    for id, channel in ((3, 0), (13, 1), (23, 2)):
        for size in ("tile", "whole"):
            status, content, headers = served.ask(f"/sslkit/items/{id}/{size}")
            assert status == 200
            assert headers["content-type"] == "image/jpeg"
            pixels = np.asarray(Image.open(io.BytesIO(content)))
            assert pixels.mean(axis=(0, 1)).argmax() == channel
    key = sent(served, "green/00.png")
    assert Image.open(io.BytesIO(served.ask(f"/sslkit/pictures/{key}")[1])).size == (48, 40)
    assert served.ask("/sslkit/items/30/tile")[0] == 404


def test_the_map_is_made_once_for_all_who_ask(served) -> None:
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: served.ask("/sslkit/map"), range(4)))
    assert {status for status, _, _ in answers} == {200}
    assert len({content for _, content, _ in answers}) == 1
    headers = answers[0][2]
    assert headers["x-count"] == "30"
    assert headers["x-described"] == "t-SNE of 30 items"


def test_many_may_search_at_once(served) -> None:
    key = sent(served, "amber/01.png")
    alone = [served.search(item=id, k=5)["hits"] for id in range(20)]
    by_picture = served.search(picture=key, k=5)["hits"]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(lambda id: served.search(item=id % 20, k=5)["hits"], range(100)))
        pictures = list(threads.map(lambda _: served.search(picture=key, k=5)["hits"], range(8)))
    assert together == [alone[id % 20] for id in range(100)]
    assert pictures == [by_picture] * 8
