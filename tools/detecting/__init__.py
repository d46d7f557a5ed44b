"""What `tools/faces.py` writes."""
