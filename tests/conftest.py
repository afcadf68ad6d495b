import pytest
from hypothesis import settings

from edge.inference.bundle import Bundle
from tests.tiny import write_tiny_bundle

settings.register_profile("linewatch", deadline=None)  # a loaded machine is no failure
settings.load_profile("linewatch")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--minutes", action="store_true", help="run also what takes minutes: a station's life under systemd"
    )
    parser.addoption(
        "--debian", metavar="DIR", help="a root that debootstrap made, for tests/systemd (else one is made)"
    )
    parser.addoption("--fuzz-seconds", type=float, default=0.0, metavar="S", help="how long each target is fuzzed (0)")


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A verified bundle around the tiny model; read only: copy it before you damage it."""
    folder = tmp_path_factory.mktemp("tiny")
    return write_tiny_bundle(folder / "bundle", folder / "work")


@pytest.fixture(scope="session")
def tiny_box_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A verified bundle around the tiny model that locates by boxes; read only."""
    folder = tmp_path_factory.mktemp("tiny_boxes")
    return write_tiny_bundle(folder / "bundle", folder / "work", boxed=True)
