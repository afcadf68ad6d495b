"""What `edge doctor` finds about bundles, keys, the clock and the CPU."""

import argparse
import json
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edge.commands import doctor
from edge.commands.doctor import computer, running, station
from edge.commands.doctor.findings import Level
from edge.config.load import load_config
from edge.inference import cpu
from edge.inference.bundle import Bundle
from edge.web.access.certificate import LASTS, OWN_CERTIFICATE, tls_context
from tests.edge.inference.release.signing import Signer, needs_root, released


@pytest.fixture
def config(tmp_path: Path, tiny_bundle: Bundle) -> Path:
    file = tmp_path / "station.toml"
    file.write_text(
        f'name = "S"\nbundle = "{tiny_bundle.path}"\nstate_dir = "state"\nrun_dir = "run"\n'
        '[camera]\ntype = "folder"\npath = "camera"\n[trigger]\ntype = "free_run"\nrate_hz = 1\n'
    )
    return file


def lines(capsys: pytest.CaptureFixture[str], config: Path | None = None) -> tuple[int, dict[str, str]]:
    status = doctor.run(argparse.Namespace(config=config))
    return status, {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}


def optional(config: Path) -> None:
    config.write_text(f'bundle_signatures = "optional"\n{config.read_text()}')


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


def test_a_camera_that_is_not_there_is_wrong(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    optional(config)
    written = config.read_text().replace('type = "folder"\npath = "camera"', 'type = "video"\nsource = "/dev/videoX"')
    config.write_text(written.replace("/dev/videoX", "/dev/video97"))
    status, said = lines(capsys, config)
    assert (status, "WRONG: /dev/video97 is not there; plug it in" in said["camera"]) == (1, True)
