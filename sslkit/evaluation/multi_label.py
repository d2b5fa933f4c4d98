"""Linear probe of several labels: one logistic regression a class, fitted together by L-BFGS.

As `linear`, after Kornblith et al. 2019 and Radford et al. 2021, with binary cross-entropy for each class
and one penalty for all, chosen on held-out rows by mean average precision.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.errors import ConfigError, DataError
from sslkit.evaluation.class_sets_judged import AveragePrecision
from sslkit.evaluation.linear import LinearProbe, held_out_rows, moments

_HISTORY = 10
"""Steps that L-BFGS remembers; torch's hundred would be a hundred copies of the weights."""


def fit_multi_label(
    train: Tensor,
    sets: Tensor,
    *,
    l2: Sequence[float],
    held_out_share: float,
    max_iterations: int,
    seed: int,
) -> LinearProbe:
    """Fit a probe on embeddings (N, D) with the classes of each, bool (N, K).

    The loss of a class is mean binary cross-entropy + l2/2 |w|², biases free (scikit-learn's C is
    1 / (l2 N)). Penalties are tried as in `fit_linear`, judged by mean average precision of the held-out rows
    and then by cross-entropy. The logits of a class above 0 say yes.

    Raises:
        ConfigError: no penalty or a negative one, or a share that leaves either part without rows.
        DataError: sets that do not fit the embeddings or hold no class, or an embedding that is not finite.
    """
    if train.dim() != 2 or not train.isfinite().all():
        raise DataError(f"embeddings {tuple(train.shape)} must be finite and of shape (N, D)")
    if sets.dim() != 2 or len(sets) != len(train) or not sets.any():
        raise DataError(
            f"{len(train)} embeddings with sets {tuple(sets.shape)} that hold {int(sets.sum())} classes; "
            "give (N, K), and at least one sample of a class"
        )
    if not l2 or min(l2) < 0:
        raise ConfigError(
            f"l2={list(l2)}; give at least one penalty, none negative, for example [1e-4, 1e-2]"
        )
    kept, held = held_out_rows(len(train), held_out_share, seed, train.device)
    wanted = sets.float()
    judged: list[tuple[float, float, float]] = []
    held_out = {}
    start = None
    for penalty in sorted(l2, reverse=True):
        probe = _fit(train[kept], wanted[kept], penalty, max_iterations, start)
        start = (probe.weight, probe.bias)
        logits = probe.logits(train[held])
        found = AveragePrecision(logits.cpu().numpy(), sets[held].cpu().numpy()).of()
        score = float(torch.from_numpy(found).nanmean().nan_to_num())  # 0 where nothing held out has a class
        held_out[penalty] = score
        judged.append((score, -float(_cross_entropy(logits, wanted[held])), penalty))
    best = max(judged)[2]
    final = _fit(train, wanted, best, max_iterations, None)
    return LinearProbe(final.weight, final.bias, final.mean, final.scale, best, held_out)


def _fit(
    train: Tensor, sets: Tensor, l2: float, max_iterations: int, start: tuple[Tensor, Tensor] | None
) -> LinearProbe:
    mean, scale = moments(train)
    standardised = (train.float() - mean) / scale
    if start is None:
        # A class that nobody or everybody is of would start, and end, at infinity.
        share = ((sets.sum(dim=0) + 0.5) / (len(sets) + 1)).logit()
        start = (train.new_zeros(sets.shape[1], train.shape[1], dtype=torch.float32), share)
    weight, bias = start[0].clone().requires_grad_(), start[1].clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [weight, bias],
        max_iter=max_iterations,
        tolerance_grad=1e-5,
        tolerance_change=1e-9,
        history_size=_HISTORY,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        logits = F.linear(standardised, weight, bias)
        loss = _cross_entropy(logits, sets) + l2 / 2 * weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    with torch.enable_grad():
        optimizer.step(closure)  # type: ignore[no-untyped-call]
    return LinearProbe(weight.detach(), bias.detach(), mean, scale, l2, {})


def _cross_entropy(logits: Tensor, sets: Tensor) -> Tensor:
    """Mean over samples, sum over classes: each class has the loss it would have alone."""
    return F.binary_cross_entropy_with_logits(logits, sets, reduction="sum") / len(sets)
