"""What tools/compare.py writes."""
