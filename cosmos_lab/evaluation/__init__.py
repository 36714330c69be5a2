"""Measured quality: a ruler that reads the state of a nano world from pixel frames, and what it says of a model."""
