"""Bad input, generated; with the messages that it must lead to."""
