"""Serves with the engine that the options name."""

from __future__ import annotations

from privzoo.errors import ConfigError
from privzoo.serving.settings import Options
from privzoo.serving.taking import taking


@taking(Options)
def serve(options: Options) -> None:
    """Serves models until SIGINT or SIGTERM; running requests are answered first.

    Args:
        options: its fields, each as an argument of its own; `privzoo.serving.settings.Options` says what they are, as
            does `privzoo serve --help`.

    Raises:
        ConfigError: an invalid name, folder, file, address or port.
        WeightsError: a version that is not a SavedModel, or a damaged one.
        MissingExtraError: TensorFlow or Ray Serve is not installed.

    Example:
        >>> serve("served/vgg16_gender_simple_conv5_3", model_name="vgg16_gender_simple_conv5_3")  # doctest: +SKIP
    """
    if options.allow_reload_without_key and options.api_key_file is not None:
        raise ConfigError("--allow_reload_without_key contradicts --api_key_file; leave one of them out.")
    if options.engine == "ray":
        from privzoo.serving.engines import ray

        ray.serve(options, ray.read_cluster(options.engine_config_file))
    else:
        from privzoo.serving.engines import embedded

        embedded.serve(options)
