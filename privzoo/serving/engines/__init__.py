"""What runs the server: one process, or replicas on a Ray cluster."""
