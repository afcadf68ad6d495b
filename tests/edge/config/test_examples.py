"""Every station.toml that is shipped can be used as it is."""

import tomllib
from pathlib import Path

import pytest

from edge.config.load import load_config

REPO = Path(__file__).parents[3]
SHIPPED = sorted(
    path
    for folder in ("models", "firmware_scripts", "docs")
    for path in (REPO / folder).rglob("*.toml")
    if "camera" in tomllib.loads(path.read_text(encoding="utf-8"))
)


def test_the_examples_are_found() -> None:
    names = {path.name for path in SHIPPED}
    assert {
        "demo.toml",
        "station.toml",
        "two-cameras-left.toml",
        "two-cameras-right.toml",
        "plc.toml",
        "gige.toml",
    } <= names


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_a_shipped_station_is_valid(path: Path) -> None:
    config = load_config(path)
    assert config.name
    for other in config.page.stations:
        assert load_config(other).run_dir != config.run_dir


@pytest.mark.parametrize("path", sorted(Path(__file__).with_name("old").glob("*.toml")), ids=lambda path: path.name)
def test_a_station_that_an_older_release_shipped_is_still_valid(path: Path) -> None:
    written = tomllib.loads(path.read_text(encoding="utf-8"))
    config = load_config(path)
    assert (config.name, config.camera.type, config.trigger.type) == (
        written["name"], written["camera"]["type"], written["trigger"]["type"]
    )  # fmt: skip
