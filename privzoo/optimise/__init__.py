"""Heads that cost the device less: quantized in training, pruned, clustered, or slim."""
