"""What several test files share: one thread, and settings for runs of seconds."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch; small tensors gain nothing from more

import pytest

TINY = (
    "backbone.name=test_resnet",
    "backbone.stem=standard",
    "objective.projector_hidden=32",
    "objective.projector_outputs=16",
    "views.size=32",
    "views.engine=fused",
    "batch.size=16",
    "schedule.epochs=2",
    "schedule.warmup_epochs=0",
    "precision=fp32",
    "channels_last=false",
    "monitor.samples=40",
    "monitor.k=5",
    "log_every=1",
    "data.workers=0",
)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory) -> None:
    """What is cached on disk, and which plugins are disabled, stays inside the tests' own folder."""
    os.environ["SSLKIT_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    os.environ["SSLKIT_CONFIG"] = str(tmp_path_factory.mktemp("config"))


@pytest.fixture
def tiny() -> list[str]:
    """Overrides for a run of two epochs in about a second, in float32 so that it repeats to the bit."""
    return list(TINY)


@pytest.fixture
def shapes() -> str:
    """64 generated images: four steps of 16 an epoch."""
    return "shapes:count=64,size=32"


@pytest.fixture(scope="session")
def videos(tmp_path_factory):
    """Six videos of two seconds, in folders named after the shape that moves in them."""
    from sslkit.data.moving_shapes import write_videos

    folder = tmp_path_factory.mktemp("videos")
    write_videos(folder, videos=6, seconds=2.0, size=64, rate=10.0, seed=0)
    return folder


@pytest.fixture
def photos(tmp_path):
    """Twenty noise photos in two class folders."""
    import numpy as np
    from PIL import Image

    generator = np.random.default_rng(0)
    for number in range(20):
        folder = tmp_path / "photos" / ("left", "right")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 256, (48, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02d}.jpg")
    return tmp_path / "photos"
