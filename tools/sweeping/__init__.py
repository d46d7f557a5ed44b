"""What tools/sweep.py tries settings with, and what it writes."""
