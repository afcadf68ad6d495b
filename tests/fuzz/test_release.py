"""Whatever an archive or a file of the trust folder holds, it is the bundle that was packed, or refused in one line."""

from pathlib import Path

from hypothesis import strategies as st

from edge.inference.bundle import SIGNATURE, Bundle, BundleError
from edge.inference.release.archive import unpacked, write_archive
from edge.inference.release.trust import RETIRED, REVOKED, read_trust
from edge.inference.release.versions import AUDIT, NOTES, Versions, read_audit, store_versions
from tests.edge.inference.release.signing import Signer, needs_root, released
from tests.fuzz.campaign import campaign, damaged, refused_in_one_line


def test_archives(tiny_bundle: Bundle, tmp_path: Path, seconds: float) -> None:
    bundle = Signer().sign(released(tiny_bundle, tmp_path / "made", 1))
    write_archive(bundle, tmp_path / "whole.lwb")
    whole = (tmp_path / "whole.lwb").read_bytes()
    given = tmp_path / "given.lwb"
    (tmp_path / "store").mkdir()

    def target(content: bytes) -> None:
        given.write_bytes(content)

        def read() -> None:
            with unpacked(given, tmp_path / "store") as found:
                assert found.digest == bundle.digest
                signed = found.file(SIGNATURE).is_file()
                assert content == whole or signed, "only a signature may differ, and whoever reads it verifies"

        refused_in_one_line(read, BundleError)
        assert not list((tmp_path / "store").iterdir())

    campaign(target, damaged(whole) | st.binary(max_size=2000), seconds)


@needs_root
def test_trust_folders(tmp_path: Path, seconds: float) -> None:
    signer, trust = Signer(), tmp_path / "trust"
    key = signer.trusted_in(trust)
    store_versions(trust, Versions(highest={"flange": 3}), "confirm")
    whole = {key.name: key.read_bytes(), **{name: (trust / name).read_bytes() for name in (*NOTES, AUDIT)}}
    whole |= {RETIRED: f'{{"{signer.id}": {{"flange": 3}}}}'.encode(), REVOKED: f'["{"0" * 64}"]'.encode()}

    def target(given: tuple[str, bytes]) -> None:
        for name, content in {**whole, given[0]: given[1]}.items():
            (trust / name).write_bytes(content)
        refused_in_one_line(lambda: (read_trust(trust), read_audit(trust)), BundleError)

    files = [st.tuples(st.just(name), damaged(content) | st.binary(max_size=200)) for name, content in whole.items()]
    campaign(target, st.one_of(files), seconds)
