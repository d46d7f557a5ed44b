"""The Siamese embedding: the simple one, cut from a network that was fine-tuned on pairs (Osia et al. 2017, III.A).

What makes it private is in the network's weights; `privzoo.training.siamese` trains them.
"""

from __future__ import annotations

from privzoo.embeddings.simple import attach

__all__ = ["attach"]
