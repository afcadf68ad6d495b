"""`edge bundle`: what a station takes, and that every failure leaves the old bundle judging."""

import contextlib
import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import pytest

from edge.__main__ import main
from edge.commands.bundle import activation
from edge.commands.bundle.store import Store
from edge.config.load import load_config
from edge.core.types import EdgeError, Verdict
from edge.engine.pins import Pins
from edge.exchange.health import Health, State, write_health
from edge.history.eventlog import EventLog
from edge.history.pictures import picture_path
from edge.inference.bundle import DIGEST, MANIFEST, MOST_BUNDLES, Bundle, open_bundle, sha256_bytes
from edge.inference.release.archive import write_archive
from edge.inference.release.trust import REVOKED
from edge.inference.release.versions import read_audit, read_versions
from tests.edge.engine.parts import inspection
from tests.edge.inference.release.signing import Signer, needs_root, released
from tests.system.disk import tmpfs
from tests.tiny import bad_image, good_image

pytestmark = needs_root


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer()


@pytest.fixture(scope="module")
def packed(tiny_bundle: Bundle, signer: Signer, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return the archive of a version of a product, signed; made once each."""
    folder = tmp_path_factory.mktemp("packed")

    def make(counter: int, product: str = "flange", signed: bool = True, **changes: object) -> Path:
        place = folder / f"{product}-{counter}-{signed}-{len(str(changes))}.lwb"
        if not place.exists():
            bundle = released(tiny_bundle, Path(str(place) + ".made"), counter, product, **changes)
            write_archive(signer.sign(bundle) if signed else bundle, place)
        return place

    return make


@pytest.fixture
def station(tmp_path: Path, signer: Signer, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A station that wants signatures, and has no bundle yet."""
    monkeypatch.setattr(activation, "step_aside", lambda: None)  # else these tests would wait for an idle computer
    signer.trusted_in(tmp_path / "trust")
    for name in ("state", "run", "camera"):
        (tmp_path / name).mkdir()
    (tmp_path / "station.toml").write_text(
        'name = "Test"\nbundle = "models/current"\nstate_dir = "state"\nrun_dir = "run"\n'
        '[camera]\ntype = "folder"\npath = "camera"\n[trigger]\ntype = "free_run"\nrate_hz = 1\n'
        "[inspection]\ndeadline_ms = 2000\n"
    )
    return Store(load_config(tmp_path / "station.toml"))


def edge(station: Store, act: str, *arguments: object) -> int:
    config = station.folder.parent / "station.toml"
    return main(["bundle", act, "--config", str(config), *map(str, arguments)])


def refused(capfd: pytest.CaptureFixture[str], station: Store, act: str, *arguments: object) -> str:
    """Return the one line with which an act was refused; what judges, and what may judge, is as before."""
    before = os.path.realpath(station.config.bundle), station.versions()
    capfd.readouterr()
    assert edge(station, act, *arguments) == 1
    words = capfd.readouterr().err
    assert words.startswith("linewatch: ")
    assert len(words.splitlines()) == 1, words
    assert (os.path.realpath(station.config.bundle), station.versions()) == before
    return words


def engine_judges(station: Store, title: str, state: State = State.RUNNING, age_s: float = 0.0) -> None:
    """Write the health.json of an engine that judges with this bundle."""
    now = datetime.now(UTC) - timedelta(seconds=age_s)
    health = Health(
        station="Test", state=state, detail="", pid=1, written_at=now, started_at=now, bundle=title, bundle_path="",
        threshold=50.0, runtime="openvino", cpu_tier="AVX2", camera="", camera_fps=1.0, frame_age_ms=None, trigger="",
        deadline_ms=2000, counts={}, reasons={}, latency=None, last_id=0, last_verdict=None, last_reason=None,
        recorder_queue=0, images_dropped=0, recipe="default",
    )  # fmt: skip
    write_health(station.config.run_dir, health)


def judging(station: Store) -> int:
    """Return the version of the bundle that an engine would start with."""
    bundle = open_bundle(Path(os.path.realpath(station.config.bundle)))
    Pins(station.config).admit("default", bundle)
    assert bundle.manifest.release is not None
    return bundle.manifest.release.counter


def taken(station: Store, archive: Path) -> Bundle:
    """Activate and confirm a bundle."""
    assert edge(station, "activate", archive) == 0
    bundle = open_bundle(Path(os.path.realpath(station.config.bundle)))
    engine_judges(station, bundle.title)
    assert edge(station, "confirm") == 0
    return bundle


def test_a_bundle_is_activated_confirmed_and_judges(station: Store, packed: Callable[..., Path]) -> None:
    assert edge(station, "activate", packed(1)) == 0
    assert judging(station) == 1
    assert station.versions().highest == {}
    engine_judges(station, open_bundle(station.config.bundle).title)
    assert edge(station, "confirm") == 0
    assert station.versions().highest == {"flange": 1}
    assert [act["act"] for act in read_audit(station.trust_folder)] == ["activate", "confirm"]


def test_install_alone_changes_nothing_that_judges(station: Store, packed: Callable[..., Path]) -> None:
    taken(station, packed(1))
    assert edge(station, "install", packed(2)) == 0
    assert judging(station) == 1
    name = next(path.name for path in station.folder.iterdir() if path.name.startswith("flange-2-"))
    assert edge(station, "activate", name) == 0
    assert judging(station) == 2


def test_verify_says_who_signed(
    station: Store, packed: Callable[..., Path], signer: Signer, capfd: pytest.CaptureFixture[str]
) -> None:
    assert edge(station, "verify", packed(3)) == 0
    assert f"version 3 of flange: every file verified, signed by key {signer.id}" in capfd.readouterr().out
    assert "is not signed" in refused(capfd, station, "verify", packed(3, signed=False))
    assert not station.folder.exists()


def test_what_must_not_judge_is_refused_and_the_old_bundle_stays(
    station: Store, packed: Callable[..., Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    old = taken(station, packed(5))
    cut = tmp_path / "cut.lwb"
    cut.write_bytes(packed(6).read_bytes()[:5000])
    flipped = tmp_path / "flipped.lwb"
    raw = bytearray(packed(6).read_bytes())
    raw[-5000] ^= 1
    flipped.write_bytes(raw)
    blind = packed(6, references=[
        {"file": "references/good.png", "score": 2.0, "tolerance": 2.0},
        {"file": "references/good.png", "score": 6.0, "tolerance": 5.0},
    ])  # fmt: skip
    for given, words in {
        packed(4): "is version 4 of flange, and version 5 judged here already",
        packed(6, product="washer"): "is for washer, and recipe 'default' judges flange",
        packed(6, signed=False): "is not signed",
        cut: "copy it again",
        flipped: "does not match its sha256",
        blind: "calls none of its references bad",
        tmp_path / "absent.lwb": "no such bundle",
    }.items():
        assert words in refused(capfd, station, "activate", given)
        assert judging(station) == 5
    assert open_bundle(station.config.bundle).digest == old.digest
    assert not [path for path in station.folder.iterdir() if path.name.startswith(".")]


def test_another_product_needs_its_own_word(station: Store, packed: Callable[..., Path]) -> None:
    taken(station, packed(5))
    assert edge(station, "activate", packed(1, product="washer"), "--new-product") == 0
    assert open_bundle(station.config.bundle).manifest.name == "washer"


def test_an_older_version_needs_the_engineers_word_which_is_kept(
    station: Store, packed: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    taken(station, packed(1))
    taken(station, packed(2))
    assert "version 2 judged here already" in refused(capfd, station, "rollback")
    allow = ("allow-rollback", "--product", "flange", "--to", 1, "--reason")
    assert "tells nobody why" in refused(capfd, station, *allow, "  because  ")
    assert "301 characters are too many" in refused(capfd, station, *allow, "x" * 301)
    assert "give an older one" in refused(capfd, station, *allow[:4], 2, "--reason", "version 2 rejects good parts")
    assert edge(station, *allow, "version 2 rejects good parts") == 0
    assert edge(station, "rollback") == 0
    assert judging(station) == 1
    assert "flange from version 2 to 1: version 2 rejects good parts" in [
        act["why"] for act in read_audit(station.trust_folder)
    ]
    capfd.readouterr()
    assert edge(station, "list") == 0
    assert "version 2 rejects good parts" in capfd.readouterr().out


def test_a_bundle_that_names_no_version_needs_the_engineers_word(
    station: Store, packed: Callable[..., Path], tiny_bundle: Bundle, capfd: pytest.CaptureFixture[str]
) -> None:
    file = station.folder.parent / "station.toml"
    file.write_text(f'bundle_signatures = "optional"\n{file.read_text()}')
    taken(station, packed(2))
    assert "names no version, and version 2 of flange" in refused(capfd, station, "activate", tiny_bundle.path)
    assert edge(station, "allow-rollback", "--product", "flange", "--to", 0, "--reason", "back to the demo") == 0
    assert taken(station, tiny_bundle.path).manifest.release is None
    assert edge(station, "rollback") == 0, "a version may follow none"


def test_while_an_activation_is_not_confirmed_the_station_goes_back_by_itself(
    station: Store, packed: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    taken(station, packed(1))
    assert "does not go back by itself" in refused(capfd, station, "rollback", "--automatic")
    assert edge(station, "activate", packed(2)) == 0
    assert judging(station) == 2
    assert edge(station, "rollback", "--automatic") == 0
    assert judging(station) == 1
    assert "no activation waits" in refused(capfd, station, "confirm")
    assert "does not go back by itself" in refused(capfd, station, "rollback", "--automatic")


def test_the_station_never_goes_back_to_a_revoked_bundle(
    station: Store, packed: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    first = taken(station, packed(1))
    assert edge(station, "activate", packed(2)) == 0
    (station.trust_folder / REVOKED).write_text(json.dumps([first.digest]))
    assert "was revoked" in refused(capfd, station, "rollback", "--automatic")
    assert judging(station) == 2


def test_only_an_engine_that_judges_with_the_new_bundle_confirms_it(
    station: Store, packed: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    old = taken(station, packed(1))
    assert edge(station, "activate", packed(2)) == 0
    assert "judges by recipe default with flange 1" in refused(capfd, station, "confirm")
    new = open_bundle(station.config.bundle)
    for state, age_s in ((State.FAULT, 0.0), (State.STOPPED, 0.0), (State.RUNNING, 60.0)):
        engine_judges(station, new.title, state, age_s)
        assert "does not judge now" in refused(capfd, station, "confirm")
    assert "is not confirmed yet" in refused(capfd, station, "activate", packed(3))
    engine_judges(station, old.title)
    assert edge(station, "activate", packed(2)) == 0, "the same once more, e.g. after a power cut"
    engine_judges(station, new.title)
    assert edge(station, "confirm") == 0


@pytest.mark.parametrize("trusted", ["a key", "the folder"])
def test_an_activation_stops_at_a_key_that_others_could_write(
    station: Store, packed: Callable[..., Path], capfd: pytest.CaptureFixture[str], trusted: str
) -> None:
    taken(station, packed(1))
    place = station.trust_folder if trusted == "the folder" else next(station.trust_folder.glob("*.pub"))
    place.chmod(0o777)
    capfd.readouterr()
    assert edge(station, "activate", packed(2)) == 1
    assert "others than root can write it" in capfd.readouterr().err
    place.chmod(0o755)
    assert judging(station) == 1


def test_a_station_whose_path_is_a_folder_is_told_to_make_a_link(
    station: Store, packed: Callable[..., Path], tiny_bundle: Bundle, capfd: pytest.CaptureFixture[str]
) -> None:
    """As stations from before there was `edge bundle` may have it."""
    shutil.copytree(tiny_bundle.path, station.config.bundle)
    assert "is a folder and no link" in refused(capfd, station, "activate", packed(1))


def test_a_recipe_that_the_station_does_not_have_is_refused(
    station: Store, packed: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    assert "no recipe 'washer'" in refused(capfd, station, "activate", packed(1), "--recipe", "washer")


def store_parts(station: Store, size: int = 96) -> None:
    """Put four judged parts with their pictures into the history."""
    events = EventLog(station.config.events_db)
    for number in range(1, 5):
        bad = number % 2 == 0
        verdict = Verdict.NG if bad else Verdict.OK
        events.append(replace(inspection(number, verdict=verdict), score=127.0 if bad else 2.0, threshold=50.0))
        path = picture_path(station.config.images_dir, number, "frame")
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), (bad_image if bad else good_image)(size * 4 // 3, size))
    events.close()


def test_the_shadow_says_which_stored_parts_would_be_judged_otherwise(
    station: Store, packed: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    store_parts(station)
    taken(station, packed(1))
    assert "shadow: 4 stored parts, 4 with the same verdict" in capfd.readouterr().out
    moved = replace(inspection(5, verdict=Verdict.NG), score=60.0, threshold=50.0)
    events = EventLog(station.config.events_db)
    events.append(moved)
    events.close()
    path = picture_path(station.config.images_dir, 5, "frame")
    cv2.imwrite(str(path), good_image(128, 96))
    assert edge(station, "activate", packed(2)) == 0
    said = capfd.readouterr().out
    assert "shadow: 5 stored parts, 4 with the same verdict" in said
    assert "shadow: 1 were NG and would be OK: 5" in said


def test_a_bundle_that_cannot_judge_the_stored_pictures_is_refused(
    station: Store, packed: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    store_parts(station, size=48)
    crop = {"crop": {"x": 32, "y": 16, "width": 64, "height": 64}, "width": 64, "height": 64}
    taken(station, packed(1))
    assert "cannot judge" in refused(capfd, station, "activate", packed(2, input=crop))


STEPS = ("os.rename", "os.mkdir", "os.remove", "os.symlink", "os.chmod", "os.rmdir", "open")


def killed_at(step: int, work: Callable[[], object]) -> bool:
    """Do the work in a child that is killed at its n-th step on the disk; returns True when it was done before."""
    child = os.fork()
    if child == 0:
        seen = 0

        def watch(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal seen
            writes = event != "open" or (isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR))
            if event in STEPS and writes:
                seen += 1
                if seen == step:
                    os._exit(9)

        sys.addaudithook(watch)
        try:
            work()
        except EdgeError:
            os._exit(8)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in {0, 9}
    return status == 0


def test_a_kill_at_any_step_of_an_installation_leaves_the_old_bundle_judging(
    station: Store, packed: Callable[..., Path]
) -> None:
    taken(station, packed(1))

    def work() -> None:
        with station.alone():
            station.install(packed(2))

    step = 1
    while not killed_at(step, work):
        assert judging(station) == 1
        for path in station.folder.iterdir():
            assert path.name.startswith(".") or path.is_symlink() or open_bundle(path), "whole, or not there"
        step += 1
    assert step > 10
    assert edge(station, "activate", packed(2)) == 0
    assert judging(station) == 2
    assert not [path for path in station.folder.iterdir() if path.name.startswith(".")], "and nothing is left over"


def test_the_next_act_removes_what_killed_ones_left_and_nothing_else(
    station: Store, packed: Callable[..., Path]
) -> None:
    station.folder.mkdir()
    leftovers = (".lwb-x1y2", ".fetch-0123456789abcdef.lwb", ".0123456789ab.lwb", "..0123456789ab.lwb.7.tmp")
    others = (".bashrc", ".cache.tmp", ".0123456789ab", "flange.lwb")
    for name in (*leftovers[1:], *others):
        (station.folder / name).write_bytes(b"x")
    (station.folder / leftovers[0] / "references").mkdir(parents=True)
    (station.folder / ".lwb-link").symlink_to(station.trust_folder)
    with station.opened(packed(1)) as bundle:  # as `verify` has it open, which takes no turn
        with station.alone():
            pass
        assert open_bundle(bundle.path).digest == bundle.digest
    assert sorted(path.name for path in station.folder.iterdir()) == sorted(others)
    assert station.trust().keys


def test_a_kill_at_any_step_of_the_switch_leaves_one_of_the_two_judging(
    station: Store, packed: Callable[..., Path]
) -> None:
    taken(station, packed(1))
    new = station.install(packed(2))
    note = activation.Activation(recipe="default", new=activation.activated(new), old=station.judging("default"))

    def work() -> None:
        with station.alone():
            activation._switch(station, station.versions(), note)

    step, versions = 1, []
    while not killed_at(step, work):
        versions.append(judging(station))
        assert edge(station, "list") == 0
        step += 1
    assert versions == sorted(versions)
    assert versions[0] == 1
    assert judging(station) == 2
    assert edge(station, "rollback", "--automatic") == 0
    assert judging(station) == 1


def test_an_activation_gives_way_to_every_other_process() -> None:
    child = os.fork()
    if child == 0:
        activation.step_aside()
        os._exit(0 if os.sched_getscheduler(0) == os.SCHED_IDLE and os.nice(0) == 19 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_changed_threshold_with_sums_that_fit_is_refused_by_the_engine(
    station: Store, packed: Callable[..., Path]
) -> None:
    bundle = taken(station, packed(1))
    manifest = station.folder / bundle.path.name / MANIFEST
    raw = manifest.read_bytes().replace(b'"value": 50.0', b'"value": 90.0')
    manifest.write_bytes(raw)
    (manifest.parent / DIGEST).write_text(f"{sha256_bytes(raw)}  {MANIFEST}\n")
    with pytest.raises(EdgeError, match="is forged"):
        judging(station)


def test_the_list_names_damaged_bundles_and_no_other_folder(station: Store, capfd: pytest.CaptureFixture[str]) -> None:
    (station.folder / "samples").mkdir(parents=True)
    (station.folder / "broken").mkdir()
    (station.folder / "broken" / MANIFEST).write_text("{}")
    assert edge(station, "list") == 0
    said = capfd.readouterr().out
    assert "broken: WRONG" in said
    assert "samples" not in said


def test_a_folder_of_many_bundles_takes_no_further_one(
    station: Store, packed: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    taken(station, packed(1))
    for number in range(MOST_BUNDLES - 1):
        (station.folder / f"old-{number}").mkdir()
        (station.folder / f"old-{number}" / MANIFEST).touch()
    assert "at most 50 are kept; remove the folders" in refused(capfd, station, "install", packed(2))
    assert edge(station, "install", packed(1)) == 0, "it is there already"
    shutil.rmtree(station.folder / "old-0")
    assert edge(station, "install", packed(2)) == 0


def test_an_empty_note_is_as_before_the_first_activation(station: Store) -> None:
    assert read_versions(station.trust_folder).active == {}
    assert edge(station, "list") == 0


def test_verify_without_a_bundle_says_whether_the_engine_would_start(
    station: Store, packed: Callable[..., Path], tiny_bundle: Bundle, capfd: pytest.CaptureFixture[str]
) -> None:
    """As install.sh asks before it lets a newer release take over."""
    shutil.copytree(tiny_bundle.path, station.config.bundle)
    assert "is not signed" in refused(capfd, station, "verify")
    shutil.rmtree(station.config.bundle)
    taken(station, packed(1))
    assert edge(station, "verify") == 0
    assert "default: flange 1 " in capfd.readouterr().out


@pytest.mark.parametrize("place", ["folder", "trust_folder"])
def test_a_disk_that_is_full_at_any_step_leaves_the_bundle_judging_that_judged(
    station: Store, packed: Callable[..., Path], capfd: pytest.CaptureFixture[str], tmp_path: Path, place: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The disk has one page more each time, until the activation succeeds."""
    monkeypatch.setattr(
        "edge.inference.release.archive._refuse_full", lambda *_: None
    )  # others take the room afterwards
    disk: Path = getattr(station, place)
    page = os.sysconf("SC_PAGESIZE")
    disk.mkdir(exist_ok=True)
    kept = shutil.copytree(disk, tmp_path / "kept")
    with tmpfs(disk, "size=1m,mode=755"):
        shutil.copytree(kept, disk, dirs_exist_ok=True)
        taken(station, packed(1))
        there = sorted(disk.iterdir())
        filler = disk / "filler"
        with filler.open("wb", buffering=0) as stream, contextlib.suppress(OSError):
            while True:
                stream.write(b"x" * page)
        size = filler.stat().st_size
        for pages in range(size // page):
            os.truncate(filler, size - pages * page)
            before = os.path.realpath(station.config.bundle), station.versions()
            capfd.readouterr()
            if edge(station, "activate", packed(2)) == 0:
                break
            (words,) = capfd.readouterr().err.splitlines()
            assert "No space left on device" in words
            assert "room" in words or "free space" in words
            assert (os.path.realpath(station.config.bundle), station.versions()) == before
            assert sorted(path for path in disk.iterdir() if path != filler) == there
            assert judging(station) == 1
        assert pages > 0
        assert judging(station) == 2
        filler.unlink()
