"""Real processes killed while they embed, and two at once: the same bytes as one that nothing disturbed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.runs.test_embed import left_beside, model, same

KILLING = """
import json, os, random, signal, socket, sys
from pathlib import Path
from sslkit.retrieval import embedding_parts
from sslkit.runs.embed import embed
folder = Path(sys.argv[1])
embedding_parts._SECONDS = 0.0

def child(out, deadly=0, **environment):
    # A process that kills itself at its so-manieth touch of a file of the folder it writes.
    pid = os.fork()
    if pid:
        return pid
    os.environ.update(environment)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    touched = 0
    def touch(event, given):
        nonlocal touched
        if event in ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.listdir", "os.scandir"):
            if f"/{out}" in str(given[0]).replace("/.", "/"):
                touched += 1
                if touched == deadly:
                    os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(touch)
    code = 1
    try:
        embed(folder / "run", folder / "photos", folder / out, batch_size=3)
        code = 0
    finally:
        os._exit(code)

def ended(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

assert ended(child("whole")) == 0
random.seed(0)
kills, finished, most = 0, 0, 0
while kills < 24:
    out = f"killed-{finished}"
    code = ended(child(out, random.randint(1, 50)))
    assert code in (0, -signal.SIGKILL), code
    kills += code != 0
    most = max(most, len(list(folder.glob(f".{out}.parts/*.npz"))))
    # One that is killed when it has removed the last trace of its work is done, too.
    finished += code == 0 or (folder / out).exists() and not (folder / f".{out}.parts").exists()
assert ended(child(f"killed-{finished}")) == 0

def ranks(out, *deadly):
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        shared = {"MASTER_PORT": str(place.getsockname()[1]), "MASTER_ADDR": "127.0.0.1"}
    shared |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    pids = [child(out, deadly[rank], RANK=str(rank), LOCAL_RANK=str(rank), **shared) for rank in (0, 1)]
    return [ended(pid) for pid in pids]

assert ranks("two", 0, 0) == [0, 0]
codes = ranks("died", 0, 8)
parts = len(list(folder.glob(".died.parts/*.npz")))
assert codes == [1, -signal.SIGKILL] and not (folder / "died").exists(), codes
assert ended(child("died")) == 0
print(json.dumps({"kills": kills, "finished": finished + 1, "most": most, "parts": parts}))
"""


def test_sigkill_at_any_instant_and_two_processes_give_the_same_bytes(tmp_path: Path, photos: Path) -> None:
    """Children are forked from a process that has everything imported, so that 24 kills take seconds."""
    model(tmp_path / "run", seed=0)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    command_line = [sys.executable, "-c", KILLING, str(tmp_path)]
    done = subprocess.run(
        command_line, capture_output=True, text=True, env=environment, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["kills"] >= 24
    assert told["most"] >= 6  # some were killed late
    assert 5 <= told["parts"] <= 6  # the dead process had one or two of its three
    finished = [f"killed-{number}" for number in range(told["finished"])]
    for name in (*finished, "two", "died"):
        assert same(tmp_path / name, tmp_path / "whole"), name
    assert left_beside(tmp_path / "whole") == []
