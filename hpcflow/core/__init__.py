"""Vocabulary and pure decisions: no files, no network, no Dask."""
