"""The attacks and metrics, one file each."""
