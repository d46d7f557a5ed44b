"""What tools/slim.py writes."""
