"""GPUs that are not there: NVIDIA's library as a module that tests put on PYTHONPATH."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec


class FakeGpu(msgspec.Struct, frozen=True, kw_only=True):
    """What the library says of one GPU."""

    uuid: str
    pci: tuple[int, int, int] = (0, 0, 0)
    """Domain, bus and device on the PCI bus."""


def install_nvml(
    file: Path, gpus: Sequence[FakeGpu | None], environment: Mapping[str, str]
) -> dict[str, str]:
    """Return an environment whose Python has NVIDIA's library, and GPUs in it.

    Parameters
    ----------
    file
        Where to write what the library says.
    gpus
        The GPUs by number; None for one that has fallen off the bus.
    environment
        What to add to, such as `os.environ`.
    """
    file.write_bytes(msgspec.json.encode(gpus))
    modules = str(Path(__file__).with_name("nvml"))
    path = environment.get("PYTHONPATH")
    return {
        **environment,
        "PYTHONPATH": modules if not path else f"{modules}:{path}",
        "HPCFLOW_FAKE_NVML": str(file),
    }
