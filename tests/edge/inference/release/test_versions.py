"""A version never goes back by itself, and its note survives what happens to files."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.inference.bundle import Bundle, BundleError, Release, sha256_bytes
from edge.inference.release.versions import (
    AUDIT,
    GENESIS,
    NOTES,
    Activated,
    Activation,
    Versions,
    admitted,
    read_audit,
    read_versions,
    store_versions,
)
from tests.edge.inference.release.signing import Signer, needs_root, released

pytestmark = needs_root


def noted(bundle: Bundle) -> Activated:
    return Activated(folder=bundle.path.name, digest=bundle.digest, title=bundle.title, release=bundle.manifest.release)


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    signer = Signer()
    signer.trusted_in(tmp_path / "trust")
    return signer


@pytest.fixture
def bundle(tiny_bundle: Bundle, tmp_path: Path, signer: Signer) -> Bundle:
    return signer.sign(released(tiny_bundle, tmp_path, 7))


def test_a_signed_bundle_judges_only_after_its_activation(tmp_path: Path, bundle: Bundle, signer: Signer) -> None:
    trust = tmp_path / "trust"
    with pytest.raises(BundleError, match="was not activated for recipe 'default'"):
        admitted(bundle, "default", trust, required=True)
    store_versions(trust, Versions(active={"default": noted(bundle)}), "confirm")
    assert admitted(bundle, "default", trust, required=True) == signer.id
    with pytest.raises(BundleError, match="was not activated for recipe 'other'"):
        admitted(bundle, "other", trust, required=True)


def test_both_bundles_of_a_trial_may_judge(tmp_path: Path, tiny_bundle: Bundle, bundle: Bundle, signer: Signer) -> None:
    trust = tmp_path / "trust"
    old = signer.sign(released(tiny_bundle, tmp_path, 6))
    trial = Activation(recipe="default", new=noted(bundle), old=noted(old))
    store_versions(trust, Versions(activation=trial, highest={"flange": 6}), "activate")
    assert admitted(old, "default", trust, required=True) == signer.id
    assert admitted(bundle, "default", trust, required=True) == signer.id


@pytest.mark.parametrize("required", [True, False])
def test_an_older_version_is_refused_even_when_it_was_activated_once(
    tmp_path: Path, bundle: Bundle, required: bool
) -> None:
    trust = tmp_path / "trust"
    store_versions(trust, Versions(active={"default": noted(bundle)}, highest={"flange": 8}), "confirm")
    with pytest.raises(BundleError, match="is version 7 of flange, and version 8 judged here already"):
        admitted(bundle, "default", trust, required)


def test_a_bundle_that_names_no_version_does_not_follow_one_that_does(
    tmp_path: Path, tiny_bundle: Bundle, bundle: Bundle
) -> None:
    trust = tmp_path / "trust"
    assert admitted(tiny_bundle, "default", trust, required=False) is None
    store_versions(trust, Versions(active={"default": noted(bundle)}, highest={"flange": 7}), "confirm")
    with pytest.raises(BundleError, match="names no version, and version 7 of flange judged here already; pack it"):
        admitted(tiny_bundle, "default", trust, required=False)
    assert admitted(tiny_bundle, "other", trust, required=False) is None


@pytest.mark.parametrize("damage", [b"", b"{}", b"\0" * 400])
def test_one_damaged_note_changes_nothing_and_two_stop_everything(
    tmp_path: Path, signer: Signer, damage: bytes
) -> None:
    trust = tmp_path / "trust"
    store_versions(trust, Versions(highest={"flange": 5}), "first")
    second = store_versions(trust, read_versions(trust).model_copy(update={"highest": {"flange": 6}}), "second")
    for name in NOTES:
        whole = (trust / name).read_bytes()
        (trust / name).write_bytes(damage)
        assert read_versions(trust) == second
        (trust / name).write_bytes(whole)
    for name in NOTES:
        (trust / name).write_bytes(damage)
    with pytest.raises(BundleError, match="is damaged"):
        read_versions(trust)


def test_an_older_note_beside_a_newer_one_does_not_count(tmp_path: Path, signer: Signer) -> None:
    """As after a power cut between the two."""
    trust = tmp_path / "trust"
    store_versions(trust, Versions(highest={"flange": 5}), "first")
    old = (trust / NOTES[1]).read_bytes()
    newer = store_versions(trust, read_versions(trust).model_copy(update={"highest": {"flange": 6}}), "second")
    (trust / NOTES[1]).write_bytes(old)
    assert read_versions(trust) == newer


@given(st.binary(max_size=300))
def test_any_bytes_are_a_note_or_one_line(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    trust = tmp_path_factory.mktemp("trust")
    for name in NOTES:
        (trust / name).write_bytes(raw)
    with pytest.raises(BundleError) as caught:
        read_versions(trust)
    assert "\n" not in str(caught.value)


def test_a_note_that_is_gone_does_not_reset_the_versions(tmp_path: Path, signer: Signer) -> None:
    trust = tmp_path / "trust"
    store_versions(trust, Versions(highest={"flange": 5}), "confirm")
    for name in NOTES:
        (trust / name).unlink()
    with pytest.raises(BundleError, match=r"versions.json: is gone, and audit.jsonl tells of versions .*; put .* back"):
        read_versions(trust)


def test_a_kill_before_the_first_note_resets_nothing(tmp_path: Path, signer: Signer) -> None:
    """The first act of a station is an activation, and it is announced before it is noted."""
    trust = tmp_path / "trust"
    store_versions(trust, Versions(), "activate")
    for name in NOTES:
        (trust / name).unlink()
    assert read_versions(trust) == Versions()


def test_the_note_is_not_believed_when_others_could_write_it(tmp_path: Path, signer: Signer) -> None:
    trust = tmp_path / "trust"
    store_versions(trust, Versions(highest={"flange": 5}), "first")
    (trust / NOTES[0]).chmod(0o666)
    with pytest.raises(BundleError, match="others than root"):
        read_versions(trust)


def test_the_audit_finds_an_act_that_was_altered_removed_or_cut_off(tmp_path: Path, signer: Signer) -> None:
    trust = tmp_path / "trust"
    versions = Versions()
    for number in range(4):
        versions = store_versions(trust, versions, "allow-rollback", f"reason {number}")
    assert [act["why"] for act in read_audit(trust)] == [f"reason {number}" for number in range(4)]
    lines = (trust / AUDIT).read_text().splitlines(keepends=True)
    altered = lines[1].replace("reason 1", "reason 9")
    for wrong in ([lines[0], altered, *lines[2:]], lines[1:], [lines[0], *lines[3:]], lines[:1]):
        (trust / AUDIT).write_text("".join(wrong))
        with pytest.raises(BundleError, match=r"audit\.jsonl"):
            read_audit(trust)


def test_a_power_cut_after_the_audit_and_before_the_note_leaves_both_usable(tmp_path: Path, signer: Signer) -> None:
    trust = tmp_path / "trust"
    store_versions(trust, Versions(), "first")
    kept = {name: (trust / name).read_bytes() for name in NOTES}
    store_versions(trust, read_versions(trust), "announced")
    for name, raw in kept.items():
        (trust / name).write_bytes(raw)
    store_versions(trust, read_versions(trust), "third")
    assert [act["act"] for act in read_audit(trust)] == ["first", "announced", "third"]


def test_an_audit_of_years_takes_a_further_act(tmp_path: Path, signer: Signer) -> None:
    trust = tmp_path / "trust"
    lines, previous = [], GENESIS
    while len(lines) < 5000:
        act = {"at": "2026-01-01T00:00:00+00:00", "who": "maria", "act": "activate", "why": "x" * 300}
        lines.append(json.dumps(act | {"previous": previous}))
        previous = sha256_bytes(lines[-1].encode())
    (trust / AUDIT).write_text("".join(f"{line}\n" for line in lines))
    store_versions(trust, Versions(), "confirm")
    assert len(read_audit(trust)) == 5001


def test_every_act_names_who_did_it(tmp_path: Path, signer: Signer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "maria")
    store_versions(tmp_path / "trust", Versions(), "allow-rollback", "wrong light at line 3")
    act = json.loads((tmp_path / "trust" / AUDIT).read_text())
    assert (act["who"], act["act"], act["why"]) == ("maria", "allow-rollback", "wrong light at line 3")


def test_a_release_counts_from_one() -> None:
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        Release(product="flange", counter=0)
