"""What `edge doctor` finds about bundles, keys, the clock and the CPU."""

import argparse
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edge.commands import doctor
from edge.inference import cpu
from edge.inference.bundle import Bundle
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
    monkeypatch.setattr(doctor, "datetime", Reset)
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
