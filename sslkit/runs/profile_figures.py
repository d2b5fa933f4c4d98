"""The figures of a profile, for people and for programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from sslkit.training.passes import Spread
from sslkit.training.peak_memory import Peak

MEGABYTE = 1e6


@dataclass(frozen=True)
class Setting:
    """What was profiled, on what.

    model: the architecture; head, protocol: "" where there is none. work: "inference", "training" or
    "streaming". sample: "image", "pair" or "clip". batch: samples of a pass; frames: of a sample; size:
    (height, width). threads: of the CPU.
    """

    model: str
    head: str
    protocol: str
    work: str
    sample: str
    batch: int
    frames: int
    size: tuple[int, int]
    precision: str
    channels_last: bool
    device: str
    threads: int


@dataclass(frozen=True)
class Streamed:
    """Frames that came one by one.

    latencies: seconds of each frame, all samples of the batch at once; offline: seconds of passes over whole
    clips.
    """

    latencies: tuple[float, ...]
    offline: tuple[float, ...]


@dataclass(frozen=True)
class Profile:
    """What passes cost.

    seconds: of each pass. multiply_adds: of one pass, those of convolutions and matrix products. parameters:
    by part. weights_bytes, optimizer_bytes: what lies in memory between passes. joules: of all passes, None
    where they cannot be read; energy: what they count, or why there are none.
    """

    setting: Setting
    seconds: tuple[float, ...]
    multiply_adds: float
    parameters: Mapping[str, int]
    weights_bytes: int
    optimizer_bytes: int
    peak: Peak
    joules: float | None
    energy: str
    stream: Streamed | None = None

    @property
    def ms_per_clip(self) -> Spread:
        """Milliseconds for one sample: an image, a pair or a clip."""
        return Spread.of(self.seconds).scaled(1000 / self.setting.batch)

    @property
    def ms_per_frame(self) -> Spread:
        """Milliseconds for one frame of one sample."""
        return self.ms_per_clip.scaled(1 / self.setting.frames)

    @property
    def clips_per_second(self) -> float:
        """Samples a second, by the median pass."""
        return 1000 / self.ms_per_clip.median

    @property
    def frames_per_second(self) -> float:
        """Frames a second, by the median pass."""
        return self.clips_per_second * self.setting.frames

    @property
    def multiply_adds_per_frame(self) -> float:
        """Multiply-adds for one frame of one sample."""
        return self.multiply_adds / (self.setting.batch * self.setting.frames)

    @property
    def joules_per_frame(self) -> float | None:
        """Joules for one frame of one sample."""
        frames = len(self.seconds) * self.setting.batch * self.setting.frames
        return None if self.joules is None else self.joules / frames

    @property
    def latency_ms(self) -> dict[str, float] | None:
        """Of streaming, milliseconds from a frame to its embedding: median and 95th percentile."""
        if self.stream is None:
            return None
        median, late = np.percentile(self.stream.latencies, [50, 95]) * 1000
        return {"median": float(median), "p95": float(late)}

    @property
    def ratio_to_offline(self) -> float | None:
        """Of streaming, what T frames cost one by one, as a multiple of a clip of T that comes whole."""
        if self.stream is None:
            return None
        return Spread.of(self.seconds).median / Spread.of(self.stream.offline).median

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as --json prints them."""
        return {
            **asdict(self.setting),
            "passes": len(self.seconds),
            "ms_per_frame": asdict(self.ms_per_frame),
            "ms_per_clip": asdict(self.ms_per_clip),
            "frames_per_second": self.frames_per_second,
            "clips_per_second": self.clips_per_second,
            "multiply_adds_per_frame": self.multiply_adds_per_frame,
            "parameters": dict(self.parameters),
            "memory": {
                "peak_bytes": self.peak.bytes,
                "method": self.peak.method,
                "weights_bytes": self.weights_bytes,
                "optimizer_bytes": self.optimizer_bytes,
            },
            "energy": {"joules_per_frame": self.joules_per_frame, "method": self.energy},
            "latency_ms": self.latency_ms,
            "ratio_to_offline": self.ratio_to_offline,
        }

    def to_text(self) -> str:
        """Aligned lines for people."""
        setting, facts = self.setting, self._facts()
        width = max(map(len, facts))
        title = setting.model + (f" with head {setting.head}" if setting.head else "")
        title += f" ({setting.protocol})" if setting.protocol else ""
        lines = [f"{title}, {setting.work}", *(f"{name:<{width}}  {fact}" for name, fact in facts.items())]
        return "\n".join(lines)

    def _facts(self) -> dict[str, str]:
        setting = self.setting
        layout = f"{setting.precision}{', channels last' if setting.channels_last else ''}"
        threads = f"{setting.threads} {_plural('thread', setting.threads)}"
        facts = {"on": f"{setting.device}, {threads}, {layout}", "input": self._input(), "a frame": ""}
        facts["a frame"] = _milliseconds(self.ms_per_frame)
        speed = f"{self.frames_per_second:.4g} frames/s"
        if setting.frames > 1:
            facts[f"a {setting.sample}"] = _milliseconds(self.ms_per_clip)
            speed += f", {self.clips_per_second:.4g} {setting.sample}s/s"
        facts["speed"] = speed
        if self.latency_ms is not None:
            late = self.latency_ms
            facts["latency"] = f"{late['median']:.4g} ms a frame, 95th percentile {late['p95']:.4g} ms"
            facts["one by one"] = f"{self.ratio_to_offline:.3g} times the cost of a clip that comes whole"
        facts["multiply-adds"] = f"{_short(self.multiply_adds_per_frame)} a frame"
        facts["parameters"] = ", ".join(f"{name} {_short(count)}" for name, count in self.parameters.items())
        facts["peak memory"] = self._memory()
        joules = self.joules_per_frame
        facts["energy"] = (
            f"not readable here: {self.energy}"
            if joules is None
            else f"{joules:.3g} J a frame ({self.energy})"
        )
        facts["measured"] = f"median of {len(self.seconds)} passes, quartiles in brackets"
        return facts

    def _input(self) -> str:
        setting = self.setting
        size = f"{setting.size[0]}x{setting.size[1]} pixels"
        many = f"{setting.batch} {_plural(setting.sample, setting.batch)}"
        if setting.frames > 1:
            many += f" of {setting.frames} frames"
        return f"{many}, {size}" + (", frame by frame" if setting.work == "streaming" else "")

    def _memory(self) -> str:
        kept = f"{self.weights_bytes / MEGABYTE:.1f} MB of weights"
        if self.optimizer_bytes:
            kept += f" and {self.optimizer_bytes / MEGABYTE:.1f} MB of the optimiser"
        if self.peak.bytes is None:
            return f"not readable here: {self.peak.method}; above it {kept}"
        return f"{self.peak.bytes / MEGABYTE:.1f} MB above {kept} ({self.peak.method})"


def _milliseconds(spread: Spread) -> str:
    return f"{spread.median:.4g} ms ({spread.low:.4g} to {spread.high:.4g})"


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"


def _short(number: float) -> str:
    """Four digits and the power of ten: 1.814 G."""
    for power, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= power:
            return f"{number / power:.4g} {letter}"
    return f"{number:.4g}"
