"""Builds tenants.bpf.o by clang: in place (`python build.py`), and into every wheel.

Who installs a wheel needs no clang.  Where a wheel is built without one, the object that lies
beside the sources goes into it; without that too, network limits are not enforceable, and doctor
says so.
"""

import shutil
import subprocess
import sys
from pathlib import Path

from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent
OBJECT = "tenants.bpf.o"
_SOURCE = HERE / "tenants.bpf.c"
_FLAGS = ("-O2", "-g", "-target", "bpf", "-mcpu=v3", "-Wall", "-Werror")


def compile_object(target: Path) -> None:
    """Compile the programs to `target`.

    Raises:
        OSError: There is no clang.
        subprocess.CalledProcessError: It failed, and has said why.

    """
    # Debian keeps asm/types.h in the machine's folder, where clang does not look for this target.
    includes = [f"-I{folder}" for folder in sorted(Path("/usr/include").glob("*-linux-gnu"))]
    target.parent.mkdir(parents=True, exist_ok=True)
    command = ["clang", *_FLAGS, *includes, "-c", str(_SOURCE), "-o", str(target)]
    subprocess.run(command, check=True)  # noqa: S603 - fixed words


class BuildPy(build_py):  # type: ignore[misc]
    """Setuptools' build of the packages, and the object with them."""

    def run(self) -> None:
        """Copy the packages, then compile."""
        super().run()
        folder = HERE if self.editable_mode else Path(self.build_lib) / "enforce/bpf"
        if shutil.which("clang"):
            compile_object(folder / OBJECT)
        elif not (folder / OBJECT).exists():
            self.warn(f"no clang and no {OBJECT}: network limits will not be enforceable")


if __name__ == "__main__":
    compile_object(HERE / OBJECT)
    sys.stdout.write(f"bpf: built {OBJECT}\n")
