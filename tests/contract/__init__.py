"""Five toys that use everything the frame must hold, before anything real is built on it."""
