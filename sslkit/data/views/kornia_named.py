"""kornia's augmentations as operations, each under its class's name: {op: RandomPosterize, p: 0.5, bits: 3}.

Any class of `kornia.augmentation` that takes images to images of the same shape may stand in a policy, and
so may its automatic policies (AutoAugment, RandAugment, TrivialAugment). What kornia draws, noise of pixels
included, it draws from torch's generator, here seeded with the sample's own key before each image; so a row
is a function of its pixels and key alone, and the generator's state is put back. The price is one call of
kornia an image, on one core 0.1 to 3 ms at 32 pixels and 0.3 to 16 ms at 224, and one wait for an
accelerator a batch. An accelerator has a generator of its own: its results repeat, but are others than a
CPU's.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import kornia.augmentation as augmentation
import torch
from kornia.augmentation import auto
from torch import Tensor, nn

from sslkit.data.views.operation import Parameters, check_number
from sslkit.errors import ConfigError, UnknownNameError
from sslkit.keyed_random import Stream, hashed, word

COLOUR = frozenset(
    {
        "AutoAugment",
        "ColorJiggle",
        "ColorJitter",
        "RandAugment",
        "RandomHue",
        "RandomJPEG",
        "RandomPlanckianJitter",
        "RandomRGBShift",
        "RandomSaturation",
        "RandomSnow",
    }
)
"""Those that need red, green and blue; a test finds them by trying all on pictures of one channel."""

_CROP = "it changes the size; start the view with crop_resize or crop_resize_flip, which resamples once"
_SIZE = (
    "it changes the size; every view is resized by its crop, whose side is the policy's or the view's `size`"
)
_NORMALISED = "a policy normalises its views at the end, by the backbone's mean and std"
_LIST = "a policy is itself a list of operations; write the operations one by one"
_REFUSED = {
    "CenterCrop": _CROP,
    "RandomCrop": _CROP,
    "RandomResizedCrop": _CROP,
    "Resize": _SIZE,
    "LongestMaxSize": _SIZE,
    "SmallestMaxSize": _SIZE,
    "PadTo": _SIZE,
    "Normalize": _NORMALISED,
    "Denormalize": _NORMALISED,
    "ManyToManyAugmentationDispather": _LIST,
    "ManyToOneAugmentationDispather": _LIST,
    "RandomDissolving": "it draws with Stable Diffusion, whose weights it would download",
}
# The sample's key and `p` decide for each image alone; shapes stay.
_OURS = ("p", "p_batch", "same_on_batch", "keepdim", "data_keys", "transformation_matrix_mode")
_lock = Lock()  # torch's generator is one for all threads


def _classes() -> dict[str, type[Any]]:
    """Every public class of kornia.augmentation, and its automatic policies, by name."""
    policies = {name: getattr(auto, name) for name in ("AutoAugment", "RandAugment", "TrivialAugment")}
    every = {**vars(augmentation), **policies}
    return {name: kind for name, kind in every.items() if inspect.isclass(kind) and not name.startswith("_")}


def _reason(name: str, kind: type[Any]) -> str | None:
    """Why a class of kornia's is no operation of a view; None where it is one."""
    if name in _REFUSED:
        return _REFUSED[name]
    if "Base" in name:
        return "it is a base class, which does nothing by itself"
    if name.endswith("3D"):
        return "it is for volumes; views are pictures, and the frames of a clip share their draw"
    # A jigsaw mixes the tiles of one picture.
    if issubclass(kind, augmentation.MixAugmentationBaseV2) and name != "RandomJigsaw":
        return "it mixes pictures of a batch, and a view is a function of one sample alone"
    if issubclass(kind, augmentation.ImageSequential):
        return _LIST
    return None


CLASSES = _classes()
REFUSED = {name: reason for name, kind in CLASSES.items() if (reason := _reason(name, kind)) is not None}
"""kornia's classes that cannot stand in a view, with the reason."""
KORNIA = frozenset(CLASSES) - frozenset(REFUSED)
"""The names of kornia's that a policy may use."""


@dataclass(frozen=True)
class KorniaOperation:
    """One augmentation of kornia's, applied image by image; built by `kornia_operation`.

    p: probability, drawn as in every operation of ours. options: the class's own, as the policy writes them.
    """

    name: str
    colour: bool
    p: float
    options: tuple[tuple[str, Any], ...]
    module: nn.Module = field(repr=False, compare=False)

    def draw(self, stream: Stream) -> Parameters:
        """chosen: bool (N,). keys: int64 (N,), from which everything kornia draws follows."""
        return {"chosen": stream.uniform() < self.p, "keys": hashed(stream.keys, word("kornia"))}

    @torch.no_grad()
    def apply(self, images: Tensor, parameters: Parameters) -> Tensor:
        """The chosen images changed and clamped to [0, 1]; raises ConfigError with kornia's own complaint."""
        rows = parameters["chosen"].nonzero().squeeze(1).tolist()
        keys = parameters["keys"].tolist()
        on_cuda = images.device.type == "cuda"
        with _lock, torch.random.fork_rng(devices=[images.device] if on_cuda else []):
            for row in rows:
                torch.default_generator.manual_seed(keys[row])
                if on_cuda:
                    with torch.cuda.device(images.device):
                        torch.cuda.manual_seed(keys[row])
                images[row] = self._changed(images[row].clone())
        return images

    def _changed(self, image: Tensor) -> Tensor:
        """One image (C, H, W); a copy, as kornia's arithmetic could follow its place in memory."""
        changed, complaint = None, None
        try:
            changed = self.module(image[None])
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # kornia's own errors share no class with torch's
            complaint = error
        if changed is None or changed.shape != image[None].shape:
            said = f"gave {tuple(changed.shape[1:])}" if changed is not None else f"says: {complaint}"
            raise ConfigError(
                f"{self.name} cannot take images of {tuple(image.shape)} and keep their shape; kornia {said}."
            ) from complaint
        result: Tensor = changed[0].clamp(0.0, 1.0)
        return result


def kornia_operation(name: str, options: Mapping[str, Any]) -> KorniaOperation:
    """An augmentation of kornia's by its class's name; in options, lists stand for tuples and tensors.

    `p` is the class's own default where not given, or 1 where the class has none. Raises ConfigError for a
    class that cannot stand in a view or an option kornia complains about, UnknownNameError for an option
    nobody knows.
    """
    if name in REFUSED:
        raise ConfigError(f"kornia's {name} cannot be an operation of a view: {REFUSED[name]}.")
    kind = CLASSES[name]
    signature = inspect.signature(kind).parameters
    known = {
        option: found
        for option, found in signature.items()
        if option not in _OURS and found.kind is not inspect.Parameter.VAR_KEYWORD
    }
    for option in options:
        if option not in known and option != "p":
            raise UnknownNameError(f"option of {name}", str(option), [*known, "p"])
    missing = [
        option
        for option, found in known.items()
        if found.default is inspect.Parameter.empty and option not in options
    ]
    if missing:
        raise ConfigError(f"{name} needs {' and '.join(missing)}, for which kornia has no default.")
    p = options.get("p", signature["p"].default if "p" in signature else 1.0)
    check_number(name, "p", p, 0.0, 1.0)
    own = {
        option: _written(known[option].annotation, value)
        for option, value in options.items()
        if option != "p"
    }
    certain = {"p": 1.0} if "p" in signature else {}
    try:
        module = kind(**own, **certain)
    except Exception as complaint:  # kornia checks with errors of many classes
        raise ConfigError(f"kornia refuses the options {own} of {name}: {complaint}") from complaint
    given = tuple((option, _frozen(value)) for option, value in sorted(options.items()) if option != "p")
    return KorniaOperation(name=name, colour=name in COLOUR, p=p, options=given, module=module)


def _written(annotation: Any, value: Any) -> Any:
    """A value of a recipe as the annotation of its option wants it: YAML has neither tuples nor tensors."""
    if not isinstance(value, list | tuple):
        return value
    said = str(annotation)
    if "uple[" in said:
        return _frozen(value)
    return torch.tensor(value) if "Tensor" in said and "ist[" not in said else list(value)


def _frozen(value: Any) -> Any:
    return tuple(_frozen(part) for part in value) if isinstance(value, list | tuple) else value
