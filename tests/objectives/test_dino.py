"""DINO against the paper in plain loops, another library, and the objective contract with many views."""

import math

import pytest
import torch
import torch.nn.functional as F

from sslkit.contracts import Embeddings, Samples
from sslkit.errors import ConfigError
from sslkit.objectives import dino
from sslkit.objectives.dino import DINO, Prototypes
from sslkit.testing.backbones import TinyBackbone
from sslkit.testing.objective_kit import check_objective, example_views, first_losses
from sslkit.testing.ranks import many_ranks_step, one_rank_step

SMALL = {"prototypes": 32, "projector_hidden": 32, "projector_outputs": 16}
SAMPLES = Samples.of(torch.arange(12))


def crops(rows: int = 12) -> list[torch.Tensor]:
    """Two global views of 16 pixels and two local ones of 8."""
    views = example_views(4, rows=rows)
    return [*views[:2], *(view[:, :, :8, :8] for view in views[2:])]


def softmax(row: list[float], temperature: float) -> list[float]:
    powers = [math.exp(x / temperature) for x in row]
    return [power / sum(powers) for power in powers]


def slow_dino(students, teachers, center, student_temperature, teacher_temperature) -> float:
    """Caron et al. 2021, equations 1 to 3 and algorithm 1, one pair of views and one row at a time."""
    total, pairs = 0.0, 0
    for i, teacher in enumerate(teachers):
        for j, student in enumerate(students):
            if i == j:
                continue
            pairs += 1
            for target, prediction in zip(teacher.tolist(), student.tolist(), strict=True):
                centred = [x - c for x, c in zip(target, center.tolist(), strict=True)]
                wanted = softmax(centred, teacher_temperature)
                given = softmax(prediction, student_temperature)
                total -= sum(p * math.log(q) for p, q in zip(wanted, given, strict=True)) / len(teacher)
    return total / pairs


@pytest.mark.parametrize("views", [2, 3, 5])
@pytest.mark.parametrize(("count", "width"), [(1, 2), (4, 3), (3, 17)])
@pytest.mark.parametrize("temperatures", [(0.1, 0.04), (1.0, 0.5)])
def test_dino_is_the_paper(views, count, width, temperatures) -> None:
    torch.manual_seed(views * 100 + width)
    students = torch.randn(views, count, width, dtype=torch.float64)
    teachers = torch.randn(2, count, width, dtype=torch.float64)
    center = torch.randn(width, dtype=torch.float64)
    ours = dino(
        students.unbind(),
        teachers.unbind(),
        center,
        student_temperature=temperatures[0],
        teacher_temperature=temperatures[1],
    )
    assert float(ours) == pytest.approx(slow_dino(students, teachers, center, *temperatures), rel=1e-10)


def test_a_sharp_teacher_and_an_even_student_by_hand() -> None:
    """The teacher is certain, the student gives every prototype the same: log K."""
    teacher = 100.0 * torch.eye(3, 5)
    loss = dino([torch.zeros(3, 5)] * 2, [teacher] * 2, torch.zeros(5))
    assert float(loss) == pytest.approx(math.log(5), rel=1e-6)


@pytest.mark.parametrize("views", [2, 6])
def test_dino_and_its_centre_equal_another_library(views) -> None:
    library = pytest.importorskip("lightly.loss", reason="lightly is in the dev extra")
    torch.manual_seed(0)
    students, teachers = torch.randn(views, 8, 32), torch.randn(2, 8, 32)
    theirs = library.DINOLoss(output_dim=32, teacher_temp=0.07, warmup_teacher_temp_epochs=1)
    objective = DINO(
        TinyBackbone(), **SMALL, teacher_temperature_warmup=0.0, center_momentum=0.9, frozen_prototypes=0.0
    )
    for step in range(3):
        embeddings = Embeddings(students[0], students.unbind(), teachers.unbind())
        ours = float(objective.loss(embeddings, Samples.of(torch.arange(8))).loss)
        objective.after_step(TinyBackbone(), step / 3)
        assert ours == pytest.approx(float(theirs(teachers.unbind(), students.unbind())), rel=1e-5)
        torch.testing.assert_close(objective.center, theirs.center.view(-1))
        teachers = teachers + torch.randn(32)


def test_no_gradient_flows_into_teachers() -> None:
    students, teachers = torch.randn(2, 3, 4, 8).unbind()
    students.requires_grad_()
    teachers.requires_grad_()
    dino(students.unbind(), teachers.unbind()[:2], torch.zeros(8)).backward()
    assert students.grad is not None
    assert teachers.grad is None


def test_scores_under_bfloat16_autocast_are_those_of_float32() -> None:
    """At the teacher's temperature bfloat16 cosines would be off by a tenth in the exponent."""
    torch.manual_seed(0)
    prototypes, rows = Prototypes(256, 64), torch.randn(8, 256)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = prototypes(rows)
        loss = dino([scores, scores], [scores, scores], torch.zeros(64))
    expected = F.normalize(rows) @ F.normalize(prototypes.weight).T
    torch.testing.assert_close(scores, expected, rtol=1e-5, atol=1e-6)
    assert loss.dtype == torch.float32


@pytest.mark.parametrize("views", [2, 4])
def test_dino_keeps_the_objective_contract(views) -> None:
    check_objective(lambda backbone: DINO(backbone, **SMALL), views=views)


def test_dino_golden_losses() -> None:
    """The first steps of a fixed run; a change here changes what every recipe trains."""
    losses = first_losses(lambda backbone: DINO(backbone, momentum=0.9, **SMALL), views=4)
    assert [losses[i] for i in (0, 1, 9, 19)] == pytest.approx(GOLDEN, rel=2e-3)  # rounding grows


GOLDEN = [1.6804813, 2.2508507, 1.8255763, 1.9362720]


@pytest.mark.parametrize("sizes", [[6, 6], [5, 4, 3]])
def test_many_ranks_are_one(sizes) -> None:
    options = {**SMALL, "frozen_prototypes": 0.0}
    alone = one_rank_step(DINO, options, rows=12, views=3)
    together = many_ranks_step(DINO, options, sizes=sizes, views=3)
    assert together.loss == pytest.approx(alone.loss, rel=1e-12)
    for name, gradient in alone.gradients.items():
        torch.testing.assert_close(together.gradients[name], gradient, rtol=1e-8, atol=1e-12)


def test_the_teacher_sees_the_global_views_only_and_the_student_all() -> None:
    torch.manual_seed(0)
    backbone, views = TinyBackbone(), crops()
    objective = DINO(backbone, **SMALL)
    embeddings = objective.embed(backbone, views)
    assert [len(part) for part in (embeddings.outputs, embeddings.targets)] == [4, 2]
    again = objective.embed(backbone, [*views[:2], *(view + 1.0 for view in views[2:])])
    for before, after in zip(embeddings.targets, again.targets, strict=True):
        torch.testing.assert_close(after, before)
    assert not torch.allclose(again.outputs[2], embeddings.outputs[2])


def test_the_centre_moves_towards_what_the_losses_saw_and_only_after_the_step() -> None:
    torch.manual_seed(0)
    backbone = TinyBackbone()
    objective = DINO(backbone, center_momentum=0.9, **SMALL)
    seen = []
    for _ in range(2):  # two accumulated batches
        embeddings = objective.embed(backbone, [torch.randn(12, 3, 16, 16) for _ in range(2)])
        objective.loss(embeddings, SAMPLES)
        seen.append(torch.cat(embeddings.targets).mean(dim=0))
    assert not objective.center.any()
    objective.after_step(backbone, 0.1)
    first = 0.1 * torch.stack(seen).mean(dim=0)
    torch.testing.assert_close(objective.center, first)
    objective.after_step(backbone, 0.2)  # nothing was seen since
    torch.testing.assert_close(objective.center, first)


def test_the_teachers_temperature_rises_linearly_and_stays() -> None:
    backbone = TinyBackbone()
    objective = DINO(backbone, student_temperature=1.0, **SMALL)
    torch.manual_seed(0)
    scores, targets = torch.randn(2, 2, 12, 32)
    embeddings = Embeddings(scores[0], scores.unbind(), targets.unbind())
    for progress, temperature in ((0.0, 0.04), (0.15, 0.055), (0.3, 0.07), (0.8, 0.07)):
        objective.progress.fill_(progress)
        expected = dino(
            scores.unbind(),
            targets.unbind(),
            objective.center,
            student_temperature=1.0,
            teacher_temperature=temperature,
        )
        assert float(objective.loss(embeddings, SAMPLES).loss) == pytest.approx(float(expected), rel=1e-5)


def test_prototypes_stand_still_at_the_start() -> None:
    torch.manual_seed(0)
    backbone = TinyBackbone()
    objective = DINO(backbone, frozen_prototypes=0.25, **SMALL)
    for progress, still in ((0.0, True), (0.2, True), (0.25, False), (0.9, False)):
        objective.after_step(backbone, progress)
        objective.zero_grad()
        objective.loss(objective.embed(backbone, example_views()), SAMPLES).loss.backward()
        assert (objective.prototypes.weight.grad == 0).all() == still
        assert objective.projector.layers[0].weight.grad.any()


def test_the_teacher_follows_backbone_projector_and_prototypes() -> None:
    torch.manual_seed(0)
    backbone = TinyBackbone()
    objective = DINO(backbone, momentum=0.9, **SMALL)
    before = [p.clone() for p in objective.teacher.parameters()]
    with torch.no_grad():
        for part in (backbone, objective.projector, objective.prototypes):
            for parameter in part.parameters():
                parameter.add_(1.0)
    for _ in range(2):
        objective.after_step(backbone, progress=0.0)
    objective.after_step(backbone, progress=1.0)  # the momentum has risen to 1: nothing moves any more
    for old, new in zip(before, objective.teacher.parameters(), strict=True):
        torch.testing.assert_close(new, old + 0.19)


def test_entropy_and_divergence_add_up_and_show_collapse() -> None:
    objective = DINO(TinyBackbone(), **SMALL)

    def terms(rows: torch.Tensor) -> dict[str, float]:
        outcome = objective.loss(Embeddings(rows, (rows, rows), (rows, rows)), SAMPLES)
        figures = {name: float(value) for name, value in outcome.terms.items()}
        assert sum(figures.values()) == pytest.approx(float(outcome.loss), rel=1e-5)
        return figures

    even = terms(torch.zeros(12, 32))
    assert even["teacher_entropy"] == pytest.approx(math.log(32), rel=1e-6)
    assert even["teacher_divergence"] == pytest.approx(0.0, abs=1e-6)
    sharp = terms(100.0 * torch.eye(12, 32))
    assert sharp["teacher_entropy"] == pytest.approx(0.0, abs=1e-6)


def test_a_resumed_run_goes_on_as_if_it_had_not_stopped() -> None:
    def advance(backbone, objective, steps) -> list[float]:
        optimizer = torch.optim.SGD(
            [p for p in (*backbone.parameters(), *objective.parameters()) if p.requires_grad], lr=0.1
        )
        losses = []
        for step in steps:
            views = [*example_views(2, seed=step), *crops()[2:]]
            outcome = objective.loss(objective.embed(backbone, views), SAMPLES)
            optimizer.zero_grad()
            outcome.loss.backward()
            optimizer.step()
            objective.after_step(backbone, (step + 1) / 6)
            losses.append(float(outcome.loss.detach()))
        return losses

    def fresh(seed) -> tuple[TinyBackbone, DINO]:
        torch.manual_seed(seed)
        backbone = TinyBackbone(seed=seed)
        return backbone, DINO(backbone, frozen_prototypes=0.6, **SMALL)

    whole = advance(*fresh(0), range(6))
    backbone, objective = fresh(0)
    assert advance(backbone, objective, range(3)) == whole[:3]
    other, resumed = fresh(1)
    other.load_state_dict(backbone.state_dict())
    resumed.load_state_dict(objective.state_dict())
    assert advance(other, resumed, range(3, 6)) == whole[3:]


@pytest.mark.parametrize("sides", [[16], [16, 8, 8], [8, 16], [8, 8, 16]])
def test_views_that_do_not_start_with_two_global_ones_are_refused(sides) -> None:
    backbone = TinyBackbone()
    with pytest.raises(ConfigError, match="multi_crop"):
        DINO(backbone, **SMALL).embed(backbone, [torch.zeros(2, 3, side, side) for side in sides])


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("prototypes", 1),
        ("student_temperature", 0.0),
        ("teacher_temperature", -0.1),
        ("teacher_temperature_start", 0.0),
        ("teacher_temperature_warmup", 1.5),
        ("momentum", 1.5),
        ("center_momentum", -0.1),
        ("frozen_prototypes", 2.0),
    ],
)
def test_an_option_outside_its_range_is_refused(option, value) -> None:
    with pytest.raises(ConfigError, match=f"objective.{option} is {value}"):
        DINO(TinyBackbone(), **{**SMALL, option: value})
