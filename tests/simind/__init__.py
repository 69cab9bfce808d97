"""A double of SIMIND for tests."""
