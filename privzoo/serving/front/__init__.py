"""The front end: REST and gRPC, keys, TLS, limits, metrics for Prometheus."""
