"""What tools/draws.py writes."""
