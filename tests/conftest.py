"""What all tests share: golden files, compared or, with --regen, written anew; configurations."""

from collections.abc import Callable
from pathlib import Path

import pytest

from agent.config import ConfigError, load_config
from agent.settings import Config

GOLDEN = Path(__file__).parent / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --regen."""
    parser.addoption("--regen", action="store_true", help="write golden files; review the diff")


@pytest.fixture
def assert_golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Return a comparison of a text with the golden file of a name."""

    def compare(name: str, text: str) -> None:
        path = GOLDEN / name
        if request.config.getoption("--regen"):
            path.write_text(text)
        assert text == path.read_text()

    return compare


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Config]:
    """Return a loader of configuration texts on a host of 2 cores and 2 GiB; {here} is a folder."""

    def loader(host: str = "", **tenants: str) -> Config:
        folder = tmp_path / "tenants.d"
        folder.mkdir(exist_ok=True)
        (tmp_path / "tidegate.toml").write_text(host.replace("{here}", str(tmp_path)))
        for name, text in tenants.items():
            (folder / f"{name}.toml").write_text(text.replace("{here}", str(tmp_path)))
        return load_config(
            tmp_path / "tidegate.toml", folder, cores=2.0, memory_bytes=float(2 << 30)
        )

    return loader


@pytest.fixture
def faults(load: Callable[..., Config], tmp_path: Path) -> Callable[..., list[str]]:
    """Return what is wrong with texts, file names without their folder."""

    def finder(host: str = "", **tenants: str) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            load(host, **tenants)
        return [problem.replace(f"{tmp_path}/", "") for problem in caught.value.problems]

    return finder
