"""Draws docs/images/clips.png: generated videos beside the views of two clips each.

python tools/draw_clips.py docs/images/clips.png
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from PIL import Image

from sslkit.data.moving_shapes import write_videos
from sslkit.runs.views import draw_sheet


def main() -> None:
    """Write the picture to the path given."""
    with tempfile.TemporaryDirectory() as folder:
        write_videos(Path(folder), videos=3, seconds=1.0, size=128, rate=12.0, seed=1)
        overrides = ["views.size=112", "backbone.name=resnet18", "data.clip.frames=4", "data.clip.stride=2"]
        draw_sheet(folder, out=Path(sys.argv[1]), overrides=overrides)
    # A palette of 128 colours takes a fifth of the space and looks the same.
    picture = Image.open(sys.argv[1]).convert("RGB")
    picture.quantize(128, dither=Image.Dither.NONE).save(sys.argv[1], optimize=True)


if __name__ == "__main__":
    main()
