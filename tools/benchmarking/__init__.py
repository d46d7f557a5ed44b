"""What `tools/benchmark.py` runs: heads measured in fresh processes, next to other runtimes."""
