"""The command from its start to Ctrl-C, in a process of its own."""

import os
import signal
import socket
import subprocess
import sys
from http.client import HTTPConnection

import pytest

from sslkit.errors import ArtifactError, ConfigError
from sslkit.runs.serving.server import bound, serve

RUN = """
import sys, time
from sslkit.runs.serving import desk
from sslkit.runs.serving.server import serve

desk.embedding_map = lambda index: time.sleep(60)
serve(sys.argv[1], tell=lambda line: print(line, flush=True))
"""


def test_ctrl_c_ends_it_even_while_the_map_is_made(index_folder) -> None:
    pytest.importorskip("gradio", reason="the page needs gradio: pip install 'sslkit[ui]'")
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, str(index_folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None
    told = process.stdout.readline()
    assert told.startswith("30 items of ")
    port, _, token = told.split("127.0.0.1:")[1].strip().partition("/?token=")
    assert process.stdout.readline() == "Ctrl-C ends it\n"
    waiting = HTTPConnection("127.0.0.1", int(port), timeout=60)
    waiting.request("GET", f"/sslkit/map?token={token}")
    other = HTTPConnection("127.0.0.1", int(port), timeout=60)
    other.request("GET", f"/sslkit/facts?token={token}")
    assert other.getresponse().status == 200
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=50)  # 60 would be the map
    assert process.returncode == 0
    assert out == "ended\n"
    assert err == ""
    assert waiting.getresponse().status == 503


def test_it_listens_to_this_machine_alone() -> None:
    with bound(0) as listening:
        assert listening.getsockname()[0] == "127.0.0.1"


def test_a_port_that_is_taken_is_named(index_folder) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ConfigError, match=str(taken.getsockname()[1])):
            serve(index_folder, port=taken.getsockname()[1])


def test_what_is_no_index_is_refused_before_anything_is_opened(tmp_path) -> None:
    with pytest.raises(ArtifactError):
        serve(tmp_path)


def test_a_missing_gradio_is_named_with_the_command_that_brings_it(index_folder, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    for name in [name for name in sys.modules if name.startswith("sslkit.runs.serving.")]:
        if name.endswith((".app", ".page")):
            monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ConfigError, match=r"pip install 'sslkit\[ui\]'"):
        serve(index_folder)
