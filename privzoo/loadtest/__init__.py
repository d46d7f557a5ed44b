"""Load, soak, swaps and malformed requests on the server: what `tools/loadtest.py` runs. All of it is bounded."""
