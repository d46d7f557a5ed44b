"""Slim heads: fewer channels in every convolution, for the same tail."""

from privzoo.card import IDENTITY_ATTACK

# Metrics of a slim head's card.
LOST, ABOVE = "accuracy below the full head's", f"{IDENTITY_ATTACK}, above the full head's"
