"""Batch systems: machines as data, scripts as pure rendering, and the commands that submit them."""
