"""Nouns everyone may speak of: volumes, scans, examples, errors, seeds, provenance, devices."""
