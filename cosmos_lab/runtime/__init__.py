"""Weights, devices and speed: what it takes to run a model on a machine."""
