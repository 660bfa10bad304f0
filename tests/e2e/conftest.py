"""tidegate as an operator has it: installed by scripts/install.sh under systemd, in the lab."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def installed() -> Path:
    """Install tidegate in this guest and return the directory of its units."""
    if os.environ.get("LAB_SYSTEMD") != "1":
        pytest.skip("installs units: needs the lab with systemd (scripts/check systemd)")
    subprocess.run([ROOT / "scripts/lab-install"], check=True)
    return Path("/usr/local/lib/systemd/system")
