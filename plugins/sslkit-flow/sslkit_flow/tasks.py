"""Where did every pixel go? Flow as a task of the transfer matrix, and the pairs of a user's folder."""

from __future__ import annotations

import zipfile
from pathlib import Path

from sslkit.contracts import Measurement, TransferTask
from sslkit.errors import SslkitError
from sslkit_flow.sources.layouts import Asked, find_pairs

_FLOW = "flow.npy"
"""What an .npz of a pair holds, and arrays of images do not."""


def recognise_flow(folder: Path) -> Measurement | None:
    """Pairs with flow: as FlyingChairs, FlyingThings3D, Sintel, KITTI, Middlebury, or .npz of pairs."""
    try:
        layout, found = find_pairs(folder, None, Asked())
        if layout == "npz":
            with zipfile.ZipFile(folder / found.pairs[0].files[0]) as archive:
                if _FLOW not in archive.namelist():
                    return None
    except (SslkitError, OSError, ValueError, zipfile.BadZipFile):
        return None
    return Measurement("raft", f"flow:{folder}")


FLOW = TransferTask(
    Measurement(
        head="matching",
        data="flying-shapes:count=8,size=128",  # nothing is trained
        test="flying-shapes:count=60,size=128,split=test",
        protocol="flow-procedural",
        domain="drawn pairs",
        synthetic=True,
    ),
    recognise_flow,
)
