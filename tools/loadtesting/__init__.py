"""What `tools/loadtest.py` runs: load, soak, version swaps, large bodies, malformed requests. Every run is bounded."""
