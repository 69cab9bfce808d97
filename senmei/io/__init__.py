"""Bytes to and from the nouns of core: the only place that knows file formats."""
