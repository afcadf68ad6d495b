"""What `edge doctor` finds about bundles, keys, the clock and the CPU."""

import argparse
import json
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edge.commands import doctor
from edge.commands.doctor import computer, running, station
from edge.commands.doctor.findings import Finding, Level
from edge.config.load import load_config
from edge.exchange.health import HEALTH, OutputHealth, Sight, State
from edge.inference import cpu
from edge.inference.bundle import Bundle
from edge.web.access.certificate import LASTS, OWN_CERTIFICATE, tls_context
from tests.edge.inference.release.signing import Signer, needs_root, released
from tests.edge.web.standin import StandIn


@pytest.fixture
def config(tmp_path: Path, tiny_bundle: Bundle) -> Path:
    file = tmp_path / "station.toml"
    file.write_text(
        f'name = "S"\nbundle = "{tiny_bundle.path}"\nstate_dir = "state"\nrun_dir = "run"\n'
        '[camera]\ntype = "folder"\npath = "camera"\n[trigger]\ntype = "free_run"\nrate_hz = 1\n'
    )
    return file


@pytest.fixture
def engine(tmp_path: Path, tiny_bundle: Bundle) -> StandIn:
    """The engine of `config`, which has said nothing yet."""
    return StandIn(tmp_path, tiny_bundle)


@pytest.fixture
def runs(engine: StandIn) -> Iterator[None]:
    """Let the engine of `config` run."""
    engine.start()
    yield
    engine.stop()


def lines(capsys: pytest.CaptureFixture[str], config: Path | None = None) -> tuple[int, dict[str, str]]:
    status = doctor.run(argparse.Namespace(config=config))
    return status, {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}


def optional(config: Path) -> None:
    config.write_text(f'bundle_signatures = "optional"\n{config.read_text()}')


@pytest.mark.usefixtures("runs")
def test_an_unsigned_bundle_is_wrong_or_said(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, said = lines(capsys, config)
    assert status == 1
    assert "WRONG: default: " in said["bundle"]
    assert "is not signed" in said["bundle"]
    optional(config)
    status, said = lines(capsys, config)
    assert status == 0
    assert "NOT SIGNED" in said["bundle"]


@needs_root
@pytest.mark.usefixtures("runs")
def test_a_signed_bundle_names_its_key_and_a_key_that_others_can_write_is_wrong(
    config: Path, tiny_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    signer = Signer()
    bundle = signer.sign(released(tiny_bundle, tmp_path, 1))
    config.write_text(config.read_text().replace(str(tiny_bundle.path), str(bundle.path)))
    optional(config)
    key = signer.trusted_in(tmp_path / "trust")
    status, said = lines(capsys, config)
    assert status == 0
    assert f"signed by key {signer.id}" in said["bundle"]
    assert "1 key (" in said["trust"]
    key.chmod(0o664)
    status, said = lines(capsys, config)
    assert status == 1
    assert f"others than root can write it; run: chmod go-w {key}" in said["trust"]


def test_a_clock_in_1970_is_wrong(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Reset(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:
            return datetime(1970, 1, 1, 0, 3, tzinfo=UTC)

    optional(config)
    monkeypatch.setattr(station, "datetime", Reset)
    status, said = lines(capsys, config)
    assert status == 1
    assert "WRONG: it says 1970-01-01 00:03 UTC; run: timedatectl set-ntp true" in said["clock"]


def test_a_cpu_without_avx2_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "cpuinfo"
    old.write_text("processor\t: 0\nmodel name\t: Old\nflags\t\t: fpu sse sse2 sse4_1 avx\n")
    monkeypatch.setattr(cpu.require_cpu, "__defaults__", (old,))
    status, said = lines(capsys)
    assert status == 1
    assert "WRONG" in said["cpu"]
    assert "AVX2" in said["cpu"]


@pytest.mark.usefixtures("runs")
def test_programs_get_the_same_findings_as_json(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, said = lines(capsys, config)
    assert doctor.run(argparse.Namespace(config=config, json=True)) == status == 1
    told = json.loads(capsys.readouterr().out)
    assert told["works"] is False
    assert {one["name"] for one in told["findings"]} == set(said)
    assert {one["name"] for one in told["findings"] if one["level"] == "wrong"} == {"bundle"}


def test_a_governor_that_saves_power_and_a_cpu_that_was_hot_are_to_be_looked_at(tmp_path: Path) -> None:
    assert computer.governor(tmp_path).level is Level.FACT
    assert computer.temperature(tmp_path).words == "no sensor"
    cpu0 = tmp_path / "devices/system/cpu/cpu0"
    for name, content in {
        cpu0 / "cpufreq/scaling_governor": "powersave\n",
        cpu0 / "thermal_throttle/core_throttle_count": "3\n",
        tmp_path / "class/thermal/thermal_zone0/temp": "71000\n",
    }.items():
        name.parent.mkdir(parents=True)
        name.write_text(content)
    assert computer.governor(tmp_path).level is Level.LOOK
    assert "71 °C; the CPU slowed itself down 3 times" in computer.temperature(tmp_path).words
    (cpu0 / "cpufreq/scaling_governor").write_text("performance\n")
    assert computer.governor(tmp_path).level is Level.FACT


@needs_root
def test_what_others_than_root_can_write_is_to_be_looked_at(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    optional(config)
    _, said = lines(capsys, config)
    assert "only root can write" in said["rights"]
    config.chmod(0o666)
    _, said = lines(capsys, config)
    assert f"LOOK: {config}: others than root can write it" in said["rights"]


def test_a_certificate_is_told_before_it_ends(tmp_path: Path, config: Path) -> None:
    config.write_text(f"{config.read_text()}[page]\ntls = true\n")
    tls_context(load_config(config))
    path = tmp_path / "state" / OWN_CERTIFICATE
    now = datetime.now(UTC)
    assert station.certificate(path, now).level is Level.FACT
    assert station.certificate(path, now + LASTS - timedelta(days=20)).level is Level.LOOK
    assert station.certificate(path, now + LASTS + timedelta(days=2)).level is Level.WRONG


def test_who_listens_is_read_from_the_kernel(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert server.getsockname()[1] in running.listening(Path("/proc/net"))
    assert running.listening(tmp_path) == set()


def test_a_port_that_the_firewall_does_not_guard_is_to_be_looked_at(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    optional(config)
    assert "firewall" not in lines(capsys, config)[1]
    config.write_text(f'{config.read_text()}[[output]]\ntype = "modbus"\nhost = "0.0.0.0"\nport = 1502\n')
    rules = config.with_name("firewall.nft")
    rules.write_text("tcp dport { 8080, 502 } ip saddr { 10.0.0.1 } accept\ntcp dport { 8080, 502 } drop\n")
    said = lines(capsys, config)[1]
    assert "LOOK" in said["firewall"]
    assert "1502 of Modbus: run provision.sh --ports 1502" in said["firewall"]
    rules.write_text("tcp dport { 8080, 1502 } drop\n")
    assert lines(capsys, config)[1]["firewall"].endswith("guards 1502")
    rules.unlink()
    assert "every network reaches 1502" in lines(capsys, config)[1]["firewall"]


def test_a_camera_that_is_not_there_is_wrong(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    optional(config)
    written = config.read_text().replace('type = "folder"\npath = "camera"', 'type = "video"\nsource = "/dev/videoX"')
    config.write_text(written.replace("/dev/videoX", "/dev/video97"))
    status, said = lines(capsys, config)
    assert (status, "WRONG: /dev/video97 is not there; plug it in" in said["camera"]) == (1, True)


def found(config: Path) -> dict[str, Finding]:
    return {one.name: one for one in running.running_findings(load_config(config), config)}


@pytest.mark.parametrize(
    ("state", "age_s", "remedy"),
    [
        (None, 0, "systemctl start linewatch-engine"),
        (State.STOPPED, 0, "systemctl start linewatch-engine"),
        (State.RUNNING, 3600, "it is silent: systemctl restart linewatch-engine"),
        (State.FAULT, 0, "every part is ERROR: systemctl restart linewatch-engine"),
    ],
)
def test_a_station_whose_engine_does_not_judge_does_not_work(
    config: Path, engine: StandIn, state: State | None, age_s: float, remedy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    optional(config)
    if state is not None:
        engine.health(state, written_at=datetime.now(UTC) - timedelta(seconds=age_s))
    status, said = lines(capsys, config)
    assert status == 1
    assert "WRONG: " in said["engine"]
    assert remedy in said["engine"]


@pytest.mark.parametrize("state", [State.STARTING, State.COMMISSIONING])
def test_an_engine_that_will_judge_soon_is_to_be_looked_at(config: Path, engine: StandIn, state: State) -> None:
    engine.health(state)
    assert found(config)["engine"].level is Level.LOOK


def test_a_frame_of_minutes_ago_is_wrong(config: Path, engine: StandIn) -> None:
    engine.health()
    assert found(config)["frames"].level is Level.FACT
    engine.health(written_at=datetime.now(UTC) - timedelta(minutes=3))
    frames = found(config)["frames"]
    assert frames.level is Level.WRONG
    assert "the last frame is 180" in frames.words


def test_a_view_that_is_not_commissioned_or_refused_is_to_be_looked_at(config: Path, engine: StandIn) -> None:
    engine.says = {"commissioned": True}
    engine.health()
    assert found(config)["view"].level is Level.FACT
    engine.says = {"commissioned": False}
    engine.health()
    assert "run edge commission" in found(config)["view"].words
    sight = Sight(
        at=datetime.now(UTC), width=640, height=480, focus=80.0, exposure=12.4, clipped=0.004,
        refused="too dark: it shows nothing", commissioned_focus=210.0, commissioned_exposure=118.0,
    )  # fmt: skip
    engine.says = {"commissioned": True, "sight": sight}
    engine.health(State.CAMERA_FAULT, "too dark")
    view = found(config)["view"]
    assert view.level is Level.LOOK
    for words in ("brightness 12 of 255 (commissioned 118)", "0.4% of the picture", "sharpness 80 (commissioned 210)"):
        assert words in view.words


def test_an_output_that_is_down_and_pictures_that_are_not_kept_are_to_be_looked_at(
    config: Path, engine: StandIn
) -> None:
    engine.says = {"outputs": [OutputHealth(name="mqtt broker:8883", up=True, told=12)]}
    engine.health()
    assert found(config)["output"].level is Level.FACT
    assert "pictures" not in found(config)
    down = OutputHealth(name="mqtt broker:8883", up=False, detail="connection refused", waiting=214)
    engine.says = {"outputs": [down], "storage_fault": "images: no space left on the disk"}
    engine.health()
    said = found(config)
    assert said["output"].level is said["pictures"].level is Level.LOOK
    assert "214 wait in its outbox; down: connection refused; check its power" in said["output"].words


def test_what_the_engine_wrote_and_cannot_be_read_is_wrong(config: Path, engine: StandIn) -> None:
    (engine.config.run_dir / HEALTH).write_text("{")
    assert found(config)["engine"].level is Level.WRONG
