"""Dask settings of the farm's processes and client, each with its reason."""

from __future__ import annotations

from typing import Any

DASK_SETTINGS: dict[str, Any] = {
    # a connection storm or a busy file system may hold a peer up for longer than the default 30 s
    "distributed.comm.timeouts.connect": "120s",
    "distributed.comm.timeouts.tcp": "120s",
    # the scheduler keeps a connection to every worker
    "distributed.comm.socket-backlog": 4096,
    # a driver may be held up by its file system
    "distributed.client.heartbeat": "30s",
    # the worker only relays: there is nothing in it to profile, spill, steal or pause
    "distributed.worker.profile.enabled": False,
    "distributed.scheduler.work-stealing": False,
    "distributed.scheduler.active-memory-manager.start": False,
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": False,
    # flat memory: these logs are kept for a debugging that nobody does on a farm
    "distributed.admin.low-level-log-length": 100,
    "distributed.admin.system-monitor.log-length": 100,
    # we count attempts ourselves (core/dispatch.py)
    "distributed.scheduler.allowed-failures": 1_000_000,
}
