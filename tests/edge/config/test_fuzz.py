"""edge.config: whatever a station.toml holds, it is a valid configuration or one line."""

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from edge.config.load import check_camera, check_files, load_config
from edge.config.station import ConfigError, StationConfig
from edge.core.types import EdgeError

WHOLE = """name = "S"
bundle = "bundle"
state_dir = "state"
run_dir = "run"
[recipes]
second = "second"
[camera]
type = "folder"
path = "images"
fps = 30
seconds_per_image = 1.5
[trigger]
type = "free_run"
rate_hz = 2.5
[inspection]
deadline_ms = 100
threads = 2
watch_drift = true
[quality]
frozen_frames = 5
min_focus = 0.5
max_move = 0.04
[storage]
max_image_mb = 2000
ok_every = 3
[page]
host = "127.0.0.1"
port = 8080
stations = ["other.toml"]
[[output]]
type = "gpio"
ok_line = 3
pulse_ms = 50
[[output]]
type = "mqtt"
host = "broker"
topic = "a/b"
user = "u"
password_file = "secret"
[[output]]
type = "webhook"
url = "https://host/x"
secret_file = "secret"
timeout_s = 5
"""
CAMERAS = (
    'type = "video"\nsource = "/dev/video0"\nwidth = 640\nheight = 480\nfps = 20.0\nexposure = 1\ngain = 0\n',
    'type = "genicam"\ndevice = "Fake_1"\nwidth = 640\nheight = 480\nfps = 20\nexposure_us = 100\ngain_db = 1.5\n',
)
VALUE = re.compile(r"^(\w+) = (.+)$", re.MULTILINE)
ODD = (
    *("1e-308", "1e308", "inf", "-inf", "nan", "-1", "0", "true", "false", "5e-324", "9" * 400, "9" * 5000),
    *("0x" + "f" * 9000, "1979-05-27", "{}", "[]", "{a.b.c = 1}", "[" * 5000, "[{x = 1}]", '""', '"1"', '"\\u0000"'),
    *(f'"{"x" * 256}"', f'"{"x/" * 4000}"', '"\\n"', '"\\u001b[31m"', '"a..b"', '"http://["', '"\\ud800"', '"ä"'),
)


def written(folder: Path, text: str) -> Path:
    file = folder / "station.toml"
    file.write_text(text, encoding="utf-8", errors="surrogatepass")
    return file


MAY_BE_NOTHING = {"gain", "gain_db", "debounce_ms", "latency_ms"}  # a tiny value of these is as good as 0


def numbers_in(value: Any, key: str = "") -> list[tuple[str, float]]:
    """Every number below a configuration, with its key."""
    if isinstance(value, dict):
        return [found for name, inner in value.items() for found in numbers_in(inner, name)]
    if isinstance(value, list | tuple):
        return [found for inner in value for found in numbers_in(inner, key)]
    return [(key, value)] if isinstance(value, int | float) and not isinstance(value, bool) else []


def holds_the_law(folder: Path, text: str) -> StationConfig | None:
    """Read the text as the engine does; None when it is refused, in one line that can be printed."""
    file = written(folder, text)
    config = None
    try:
        config = load_config(file)
        check_camera(config)
        check_files(config)
        said = ""
    except ConfigError as error:
        said = str(error)
    assert said.isprintable()
    assert len(said) < 1200
    for key, number in numbers_in(config.model_dump()) if config is not None else ():
        assert math.isfinite(number)
        assert number == 0 or key in MAY_BE_NOTHING or 1e-6 <= abs(number) <= 1e12
    return config


@pytest.mark.parametrize("camera", ["", *CAMERAS], ids=["folder", "video", "genicam"])
@pytest.mark.parametrize("odd", ODD, ids=range(len(ODD)))
def test_no_odd_value_of_any_key_is_more_than_refused(tmp_path: Path, camera: str, odd: str) -> None:
    text = WHOLE
    if camera:
        text = re.sub(r"\[camera\]\n(.+\n)+?\[trigger\]", f"[camera]\n{camera}[trigger]", text)
    for place in VALUE.finditer(text):
        holds_the_law(tmp_path, text[: place.start(2)] + odd + text[place.end(2) :])


def test_the_file_of_the_law_is_a_valid_one(tmp_path: Path) -> None:
    assert load_config(written(tmp_path, WHOLE)).output[0].name == "gpio"


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    place=st.integers(0, len(VALUE.findall(WHOLE)) - 1),
    odd=st.one_of(
        st.floats().map(repr),
        st.integers(-(2**70), 2**70).map(str),
        st.text(max_size=300).map(json.dumps),
        st.text(max_size=20),
        st.lists(st.booleans() | st.integers(0, 9), max_size=3).map(json.dumps),
    ),
)
def test_whatever_a_key_holds_it_is_within_its_bounds_or_refused_in_one_line(
    tmp_path: Path, place: int, odd: str
) -> None:
    found = list(VALUE.finditer(WHOLE))[place]
    holds_the_law(tmp_path, WHOLE[: found.start(2)] + odd + WHOLE[found.end(2) :])


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(raw=st.binary(max_size=200) | st.text(max_size=100).map(lambda text: text.encode(errors="replace")))
@example(raw=b"[" * 100_000)
@example(raw=b"a" + b".a" * 20_000 + b" = 1")
@example(raw=b'"a\\nb" = 1')
@example(raw=b"x" * (1024 * 1024 + 1))
def test_no_bytes_in_place_of_a_station_toml_are_more_than_refused(tmp_path: Path, raw: bytes) -> None:
    file = tmp_path / "station.toml"
    file.write_bytes(raw)
    with pytest.raises(EdgeError) as refused:
        load_config(file)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 1200


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seconds_per_image", "1e-308"),
        ("rate_hz", "1e-308"),
        ("timeout_s", "1e-308"),
        ("fps", "true"),
        ("threads", "true"),
        ("port", '"8080"'),
        ("deadline_ms", '"100"'),
        ("watch_drift", '"yes"'),
        ("ok_every", "1e1"),
        ("max_image_mb", "9" * 30),
        ("bundle", '"\\u0000"'),
        ("bundle", f'"{"x" * 256}"'),
        ("bundle", f'"{"x/" * 2100}"'),
        ("state_dir", '""'),
        ("name", '"a\\nb"'),
        ("second", '"\\u0000"'),
        ("password_file", '"\\u0000"'),
    ],
)
def test_nonsense_is_refused_and_the_key_is_named(tmp_path: Path, key: str, value: str) -> None:
    text, count = re.subn(rf"^{key} = .+$", lambda _: f"{key} = {value}", WHOLE, count=1, flags=re.MULTILINE)
    assert count == 1
    with pytest.raises(ConfigError, match=key):
        load_config(written(tmp_path, text))


def test_a_folder_that_must_not_be_looked_into_is_no_traceback(tmp_path: Path) -> None:
    """As root every folder can be looked into; a path below a file cannot by anybody."""
    (tmp_path / "file").write_text("")
    config = load_config(written(tmp_path, WHOLE.replace('"bundle"', '"file/bundle"')))
    with pytest.raises(ConfigError, match="no such bundle folder"):
        check_files(config)
