"""What accuracy is measured of, and what agreement is called, as cards name them."""

from __future__ import annotations

from privzoo.mechanisms.gaussian import DELTA

NETWORK, FLOAT, INT8 = "network as released", "float head + tail", "int8 TFLite head + tail"
AGREEMENT = "label agreement with the network"
AGREEMENT_UNDRAWN = f"{AGREEMENT}, before noise"  # of clipped features, or true symbols: what quantization changes


def deployed(quantization: str) -> str:
    """An exported head with the tail.

    Example:
        >>> deployed("int8") == INT8
        True
    """
    return f"{quantization} TFLite head + tail"


def budget_name(epsilon: float) -> str:
    """The float head with the noise of a budget."""
    return f"{FLOAT}, epsilon {epsilon}, delta {DELTA:g}"
