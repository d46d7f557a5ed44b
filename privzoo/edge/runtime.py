"""The TFLite interpreter that a head runs on."""

from privzoo.litert import interpreter

__all__ = ["interpreter"]
