"""The former home of `privzoo.mechanisms.gaussian`, for programs that import it; a later version drops it."""

from __future__ import annotations

import warnings

__all__ = [
    *("DELTA", "EPSILONS", "KIND", "Noise", "budget_sigma", "clip"),
    *("from_manifest", "protect", "spent_epsilon", "to_manifest"),
]

warnings.warn(
    "privzoo.edge.noise has moved; import privzoo.mechanisms.gaussian instead.", DeprecationWarning, stacklevel=2
)
