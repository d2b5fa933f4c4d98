"""How data sets of flow lie in folders: which frames and which flow belong together.

A layout is a function from the root and what is asked for to `Found`, or None where the root is not of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sslkit.errors import ConfigError, DataError, UnknownNameError
from sslkit_flow.sources.pairs import FilePair, NpzPair, Pair

CHAIRS_SPLIT = "FlyingChairs_train_val.txt"
RENDERINGS = ("clean", "final")
_SUFFIXES = (".png", ".ppm", ".jpg", ".jpeg", ".bmp")
_KITTI_IMAGES = ("image_2", "colored_0", "image_0")
_KITTI_FLOW = ("flow_occ", "flow_noc")


@dataclass(frozen=True)
class Asked:
    """What of a data set is wanted; None is its own choice."""

    split: str | None = None
    rendering: str | None = None


@dataclass(frozen=True)
class Found:
    """pairs: those of the split, in lasting order. splits: all there are, that of training first."""

    pairs: tuple[Pair, ...]
    splits: tuple[str, ...] = ()


def find_pairs(root: Path, layout: str | None, asked: Asked) -> tuple[str, Found]:
    """The layout's name and its pairs; by default the first layout that the folder is of.

    Raises DataError where there are no pairs, UnknownNameError for an unknown layout or split, ConfigError
    for a rendering the layout does not have.
    """
    if not root.is_dir():
        raise DataError(f"{root}: is no folder; give the one that holds frames and flow")
    if layout is not None and layout not in LAYOUTS:
        raise UnknownNameError("layout", layout, LAYOUTS)
    if asked.rendering not in (None, *RENDERINGS):
        raise ConfigError(f"rendering={asked.rendering}: it is one of {', '.join(RENDERINGS)}")
    for name in LAYOUTS if layout is None else [layout]:
        found = LAYOUTS[name](root, asked)
        if found is None:
            continue
        if asked.rendering is not None and name not in _RENDERED:
            raise ConfigError(f"rendering={asked.rendering}: layout '{name}' has none; leave it out")
        if not found.pairs:
            raise DataError(f"{root}: is laid out as '{name}', but holds no pair of frames")
        return name, found
    looked = LAYOUTS if layout is None else [layout]
    wanted = "; ".join(f"{name}: {_SIGNS[name]}" for name in looked)
    raise DataError(f"{root}: holds no pairs of frames with flow in a known layout ({wanted})")


def chairs(root: Path, asked: Asked) -> Found | None:
    """FlyingChairs (Dosovitskiy et al. 2015): 00001_img1.ppm, _img2.ppm, _flow.flo; splits by its list."""
    for folder in (root / "data", root):
        names = _names(folder)
        numbers = sorted({found[1] for name in names if (found := _CHAIR.fullmatch(name))})
        if numbers:
            break
    else:
        return None
    at = folder.relative_to(root)
    listed = next((file for file in (root / CHAIRS_SPLIT, folder / CHAIRS_SPLIT) if file.is_file()), None)
    splits: tuple[str, ...] = ()
    if listed is not None:
        splits, part = ("train", "val"), _chairs_parts(listed, int(numbers[-1]))
        chosen = _chosen(root, asked.split, splits)
        numbers = [number for number in numbers if part[int(number) - 1] == chosen]
    elif asked.split is not None:
        raise DataError(f"{root}: has no {CHAIRS_SPLIT}, which tells its splits")
    pairs = [
        FilePair(
            (at / _existing(names, f"{number}_img1", ".ppm")).as_posix(),
            (at / _existing(names, f"{number}_img2", ".ppm")).as_posix(),
            (at / f"{number}_flow.flo").as_posix(),
        )
        for number in numbers
    ]
    return Found(tuple(pairs), splits)


def things(root: Path, asked: Asked) -> Found | None:
    """FlyingThings3D (Mayer et al. 2016): the left camera, flow into the future; splits TRAIN and TEST."""
    flows = root / "optical_flow"
    if not flows.is_dir():
        return None
    images = root / f"frames_{asked.rendering or RENDERINGS[0]}pass"
    splits = tuple(part.lower() for part in ("TRAIN", "TEST") if (flows / part).is_dir())
    chosen = _chosen(root, asked.split, splits).upper()
    pairs: list[Pair] = []
    for scene in _scenes(flows / chosen, images / chosen, depth=2):
        field = flows / chosen / scene / "into_future" / "left"
        frame = images / chosen / scene / "left"
        fields = _numbered(field, re.compile(r"OpticalFlowIntoFuture_(\d+)_L\.pfm"))
        frames = _numbered(frame, _FRAME)
        numbers = {n for n in fields if not (frames and n == max(frames))}  # the last has no successor
        for n in sorted(numbers | {n for n in frames if n + 1 in frames}):
            stored = fields.get(n, f"OpticalFlowIntoFuture_{n:04d}_L.pfm")
            pairs.append(_pair(root, frame, frames, (n, f"{n:04d}.png", f"{n + 1:04d}.png"), field / stored))
    return Found(tuple(pairs), splits)


def sintel(root: Path, asked: Asked) -> Found | None:
    """MPI Sintel (Butler et al. 2012): training/clean/SCENE/frame_0001.png, training/flow/...; no splits."""
    flows = root / "training" / "flow"
    if not flows.is_dir():
        return None
    images = root / "training" / (asked.rendering or RENDERINGS[0])
    _chosen(root, asked.split, ())
    pairs: list[Pair] = []
    for scene in _scenes(flows, images, depth=1):
        fields = _numbered(flows / scene, re.compile(r"frame_(\d+)\.flo"))
        frames = _numbered(images / scene, _FRAME)
        for n in sorted(set(fields) | {n for n in frames if n + 1 in frames}):
            names = (n, f"frame_{n:04d}.png", f"frame_{n + 1:04d}.png")
            field = flows / scene / fields.get(n, f"frame_{n:04d}.flo")
            pairs.append(_pair(root, images / scene, frames, names, field))
    return Found(tuple(pairs))


def kitti(root: Path, asked: Asked) -> Found | None:
    """KITTI 2015 and 2012: training/image_2 (colored_0) 000000_10.png and _11.png, flow_occ; no splits."""
    training = root / "training"
    flow = next((name for name in _KITTI_FLOW if (training / name).is_dir()), None)
    image = next((name for name in _KITTI_IMAGES if (training / name).is_dir()), None)
    if flow is None or image is None:
        return None
    _chosen(root, asked.split, ())
    names = _names(training / flow) | _names(training / image)
    numbers = sorted({found[1] for name in names if (found := re.fullmatch(r"(\d+)_10\.png", name))})
    return Found(
        tuple(
            FilePair(
                f"training/{image}/{number}_10.png",
                f"training/{image}/{number}_11.png",
                f"training/{flow}/{number}_10.png",
            )
            for number in numbers
        )
    )


def middlebury(root: Path, asked: Asked) -> Found | None:
    """Middlebury (Baker et al. 2011): SCENE/frame10.png, frame11.png, flow10.flo, of which not all have."""
    apart = (root / "other-gt-flow").is_dir()
    at, beside = ("other-gt-flow/", "other-data/") if apart else ("", "")
    scenes = sorted(path.parent.name for path in (root / at).glob("*/flow10.flo"))
    if not scenes:
        return None
    _chosen(root, asked.split, ())
    pairs = [
        FilePair(f"{beside}{one}/frame10.png", f"{beside}{one}/frame11.png", f"{at}{one}/flow10.flo")
        for one in scenes
    ]
    return Found(tuple(pairs))


def npz(root: Path, asked: Asked) -> Found | None:
    """Files of frame1, frame2, flow and valid, in the folder, or in a folder for each split, as `train`."""
    here = sorted(path.name for path in root.glob("*.npz"))
    if here:
        _chosen(root, asked.split, ())
        return Found(tuple(NpzPair(name) for name in here))
    parts = sorted(
        {path.parent.name for path in root.glob("*/*.npz")}, key=lambda name: (name != "train", name)
    )
    if not parts:
        return None
    splits = tuple(parts) if parts[0] == "train" else ()
    chosen = [_chosen(root, asked.split, splits)] if splits else parts
    names = sorted(f"{part}/{path.name}" for part in chosen for path in (root / part).glob("*.npz"))
    return Found(tuple(NpzPair(name) for name in names), splits)


LAYOUTS: Mapping[str, Callable[[Path, Asked], Found | None]] = {
    "things": things,
    "sintel": sintel,
    "kitti": kitti,
    "chairs": chairs,
    "middlebury": middlebury,
    "npz": npz,
}
_RENDERED = ("things", "sintel")
_SIGNS = {
    "things": "optical_flow/TRAIN/... beside frames_cleanpass/TRAIN/...",
    "sintel": "training/flow/SCENE/frame_0001.flo beside training/clean",
    "kitti": "training/flow_occ/000000_10.png beside training/image_2",
    "chairs": "00001_img1.ppm, 00001_img2.ppm, 00001_flow.flo",
    "middlebury": "SCENE/flow10.flo beside frame10.png and frame11.png",
    "npz": "*.npz of frame1, frame2, flow, valid",
}
_CHAIR = re.compile(r"(\d+)_(?:img[12]\.(?:ppm|png|jpg)|flow\.flo)")
_FRAME = re.compile(r"(?:frame_)?(\d+)\.(?:png|webp|jpg|ppm)")


def _chosen(root: Path, split: str | None, splits: Sequence[str]) -> str:
    """The split asked for or the first; "" where there are none."""
    if split is not None and split not in splits:
        raise UnknownNameError("split", split, splits, f"(of {root})")
    return split or (splits[0] if splits else "")


def _chairs_parts(file: Path, count: int) -> list[str]:
    """The split of pair 1, 2, ...: a line each, 1 for training and 2 for validation."""
    words = file.read_text(encoding="utf-8", errors="replace").split()
    strays = sorted(set(words) - {"1", "2"})
    if strays:
        raise DataError(f"{file}: holds {strays[0][:20]!r}; its lines are 1 (train) or 2 (val)")
    if len(words) < count:
        raise DataError(f"{file}: has {len(words)} lines, one a pair, but pair {count} is there")
    return ["train" if word == "1" else "val" for word in words]


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def _existing(names: Iterable[str], stem: str, usual: str) -> str:
    """The image of a stem, or what it would be called."""
    return next((stem + suffix for suffix in _SUFFIXES if stem + suffix in names), stem + usual)


def _scenes(*roots: Path, depth: int) -> list[Path]:
    """Folders so deep inside any of the roots, sorted."""
    pattern = "/".join("*" * depth)
    return sorted({path.relative_to(root) for root in roots for path in root.glob(pattern) if path.is_dir()})


def _numbered(folder: Path, pattern: re.Pattern[str]) -> dict[int, str]:
    """Names of files by the number in them."""
    return {int(found[1]): name for name in _names(folder) if (found := pattern.fullmatch(name))}


def _pair(
    root: Path, folder: Path, frames: Mapping[int, str], names: tuple[int, str, str], field: Path
) -> FilePair:
    """Frames n and n + 1 of a folder, by the names they have or would have, and their flow."""
    number, first, second = names
    at = folder.relative_to(root)
    return FilePair(
        (at / frames.get(number, first)).as_posix(),
        (at / frames.get(number + 1, second)).as_posix(),
        field.relative_to(root).as_posix(),
    )
