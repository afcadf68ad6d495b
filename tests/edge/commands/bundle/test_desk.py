"""`edge bundle attend`: what becomes of the page's wishes, and that every failure leaves the old bundle judging."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge.commands.bundle import desk
from edge.commands.bundle.store import Store
from edge.config.load import load_config
from edge.core.types import EdgeError, Verdict
from edge.exchange.bundle_desk import UPLOAD, Report, Stage, Wish, leave_wish, read_outcome, wish_waits, write_outcome
from edge.exchange.commands import Command, Verb
from edge.exchange.health import read_health
from edge.exchange.requests import RequestServer
from edge.inference.bundle import Bundle, open_bundle
from edge.inference.release.trust import REVOKED
from edge.inference.release.versions import read_audit
from edge.web.setup.promise import bundles_facts
from tests.edge.commands.bundle.test_bundle import engine_judges, judging, packed, signer, station, store_parts, taken
from tests.edge.engine.parts import Answering, prediction
from tests.edge.inference.release.signing import needs_root

__all__ = ["packed", "signer", "station"]
pytestmark = needs_root


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the priority of the tests: else they would wait for an idle computer."""
    monkeypatch.setattr(desk, "step_aside", lambda: None)


def wished(station: Store, act: str, **facts: object) -> Report:
    """Leave a wish, have it carried out, and return the report."""
    wish = Wish.model_validate({"id": os.urandom(8).hex(), "act": act, "who": "Anna", **facts})
    leave_wish(station.config.state_dir, wish)
    desk.attend(station.config)
    report = read_outcome(station.config.run_dir)
    assert report is not None
    assert not wish_waits(station.config.state_dir)
    assert report.id == wish.id
    return report


@contextmanager
def engine(station: Store, takes: bool = True) -> Iterator[None]:
    """Run an engine's side of the socket: it takes what is offered, or refuses it."""
    server, stop = RequestServer(station.config.run_dir), threading.Event()
    judge = Answering(lambda _: prediction(1.0))

    def obey(command: Command) -> None:
        assert command.verb is Verb.TAKE_BUNDLE
        bundle = open_bundle(Path(os.path.realpath(station.config.bundle)))
        assert bundle.digest == command.digest
        if not takes:
            raise EdgeError("it does not reproduce its references")
        engine_judges(station, bundle.title)

    def serve() -> None:
        while not stop.wait(0.01):
            server.serve_next(judge, obey)
            health = read_health(station.config.run_dir)
            engine_judges(station, health.bundle)

    thread = threading.Thread(target=serve)
    server.start()
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        server.stop()


def test_a_good_upload_lies_beside_the_others_and_does_not_judge(station: Store, packed: Callable[..., Path]) -> None:
    taken(station, packed(1))
    shutil.copy(packed(2), station.config.state_dir / UPLOAD)
    report = wished(station, "check")
    assert report.stage is Stage.DONE, report.fault
    assert report.bundle is not None
    assert open_bundle(station.folder / report.bundle).manifest.release is not None
    assert judging(station) == 1
    assert not (station.config.state_dir / UPLOAD).exists()


@pytest.mark.parametrize("content", [b"", b"\x00" * 4096, b"PK\x03\x04" + b"a" * 2000])
def test_an_upload_that_is_no_bundle_is_said_and_removed(
    station: Store, packed: Callable[..., Path], content: bytes
) -> None:
    taken(station, packed(1))
    before = sorted(station.folder.iterdir())
    (station.config.state_dir / UPLOAD).write_bytes(content)
    report = wished(station, "check")
    assert report.stage is Stage.FAILED
    assert "bundle-upload.lwb" in (report.fault or "")
    assert not (station.config.state_dir / UPLOAD).exists()
    assert sorted(station.folder.iterdir()) == before


def test_an_upload_without_a_signature_never_lies_beside_the_others(
    station: Store, packed: Callable[..., Path]
) -> None:
    shutil.copy(packed(3, signed=False), station.config.state_dir / UPLOAD)
    report = wished(station, "check")
    assert "is not signed" in (report.fault or "")
    assert list(station.folder.iterdir()) == []


def test_a_shadow_run_counts_and_names_the_parts_that_differ(station: Store, packed: Callable[..., Path]) -> None:
    store_parts(station)
    bundle = taken(station, packed(1))
    report = wished(station, "shadow", bundle=bundle.path.name, parts=3)
    assert (report.stage, report.tried, report.wanted) == (Stage.DONE, 3, 3)
    assert any("3 stored parts" in line for line in report.lines)
    assert all(one.now is not one.before for one in report.differences)
    assert {one.now for one in report.differences} <= set(Verdict)
    assert [act["act"] for act in read_audit(station.trust_folder)] == ["activate", "confirm"], "and changed nothing"


def test_the_running_engine_takes_an_activated_bundle_and_it_is_confirmed_for_the_person(
    station: Store, packed: Callable[..., Path]
) -> None:
    taken(station, packed(1))
    shutil.copy(packed(2), station.config.state_dir / UPLOAD)
    name = wished(station, "check").bundle
    with engine(station):
        report = wished(station, "activate", bundle=name)
    assert report.stage is Stage.DONE, report.fault
    assert judging(station) == 2
    assert station.versions().activation is None
    acts = read_audit(station.trust_folder)[-2:]
    assert [(act["act"], act["who"]) for act in acts] == [
        ("activate", "Anna at the page"),
        ("confirm", "Anna at the page"),
    ]


def test_a_bundle_that_the_engine_refuses_leaves_the_one_before(
    station: Store, packed: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    taken(station, packed(1))
    shutil.copy(packed(2), station.config.state_dir / UPLOAD)
    name = wished(station, "check").bundle
    monkeypatch.setattr(desk, "TAKEN_WITHIN_S", 0.5)
    with engine(station, takes=False):
        report = wished(station, "activate", bundle=name)
    assert report.stage is Stage.FAILED
    assert "the bundle before goes on judging" in (report.fault or "")
    assert judging(station) == 1
    assert station.versions().activation is None


def test_without_an_engine_an_activation_waits_to_be_confirmed(station: Store, packed: Callable[..., Path]) -> None:
    bundle = taken(station, packed(1))
    engine_judges(station, bundle.title, age_s=3600.0)
    shutil.copy(packed(2), station.config.state_dir / UPLOAD)
    report = wished(station, "activate", bundle=wished(station, "check").bundle)
    assert report.stage is Stage.DONE, report.fault
    assert "at its next start" in report.lines[-1]
    assert wished(station, "confirm").stage is Stage.FAILED
    engine_judges(station, open_bundle(Path(os.path.realpath(station.config.bundle))).title)
    assert wished(station, "confirm").stage is Stage.DONE


def test_the_way_back_to_an_older_version_needs_a_reason_which_is_kept(
    station: Store, packed: Callable[..., Path]
) -> None:
    taken(station, packed(1))
    taken(station, packed(2))
    with engine(station):
        assert "tells nobody why" in (wished(station, "roll_back").fault or "")
        assert judging(station) == 2
        report = wished(station, "roll_back", reason="2 rejects good parts of the night shift")
    assert report.stage is Stage.DONE, report.fault
    assert judging(station) == 1
    assert any("night shift" in act["why"] for act in read_audit(station.trust_folder))


def test_the_way_back_to_a_bundle_that_names_no_version_needs_a_reason(
    station: Store, packed: Callable[..., Path], tiny_bundle: Bundle
) -> None:
    file = station.folder.parent / "station.toml"
    file.write_text(f'bundle_signatures = "optional"\n{file.read_text()}')
    station = Store(load_config(file))
    taken(station, tiny_bundle.path)
    taken(station, packed(2))
    (recipe,) = bundles_facts(station.config)["recipes"]
    assert recipe["needs_reason"]
    with engine(station):
        assert "tells nobody why" in (wished(station, "roll_back").fault or "")
        assert wished(station, "roll_back", reason="2 rejects good parts of the night shift").stage is Stage.DONE
    assert open_bundle(Path(os.path.realpath(station.config.bundle))).digest == tiny_bundle.digest


def test_a_wish_for_a_bundle_that_is_not_there_changes_nothing(station: Store, packed: Callable[..., Path]) -> None:
    taken(station, packed(1))
    report = wished(station, "activate", bundle="no-such-bundle")
    assert report.stage is Stage.FAILED
    assert judging(station) == 1


def test_a_wish_whose_process_died_is_said_to_be_interrupted(station: Store, packed: Callable[..., Path]) -> None:
    taken(station, packed(1))
    report = wished(station, "activate", bundle="no-such-bundle")
    write_outcome(station.config.run_dir, report.model_copy(update={"stage": Stage.WORKING, "fault": None}))
    desk.attend(station.config)
    ended = read_outcome(station.config.run_dir)
    assert ended is not None
    assert ended.stage is Stage.FAILED
    assert "interrupted" in (ended.fault or "")


def test_a_way_back_that_is_refused_lowers_no_version(station: Store, packed: Callable[..., Path]) -> None:
    first = taken(station, packed(1))
    taken(station, packed(2))
    revoked = station.trust_folder / REVOKED
    revoked.write_text(json.dumps([first.digest]))
    report = wished(station, "roll_back", reason="2 rejects good parts of the night shift")
    assert "was revoked" in (report.fault or "")
    assert station.versions().highest == {"flange": 2}


def test_an_older_version_that_the_engine_refuses_may_not_judge_afterwards(
    station: Store, packed: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk, "TAKEN_WITHIN_S", 0.5)
    taken(station, packed(1))
    taken(station, packed(2))
    with engine(station, takes=False):
        report = wished(station, "roll_back", reason="2 rejects good parts of the night shift")
    assert "the bundle before goes on judging" in (report.fault or "")
    assert judging(station) == 2
    assert station.versions().highest == {"flange": 2}
