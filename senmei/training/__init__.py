"""Examples to batches, losses, the loop, checkpoints."""
