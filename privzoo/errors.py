"""The errors that privzoo raises: each message is one sentence that says what was wrong and what to do."""

from __future__ import annotations


class PrivzooError(Exception):
    """Base of every error that privzoo deliberately raises; the command line prints it without a traceback."""


class UnknownNameError(PrivzooError, ValueError):
    """An unknown model, network, cut or embedding."""


class ConfigError(PrivzooError, ValueError):
    """A configuration, an argument or a combination of them that cannot work."""


class WeightsError(PrivzooError, OSError):
    """A weights file that is missing, damaged or not the one that was released."""


class InputError(PrivzooError, ValueError):
    """A photograph or a recording that cannot be used.

    Attributes:
        noun: what it is.
        skipped: if all inputs were skipped, what was wrong with each (`privzoo.faces.Skipped`).
    """

    noun = "image"
    skipped: tuple = ()


class ImageError(InputError):
    """An image that cannot be read or has the wrong shape or type."""


class AudioError(InputError):
    """A recording that cannot be read, is silent, too short or too long, or has the wrong rate or type."""

    noun = "recording"


class FaceNotFoundError(ImageError):
    """An image in which the detector finds no face."""


class SilenceError(AudioError):
    """A recording without sound."""


class FeatureError(PrivzooError, ValueError):
    """A feature with the wrong shape, or with a value that is not finite."""


class BudgetError(PrivzooError, RuntimeError):
    """Features that would exceed a person's total privacy budget as set by the caller; none was given out."""


class RenamedWarning(FutureWarning):
    """A name that models or networks had in an earlier release, and that a later one drops."""


class MismatchError(PrivzooError, ValueError):
    """A head and a tail that do not match."""


class ForkError(PrivzooError, RuntimeError):
    """A model that is used in a process that was forked after models were loaded; TensorFlow would hang there."""


class DataError(PrivzooError, ValueError):
    """A data set that is missing, or is not in its official layout."""


class DefectError(PrivzooError, RuntimeError):
    """A measurement that contradicts what a mechanism guarantees: the program does not keep it."""


class MissingExtraError(PrivzooError, ImportError):
    """A part of privzoo whose optional packages are not installed."""


class ServerError(PrivzooError, RuntimeError):
    """A server that answered, but not with a prediction."""


class FeatureRefusedError(ServerError):
    """A server that refused the features themselves, with its protocol's own error: retrying cannot help."""


class ServerUnavailableError(ServerError, ConnectionError):
    """A server that could not be reached."""
