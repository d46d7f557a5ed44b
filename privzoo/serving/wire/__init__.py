"""Tensors on the wire: JSON and protobufs to arrays and back, and the codes of refusals."""
