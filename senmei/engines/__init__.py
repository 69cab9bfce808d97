"""Programs we drive by subprocess."""
