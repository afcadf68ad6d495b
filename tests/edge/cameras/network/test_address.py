from pathlib import Path

import pytest

from edge.cameras import CameraError, make_camera
from edge.cameras.network.address import address_of
from edge.config.cameras import VideoCameraConfig, without_secrets
from edge.config.load import check_camera, load_config
from edge.config.station import ConfigError

SECRETS = [
    "{scheme}://admin:hunter2@127.0.0.1:9/stream",
    "{scheme}://admin:hun/hunter2@127.0.0.1:9/stream",
    "{scheme}://admin:x@hunter2@127.0.0.1:9/stream",
    "{scheme}://admin:x?hunter2@127.0.0.1:9/stream",
    "{scheme}://admin:x#hunter2@127.0.0.1:9/stream",
    "{scheme}://hunter2@127.0.0.1:9/stream",
    "{scheme}://127.0.0.1:9/cgi?user=admin&pwd=hunter2",
    "{scheme}://127.0.0.1:9/cgi?password=hunter2@home",
    "{scheme}://127.0.0.1:9/cgi#hunter2",
    "{scheme}://127.0.0.1:9/user=admin&password=hunter2&channel=1",
    "{scheme}://127.0.0.1:9/admin/hunter2/main",
    "{scheme}://admin:hunter2@127.0.0.1:nine/stream",
    "{scheme}://admin:hunter2@[::1/stream",
    "{scheme}://admin:hunter2\\@127.0.0.1:9/stream",
    " {scheme}://admin:hunter2@127.0.0.1:9/stream",
]


@pytest.mark.parametrize("scheme", ["http", "https", "rtsp", "HTTP", "rtmp", "tcp"])
@pytest.mark.parametrize("url", SECRETS)
def test_nothing_that_may_be_a_password_is_shown(url: str, scheme: str) -> None:
    source = url.format(scheme=scheme)
    camera = make_camera(VideoCameraConfig(type="video", source=source))
    for text in (camera.describe(), without_secrets(source)):
        assert "hunter2" not in text


@pytest.mark.parametrize(
    ("url", "scheme"), [*((url, "http") for url in SECRETS), *((url, "rtsp") for url in SECRETS[:2])]
)
def test_no_error_of_a_camera_shows_its_password(url: str, scheme: str, capfd: pytest.CaptureFixture[str]) -> None:
    camera = make_camera(VideoCameraConfig(type="video", source=url.format(scheme=scheme)))
    with pytest.raises(CameraError) as caught:
        camera.open()
    assert "hunter2" not in str(caught.value) + "".join(capfd.readouterr())


def test_what_is_shown_names_the_host() -> None:
    assert without_secrets("rtsp://admin:a/b@10.0.0.7:554/Streaming/101") == "rtsp://***@10.0.0.7:554/..."
    assert without_secrets("http://10.0.0.7") == "http://10.0.0.7"
    assert without_secrets("/dev/v4l/by-id/usb-1") == "/dev/v4l/by-id/usb-1"


def test_an_address_is_sent_as_ascii_without_its_user() -> None:
    address = address_of("http://wim:p%40ss@käse.example:81/bild ä.jpg?q=ü".replace(" ", "%20"))
    assert address.url == "http://xn--kse-qla.example:81/bild%20%C3%A4.jpg?q=%C3%BC"
    assert (address.user, address.password) == ("wim", "p@ss")


STATION = """name = "a"
bundle = "b"
state_dir = "s"
run_dir = "r"
trigger = {type = "software"}
[camera]
type = "video"
"""


@pytest.mark.parametrize(
    "lines",
    [
        'source = "rtsp://admin:hunter2@10.0.0.7/1"\ngain = 3',
        'source = ["rtsp://admin:hunter2@10.0.0.7/1"]',
        f'source = "rtsp://admin:hunter2@10.0.0.7/{"x" * 5000}"',
        'source = "rtsp:/admin:hunter2@10.0.0.7/1"',
        'source = "http:/10.0.0.7/cgi?pwd=hunter2"',
        'source = "admin:hunter2@10.0.0.7/1"',
        'source = "rtsp://admin:hunter2@10.0.0.7/1',
        'sourc = "rtsp://admin:hunter2@10.0.0.7/1"',
        'source = "x"\nfps = "rtsp://admin:hunter2@10.0.0.7/1"',
    ],
)
def test_a_wrong_station_file_is_refused_without_its_password(tmp_path: Path, lines: str) -> None:
    path = tmp_path / "station.toml"
    path.write_text(STATION + lines + "\n")
    with pytest.raises(ConfigError) as caught:
        check_camera(load_config(path))
    assert "hunter2" not in str(caught.value)


def test_a_configuration_that_is_printed_has_no_password() -> None:
    assert "hunter2" not in repr(VideoCameraConfig(type="video", source="rtsp://admin:hunter2@10.0.0.7/1"))
