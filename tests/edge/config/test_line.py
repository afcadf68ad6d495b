"""[trigger] and [[output]]: what cannot be is one line that names key, value and remedy."""

import os
from pathlib import Path

import pytest

from edge.__main__ import main
from edge.config.load import check_files, load_config
from edge.config.outputs import WebhookOutputConfig
from edge.config.station import ConfigError, StationConfig

BASE = """
name = "Cell 4"
bundle = "bundle"
state_dir = "state"
run_dir = "run"
[camera]
type = "folder"
path = "samples"
"""
FREE_RUN = '[trigger]\ntype = "free_run"\nrate_hz = 2\n'
MODBUS = '[[output]]\ntype = "modbus"\nport = 5020\n'
GPIO = '[[output]]\ntype = "gpio"\nok_line = 5\n'
HOOK = '[[output]]\ntype = "webhook"\nurl = "https://host/x"\nsecret_file = "secret"\n'


def load(folder: Path, text: str) -> StationConfig:
    file = folder / "station.toml"
    file.write_text(BASE + text)
    return load_config(file)


@pytest.mark.parametrize(
    "text",
    [
        FREE_RUN + MODBUS + GPIO + HOOK + '[[output]]\ntype = "mqtt"\nhost = "broker"\n[[output]]\ntype = "memory"\n',
        '[trigger]\ntype = "software"\n',
        '[trigger]\ntype = "modbus"\npage_button = true\n' + MODBUS,
        '[trigger]\ntype = "gpio"\nline = 4\nedge = "falling"\ndebounce_ms = 2\n' + GPIO,
        FREE_RUN + GPIO + '[[output]]\ntype = "gpio"\nname = "second"\nok_line = 6\n',
        FREE_RUN + GPIO + '[[output]]\ntype = "gpio"\nname = "second"\nchip = "/dev/gpiochip1"\nok_line = 5\n',
    ],
)
def test_what_goes_together_is_accepted(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, text).output is not None


def test_paths_of_secrets_are_relative_to_the_file(tmp_path: Path) -> None:
    (hook,) = load(tmp_path, FREE_RUN + HOOK).output
    assert isinstance(hook, WebhookOutputConfig)
    assert hook.secret_file == tmp_path / "secret"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[trigger]\ntype = "modbus"\n', ["trigger.type", "'modbus'", "add it"]),
        ('[trigger]\ntype = "gpio"\nline = 4\n' + GPIO.replace("5", "4"), ["output.0", "line 4", "trigger.line"]),
        (FREE_RUN + MODBUS.replace("5020", "8080"), ["output.0.port", "port 8080", "page.port"]),
        (FREE_RUN + GPIO + GPIO, ["output.1.name", "'gpio'", "give it a name"]),
        (FREE_RUN + GPIO + GPIO.replace("ok_line", 'name = "b"\nok_line'), ["output.1", "line 5", "output.0"]),
        (FREE_RUN + MODBUS + MODBUS.replace("5020", '5021\nname = "b"'), ["two of type modbus", "remove"]),
        (FREE_RUN + GPIO + "ng_line = 5\n", ["output.0", "ng_line", "share a line", "give each its own"]),
        (FREE_RUN + GPIO + "pulse_ms = 600\n", ["output.0.pulse_ms", "600 ms", "500 ms", "shorten"]),
        (FREE_RUN + GPIO + "pulse_ms = 0.05\n", ["output.0.pulse_ms", "0.05"]),
        (FREE_RUN + GPIO + "pulse_s = 1\n", ["output.0.pulse_s", "unknown key"]),
        (FREE_RUN + GPIO + 'safe = "error"\n', ["output.0", "error_line", "add it"]),
        (FREE_RUN + GPIO.replace("5", "-5"), ["output.0.ok_line", "-5"]),
        (FREE_RUN + HOOK.replace("https:", "ftp:"), ["output.0", "ftp://host/x", "correct it"]),
        (FREE_RUN + HOOK.replace("//host", "//a:b@host"), ["output.0", "password", "secret_file"]),
        (FREE_RUN + HOOK + 'secret = "x"\n', ["output.0.secret", "unknown key"]),
        (FREE_RUN + '[[output]]\ntype = "mqtt"\n', ["output.0.host", "missing", "add it"]),
        (FREE_RUN + '[[output]]\ntype = "mqtt"\nhost = "b"\npassword = "x"\n', ["output.0.password", "unknown key"]),
        (FREE_RUN + '[[output]]\ntype = "mqtt"\nhost = "b"\ntls_ca_file = "x"\n', ["output.0", "tls = true"]),
        (FREE_RUN + '[[output]]\ntype = "mqtt"\nhost = "b"\ntopic = "a/#"\n', ["output.0.topic", "a/#"]),
        (FREE_RUN + '[[output]]\ntype = "fax"\n', ["output.0", "'fax'", "'webhook'"]),
        ('[trigger]\ntype = "lever"\n', ["trigger", "'lever'", "'software'"]),
        ('[trigger]\ntype = "software"\nrate_hz = 2\n', ["trigger.rate_hz", "unknown key"]),
        (FREE_RUN + "[inspection]\ndeadline_ms = 0.1\n", ["inspection.deadline_ms", "0.1"]),
        (FREE_RUN + '[inspection]\ndeadline_ms = "100 ms"\n', ["inspection.deadline_ms", "100 ms"]),
        (FREE_RUN + "[inspection]\ndeadline_ms = 30\n", ["inspection.deadline_ms", "30 ms", "camera.fps"]),
    ],
)
def test_what_cannot_be_is_one_line_and_exit_2_for_check_config(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, words: list[str]
) -> None:
    with pytest.raises(ConfigError):
        load(tmp_path, text)
    assert main(["check-config", str(tmp_path / "station.toml")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("linewatch: ")
    assert len(said.splitlines()) == 1
    assert [word for word in words if word not in said] == [], said


def test_a_secret_that_is_not_there_is_found_by_check_config(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load(tmp_path, FREE_RUN + HOOK)
    for folder in ("bundle", "samples"):
        (tmp_path / folder).mkdir()
    assert main(["check-config", str(tmp_path / "station.toml")]) == 2
    assert "output.0.secret_file" in capsys.readouterr().err
    (tmp_path / "secret").write_text("s" * 16)
    assert main(["check-config", str(tmp_path / "station.toml")]) == 0
    assert "webhook" in capsys.readouterr().out


VIDEO = BASE.replace('type = "folder"\npath = "samples"', 'type = "video"\nsource = "SOURCE"')


@pytest.mark.parametrize(
    ("text", "there", "words"),
    [
        (BASE + FREE_RUN, (), "bundle: {0}/bundle: no such bundle folder"),
        (BASE + FREE_RUN + '[recipes]\nother = "other"\n', ("bundle", "samples"), "recipes.other: {0}/other: no such"),
        (BASE + FREE_RUN, ("bundle",), "camera.path: {0}/samples is no folder"),
        (VIDEO.replace("SOURCE", "part.mp4") + FREE_RUN, ("bundle",), "camera.source: {0}/part.mp4 is no file"),
        (
            BASE + FREE_RUN + '[page]\nstations = ["b.toml"]\n',
            ("bundle", "samples"),
            "page.stations.0: {0}/b.toml is no",
        ),
    ],
)
def test_a_file_that_is_not_there_is_named_with_its_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, there: tuple[str, ...], words: str
) -> None:
    file = tmp_path / "station.toml"
    file.write_text(text)
    for folder in there:
        (tmp_path / folder).mkdir()
    assert main(["check-config", str(file)]) == 2
    said = capsys.readouterr().err
    assert words.format(tmp_path) in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("source", ["/dev/video9", "rtsp://camera/stream"])
def test_a_camera_that_may_come_later_is_no_fault_of_the_file(tmp_path: Path, source: str) -> None:
    file = tmp_path / "station.toml"
    file.write_text(VIDEO.replace("SOURCE", source) + FREE_RUN)
    (tmp_path / "bundle").mkdir()
    assert main(["check-config", str(file)]) == 0


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (f'{FREE_RUN}[[output]]\ntype = "mqtt"\nhost = "a..b"\n', "output.0.host"),
        (f'{FREE_RUN}[[output]]\ntype = "mqtt"\nhost = "{"x" * 64}"\n', "output.0.host"),
        (f'{FREE_RUN}[[output]]\ntype = "mqtt"\nhost = "a b"\n', "output.0.host"),
        (f'{FREE_RUN}[[output]]\ntype = "mqtt"\nhost = ""\n', "output.0.host"),
        (f'{FREE_RUN}[[output]]\ntype = "modbus"\nport = 5020\nhost = "a..b"\n', "output.0.host"),
        (f'{FREE_RUN}[page]\nhost = "a..b"\n', "page.host"),
        (FREE_RUN + HOOK.replace("//host/", "//a..b/"), "output.0"),
        (FREE_RUN + HOOK.replace("//host/", "//[/"), "output.0"),
        (FREE_RUN + HOOK.replace("//host/", "//host:99999/"), "output.0"),
        (FREE_RUN + HOOK.replace("//host/", "//host:0/"), "output.0"),
        (FREE_RUN + HOOK.replace("//host/", "//host/\\n"), "output.0.url"),
    ],
)
def test_a_host_or_address_that_cannot_be_asked_is_refused(tmp_path: Path, text: str, key: str) -> None:
    with pytest.raises(ConfigError, match="correct it") as caught:
        load(tmp_path, text)
    assert str(caught.value).split(": ")[1] == key


@pytest.mark.parametrize("kind", ["pipe", "folder", "nothing"])
def test_a_secret_that_is_no_file_is_refused_before_anybody_waits_for_it(tmp_path: Path, kind: str) -> None:
    (tmp_path / "bundle").mkdir()
    if kind == "pipe":
        os.mkfifo(tmp_path / "secret")
    if kind == "folder":
        (tmp_path / "secret").mkdir()
    with pytest.raises(ConfigError, match=r"secret_file: .* is no file that can be read"):
        check_files(load(tmp_path, FREE_RUN + HOOK))
