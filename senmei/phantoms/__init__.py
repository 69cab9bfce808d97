"""Anatomy as labels, with exact truth."""
