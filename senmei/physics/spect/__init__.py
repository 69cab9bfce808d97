"""Single-photon emission tomography: geometry, projection, reconstruction, scatter, counts. Arrays only."""
