"""`sslkit serve` hands its options on."""

import subprocess
import sys

import typer
from typer.testing import CliRunner

from sslkit.cli import serve
from sslkit.runs.serving import server


def invoked(monkeypatch, *options: str) -> tuple[dict[str, object], str]:
    given: dict[str, object] = {}

    def run(index, *, tell, **how) -> None:
        given.update(how, index=str(index))
        tell("http://127.0.0.1:1/?token=x")

    monkeypatch.setattr(server, "serve", run)
    app = typer.Typer()
    serve.add_to(app)
    result = CliRunner().invoke(app, list(options), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return given, result.output


def test_without_options_a_free_port_is_taken_and_no_browser_opened(monkeypatch) -> None:
    given, output = invoked(monkeypatch, "photos.index")
    assert given == {"index": "photos.index", "port": 0, "model": None, "browser": False}
    assert "token=x" in output


def test_options_are_handed_on(monkeypatch) -> None:
    given, _ = invoked(monkeypatch, "a", "--port", "8080", "--model", "runs/b", "--open")
    assert given == {"index": "a", "port": 8080, "model": "runs/b", "browser": True}


def test_the_command_imports_neither_torch_nor_gradio_before_it_is_run() -> None:
    code = "import sys, sslkit.cli.serve; print([one for one in ('torch', 'gradio') if one in sys.modules])"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
