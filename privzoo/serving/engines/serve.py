"""Serves with the engine that the options name."""

from __future__ import annotations

import os
from typing import Any

from privzoo.errors import ConfigError
from privzoo.serving.settings import Options


def serve(model_base_path: str | os.PathLike[str] | None = None, **options: Any) -> None:
    """Serves models until SIGINT or SIGTERM; running requests are answered first.

    Args:
        model_base_path: folder with `<version>/saved_model.pb` in it; None with `model_config_file`.
        options: the other fields of `privzoo.serving.settings.Options`.

    Raises:
        ConfigError: an invalid name, folder, file, address or port.
        WeightsError: a version that is not a SavedModel, or a damaged one.
        MissingExtraError: TensorFlow or Ray Serve is not installed.

    Example:
        >>> serve("served/vgg16_gender_simple_conv5_3", model_name="vgg16_gender_simple_conv5_3")  # doctest: +SKIP
    """
    chosen = Options(model_base_path=model_base_path, **options)
    if chosen.allow_reload_without_key and chosen.api_key_file is not None:
        raise ConfigError("--allow_reload_without_key contradicts --api_key_file; leave one of them out.")
    if chosen.engine == "ray":
        from privzoo.serving.engines import ray

        ray.serve(chosen, ray.read_cluster(chosen.engine_config_file))
    else:
        from privzoo.serving.engines import embedded

        embedded.serve(chosen)
