"""A real engine judges with what was signed and activated, and with nothing else."""

import shutil
from pathlib import Path

import pytest

from edge.__main__ import main
from edge.commands.bundle import activation
from edge.inference.bundle import Bundle
from edge.inference.release.archive import archive_path, write_archive
from tests.edge.inference.release.signing import Signer, needs_root, released
from tests.system.station import Engine, Station


def bundle(station: Station, act: str, *arguments: object) -> int:
    return main(["bundle", act, "--config", str(station.file), *map(str, arguments)])


@needs_root
def test_an_engine_takes_a_signed_bundle_after_its_activation_and_goes_back_to_the_one_before(
    tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activation, "step_aside", lambda: None)  # this process goes on with other tests
    station = Station(tmp_path, tiny_bundle)
    text = station.file.read_text().replace('bundle_signatures = "optional"\n', "")
    station.file.write_text(text.replace(str(tiny_bundle.path), "models/current"))
    (tmp_path / "models").mkdir()
    shutil.copytree(tiny_bundle.path, tmp_path / "models" / "plain")
    (tmp_path / "models" / "current").symlink_to("plain")
    with Engine(station, "--no-page") as engine:
        assert engine.ended() == 1
    assert "is not signed; sign it with `python -m train sign`, or set bundle_signatures" in engine.said
    assert len([line for line in engine.said.splitlines() if line.startswith("linewatch:")]) == 1

    signer = Signer()
    signer.trusted_in(tmp_path / "trust")
    archives = []
    for counter in (1, 2):
        made = signer.sign(released(tiny_bundle, tmp_path / "made", counter))
        write_archive(made, archive_path(made.path))
        archives.append(archive_path(made.path))
    assert bundle(station, "activate", archives[0]) == 0
    with Engine(station, "--no-page") as engine:
        engine.ready()
        assert bundle(station, "confirm", "--wait", 120) == 0
        health = station.health()
        assert health is not None
        assert (health.signed_by, health.unsigned) == (signer.id, False)
        assert bundle(station, "activate", archives[1]) == 0, "beside an engine that judges"
        assert bundle(station, "confirm") == 1, "the engine still judges with the old one"
    assert bundle(station, "rollback", "--automatic") == 0
    with Engine(station, "--no-page") as engine:
        engine.ready()
        health = station.health()
        assert health is not None
        assert health.bundle.startswith("flange 1 ")
