"""Every generated head keeps the contract: it learns, predicts in originals, counts and draws."""

from __future__ import annotations

import importlib
import pickle
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from unittest import SkipTest

import numpy as np
import pytest
import torch

from sslkit.contracts import ClassLabel, Example, FlowField, Objects, SemanticMap
from sslkit.models.creation import create_backbone
from sslkit.models.task_model import TaskModel, offered
from sslkit.scaffold import new_plugin
from sslkit.scaffold.names import class_name
from sslkit.scaffold.plugin import SENSIBLE
from sslkit.testing.head_kit import checks

PAIRS = [(input, target) for input, targets in SENSIBLE.items() for target in targets]
TYPES = {
    "label": ClassLabel, "boxes": Objects, "masks": Objects, "semantic": SemanticMap, "flow": FlowField,
}  # fmt: skip
STEPS = 8


class Built:
    """A generated head on a tiny network, trained for a few steps on its own example."""

    def __init__(self, head: Any) -> None:
        torch.manual_seed(0)
        self.head_class, self.example = head, head.example_batch(0)
        backbone = create_backbone("test_vit", options={"dynamic_img_size": True})
        built = head(offered(backbone, head.spec), self.example.task, **self.example.options)
        self.model = TaskModel(backbone, built, mode="finetune")
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=self.example.lr)
        self.losses: list[float] = []
        for _ in range(STEPS):
            batch = self.example.batch
            loss = sum(self.model(batch.pixels, batch.metas, batch.targets).values())
            optimizer.zero_grad()
            loss.backward()
            self.without_gradient = [name for name, p in built.named_parameters() if p.grad is None]
            optimizer.step()
            self.losses.append(float(loss.detach()))
        self.model.eval()
        self.predictions = self.model.predict(batch.pixels, batch.metas)


@pytest.fixture(scope="module", params=PAIRS, ids="-".join)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    input, target = request.param
    folder = tmp_path_factory.mktemp("plugins")
    name = f"made-{input}-{target}"
    new_plugin(name, input=input, target=target, out=folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder / f"sslkit-{name}"))
        module = importlib.import_module(f"sslkit_made_{input}_{target}.head")
        yield Built(getattr(module, class_name(name)))


def originals(example: Example) -> list[Any]:
    """The targets without the padding of their canvases; every original has the size of its valid part."""
    cut = []
    for target, meta in zip(example.batch.targets, example.batch.metas, strict=True):
        height, width = meta.original
        if isinstance(target, FlowField):
            target = FlowField(target.vectors[:, :height, :width], target.valid[:height, :width])
        cut.append(target)
    return cut


def test_the_loss_falls_and_every_parameter_gets_a_gradient(built: Built) -> None:
    assert np.isfinite(built.losses).all()
    assert built.losses[-1] < built.losses[0]
    assert built.without_gradient == []


def test_predictions_are_of_the_targets_type_in_pixels_of_the_original(built: Built) -> None:
    batch = built.example.batch
    metas = [replace(meta, original=(100, 130)) for meta in batch.metas]
    for prediction in built.model.predict(batch.pixels, metas):
        assert type(prediction) is TYPES[built.head_class.spec.target]
        if isinstance(prediction, Objects) and len(prediction):
            assert float(prediction.boxes[:, 2].max()) <= 130
            assert float(prediction.boxes[:, 3].max()) <= 100
            assert prediction.masks is None or prediction.masks.shape[1:] == (100, 130)
        if isinstance(prediction, SemanticMap):
            assert prediction.labels.shape == (100, 130)
        if isinstance(prediction, FlowField):
            assert prediction.vectors.shape == (2, 100, 130)


def test_flow_grows_with_its_image(built: Built) -> None:
    if built.head_class.spec.target != "flow":
        return
    meta = built.example.batch.metas[0]
    raw = torch.full((1, 2, *meta.canvas), 3.0)
    twice = replace(meta, original=(2 * meta.valid[0], 4 * meta.valid[1]))
    (grown,) = built.model.head.decode(raw, [twice])
    assert torch.allclose(grown.vectors[0], torch.tensor(12.0))
    assert torch.allclose(grown.vectors[1], torch.tensor(6.0))


def test_its_figure_is_perfect_for_the_targets_themselves(built: Built) -> None:
    metric, targets = built.model.head.metrics(), originals(built.example)
    found = [
        replace(one, scores=torch.linspace(0.9, 0.8, len(one))) if isinstance(one, Objects) else one
        for one in targets
    ]
    metric.update(built.example.batch.ids.tolist(), found, targets)
    spec = built.head_class.spec
    assert metric.compute().figures[spec.metric] == (1.0 if spec.higher_is_better else 0.0)


def test_halves_merge_to_the_whole_in_either_order(built: Built) -> None:
    ids, targets = built.example.batch.ids.tolist(), originals(built.example)
    whole = built.model.head.metrics()
    whole.update(ids, built.predictions, targets)
    for first, second in ((slice(0, 3), slice(3, 8)), (slice(3, 8), slice(0, 3))):
        merged, other = built.model.head.metrics(), built.model.head.metrics()
        merged.update(ids[first], built.predictions[first], targets[first])
        other.update(ids[second], built.predictions[second], targets[second])
        merged.merge(pickle.loads(pickle.dumps(other)))
        assert merged.compute() == whole.compute()


def test_targets_and_predictions_are_drawn_on_a_copy(built: Built) -> None:
    height, width = built.example.batch.metas[0].original
    image = np.full((height, width, 3), 40, dtype=np.uint8)
    for shown in (built.predictions[0], originals(built.example)[0]):
        drawn = built.model.head.draw(image, shown)
        assert drawn.shape == image.shape
        assert drawn.dtype == np.uint8
    assert (image == 40).all()
    assert (drawn != 40).any()


def test_targets_in_which_nothing_counts_have_a_finite_loss(built: Built) -> None:
    batch, target = built.example.batch, built.head_class.spec.target
    size = built.example.task.size
    nothing = {
        "label": ClassLabel(255),
        "boxes": Objects.none(),
        "masks": Objects.none(masks=size),
        "semantic": SemanticMap(torch.full(size, 255, dtype=torch.uint8)),
        "flow": FlowField(torch.zeros(2, *size), torch.zeros(size, dtype=torch.bool)),
    }[target]
    losses = built.model(batch.pixels, batch.metas, [nothing] * len(batch))
    assert all(bool(loss.isfinite()) for loss in losses.values())


def test_its_example_is_a_function_of_the_seed(built: Built) -> None:
    state = torch.get_rng_state()
    one, same, other = (built.head_class.example_batch(seed).batch.pixels for seed in (3, 3, 4))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_every_check_of_the_kit_passes(built: Built) -> None:
    """Of one head here; each plugin runs the kit on its own."""
    if (built.head_class.spec.input, built.head_class.spec.target) != ("image", "label"):
        pytest.skip("the kit runs on one of them")
    passed = 0
    for id, check in checks().items():
        try:
            check(built.head_class)
        except SkipTest:
            continue
        except AssertionError as error:
            raise AssertionError(f"{id}: {error}") from error
        passed += 1
    assert passed >= 25
