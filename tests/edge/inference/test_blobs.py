"""edge.inference.blobs: a compiled model is used only as it was written, and only where it was compiled."""

import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.inference.blobs import DIGEST_BYTES, KEPT, BlobStore
from edge.inference.bundle import Bundle
from edge.inference.cpu import ISA_CAP, read_cpu
from edge.inference.detector import Detector
from tests.tiny import bad_image

OPTIONS = {"PERFORMANCE_HINT": "LATENCY"}


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "compiled")


def blob_of(store: BlobStore) -> Path:
    (path,) = store.folder.iterdir()
    return path


def test_the_second_start_compiles_nothing_and_scores_the_same(tiny_bundle: Bundle, store: BlobStore) -> None:
    first, second = (Detector.from_bundle(tiny_bundle, blobs=store) for _ in range(2))
    assert (first.cached, second.cached) == (False, True)
    ours, theirs = first.predict(bad_image()), second.predict(bad_image())
    assert ours.score == theirs.score
    assert np.array_equal(ours.anomaly_map, theirs.anomaly_map)


@pytest.mark.parametrize("where", [0, DIGEST_BYTES, 0.5, -1])
def test_a_flipped_bit_anywhere_means_compiling_again_with_one_line(
    tiny_bundle: Bundle, store: BlobStore, caplog: pytest.LogCaptureFixture, where: float
) -> None:
    Detector.from_bundle(tiny_bundle, blobs=store)
    path = blob_of(store)
    content = bytearray(path.read_bytes())
    content[int(where * len(content)) if isinstance(where, float) else where] ^= 1
    path.write_bytes(content)
    assert not Detector.from_bundle(tiny_bundle, blobs=store).cached
    (record,) = caplog.records
    assert record.message == f"{path}: the compiled model is damaged; compiled again"
    assert Detector.from_bundle(tiny_bundle, blobs=store).cached, "what was damaged is replaced"


def test_a_whole_blob_that_the_runtime_refuses_is_replaced_with_one_line(
    tiny_bundle: Bundle, store: BlobStore, caplog: pytest.LogCaptureFixture
) -> None:
    Detector.from_bundle(tiny_bundle, blobs=store)
    path = blob_of(store)
    store.write(path, b"of another runtime")
    detector = Detector.from_bundle(tiny_bundle, blobs=store)
    assert not detector.cached
    (record,) = caplog.records
    assert "does not load" in record.message
    assert "\n" not in record.message
    assert Detector.from_bundle(tiny_bundle, blobs=store).cached


def test_a_folder_that_cannot_be_written_to_costs_a_line_and_no_start(
    tiny_bundle: Bundle, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "compiled").write_text("not a folder")
    assert not Detector.from_bundle(tiny_bundle, blobs=BlobStore(tmp_path / "compiled")).cached
    assert all(record.levelno == logging.WARNING for record in caplog.records)
    assert "cannot be kept" in caplog.records[-1].message


def test_another_model_runtime_option_or_cap_is_another_file(store: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [
        store.path("a" * 64, "openvino 1", OPTIONS),
        store.path("b" * 64, "openvino 1", OPTIONS),
        store.path("a" * 64, "openvino 2", OPTIONS),
        store.path("a" * 64, "openvino 1", {**OPTIONS, "INFERENCE_NUM_THREADS": 1}),
    ]
    assert store.path("a" * 64, "openvino 1", dict(OPTIONS)) == paths[0]
    if read_cpu().native_tier not in ("AVX2", "lower", "ARM64", "ARM64 dotprod"):
        monkeypatch.setenv(ISA_CAP, "AVX2")
        paths.append(store.path("a" * 64, "openvino 1", OPTIONS))
    assert len(set(paths)) == len(paths)


def test_another_cpu_is_another_file(store: BlobStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    here = store.path("a" * 64, "openvino 1", OPTIONS)
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("model name : another CPU\nflags : avx2\n")
    monkeypatch.setattr("edge.inference.blobs.read_cpu", lambda: read_cpu(cpuinfo))
    assert store.path("a" * 64, "openvino 1", OPTIONS) != here


def test_only_the_newest_are_kept(store: BlobStore) -> None:
    paths = [store.path(f"{number:064d}", "openvino 1", OPTIONS) for number in range(KEPT + 2)]
    for path in paths:
        store.write(path, b"blob")
    assert set(store.folder.iterdir()) == set(paths[2:])


@given(content=st.binary(max_size=200))
def test_no_content_but_a_written_one_is_read(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    store = BlobStore(tmp_path_factory.mktemp("blobs"))
    path = store.folder / "any.blob"
    path.write_bytes(content)
    assert store.read(path) is None
    store.write(path, content)
    assert store.read(path) == content
