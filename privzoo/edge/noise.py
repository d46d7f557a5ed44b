"""The old home of `privzoo.mechanisms.gaussian`, for programs that import it; a later version drops it."""

from __future__ import annotations

import warnings

from privzoo.mechanisms import gaussian

__all__ = ["DELTA", "EPSILONS", "KIND", "Noise", "budget_sigma", "clip", "protect", "spent_epsilon"]

DELTA, EPSILONS, KIND, Noise = gaussian.DELTA, gaussian.EPSILONS, gaussian.KIND, gaussian.Noise
budget_sigma, clip = gaussian.budget_sigma, gaussian.clip
protect, spent_epsilon = gaussian.protect, gaussian.spent_epsilon

warnings.warn(
    "privzoo.edge.noise has moved; import privzoo.mechanisms.gaussian instead.", DeprecationWarning, stacklevel=2
)
