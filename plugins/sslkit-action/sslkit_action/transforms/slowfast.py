"""SlowFast around any network: many channels on few frames, few channels on all (Feichtenhofer et al. 2019).

Shapes: N clips of T frames; rows are the frames of all clips, clip by clip; D embedding width.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslkit.contracts import ClipRows
from sslkit.errors import ConfigError, ModelError
from sslkit_action.transforms.fast_path import FastPathway, Lateral
from sslkit_action.transforms.taps import Tap, find_taps, input_channels

LEAST_CHANNELS = 4
"""A fast stage never has fewer, however small beta is."""


def slowfast(
    network: nn.Module, *, alpha: int = 4, beta: float = 0.125, lateral_kernel: int = 5, depth: int = 2
) -> nn.Module:
    """A network for images, or an inflated one, as the slow pathway of a SlowFast network.

    alpha: the slow pathway sees every alpha-th frame (section 3.1). beta: channels of the fast pathway as a
    share of the slow one's (section 3.2). lateral_kernel: frames that a link sees, odd (section 3.3).
    depth: residual blocks of each fast stage. The links start at zero: at first the slow maps are exactly
    those of the given network. Raises ConfigError for options out of range, and ModelError for networks whose
    stages cannot be added to.
    """
    if alpha < 1:
        raise ConfigError(f"alpha is {alpha}; it is at least 1, such as 4 for every fourth frame")
    if not 0 < beta <= 1:
        raise ConfigError(f"beta is {beta}; it is above 0 and at most 1, such as 0.125")
    if lateral_kernel < 1 or lateral_kernel % 2 == 0:
        raise ConfigError(f"lateral_kernel is {lateral_kernel}; it is odd, such as 5 frames")
    if depth < 1:
        raise ConfigError(f"depth is {depth}; it is at least 1")
    return SlowFast(network, find_taps(network), alpha, beta, lateral_kernel, depth)


class SlowFast(nn.Module):
    """Two pathways with timm's interface on folded rows (N * T, C, H, W); see `slowfast`.

    Maps are those of the slow pathway, with what the links add. The pooled output is the slow one's beside
    the mean of the fast one's last map over the frames that each row stands for. Of T frames there are
    T / alpha rows, rounded up.
    """

    causal = False

    def __init__(
        self, slow: nn.Module, taps: Sequence[Tap], alpha: int, beta: float, lateral_kernel: int, depth: int
    ) -> None:
        super().__init__()
        self.alpha, self.taps = alpha, tuple(taps)
        self.feature_info = [
            {**stage, "module": f"slow.{stage['module']}"}
            for stage in cast("list[dict[str, Any]]", slow.feature_info)
        ]
        own: Sequence[int] = getattr(slow, "temporal_strides", None) or (1,) * len(self.feature_info)
        self.temporal_strides = tuple(alpha * stride for stride in own)
        self.clip_rows: ClipRows = getattr(slow, "clip_rows", None) or ClipRows()
        self.pretrained_cfg = cast("dict[str, Any]", slow.pretrained_cfg)
        widths = [max(LEAST_CHANNELS, round(beta * tap.channels)) for tap in taps]
        self.slow = slow
        self.fast = FastPathway(input_channels(slow), widths, [tap.stride for tap in taps], depth=depth)
        self.laterals = nn.ModuleList(
            Lateral(width, tap.channels, kernel=lateral_kernel, stride=self.temporal_strides[tap.stage])
            for width, tap in zip(widths, taps, strict=True)
        )
        hidden = getattr(slow, "head_hidden_size", None)  # some networks widen after pooling
        own_width = hidden if isinstance(hidden, int) else int(cast(int, slow.num_features))
        self.num_features = own_width + widths[-1]

    def forward(self, pixels: Tensor) -> Tensor:
        """Rows (N * T, C, H, W) to pooled (N * T', D)."""
        clips = self._clips(pixels)
        fast = self.fast(clips)
        with self._linked(fast):
            slow: Tensor = self.slow(self._slow_rows(clips))
        step = self.temporal_strides[-1]
        pooled = F.avg_pool1d(fast[-1].mean(dim=(-2, -1)), step, ceil_mode=True)  # (N, fast, T')
        beside = pooled.transpose(1, 2).flatten(0, 1)
        return torch.cat([slow, beside.to(slow.dtype)], dim=1)

    def forward_intermediates(self, pixels: Tensor, **options: Any) -> Any:
        """As timm's: rows (N * T, C, H, W) to maps (N * T', C', h, w)."""
        clips = self._clips(pixels)
        with self._linked(self.fast(clips)):
            return self.slow.forward_intermediates(self._slow_rows(clips), **options)  # type: ignore[operator]

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """timm's grouping of layers: the slow pathway's, and after them all that is new as the last."""
        matcher = getattr(self.slow, "group_matcher", None)
        groups: dict[str, Any] = matcher(coarse=coarse) if matcher is not None else {}
        return {name: _inside_slow(patterns) for name, patterns in groups.items()}

    @property
    def patch_embed(self) -> nn.Module | None:
        """The slow pathway's, where sizes that are fixed are written."""
        return getattr(self.slow, "patch_embed", None)

    def _clips(self, pixels: Tensor) -> Tensor:
        """Rows to (N, C, T, H, W)."""
        return pixels.view(self.clip_rows.clips, -1, *pixels.shape[1:]).transpose(1, 2)

    def _slow_rows(self, clips: Tensor) -> Tensor:
        return clips[:, :, :: self.alpha].transpose(1, 2).flatten(0, 1)

    @contextmanager
    def _linked(self, fast: Sequence[Tensor]) -> Iterator[None]:
        """While it runs, every tapped module of the slow pathway adds what its link makes of the fast map.

        Hooks live no longer than a forward, so that copies and saved networks carry none.
        """
        added: list[str] = []

        def link(tap: Tap, lateral: nn.Module, values: Tensor) -> Any:
            def add(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
                added.append(tap.module)
                return tap.add(output, lateral(values).transpose(1, 2).flatten(0, 1))

            return add

        handles = [
            self.slow.get_submodule(tap.module).register_forward_hook(link(tap, lateral, values))
            for tap, lateral, values in zip(self.taps, self.laterals, fast, strict=True)
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
        if added != [tap.module for tap in self.taps]:
            raise ModelError(
                f"the slow {type(self.slow).__name__} ran {added} of "
                f"{[tap.module for tap in self.taps]}; each must run once, in this order: turn gradient "
                "checkpointing off"
            )


def _inside_slow(patterns: Any) -> Any:
    """timm's patterns of names (one, or pairs with a suffix) for the names behind "slow."."""
    if patterns is None:
        return None
    if isinstance(patterns, str):
        # Anchors would stand in the middle; a "^" after a bracket is none.
        return r"slow\.(?:" + re.sub(r"(?<!\[)\^", "", patterns) + ")"
    return [(_inside_slow(pattern), suffix) for pattern, suffix in patterns]
