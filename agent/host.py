"""What this host has, and the configuration as checked against it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import psutil

from agent.config import load_config
from agent.overrides import Override
from agent.settings import Config
from agent.tenant import Resource


def read_machine() -> Mapping[Resource, float]:
    """Return the cores that are online and the bytes of memory that there are now."""
    return {
        Resource.CPU: float(psutil.cpu_count() or 1),
        Resource.MEMORY: float(psutil.virtual_memory().total),
    }


def read_config(
    path: Path,
    tenants_dir: Path,
    accepted: Mapping[Resource, float] | None = None,
    *,
    overrides: Sequence[Override] = (),
) -> Config:
    """Load the configuration against what this host has, or had when one was last accepted.

    A CPU that went offline is no reason to refuse files that were good before.  `overrides` stand
    in files that are good without them.

    Raises:
        ConfigError: Something in it is wrong; every fault is named.

    """
    has, had = read_machine(), accepted or {}
    most = {resource: max(now, had.get(resource, 0.0)) for resource, now in has.items()}
    config = load_config(
        path,
        tenants_dir,
        cores=most[Resource.CPU],
        memory_bytes=most[Resource.MEMORY],
        overrides=overrides,
    )
    host = replace(config.host, has_swap=psutil.swap_memory().total > 0)
    return replace(config, host=host)
