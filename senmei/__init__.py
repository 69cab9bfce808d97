"""Senmei: make medical images better, and prove it. Importing this package costs nothing."""

__version__ = "0.1.0"
