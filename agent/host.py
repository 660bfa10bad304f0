"""What this host has, and the configuration as checked against it."""

from pathlib import Path

import psutil

from agent.config import load_config
from agent.settings import Config


def read_config(path: Path, tenants_dir: Path) -> Config:
    """Load the configuration against what this host has.

    Raises:
        ConfigError: Something in it is wrong; every fault is named.

    """
    return load_config(
        path,
        tenants_dir,
        cores=float(psutil.cpu_count() or 1),
        memory_bytes=float(psutil.virtual_memory().total),
    )
