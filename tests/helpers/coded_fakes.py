"""A small coded head and its served tail, made once for all tests of codes."""

from __future__ import annotations

import functools

import numpy as np
from export_fakes import NAME, SIZE, chips, folder, manifest_of

from privzoo.mechanisms.codebook import levels

JOINT = np.array([[0.45, 0.05], [0.1, 0.4]])


@functools.cache
def exported():
    """Head file, the symbols of `chips`, and the folder of the served tail."""
    import keras

    from privzoo.embeddings import coded
    from privzoo.export import manifests, saved_model, tflite

    keras.utils.set_random_seed(7)
    image = keras.Input((SIZE, SIZE, 3), name="image")
    x = keras.layers.Rescaling(1 / 64, offset=-2.0, name="normalize")(image)
    x = keras.layers.Conv2D(2, SIZE, name="reduce")(x)
    head = keras.Model(image, keras.layers.Reshape((2,), name="vector")(x), name="head")
    features = np.asarray(head(chips().astype(np.float32)))
    book = levels(np.array([1.0, 0.5]), 0.0, np.array([np.median(features @ [1.0, 0.5])]))
    tail = coded.tail_of(JOINT)
    described = manifest_of(head, tail, embedding="coded", code=manifests.Code(book, 3.0))
    path = tflite.export_head(head, folder() / "coded.tflite", "float32", described, chips())
    saved_model.export_tail(tail, folder() / "coded", NAME, 3, described)
    return path, book.encode(features), folder() / "coded"
