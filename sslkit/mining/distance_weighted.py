"""Distance-weighted sampling: negatives from all distances alike, not only the usual one (Wu et al. 2017)."""

from __future__ import annotations

import torch
from torch import Tensor

from sslkit.errors import ConfigError


def log_weights(distances: Tensor, dim: int, *, cutoff: float = 0.5, longest: float = 1.4) -> Tensor:
    """Logarithm of 1 / q(d), up to a constant, for distances between rows on the unit sphere of R^dim.

    distances: any shape, not squared, in [0, 2]. q(d) = d^(dim-2) (1 - d^2/4)^((dim-3)/2) is the density of
    distances of uniform rows (Wu et al. 2017, "Sampling matters in deep embedding learning", section 4); in
    128 dimensions nearly all lie at sqrt(2). Distances below `cutoff` weigh what `cutoff` does, since the
    gradient of a hard pair is mostly noise (same section). Those beyond `longest` teach nothing and get -inf,
    as does NaN. Not normalised: weights of one anchor are comparable, and a softmax for each anchor by itself
    keeps a near-duplicate pair from silencing the other anchors. Computed in float32 or better, without
    gradient; never NaN or +inf. Raises ConfigError for dim < 2 and for bounds not in
    0 < cutoff <= longest < 2.
    """
    if dim < 2:
        raise ConfigError(f"distance-weighted sampling in {dim} dimension; the sphere begins at 2")
    if not 0 < cutoff <= longest < 2:
        raise ConfigError(
            f"distance-weighted sampling between cutoff={cutoff} and longest={longest}; distances on the "
            "unit sphere want 0 < cutoff <= longest < 2, such as 0.5 and 1.4"
        )
    exact = distances.detach().to(torch.promote_types(distances.dtype, torch.float32))
    # Clipped above too: a masked value must not be the logarithm of a negative number.
    bounded = exact.nan_to_num(nan=longest).clamp(cutoff, longest)
    # In logarithms, because 0.5^510 is no float32.
    log_density = (dim - 2) * bounded.log() + (dim - 3) / 2 * torch.log1p(-bounded.square() / 4)
    return torch.where(exact <= longest, -log_density, -torch.inf)
