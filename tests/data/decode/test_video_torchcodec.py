"""The other decoder gives the same frames; where it is missing a stand-in with its interface decodes."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
import torch

from sslkit.data.decode.video import decode_clips
from sslkit.errors import ConfigError, DecodeError
from tests.data.decode.video_files import CLOSED, video

TIMES = np.array([[0.0, 0.52, 99.0], [1.2, 0.04, -1.0]])


class StandIn:
    """torchcodec.decoders.VideoDecoder, as far as it is used: all frames, found by pts."""

    def __init__(self, source: Path | bytes) -> None:
        with av.open(io.BytesIO(source) if isinstance(source, bytes) else str(source)) as container:
            stream = container.streams.video[0]
            frames = list(container.decode(stream))
            aspect = stream.sample_aspect_ratio
        pictures = np.stack([frame.reformat(format="gbrp").to_ndarray() for frame in frames])
        self.frames = torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous()
        self.begins = torch.tensor([frame.time for frame in frames], dtype=torch.float64)
        self.metadata = SimpleNamespace(
            width=frames[0].width,
            height=frames[0].height,
            begin_stream_seconds=float(self.begins[0]),
            end_stream_seconds=float(self.begins[-1]) + 0.04,
            pixel_aspect_ratio=aspect,
            rotation=None,
        )

    def get_frames_played_at(self, seconds: list[float]) -> Any:
        at = torch.tensor(seconds, dtype=torch.float64)
        assert at.min() >= self.metadata.begin_stream_seconds
        assert at.max() < self.metadata.end_stream_seconds
        return SimpleNamespace(data=self.frames[torch.searchsorted(self.begins, at, right=True) - 1])


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    decoders = ModuleType("torchcodec.decoders")
    decoders.VideoDecoder = StandIn  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torchcodec", ModuleType("torchcodec"))
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", decoders)


@pytest.fixture(scope="module")
def content() -> bytes:
    return video("libx264", "matroska", times=[200 + 40 * index for index in range(40)], options=CLOSED)


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("canvas", [48, 96])
def test_both_decoders_show_the_same_frames(canvas: int, channels: int, content: bytes) -> None:
    ours, rectangle = decode_clips(content, TIMES, canvas=canvas, channels=channels, decoder="pyav")
    theirs, other = decode_clips(content, TIMES, canvas=canvas, channels=channels, decoder="torchcodec")
    assert rectangle == other
    assert ours.shape == theirs.shape
    apart = np.abs(ours.astype(int) - theirs).mean((2, 3, 4))
    assert apart.max() < 3.0  # neighbouring frames differ by more than 10


@pytest.mark.usefixtures("stand_in")
def test_at_full_size_they_agree_to_the_bit(content: bytes) -> None:
    ours, _ = decode_clips(content, TIMES, canvas=96, decoder="pyav")
    theirs, _ = decode_clips(content, TIMES, canvas=96, decoder="torchcodec")
    assert np.array_equal(ours, theirs)


@pytest.mark.usefixtures("stand_in")
def test_what_it_raises_is_a_decode_error() -> None:
    with pytest.raises(DecodeError, match="video of 6 bytes"):
        decode_clips(b"broken", TIMES, canvas=96, decoder="torchcodec")


@pytest.mark.parametrize("error", [ImportError("none"), RuntimeError("Could not load libtorchcodec.")])
def test_without_it_or_its_libraries_the_mend_is_named(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        def __init__(self, source: bytes) -> None:
            raise error

    decoders = ModuleType("torchcodec.decoders")
    decoders.VideoDecoder = Broken  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torchcodec", ModuleType("torchcodec"))
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", decoders)
    with pytest.raises(ConfigError, match="decoder=pyav"):
        decode_clips(b"", TIMES, canvas=96, decoder="torchcodec")
