"""Embeddings of a whole data set from a frozen backbone, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from sslkit.contracts import Batch, Features
from sslkit.errors import DataError, ModelError
from sslkit.models.modes import evaluating


def extract(
    backbone: nn.Module,
    batches: Iterable[Batch],
    view: Callable[[Tensor, Tensor], Tensor],
    device: torch.device,
    *,
    autocast: torch.dtype | None = None,
) -> Features:
    """Embeddings of all batches in one piece, in the order of the batches; arguments and errors as `stream`.

    Raises DataError when not one sample could be decoded.
    """
    return joined(stream(backbone, batches, view, device, autocast=autocast))


def joined(stream: Iterable[Features]) -> Features:
    """Embeddings that come batch by batch in one piece; raises DataError when there is not one."""
    parts = list(stream)
    skipped = tuple(skip for part in parts for skip in part.skipped)
    if not any(len(part) for part in parts):
        first = f"; the first: {skipped[0].name}: {skipped[0].reason}" if skipped else ""
        raise DataError(f"no sample to embed, {len(skipped)} could not be decoded{first}; check the data set")
    filled = [part for part in parts if len(part)]
    return Features(
        torch.cat([part.ids for part in filled]),
        torch.cat([part.embeddings for part in filled]),
        torch.cat([part.labels for part in filled]),
        skipped,
    )


def stream(
    backbone: nn.Module,
    batches: Iterable[Batch],
    view: Callable[[Tensor, Tensor], Tensor],
    device: torch.device,
    *,
    autocast: torch.dtype | None = None,
) -> Iterator[Features]:
    """Embeddings batch by batch, with the backbone in eval mode and without gradient.

    view: uint8 pixels (N, C, S, S) and rectangles (N, 4) to the normalised pixels the backbone takes, both on
    `device`. autocast: the lower precision to compute in, or None for the backbone's own.

    Every module gets back the mode it had, also when the caller stops early, and no buffer changes. Raises
    ModelError when embeddings are not (N, D) or not finite; the message names the ids.
    """
    with _frozen(backbone):
        for batch in batches:
            if len(batch) == 0:
                yield Features(batch.ids, torch.empty(0, 0), batch.labels, batch.skipped)
                continue
            there = batch.to(device)
            with torch.no_grad(), torch.autocast(device.type, autocast, enabled=autocast is not None):
                output = backbone(view(there.pixels, there.rectangles))
            if output.dim() != 2 or output.shape[0] != len(batch):
                raise ModelError(
                    f"the backbone gave {tuple(output.shape)} for {len(batch)} images; embeddings (N, D) are "
                    "needed: a model built without its classifier, pooled"
                )
            embeddings = output.float().cpu()
            _refuse_non_finite(embeddings, batch.ids, autocast)
            yield Features(batch.ids, embeddings, batch.labels, batch.skipped)


@contextmanager
def _frozen(backbone: nn.Module) -> Iterator[None]:
    """Eval mode inside; afterwards each module is as it was, parts frozen on purpose included."""
    with evaluating(backbone):
        still_training = [name for name, module in backbone.named_modules() if module.training]
        if still_training:
            raise ModelError(f"modules stay in training mode after eval(): {', '.join(still_training[:5])}")
        yield


def _refuse_non_finite(embeddings: Tensor, ids: Tensor, autocast: torch.dtype | None) -> None:
    bad = ids[~embeddings.isfinite().all(dim=1)].tolist()
    if bad:
        shown = ", ".join(str(id) for id in bad[:8]) + (" ..." if len(bad) > 8 else "")
        mend = (
            f"embed without autocast ({autocast})"
            if autocast
            else "check the checkpoint for diverged weights"
        )
        raise ModelError(
            f"embeddings of {len(bad)} samples are not finite (NaN or infinite): ids {shown}; {mend}"
        )
