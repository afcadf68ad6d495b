"""Whose signature a station believes, for which products and versions, and from which files."""

import json
import os
import shutil
from pathlib import Path

import pytest

from edge.inference.bundle import DIGEST, MANIFEST, SIGNATURE, Bundle, BundleError, open_bundle, sha256_bytes
from edge.inference.release.keys import MAX_FILE_BYTES, MAX_SIGNATURES
from edge.inference.release.trust import MAX_KEYS, RETIRED, REVOKED, read_trust
from tests.edge.inference.release.signing import Signer, needs_root, released

pytestmark = needs_root


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer()


@pytest.fixture
def trust(tmp_path: Path, signer: Signer) -> Path:
    signer.trusted_in(tmp_path / "trust")
    return tmp_path / "trust"


@pytest.fixture
def bundle(tiny_bundle: Bundle, tmp_path: Path, signer: Signer) -> Bundle:
    return signer.sign(released(tiny_bundle, tmp_path, 7))


def refusal(trust: Path, bundle: Bundle, required: bool = True) -> str:
    with pytest.raises(BundleError) as caught:
        read_trust(trust).signer(bundle, required)
    words = str(caught.value)
    assert "\n" not in words
    return words


def test_a_bundle_that_a_trusted_key_signed_is_believed(trust: Path, bundle: Bundle, signer: Signer) -> None:
    assert read_trust(trust).signer(bundle, required=True) == signer.id


def test_an_unsigned_bundle_is_refused_where_signatures_are_required(
    trust: Path, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    plain = released(tiny_bundle, tmp_path, 7)
    assert "python -m train sign" in refusal(trust, plain)
    assert read_trust(trust).signer(plain, required=False) is None


def test_a_signature_by_an_unknown_key_proves_nothing(trust: Path, bundle: Bundle, signer: Signer) -> None:
    (trust / f"{signer.id}.pub").unlink()
    assert f"key {signer.id} is not known here" in refusal(trust, bundle)
    assert read_trust(trust).signer(bundle, required=False) is None


def test_a_manifest_that_was_changed_with_its_digest_is_a_forgery(trust: Path, bundle: Bundle) -> None:
    """The attack that verification alone cannot see: another threshold, and sums that fit."""
    manifest = bundle.file(MANIFEST)
    raw = manifest.read_bytes().replace(b'"value": 50.0', b'"value": 60.0')
    manifest.write_bytes(raw)
    bundle.file(DIGEST).write_text(f"{sha256_bytes(raw)}  {MANIFEST}\n")
    forged = open_bundle(bundle.path)
    for required in (True, False):
        assert "is forged" in refusal(trust, forged, required)


def test_a_threshold_that_lets_everything_pass_is_no_bundle_even_with_sums_that_fit(bundle: Bundle) -> None:
    manifest = bundle.file(MANIFEST)
    raw = manifest.read_bytes().replace(b'"value": 50.0', b'"value": 1e308')
    manifest.write_bytes(raw)
    bundle.file(DIGEST).write_text(f"{sha256_bytes(raw)}  {MANIFEST}\n")
    with pytest.raises(BundleError, match=r"threshold\.value"):
        open_bundle(bundle.path)


@pytest.mark.parametrize("name", [MANIFEST, DIGEST, SIGNATURE, "model_int8.bin", "model_int8.xml", "model_int8.onnx"])
@pytest.mark.parametrize("place", [0, -2])
def test_one_flipped_byte_in_any_file_is_found(trust: Path, bundle: Bundle, name: str, place: int) -> None:
    path = bundle.file(name)
    raw = bytearray(path.read_bytes()) or bytearray(b"\0\0")
    raw[place] ^= 1
    path.write_bytes(raw)
    with pytest.raises(BundleError):
        read_trust(trust).signer(open_bundle(bundle.path), required=True)


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"product": "washer"}, "is for washer, not for flange"),
        ({"last_version": 6}, "expired after version 6 of flange, this is version 7"),
        ({"product": "flange", "last_version": 7}, ""),
    ],
)
def test_a_key_signs_only_for_its_product_and_until_its_last_version(
    trust: Path, bundle: Bundle, signer: Signer, limits: dict[str, object], words: str
) -> None:
    signer.trusted_in(trust, **limits)
    if words:
        assert words in refusal(trust, bundle)
        assert read_trust(trust).signer(bundle, required=False) is None
    else:
        assert read_trust(trust).signer(bundle, required=True) == signer.id


@pytest.mark.parametrize(
    ("last", "words"),
    [({"flange": 7}, ""), ({"flange": 6}, "was retired after version 6"), ({"washer": 9}, "for every version")],
)
def test_a_retired_key_is_trusted_until_the_version_in_the_list(
    trust: Path, bundle: Bundle, signer: Signer, last: dict[str, int], words: str
) -> None:
    (trust / RETIRED).write_text(json.dumps({signer.id: last}))
    if words:
        assert words in refusal(trust, bundle)
    else:
        assert read_trust(trust).signer(bundle, required=True) == signer.id


def test_a_new_key_may_sign_beside_a_retired_one(trust: Path, bundle: Bundle, signer: Signer) -> None:
    (trust / RETIRED).write_text(json.dumps({signer.id: {}}))
    new = Signer()
    new.trusted_in(trust)
    assert read_trust(trust).signer(new.sign(bundle), required=True) == new.id


@pytest.mark.parametrize("required", [True, False])
def test_a_revoked_bundle_never_judges(trust: Path, bundle: Bundle, required: bool) -> None:
    (trust / REVOKED).write_text(json.dumps([bundle.digest]))
    assert "was revoked" in refusal(trust, bundle, required)


def test_a_signed_bundle_without_a_version_is_refused(trust: Path, tiny_bundle: Bundle, tmp_path: Path) -> None:
    signer = Signer()
    signer.trusted_in(trust)
    plain = signer.sign(open_bundle(Path(shutil.copytree(tiny_bundle.path, tmp_path / "plain"))))
    assert "names no product and no version" in refusal(trust, plain)


@pytest.mark.parametrize("content", [b"", b"ed25519\n", b"ed25519 0 0\n" * 2, b"x" * 4000, None])
def test_a_file_that_holds_no_signatures_is_refused(
    trust: Path, bundle: Bundle, signer: Signer, content: bytes | None
) -> None:
    line = bundle.file(SIGNATURE).read_bytes()
    bundle.file(SIGNATURE).write_bytes(line * (MAX_SIGNATURES + 1) if content is None else content)
    assert "holds no signatures" in refusal(trust, bundle, required=False)


def test_a_station_without_a_trust_folder_knows_no_key(tmp_path: Path, bundle: Bundle) -> None:
    assert "is not known here" in refusal(tmp_path / "absent", bundle)


@pytest.mark.parametrize("what", ["key", "folder", "above"])
@pytest.mark.parametrize("mode", [0o664, 0o666])
def test_a_key_that_others_could_write_is_not_used(
    tmp_path: Path, trust: Path, signer: Signer, what: str, mode: int
) -> None:
    place = {"key": trust / f"{signer.id}.pub", "folder": trust, "above": tmp_path}[what]
    before = place.stat().st_mode
    place.chmod(mode | 0o111 if place.is_dir() else mode)
    try:
        with pytest.raises(BundleError, match=f"{place.name}: others than root can write it; run: chmod go-w"):
            read_trust(trust)
    finally:
        place.chmod(before)


@pytest.mark.parametrize("what", ["key", "folder"])
def test_a_key_that_the_engines_user_owns_is_not_used(trust: Path, signer: Signer, what: str) -> None:
    place = trust / f"{signer.id}.pub" if what == "key" else trust
    os.chown(place, 12345, 0)
    with pytest.raises(BundleError, match="belongs to user 12345, who could exchange it"):
        read_trust(trust)


def test_a_key_that_is_a_link_is_not_used(trust: Path, signer: Signer) -> None:
    key = trust / f"{signer.id}.pub"
    key.rename(trust / "real")
    key.symlink_to("real")
    with pytest.raises(BundleError, match="is a link"):
        read_trust(trust)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("bad.pub", b"-----BEGIN PUBLIC KEY-----"),
        ("bad.pub", b'{"algorithm": "ed25519", "id": "0123456789abcdef", "public": "' + b"0" * 64 + b'"}'),
        ("bad.pub", b"x" * (MAX_FILE_BYTES + 1)),
        (RETIRED, b'{"0123456789abcdef": {"flange": "7"}}'),
        (RETIRED, b"[]"),
        (REVOKED, b'["abc"]'),
        (REVOKED, b"[" * 100_000),
    ],
)
def test_a_file_of_the_trust_folder_that_cannot_be_read_stops_everything(
    trust: Path, bundle: Bundle, name: str, content: bytes
) -> None:
    (trust / name).write_bytes(content)
    with pytest.raises(BundleError) as caught:
        read_trust(trust)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_second_file_of_a_key_does_not_lift_its_limit(trust: Path, bundle: Bundle, signer: Signer) -> None:
    key = signer.trusted_in(trust, last_version=6)
    facts = json.loads(key.read_text())
    del facts["last_version"]
    (trust / "z-older-copy.pub").write_text(json.dumps(facts))
    assert f"key {signer.id} is there twice" in refusal(trust, bundle)


def test_a_folder_of_many_keys_is_refused(trust: Path) -> None:
    for number in range(MAX_KEYS):
        (trust / f"{number}.pub").write_bytes(b"{}")
    with pytest.raises(BundleError, match="at most 64"):
        read_trust(trust)
