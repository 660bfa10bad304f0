"""What a wheel built from this tree would put into site-packages."""

import importlib.metadata
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).parents[2]


def test_the_wheel_holds_only_our_three_packages(tmp_path: Path) -> None:
    build = ["wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), str(ROOT)]
    subprocess.run([sys.executable, "-m", "pip", *build], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    top_level = {name.split("/")[0] for name in names}
    top_level = {name for name in top_level if not name.endswith(".dist-info")}
    assert top_level == {"agent", "enforce", "forecast"}
    # Who installs it has no clang.
    assert zipfile.ZipFile(wheel).read("enforce/bpf/tenants.bpf.o").startswith(b"\x7fELF")


def test_no_other_distribution_owns_our_import_names() -> None:
    owners = importlib.metadata.packages_distributions()
    for name in ("agent", "enforce", "forecast"):
        assert set(owners[name]) == {"tidegate"}
