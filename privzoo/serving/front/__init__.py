"""What faces the clients: REST and gRPC, keys, TLS, limits, figures for Prometheus."""
