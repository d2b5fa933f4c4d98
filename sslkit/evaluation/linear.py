"""Linear probe: multinomial logistic regression on frozen embeddings by L-BFGS, L2 chosen on held-out rows.

Kornblith et al., "Do Better ImageNet Models Transfer Better?", CVPR 2019, and Radford et al.,
"Learning Transferable Visual Models from Natural Language Supervision", ICML 2021, section 3.2: full-batch
L-BFGS and a sweep of the penalty, which never looks at the test set. There is no learning rate to tune and no
order of batches, so equal input gives an equal probe.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.errors import ConfigError, DataError
from sslkit.evaluation.metrics import check_finite, check_labels, rank_classes
from sslkit.keyed_random import permutation

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class LinearProbe:
    """A fitted probe: logits = ((x - mean) / scale) @ weight.T + bias.

    weight: float32 (K, D); bias: (K,); mean, scale: (D,), of the training embeddings. l2: the chosen penalty;
    held_out: top-1 share on the held-out rows for every penalty tried.
    """

    weight: Tensor
    bias: Tensor
    mean: Tensor
    scale: Tensor
    l2: float
    held_out: dict[float, float]

    def logits(self, embeddings: Tensor) -> Tensor:
        """Embeddings (N, D) to float32 (N, K)."""
        return F.linear((embeddings.float() - self.mean) / self.scale, self.weight, self.bias)

    def rank(self, embeddings: Tensor) -> Tensor:
        """The best classes of embeddings (N, D), best first: int64 (N, min(5, K)).

        Raises DataError for embeddings that are not finite.
        """
        check_finite(embeddings)
        return rank_classes(self.logits(embeddings))


def fit_linear(
    train: Tensor,
    labels: Tensor,
    *,
    classes: int,
    l2: Sequence[float],
    held_out_share: float,
    max_iterations: int,
    seed: int,
) -> LinearProbe:
    """Fit a probe on embeddings (N, D) with labels int64 (N,) in 0..classes-1.

    The loss is mean cross-entropy + l2/2 |W|², biases free (scikit-learn's C is 1 / (l2 N)). Every penalty of
    `l2` is fitted on the rows a keyed permutation keeps and judged on the `held_out_share` it holds out, by
    top-1 and then by cross-entropy; the best is fitted again on all rows.

    Raises:
        ConfigError: no penalty or a negative one, or a share that leaves either part without rows.
        DataError: labels are out of range, or an embedding is not finite.
    """
    _check(train, labels, classes, l2)
    kept, held = held_out_rows(train.shape[0], held_out_share, seed, train.device)

    # From strong to weak penalty, each fit starting at the last one's solution: the usual path of a sweep.
    judged: list[tuple[float, float, float]] = []
    held_out = {}
    start = None
    for penalty in sorted(l2, reverse=True):
        probe = _fit(train[kept], labels[kept], classes, penalty, max_iterations, F.cross_entropy, start)
        start = (probe.weight, probe.bias)
        logits = probe.logits(train[held])
        top1 = float((rank_classes(logits)[:, 0] == labels[held]).double().mean())
        held_out[penalty] = top1
        judged.append((top1, -float(F.cross_entropy(logits, labels[held])), penalty))
    best = max(judged)[2]
    final = _fit(train, labels, classes, best, max_iterations, F.cross_entropy)
    return replace(final, held_out=held_out)


def fit_penalised(
    train: Tensor,
    labels: Tensor,
    *,
    classes: int,
    l2: float,
    max_iterations: int,
    loss: Loss = F.cross_entropy,
) -> LinearProbe:
    """The same with one penalty, and so without held-out rows.

    loss: of logits (N, K) and labels (N,), for instance `weighted_over_samples` or a
    `torch.nn.CrossEntropyLoss` with class weights. Errors as `fit_linear`.
    """
    _check(train, labels, classes, [l2])
    return _fit(train, labels, classes, l2, max_iterations, loss)


def weighted_over_samples(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Cross-entropy of each sample times weights[label], (K,), summed and divided by N.

    torch's `CrossEntropyLoss(weight=...)` divides by the sum of the samples' weights instead. A batch of rare
    classes therefore counts more here, and the same as any other there.
    """
    return (weights[labels] * F.cross_entropy(logits, labels, reduction="none")).mean()


def _check(train: Tensor, labels: Tensor, classes: int, l2: Sequence[float]) -> None:
    if train.dim() != 2 or not train.isfinite().all():
        raise DataError(f"embeddings {tuple(train.shape)} must be finite and of shape (N, D)")
    check_labels(labels, train.shape[0], classes)
    if not l2 or min(l2) < 0:
        raise ConfigError(
            f"l2={list(l2)}; give at least one penalty, none negative, for example [1e-4, 1e-2]"
        )


def held_out_rows(count: int, share: float, seed: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Rows that are kept and rows that are held out, each sorted; raises ConfigError where one has none."""
    held = round(count * share)
    if not 0 < held < count:
        raise ConfigError(
            f"held_out_share={share} of {count} samples holds out {held}; at least one row must be held out "
            "and one kept, for example 0.2 of five samples or more"
        )
    order = permutation(count, seed=seed, epoch=0).to(device)
    return order[held:].sort().values, order[:held].sort().values


def _fit(
    train: Tensor,
    labels: Tensor,
    classes: int,
    l2: float,
    max_iterations: int,
    criterion: Loss,
    start: tuple[Tensor, Tensor] | None = None,
) -> LinearProbe:
    mean, scale = moments(train)
    standardised = (train.float() - mean) / scale
    weight = torch.zeros(classes, train.shape[1], device=train.device) if start is None else start[0].clone()
    bias = torch.zeros(classes, device=train.device) if start is None else start[1].clone()
    weight.requires_grad_()
    bias.requires_grad_()
    optimizer = torch.optim.LBFGS(
        [weight, bias],
        max_iter=max_iterations,
        tolerance_grad=1e-5,
        tolerance_change=1e-9,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = criterion(F.linear(standardised, weight, bias), labels) + l2 / 2 * weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    with torch.enable_grad():
        optimizer.step(closure)  # type: ignore[no-untyped-call]
    return LinearProbe(weight.detach(), bias.detach(), mean, scale, l2, {})


def moments(train: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each dimension of embeddings (N, D), float32 (D,)."""
    exact = train.double()
    deviation, mean = torch.std_mean(exact, dim=0, correction=0)
    # A constant dimension keeps scale 1: its deviation is only the rounding of float32.
    constant = deviation <= 10 * torch.finfo(torch.float32).eps * mean.abs()
    return mean.float(), torch.where(constant, 1.0, deviation).float()
