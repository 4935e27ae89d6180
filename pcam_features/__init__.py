"""pcam: the classical baseline for histopathology patches."""

__version__ = "0.1.0"
