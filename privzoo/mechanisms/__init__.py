"""What a device does to a feature before it leaves, and the budget that this spends; needs nothing but numpy."""
