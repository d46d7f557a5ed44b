"""The version of the package, alone, so that every part may say it."""

__version__ = "0.1.0"
