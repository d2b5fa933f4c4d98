"""An index of generated pictures behind a real server on the loopback."""

import json
import threading
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sslkit.retrieval.artifact import Index
from sslkit.retrieval.embed import read_embeddings
from sslkit.runs.embed import embed
from sslkit.runs.pretrain import pretrain
from tests.conftest import TINY

CLASSES = ("amber", "blue <b>", "green")


@dataclass(frozen=True)
class Served:
    """A server that runs: its port, its token, its index and the folder that was indexed."""

    port: int
    token: str
    index: Index
    photos: Path
    host: str = field(default="")

    def ask(
        self,
        path: str,
        *,
        method: str = "GET",
        body: bytes | dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
        token: bool = True,
    ) -> tuple[int, bytes, dict[str, str]]:
        """Status, body and headers of an answer; the path is sent as it is."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        own = f"http://127.0.0.1:{self.port}"
        sent = {"Host": f"127.0.0.1:{self.port}"} | ({} if method == "GET" else {"Origin": own})
        if token:
            sent["Cookie"] = f"sslkit-{self.port}={self.token}"
        if isinstance(body, dict):
            body = json.dumps(body).encode()
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in (sent | (headers or {})).items():
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, content, {name.lower(): value for name, value in answer.getheaders()}

    def told(self, path: str, **how: Any) -> dict[str, Any]:
        """The JSON of an answer that must be a good one."""
        status, content, _ = self.ask(path, **how)
        assert status == 200, content
        return json.loads(content)

    def search(self, **asked: Any) -> dict[str, Any]:
        return self.told("/sslkit/search", method="POST", body=asked)


def paint(folder: Path) -> None:
    """Ten pictures of each of three colours, with a little noise, in folders named after them."""
    draws = np.random.default_rng(0)
    for label, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for number in range(10):
            pixels = draws.integers(0, 90, (40, 48, 3), np.uint8)
            pixels[..., label] += 150
            Image.fromarray(pixels).save(folder / name / f"{number:02}.png")


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served") / "photos"
    paint(folder)
    return folder


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    out = tmp_path_factory.mktemp("model") / "run"
    pretrain(photos, out=out, overrides=[*TINY, "batch.size=10", "schedule.epochs=1"], progress=False)
    return out


@pytest.fixture(scope="session")
def index_folder(tmp_path_factory: pytest.TempPathFactory, photos: Path, model: Path) -> Path:
    folder = tmp_path_factory.mktemp("index")
    embed(model, photos, folder / "emb", progress=False)
    embeddings = read_embeddings(folder / "emb")
    metadata = {
        name: {"year": 2000 + row, "said": '<i>"it\'s"</i>'} for row, name in enumerate(embeddings.names)
    }
    Index.build(embeddings, folder / "photos.index", metadata=metadata).close()
    return folder / "photos.index"


@pytest.fixture(scope="session")
def served(index_folder: Path, photos: Path):
    pytest.importorskip("gradio", reason="the page needs gradio: pip install 'sslkit[ui]'")
    from sslkit.runs.serving.server import bound, prepared

    with Index.load(index_folder) as index, bound(0) as listening:
        server, address = prepared(index, listening, None)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        yield Served(listening.getsockname()[1], address.partition("token=")[2], index, photos)
        server.should_exit = True
        thread.join(10)
        assert not thread.is_alive()
