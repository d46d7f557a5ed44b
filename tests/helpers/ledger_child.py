"""Spends from a ledger in a process of its own: `ledger_child.py FILE PURE TOTAL`; it prints what was taken."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from privzoo.errors import BudgetError
from privzoo.mechanisms.budget import Cost
from privzoo.mechanisms.ledger import Ledger


@dataclass(frozen=True)
class Pure:
    """Stands for a mechanism of pure epsilon, as randomized response."""

    epsilon: float

    @property
    def cost(self) -> Cost:
        return Cost(pure=self.epsilon)

    def send(self, features: np.ndarray) -> np.ndarray:
        return features

    def describe(self) -> dict[str, Any]:
        return {"kind": "pure", "epsilon": self.epsilon}


if __name__ == "__main__":
    ledger, mechanism, total = Ledger(sys.argv[1], timeout=60), Pure(float(sys.argv[2])), float(sys.argv[3])
    try:
        while True:
            ledger.spend(mechanism, 1, total_epsilon=total)
            print("taken", flush=True)
    except BudgetError as error:
        print(error)
