"""Strict settings: a TOML file becomes a typed value, or an error with key, file and line."""

from hpcflow.settings.document import Document, convert, dump_toml, load_toml, read_document

__all__ = ["Document", "convert", "dump_toml", "load_toml", "read_document"]
