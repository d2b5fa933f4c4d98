"""How the command line starts and ends, in a process of its own where that matters."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main
from typer.testing import CliRunner

import sslkit
from sslkit.cli.app import app, main
from sslkit.errors import ConfigError, InterruptedRunError, RunError, SslkitError

RUNNER = CliRunner()
COMMANDS = [
    "pretrain",
    "resume",
    "views",
    "evaluate",
    "transfer",
    "report",
    "profile",
    "embed",
    "search",
    "mine",
    "demo",
    "serve",
    *(f"index {name}" for name in ("build", "add", "remove", "compact", "info", "verify")),
    *(f"index {name}" for name in ("eval", "export", "duplicates", "outliers", "mislabelled")),
    *(f"index {name}" for name in ("leakage", "clusters", "diverse")),
    "data inspect",
    "plugins list",
    "plugins why",
    "plugins disable",
    "plugins enable",
    "plugins check",
    "plugins new",
    "recipes list",
    "recipes show",
]


def sslkit_process(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sslkit", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"COLUMNS": "200", "NO_COLOR": "1"} | environment,
    )


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_help_imports_no_torch() -> None:
    script = (
        "import sys; from sslkit.cli.app import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        "print('heavy:', sorted({'torch', 'numpy', 'timm', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "pretrain" in done.stdout
    assert "heavy: ['pydantic']" in done.stdout or "heavy: []" in done.stdout


def test_the_list_of_commands_is_the_one_tested_here() -> None:
    def walk(group: typer.main.TyperGroup, prefix: str = "") -> list[str]:
        found = []
        for name, command in group.commands.items():
            if isinstance(command, typer.main.TyperGroup):
                found += walk(command, f"{prefix}{name} ")
            else:
                found.append(f"{prefix}{name}")
        return found

    group = typer.main.get_command(app)
    assert isinstance(group, typer.main.TyperGroup)
    assert sorted(walk(group)) == sorted(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(command: str) -> None:
    shown = RUNNER.invoke(app, [*command.split(), "--help"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    assert f"Example: sslkit {command}" in plain(shown.stdout)


def test_the_version_is_printed() -> None:
    assert RUNNER.invoke(app, ["--version"]).stdout.strip() == sslkit.__version__


@pytest.mark.parametrize(
    "typed",
    [
        "nonsense",
        "resume",
        "search i q.jpg -k 0",
        "index build",
        "index add i",
        "evaluate m",
        "evaluate m --data d --head h --rounds 2 --seeds 3",
        "pretrain d --nope",
    ],
)
def test_a_wrong_call_ends_with_two(typed: str) -> None:
    assert RUNNER.invoke(app, typed.split()).exit_code == 2


def run_main(monkeypatch: pytest.MonkeyPatch, error: Exception) -> int:
    def fail() -> None:
        raise error

    monkeypatch.setattr("sslkit.cli.app.app", fail)
    with pytest.raises(SystemExit) as left:
        main()
    return int(str(left.value.code))


@pytest.mark.parametrize(
    ("error", "code"),
    [(RunError("no"), 1), (ConfigError("no"), 2), (InterruptedRunError("no", 15), 143)],
)
def test_an_error_of_sslkit_is_one_line_and_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: SslkitError, code: int
) -> None:
    monkeypatch.delenv("SSLKIT_TRACEBACK", raising=False)
    assert run_main(monkeypatch, error) == code
    assert capsys.readouterr().err == "error: no\n"


def test_the_traceback_is_shown_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSLKIT_TRACEBACK", "1")
    monkeypatch.setattr("sslkit.cli.app.app", lambda: (_ for _ in ()).throw(RunError("no")))
    with pytest.raises(RunError):
        main()


def test_a_fault_of_sslkit_itself_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sslkit.cli.app.app", lambda: (_ for _ in ()).throw(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        main()


def test_python_m_sslkit_is_the_same_command() -> None:
    done = sslkit_process("recipes", "show", "no-such-recipe")
    assert done.returncode == 2
    assert done.stderr.startswith("error: unknown recipe 'no-such-recipe'")
    assert "Traceback" not in done.stderr
    assert "Traceback" in sslkit_process("recipes", "show", "no-such-recipe", SSLKIT_TRACEBACK="1").stderr


@pytest.mark.skipif(not Path("/bin/sh").exists(), reason="needs a POSIX shell")
def test_a_reader_that_leaves_early_is_no_error() -> None:
    command = f"'{sys.executable}' -m sslkit recipes show smoke-simclr | head -n 1"
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("# purpose")
    assert done.stderr == ""
