"""The device: runs a head on LiteRT and asks a server that holds the tail. Never imports TensorFlow or Keras.

Example:
    >>> from privzoo.edge import Client, Head  # doctest: +SKIP
    >>> with Client(Head("head.tflite"), "http://cloud:8501") as client:  # doctest: +SKIP
    ...     print(client.predict("photograph.jpg")[0].label)
"""

from __future__ import annotations

from privzoo.edge.answer import Answer
from privzoo.edge.client import AsyncClient, Client
from privzoo.edge.covers import pool
from privzoo.edge.golden import released_head
from privzoo.edge.head import Head
from privzoo.edge.manifest import read_manifest
from privzoo.edge.mixing import MixingClient, MixingHead
from privzoo.edge.queue import Queue

__all__ = [
    "Answer",
    "AsyncClient",
    "Client",
    "Head",
    "MixingClient",
    "MixingHead",
    "Queue",
    "pool",
    "read_manifest",
    "released_head",
]
