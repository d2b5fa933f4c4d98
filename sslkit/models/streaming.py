"""A causal network on a video that comes frame by frame: each frame is seen once, with what came before it.

Shapes: N videos side by side, t frames at a time, T' embeddings or maps that are known by then.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor

from sslkit.contracts import ClipRows, FeatureMap, VideoNetwork
from sslkit.errors import ModelError
from sslkit.models.backbone import Backbone


class Stream:
    """Embeddings and maps of videos as soon as they are known, the same as of the whole clip at once.

    A network with temporal strides waits for the frames that one row stands for, so that a call may give
    T' = 0; frames of a group that never gets whole give none. Layers keep the few earlier frames that they
    look at, whatever the length of the video. No gradients. Raises ModelError for a network that looks ahead.
    """

    def __init__(self, backbone: Backbone) -> None:
        network = backbone.network
        if not getattr(network, "causal", True):
            raise ModelError(
                f"backbone '{backbone.architecture.described}' looks at later frames, which a stream has not "
                "got yet; build it causal, such as with inflate: {padding: causal}"
            )
        self.backbone = backbone
        self._rows: ClipRows | None = getattr(network, "clip_rows", None)
        strides = cast(VideoNetwork, network).temporal_strides if self._rows is not None else ()
        self._first_stride = strides[0] if strides else 1
        self.reset()

    def reset(self) -> None:
        """Forget what came before: the next frame is the first of other videos."""
        self._history: dict[Any, Any] = {}
        self._waiting: Tensor | None = None

    def __call__(self, frames: Tensor) -> Tensor:
        """The next frames (N, t, C, H, W), normalised, to the embeddings (N, T', D) known by now."""
        with self._running(frames) as ready:
            if ready.shape[1]:
                return self.backbone.embed_frames(ready)
            return frames.new_zeros(len(frames), 0, self.backbone.embedding_dim)

    def maps(self, frames: Tensor) -> dict[str, FeatureMap]:
        """The next frames (N, t, C, H, W) to the maps (N, T', C', H', W') known by now, T' of each its own.

        A frame goes in once: into this or into the call for embeddings.
        """
        _ = self.backbone.info  # measured by a probe, which must not pass through this stream's history
        with self._running(frames) as ready:
            if ready.shape[1]:
                return self.backbone.feature_maps(ready)
            # None is known: one blank frame says how large they will be.
            self._hide_history()
            blank = self.backbone.feature_maps(torch.zeros_like(frames[:, :1]))
            return {
                name: FeatureMap(one.values[:, :0], one.stride, one.temporal_stride)
                for name, one in blank.items()
            }

    @contextmanager
    def _running(self, frames: Tensor) -> Iterator[Tensor]:
        """While it runs, layers see this stream's history; gives the frames whose groups are whole."""
        if self.backbone.training:
            raise ModelError("a stream needs the backbone in eval mode; call backbone.eval() first")
        if frames.dim() != 5:
            raise ModelError(f"a stream takes frames (N, t, C, H, W), not {tuple(frames.shape)}")
        if self._waiting is not None:
            self._check_shape(frames)
            frames = torch.cat([self._waiting, frames], dim=1)
        whole = frames.shape[1] - frames.shape[1] % self._first_stride
        # A copy of what waits: the caller's tensor may change.
        self._waiting = frames[:, whole:].clone()
        rows = self._rows
        before = None if rows is None else rows.history
        try:
            if rows is not None:
                rows.history = self._history
            with torch.no_grad():
                yield frames[:, :whole]
        finally:
            if rows is not None:
                rows.history = before

    def _hide_history(self) -> None:
        if self._rows is not None:
            self._rows.history = None

    def _check_shape(self, frames: Tensor) -> None:
        count, _, *before = cast(Tensor, self._waiting).shape
        given, _, *now = frames.shape
        if (count, before) != (given, now):
            raise ModelError(
                f"the stream began with {count} videos of {tuple(before)} and was given {given} of "
                f"{tuple(now)}; reset() begins others"
            )
