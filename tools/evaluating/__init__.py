"""What tools/evaluate.py measures, and what the page and the README say of it."""
