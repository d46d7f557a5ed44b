"""What `tools/loadtest.py` runs: load, soak, swaps and malformed requests. All of it is bounded."""
