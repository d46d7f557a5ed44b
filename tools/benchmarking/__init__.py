"""What `tools/benchmark.py` runs: heads measured in fresh processes, beside other runtimes."""
