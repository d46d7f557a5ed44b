"""What `tools/optimise.py` runs: optimised heads measured beside each other."""
