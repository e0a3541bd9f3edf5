"""Stands in for `nvidia-ml-py` where there is no NVIDIA GPU: on PYTHONPATH, for tests.

`HPCFLOW_FAKE_NVML` names a JSON file with a list of GPUs, each `{"uuid": ..., "pci": [domain, bus,
device]}`, or null for one that has fallen off the bus; without the variable there is no driver.
The functions are those that hpcflow uses, with the errors of the real ones.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

_gpus: list[dict[str, Any] | None] | None = None


class NVMLError(Exception):
    """An error of the library."""


def nvmlInit() -> None:  # noqa: N802  the real name, as below
    """Find the driver."""
    global _gpus  # noqa: PLW0603  the real library holds its state so, too
    if "HPCFLOW_FAKE_NVML" not in os.environ:
        raise NVMLError("Driver Not Loaded")
    _gpus = json.loads(Path(os.environ["HPCFLOW_FAKE_NVML"]).read_text())


def nvmlShutdown() -> None:  # noqa: N802
    """Let go of the driver."""
    global _gpus  # noqa: PLW0603
    _gpus = None


def _loaded() -> list[dict[str, Any] | None]:
    if _gpus is None:
        raise NVMLError("Uninitialized")
    return _gpus


def nvmlDeviceGetCount() -> int:  # noqa: N802
    """Return how many GPUs there are, those that are lost included."""
    return len(_loaded())


def nvmlDeviceGetHandleByIndex(index: int) -> dict[str, Any]:  # noqa: N802
    """Return a GPU."""
    gpus = _loaded()
    if not 0 <= index < len(gpus):
        raise NVMLError("Invalid Argument")
    gpu = gpus[index]
    if gpu is None:
        raise NVMLError("GPU is lost")
    return gpu


def nvmlDeviceGetUUID(handle: dict[str, Any]) -> str:  # noqa: N802
    """Return a GPU's UUID."""
    return str(handle["uuid"])


def nvmlDeviceGetPciInfo(handle: dict[str, Any]) -> SimpleNamespace:  # noqa: N802
    """Return where a GPU is."""
    domain, bus, device = handle["pci"]
    return SimpleNamespace(domain=domain, bus=bus, device=device)
