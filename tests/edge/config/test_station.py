from datetime import time
from pathlib import Path

import pytest

from edge.config.cameras import FolderCameraConfig, VideoCameraConfig
from edge.config.load import load_config
from edge.config.station import ConfigError, StationConfig

GOOD = """
name = "Cell 4"
bundle = "bundle"
state_dir = "state"
run_dir = "/run/linewatch"
[camera]
type = "folder"
path = "samples"
[trigger]
type = "free_run"
rate_hz = 2
"""


def load(folder: Path, text: str) -> StationConfig:
    file = folder / "station.toml"
    file.write_text(text)
    return load_config(file)


def test_defaults_are_the_documented_ones(tmp_path: Path) -> None:
    config = load(tmp_path, GOOD)
    assert config.inspection.deadline_ms == 100
    assert config.inspection.runtime == "openvino"
    assert (config.page.host, config.page.port) == ("127.0.0.1", 8080)
    assert config.storage.max_image_mb == 2000


def test_relative_paths_are_relative_to_the_file_and_absolute_ones_stay(tmp_path: Path) -> None:
    config = load(tmp_path, GOOD)
    assert config.bundle == tmp_path / "bundle"
    assert config.events_db == tmp_path / "state" / "events.db"
    assert config.run_dir == Path("/run/linewatch")
    assert isinstance(config.camera, FolderCameraConfig)
    assert config.camera.path == tmp_path / "samples"


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("0", "0"),
        ("/dev/video0", "/dev/video0"),
        ("rtsp://camera/stream", "rtsp://camera/stream"),
        ("part.mp4", "{folder}/part.mp4"),
    ],
)
def test_only_a_file_name_of_a_video_source_is_made_absolute(tmp_path: Path, source: str, wanted: str) -> None:
    text = GOOD.replace('type = "folder"\npath = "samples"', f'type = "video"\nsource = "{source}"')
    camera = load(tmp_path, text).camera
    assert isinstance(camera, VideoCameraConfig)
    assert camera.source == wanted.format(folder=tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("rate_hz = 2", "rate_hz = 0", "trigger.rate_hz.*got 0"),
        ("rate_hz = 2", "rate_hz = 2\nspeed = 1", "trigger.speed: unknown key"),
        ("rate_hz = 2", "", "trigger.rate_hz: missing"),
        ('path = "samples"', "", "camera.path: missing"),
        ('type = "folder"', 'type = "webcam"', "camera.*webcam"),
        ('name = "Cell 4"', "", "name: missing"),
        ('name = "Cell 4"', 'name = "Cell 4"\nnmae = 1', "nmae: unknown key"),
        ("[trigger]", "[inspection]\ndeadline_ms = 1\n[trigger]", "inspection.deadline_ms.*got 1"),
        ("[trigger]", "[inspection]\ntuned = false\n[trigger]", "inspection.tuned: was removed; remove it"),
        ("[trigger]", "[page]\nport = 0\n[trigger]", "page.port.*got 0"),
        ("[trigger]", "[trigger", "not valid TOML"),
    ],
)
def test_a_wrong_file_is_one_line_with_the_key(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert old in GOOD
    with pytest.raises(ConfigError, match=words) as caught:
        load(tmp_path, GOOD.replace(old, new))
    assert "\n" not in str(caught.value)
    assert "station.toml" in str(caught.value)


def test_a_missing_file_and_bytes_that_are_no_text_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load_config(tmp_path / "absent.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"binary\.toml"):
        load_config(tmp_path / "binary.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path)


def test_the_configuration_cannot_be_changed(tmp_path: Path) -> None:
    config = load(tmp_path, GOOD)
    with pytest.raises(ValueError, match="frozen"):
        config.name = "other"  # type: ignore[misc]


def test_the_demo_station_is_valid() -> None:
    demo = load_config(Path(__file__).parents[3] / "models" / "demo.toml")
    assert demo.page.host == "127.0.0.1"
    assert demo.trigger.rate_hz == 2


def test_the_plan_of_shifts_is_read_with_times_as_text_or_as_toml_has_them(tmp_path: Path) -> None:
    shift = load(tmp_path, GOOD + '[shift]\nzone = "Europe/Berlin"\nstarts = { A = "05:45", B = 17:45:00 }\n').shift
    assert shift.starts == {"A": time(5, 45), "B": time(17, 45)}
    assert list(load(tmp_path, GOOD).shift.starts) == ["Early", "Late", "Night"]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ('zone = "Europe/Bielefeld"', "shift.zone: 'Europe/Bielefeld' is no time zone"),
        ('zone = "../../etc/passwd"', "shift.zone: '../../etc/passwd' is no time zone"),
        ('starts = { A = "25:00" }', "shift.starts.A: '25:00' is no time of day; write it like 06:00"),
        ('starts = { A = "06:00", B = "06:00" }', "shift.starts: two shifts begin at the same time"),
        ("starts = {}", "shift.starts: "),
        ('order = "🔩"', "shift.order: '🔩' is no number of an order"),
    ],
)
def test_a_plan_of_shifts_that_cannot_be_is_one_line(tmp_path: Path, lines: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, f"{GOOD}[shift]\n{lines}\n")
    assert words in str(caught.value)


def test_the_page_writes_into_its_own_folder_where_an_installation_made_one(tmp_path: Path) -> None:
    config = load(tmp_path, GOOD)
    assert config.page_dir == tmp_path / "state"
    (tmp_path / "state" / "page").mkdir(parents=True)
    assert config.page_dir == tmp_path / "state" / "page"
