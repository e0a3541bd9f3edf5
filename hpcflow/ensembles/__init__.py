"""Ensembles: many tasks of one kind, described by a run configuration."""
