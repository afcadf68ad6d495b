"""keygen and sign: what they leave is what a station believes."""

import subprocess
from pathlib import Path

import pytest

from edge.inference.bundle import MANIFEST, SIGNATURE, Bundle
from edge.inference.release.archive import unpacked
from edge.inference.release.keys import holds, read_public_key, signatures_of
from edge.inference.release.trust import read_trust
from tests.edge.inference.release.signing import needs_root, released
from train.__main__ import main
from train.signing import SigningError
from train.signing.keygen import keygen
from train.signing.sign import sign


@pytest.fixture
def bundle(tiny_bundle: Bundle, tmp_path: Path) -> Bundle:
    return released(tiny_bundle, tmp_path, 7)


@needs_root
def test_a_station_with_the_public_key_believes_what_was_signed(bundle: Bundle, tmp_path: Path) -> None:
    assert main(["keygen", "--out", str(tmp_path / "keys")]) == 0
    (private,) = (tmp_path / "keys").glob("*.key")
    assert private.stat().st_mode & 0o777 == 0o600
    assert main(["sign", str(bundle.path), "--key", str(private)]) == 0
    assert read_trust(tmp_path / "keys").signer(bundle, required=True) == private.stem
    with unpacked(bundle.path.with_suffix(".lwb"), tmp_path) as carried:
        assert read_trust(tmp_path / "keys").signer(carried, required=True) == private.stem


def test_signing_leaves_the_digest_and_signing_again_adds_no_second_signature(bundle: Bundle, tmp_path: Path) -> None:
    first, second = keygen(tmp_path / "keys"), keygen(tmp_path / "keys")
    for key in (first, second, first):
        signed, _ = sign(bundle.path, tmp_path / "keys" / f"{key.id}.key")
        assert signed.digest == bundle.digest
    assert {one.key for one in signatures_of(bundle)} == {first.id, second.id}
    assert len(signatures_of(bundle)) == 2


def test_openssl_says_the_same(bundle: Bundle, tmp_path: Path) -> None:
    """An auditor needs nothing of Linewatch to check a signature."""
    key = keygen(tmp_path / "keys")
    sign(bundle.path, tmp_path / "keys" / f"{key.id}.key")
    public, value = tmp_path / "public.pem", tmp_path / "value"
    (signature,) = signatures_of(bundle)
    value.write_bytes(signature.value)
    openssl = ["openssl", "pkey", "-in", str(tmp_path / "keys" / f"{key.id}.key"), "-pubout", "-out", str(public)]
    subprocess.run(openssl, check=True, timeout=60)
    verify = ["openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", str(public), "-sigfile", str(value)]
    done = subprocess.run([*verify, "-in", str(bundle.file(MANIFEST))], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_signature_is_of_one_message_and_one_key(bundle: Bundle, tmp_path: Path) -> None:
    key, other = keygen(tmp_path / "keys"), keygen(tmp_path / "keys")
    sign(bundle.path, tmp_path / "keys" / f"{key.id}.key")
    (signature,) = signatures_of(bundle)
    message = bundle.file(MANIFEST).read_bytes()
    assert holds(key, signature, message)
    assert not holds(key, signature, message + b" ")
    assert not holds(other, signature, message)


def test_keygen_limits_a_key(tmp_path: Path) -> None:
    key = keygen(tmp_path / "keys", "flange", 20)
    read = (tmp_path / "keys" / f"{key.id}.pub").read_text()
    assert '"product":"flange"' in read
    assert '"last_version":20' in read
    with pytest.raises(SigningError, match="last_version"):
        keygen(tmp_path / "keys", last_version=0)


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        (b"-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n", 0o600, "holds no private key"),
        (b"", 0o600, "holds no private key"),
        (None, 0o640, "chmod 600"),
    ],
)
def test_a_key_file_that_cannot_be_used_signs_nothing(
    bundle: Bundle, tmp_path: Path, content: bytes | None, mode: int, words: str
) -> None:
    key = keygen(tmp_path / "keys")
    path = tmp_path / "keys" / f"{key.id}.key"
    if content is not None:
        path.write_bytes(content)
    path.chmod(mode)
    with pytest.raises(SigningError, match=words):
        sign(bundle.path, path)
    assert not bundle.file(SIGNATURE).exists()


def test_a_bundle_without_a_version_is_not_signed(tiny_bundle: Bundle, tmp_path: Path) -> None:
    key = keygen(tmp_path / "keys")
    with pytest.raises(SigningError, match="names no product and no version"):
        sign(tiny_bundle.path, tmp_path / "keys" / f"{key.id}.key")


@needs_root
def test_what_keygen_wrote_can_be_read_again(tmp_path: Path) -> None:
    key = keygen(tmp_path / "keys")
    assert read_public_key(tmp_path / "keys" / f"{key.id}.pub") == key
