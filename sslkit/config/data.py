"""The `data` section of a recipe: where samples live, and how they travel."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from sslkit.config.section import Count, NotNegative, Positive, Section, Share


class ClipPlan(Section):
    """How clips are taken from videos: frames of a clip, and frames of the video from one to the next.

    positives: "crop", views of one clip; "temporal", views of two clips of the same video that differ by time
    alone; "both", two clips, each with views of its own. max_gap: seconds between the two at most.
    stride_jitter, reversal: how far the stride is varied, and the probability of playing a clip backwards.
    decoder: "torchcodec" where it and FFmpeg are installed; the frames are the same, clips are slower.
    """

    frames: Count = 1
    stride: Positive = 1.0
    positives: Literal["crop", "temporal", "both"] = "both"
    max_gap: NotNegative = 1.0
    stride_jitter: NotNegative = 0.0
    reversal: Share = 0.0
    decoder: Literal["pyav", "torchcodec"] = "pyav"


class Place(Section):
    """One of several data sets that are mixed, and its share of every batch."""

    path: Annotated[str, Field(min_length=1)]
    weight: Positive = 1.0
    split: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_path(cls, given: Any) -> Any:
        return {"path": given} if isinstance(given, str) else given


class Data(Section):
    """Where the samples live, and how they travel: canvas is the side in pixels they are decoded to.

    mix: several places in one run, instead of a path. clip: how to look at video. cache: whether decoded
    canvases are kept on disk from the first epoch on; "auto" does so where they fit. workers: processes that
    read ahead; 0 reads between the steps, with all cores. max_skipped: share of unreadable samples past which
    the run stops.
    """

    path: str | None = None
    split: str | None = None
    mix: Annotated[tuple[Place, ...], Field(strict=False)] = ()
    clip: ClipPlan | None = None
    canvas: Count | Literal["auto"] = "auto"
    channels: Count = 3
    cache: Literal["auto", "on", "off"] = "auto"
    workers: Annotated[int, Field(ge=0)] | Literal["auto"] = "auto"
    max_skipped: Share = 0.1

    @field_validator("cache", mode="before")
    @classmethod
    def _words(cls, given: Any) -> Any:
        """YAML reads a bare on or off as true or false."""
        return {True: "on", False: "off"}.get(given, given) if isinstance(given, bool) else given

    @model_validator(mode="after")
    def _one_place(self) -> Data:
        if self.mix and self.path is not None:
            raise ValueError(f"path ({self.path}) and mix are two ways to name the data; keep one of them")
        return self

    @property
    def address(self) -> str:
        """What people call the place or places."""
        return " + ".join(place.path for place in self.mix) or str(self.path)
