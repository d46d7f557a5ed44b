"""Exports models: heads as TFLite files for the device, tails as SavedModels for TF Serving."""

from __future__ import annotations
