"""Small sets of videos with lists in the forms of UCF101, HMDB51 and Kinetics."""

from __future__ import annotations

import io
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np

from sslkit.data.decode.encode import write_video


@cache
def _encoded(frames: int, grey: int) -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "video.mp4"
        write_video(path, np.full((frames, 16, 16, 3), grey, np.uint8), 10.0)
        return path.read_bytes()


def put(path: Path, frames: int = 4, grey: int = 100) -> Path:
    """A video of grey frames, ten a second; the ending does not matter to what reads it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_encoded(frames, grey))
    return path


def put_all(root: Path, names: Iterable[str]) -> None:
    """Videos that all differ."""
    for number, name in enumerate(names):
        put(root / name, grey=number % 250)


def sound_alone() -> bytes:
    """A file of silence."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("aac", 8000, layout="mono")
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        silence.sample_rate = 8000
        container.mux(stream.encode(silence))
        container.mux(stream.encode())
    return buffer.getvalue()


UCF = {
    "classInd.txt": "1 Walk\n2 Run\r\n3 Archery\n",
    "trainlist01.txt": "Run/v_Run_g08_c01.avi 2\nRun/v_Run_g08_c02.avi 2\r\nWalk/v_Walk_g09_c01.avi 1\n"
    "Archery/v_Archery_g08_c01.avi 3\n\n",
    "testlist01.txt": "Run/v_Run_g01_c01.avi\nWalk/v_Walk_g01_c01.avi\nArchery/v_Archery_g01_c01.avi\n",
    "trainlist02.txt": "Run/v_Run_g01_c01.avi 2\nWalk/v_Walk_g01_c01.avi 1\n"
    "Archery/v_Archery_g01_c01.avi 3\n",
    "testlist02.txt": "Run/v_Run_g08_c01.avi\nWalk/v_Walk_g09_c01.avi\n",
}
HMDB = {
    "climb_stairs_test_split1.txt": "BIG_FISH_climb_stairs_f_nm_np1_fr_med_1.avi 1 \n"
    "BIG_FISH_climb_stairs_f_nm_np1_fr_med_2.avi 1 \nStairs!_(A)_climb_stairs_l_cm_np1_ba_med_0.avi 2 \n"
    "unused_climb_stairs_l_cm_np1_ba_med_0.avi 0 \n",
    "wave_test_split1.txt": "BIG_FISH_wave_u_nm_np1_fr_bad_4.avi 2 \n"
    "wave_and_say_hi_wave_u_nm_np1_fr_0.avi 1 \n",
    "climb_stairs_test_split2.txt": "BIG_FISH_climb_stairs_f_nm_np1_fr_med_1.avi 2 \n"
    "Stairs!_(A)_climb_stairs_l_cm_np1_ba_med_0.avi 1 \n",
    "wave_test_split2.txt": "BIG_FISH_wave_u_nm_np1_fr_bad_4.avi 1 \n",
}


def write_lists(folder: Path, lists: dict[str, str]) -> Path:
    """The folder, with these files in it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in lists.items():
        (folder / name).write_text(text, newline="")
    return folder


def ucf(root: Path, *, flat: bool = False) -> Path:
    """Root of videos, with the lists of two folds in `lists`."""
    named = {line.split()[0] for name in UCF if name[0] == "t" for line in UCF[name].splitlines() if line}
    put_all(root, (name.rpartition("/")[2] if flat else name for name in sorted(named)))
    write_lists(root / "lists", UCF)
    return root


def hmdb(root: Path) -> Path:
    """The same of HMDB51."""
    for name, text in HMDB.items():
        label = name.partition("_test_split")[0]
        put_all(root, (f"{label}/{line.split()[0]}" for line in text.splitlines()))
    write_lists(root / "lists", HMDB)
    return root
