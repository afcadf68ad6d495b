"""One file carries a bundle: one content has one archive, and a reader takes nothing but that one form."""

import io
import os
import shutil
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.inference.bundle import DIGEST, MANIFEST, SIGNATURE, Bundle, BundleError, open_bundle, sha256_file
from edge.inference.release import archive
from edge.inference.release.archive import MAX_FILES, extract_bundle, unpacked, write_archive
from tests.edge.inference.release.signing import Signer, released


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return Signer().sign(released(tiny_bundle, tmp_path_factory.mktemp("bundles"), 7))


@pytest.fixture(scope="module")
def whole(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("archives") / "flange.lwb"
    write_archive(bundle, path)
    return path


def written(folder: Path, raw: bytes) -> Path:
    path = folder / "given.lwb"
    path.write_bytes(raw)
    return path


def refusal(path: Path, folder: Path) -> str:
    """Extract what must be refused; nothing may be left of it, inside the folder or outside."""
    folder.mkdir(exist_ok=True)
    before = sorted(folder.parent.rglob("*"))
    with pytest.raises(BundleError) as caught:
        extract_bundle(path, folder, lambda _: "target")
    words = str(caught.value)
    assert "\n" not in words
    assert sorted(folder.parent.rglob("*")) == before
    return words


def members(*added: tuple[tarfile.TarInfo, bytes], of: Path | None = None) -> bytes:
    """A tar file as another program writes it: the files of an archive, and further ones."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        if of is not None:
            with tarfile.open(of) as source:
                for member in source:
                    tar.addfile(member, source.extractfile(member))
        for info, content in added:
            info.size = len(content) if info.isreg() else info.size
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def test_an_archive_gives_back_the_bundle_byte_for_byte(bundle: Bundle, whole: Path, tmp_path: Path) -> None:
    got = extract_bundle(whole, tmp_path, lambda found: f"got {found.manifest.version}")
    assert got.digest == bundle.digest
    names = {path.relative_to(bundle.path) for path in bundle.path.rglob("*") if path.is_file()}
    assert names == {path.relative_to(got.path) for path in got.path.rglob("*") if path.is_file()}
    assert all((got.path / name).read_bytes() == (bundle.path / name).read_bytes() for name in names)
    assert got.path.stat().st_mode & 0o777 == 0o755


def test_one_content_has_one_archive(bundle: Bundle, whole: Path, tmp_path: Path) -> None:
    """Whatever its files' dates, rights and owners are, and in whatever order they were written."""
    copy = Path(shutil.copytree(bundle.path, tmp_path / "copy"))
    for number, path in enumerate(sorted(copy.rglob("*"), reverse=True)):
        os.utime(path, (number, number))
        path.chmod(0o700)
    write_archive(open_bundle(copy), tmp_path / "again.lwb")
    assert sha256_file(tmp_path / "again.lwb") == sha256_file(whole)


def test_tar_lists_an_archive(bundle: Bundle, whole: Path) -> None:
    with tarfile.open(whole) as tar:
        names = tar.getnames()
    assert names[:3] == [MANIFEST, DIGEST, SIGNATURE]
    assert names[3:] == sorted(bundle.manifest.files)


def test_a_bundle_is_not_extracted_over_another(
    tiny_bundle: Bundle, bundle: Bundle, whole: Path, tmp_path: Path
) -> None:
    other = released(tiny_bundle, tmp_path, 8)
    with pytest.raises(BundleError, match="holds another bundle"):
        extract_bundle(whole, tmp_path, lambda _: other.path.name)
    assert open_bundle(other.path).digest == other.digest
    first, again = (extract_bundle(whole, tmp_path, lambda _: "same") for _ in range(2))
    assert first == again
    assert sorted(path.name for path in tmp_path.iterdir()) == [other.path.name, "same"]


def test_what_must_not_be_installed_leaves_nothing(whole: Path, tmp_path: Path) -> None:
    def refuse(found: Bundle) -> str:
        raise BundleError(f"{found.title} is not wanted here")

    with pytest.raises(BundleError, match="is not wanted here"):
        extract_bundle(whole, tmp_path, refuse)
    assert list(tmp_path.iterdir()) == []


def test_a_look_into_an_archive_leaves_nothing(whole: Path, bundle: Bundle, tmp_path: Path) -> None:
    with unpacked(whole, tmp_path) as found:
        assert found.digest == bundle.digest
        assert found.path.parent == tmp_path
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("left", [0, 1, 511, 512, 1000, -1, -512, -1024])
def test_an_archive_that_was_cut_off_is_refused(whole: Path, tmp_path: Path, left: int) -> None:
    assert "copy it again" in refusal(written(tmp_path, whole.read_bytes()[:left]), tmp_path / "models")


@pytest.mark.parametrize("more", [b"\0", b"\0" * 512, b"x", b"\0" * 10240])
def test_an_archive_that_goes_on_is_refused(whole: Path, tmp_path: Path, more: bytes) -> None:
    assert "does not end" in refusal(written(tmp_path, whole.read_bytes() + more), tmp_path / "models")


@pytest.mark.parametrize(
    "info",
    [
        entry("references/x.png", tarfile.SYMTYPE, "/etc/passwd"),
        entry("references/x.png", tarfile.LNKTYPE, MANIFEST),
        entry("references/x", tarfile.DIRTYPE),
        entry("references/x", tarfile.CHRTYPE),
        entry("references/x", tarfile.FIFOTYPE),
        entry("references/x", tarfile.GNUTYPE_SPARSE),
        entry("references/x", tarfile.XHDTYPE),
        entry("../outside"),
        entry("references/../../outside"),
        entry("/tmp/outside"),
        entry("./references/x"),
        entry("references//x"),
        entry(".hidden"),
        entry("references/x\n"),
        entry("references/\u00e9"),
        entry("a/b/c/d/e"),
    ],
    ids=lambda info: f"{info.name!r} {info.type!r}",
)
def test_links_devices_and_names_that_lead_elsewhere_are_refused(
    whole: Path, tmp_path: Path, info: tarfile.TarInfo
) -> None:
    raw = members((info, b"" if not info.isreg() else b"x"))
    head = whole.read_bytes()
    place = head.index(b"\0" * 1024, len(head) - 1024)
    assert "begins no plain file" in refusal(written(tmp_path, head[:place] + raw), tmp_path / "models")


def test_the_same_file_twice_is_refused(whole: Path, tmp_path: Path) -> None:
    raw = whole.read_bytes()
    with tarfile.open(whole) as tar:
        last = tar.getmembers()[-1]
    again = raw[last.offset : -1024] + b"\0" * 1024
    assert "is there twice" in refusal(written(tmp_path, raw[:-1024] + again), tmp_path / "models")


def test_a_size_that_is_not_there_writes_nothing(whole: Path, tmp_path: Path) -> None:
    """A header may promise 8 GB: the file itself says that they are not there."""
    big = archive._header("references/zz.png", 8 * 1024**3 - 1)
    raw = whole.read_bytes()[:-1024] + big + b"\0" * 1024
    assert "was cut off" in refusal(written(tmp_path, raw), tmp_path / "models")


def test_many_files_and_large_archives_are_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = b"".join(archive._header(f"f{number:04}", 0) for number in range(MAX_FILES + 1)) + b"\0" * 1024
    assert "more than 256 files" in refusal(written(tmp_path, raw), tmp_path / "models")
    hole = tmp_path / "hole.lwb"
    with hole.open("wb") as stream:
        stream.truncate(archive.MAX_BYTES + 1)
    assert "more than a bundle has" in refusal(hole, tmp_path / "models")


def test_a_disk_without_room_is_said_before_anything_is_written(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive.shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(10**6, 10**6, 4096))
    assert "make room" in refusal(whole, tmp_path / "models")


def test_bytes_hidden_behind_a_file_are_found(bundle: Bundle, whole: Path, tmp_path: Path) -> None:
    raw = bytearray(whole.read_bytes())
    raw[512 + bundle.file(MANIFEST).stat().st_size] = 1  # the manifest is first, and does not fill its last block
    assert "hides bytes" in refusal(written(tmp_path, bytes(raw)), tmp_path / "models")


@given(st.data())
def test_any_flipped_byte_of_an_archive_is_found_in_one_line(
    whole: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Except in the signature, which whoever reads it verifies."""
    raw = bytearray(whole.read_bytes())
    with tarfile.open(whole) as tar:
        signature = tar.getmember(SIGNATURE)
    inside = range(signature.offset_data, signature.offset_data + signature.size)
    place = data.draw(st.integers(0, len(raw) - 1).filter(lambda place: place not in inside))
    raw[place] ^= data.draw(st.integers(1, 255))
    folder = tmp_path_factory.mktemp("flipped")
    refusal(written(folder, bytes(raw)), folder / "models")


@given(st.binary(max_size=3000))
def test_any_bytes_are_refused_in_one_line(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    folder = tmp_path_factory.mktemp("bytes")
    refusal(written(folder, raw), folder / "models")
