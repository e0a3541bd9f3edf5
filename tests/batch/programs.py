"""Stand-ins for programs: a few lines of bash on PATH."""

from __future__ import annotations

from pathlib import Path


def write_program(directory: Path, name: str, body: str) -> Path:
    """Write an executable bash script called `name`."""
    directory.mkdir(parents=True, exist_ok=True)
    program = directory / name
    program.write_text(f"#!/bin/bash\n{body}\n")
    program.chmod(0o755)
    return program
