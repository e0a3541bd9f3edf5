"""A request to start from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from hpcflow.batch.machine import load_machine
from hpcflow.batch.request import Request

ROOT = Path(__file__).parents[2]
DRIVER = ROOT / "examples" / "static_fan_out.py"


def request(machine: str = "summit", **changes: Any) -> Request:
    """Return a request that its machine can meet, with some of its fields changed."""
    asked = Request(
        driver=DRIVER,
        run=Path("/gpfs/alpine/abc123/runs/replicas"),
        directory=Path("/gpfs/alpine/abc123"),
        programs=Path("/ccs/proj/abc123/venv/bin"),
        machine=load_machine(machine),
        walltime_s=3600,
        account="abc123",
        name="replicas",
    )
    return replace(asked, **changes)
