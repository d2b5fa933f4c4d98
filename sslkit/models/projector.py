"""The multilayer perceptrons used only while pretraining: projectors and predictors."""

from __future__ import annotations

from torch import Tensor, nn

from sslkit.errors import ConfigError


class Projector(nn.Module):
    """Linear layers with BatchNorm and ReLU between them: (N, inputs) to (N, outputs).

    layers: number of linear layers, at least 1. last_norm: whether the output is batch-normalised too,
    without affine parameters, as in the SimCLR and SimSiam codes (Chen et al. 2020; Chen and He 2021).
    Raises ConfigError for fewer than one layer.
    """

    def __init__(
        self, inputs: int, *, hidden: int, outputs: int, layers: int = 2, last_norm: bool = False
    ) -> None:
        super().__init__()
        if layers < 1:
            raise ConfigError(f"a projector of {layers} layers was asked for; at least 1 is needed")
        widths = [inputs, *[hidden] * (layers - 1)]
        parts: list[nn.Module] = []
        for width, following in zip(widths, [*widths[1:], None], strict=True):
            if following is not None:
                parts += [
                    nn.Linear(width, following, bias=False),
                    nn.BatchNorm1d(following),
                    nn.ReLU(inplace=True),
                ]
            else:
                parts.append(nn.Linear(width, outputs, bias=not last_norm))
        if last_norm:
            parts.append(nn.BatchNorm1d(outputs, affine=False))
        self.layers = nn.Sequential(*parts)

    def forward(self, embedding: Tensor) -> Tensor:
        """(N, inputs) to (N, outputs)."""
        projected: Tensor = self.layers(embedding)
        return projected
