"""Helpers for tests of hpcflow and of what is built on it: fakes that are real programs."""
