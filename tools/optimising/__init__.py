"""What `tools/optimise.py` runs: comparisons of optimised heads."""
