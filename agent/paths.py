"""Where an installed tidegate keeps its files, unless it is told otherwise.  Pure."""

from pathlib import Path

CONFIG_PATH = Path("/etc/tidegate/tidegate.toml")
TENANTS_DIR_NAME = "tenants.d"  # beside the host's file
STATE_DIR = Path("/var/lib/tidegate")
RUNTIME_DIR = Path("/run/tidegate")
SOCKET_NAME = "control.sock"
LOCK_NAME = "agent.lock"
ORIGINALS_NAME = "originals.json"
