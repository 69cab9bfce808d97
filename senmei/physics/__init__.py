"""How images come to be: contrast, bias, noise, coils, k-space. Arrays only."""
