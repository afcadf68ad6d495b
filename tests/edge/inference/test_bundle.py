"""edge.inference.bundle: a bundle is a verified folder, or it is refused by name."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.core.types import EdgeError
from edge.inference.bundle import (
    DIGEST,
    FP32_ONNX,
    INT8_IR,
    MANIFEST,
    MODELS,
    Bundle,
    BundleError,
    open_bundle,
    write_bundle,
)

REFERENCE = "references/good.png"
FILES = (MANIFEST, DIGEST, *MODELS, REFERENCE, "references/bad.png")


@pytest.fixture
def copy(tiny_bundle: Bundle, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle.path, tmp_path / "copy"))


@pytest.fixture(scope="module")
def shared_copy(tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For laws that damage and restore it hundreds of times."""
    return Path(shutil.copytree(tiny_bundle.path, tmp_path_factory.mktemp("laws") / "copy"))


def seal(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the manifest and make its digest fit again, so that only the change itself is wrong."""
    manifest = json.loads((folder / MANIFEST).read_bytes())
    change(manifest)
    raw = json.dumps(manifest).encode()
    (folder / MANIFEST).write_bytes(raw)
    (folder / DIGEST).write_text(f"{hashlib.sha256(raw).hexdigest()}  {MANIFEST}\n")


def refusal(folder: Path) -> str:
    with pytest.raises(BundleError) as refused:
        open_bundle(folder)
    message = str(refused.value)
    assert "\n" not in message
    return message


def test_the_files_of_the_laws_are_all_the_files_there_are(tiny_bundle: Bundle) -> None:
    found = {p.relative_to(tiny_bundle.path).as_posix() for p in tiny_bundle.path.rglob("*") if p.is_file()}
    assert found == set(FILES)


@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_any_flipped_bit_in_any_file_is_found(shared_copy: Path, data: st.DataObject) -> None:
    path = shared_copy / data.draw(st.sampled_from(FILES))
    intact = path.read_bytes()
    damaged = bytearray(intact)
    damaged[data.draw(st.integers(0, len(intact) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(damaged)
    try:
        refusal(shared_copy)
    finally:
        path.write_bytes(intact)
    open_bundle(shared_copy)


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_any_truncated_file_is_found(shared_copy: Path, data: st.DataObject) -> None:
    path = shared_copy / data.draw(st.sampled_from(FILES))
    intact = path.read_bytes()
    path.write_bytes(intact[: data.draw(st.integers(0, len(intact) - 1))])
    try:
        refusal(shared_copy)
    finally:
        path.write_bytes(intact)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(copy: Path, name: str) -> None:
    (copy / name).unlink()
    assert f"{name} is missing" in refusal(copy)


@pytest.mark.parametrize("name", ["run.sh", ".hidden", "references/other.png", "deep/er/file"])
def test_an_extra_file_is_named(copy: Path, name: str) -> None:
    (copy / name).parent.mkdir(parents=True, exist_ok=True)
    (copy / name).touch()
    assert name in refusal(copy)


def test_a_link_in_place_of_a_file_is_refused_even_to_the_same_bytes(copy: Path, tmp_path: Path) -> None:
    (copy / INT8_IR).rename(tmp_path / "elsewhere.xml")
    (copy / INT8_IR).symlink_to(tmp_path / "elsewhere.xml")
    assert INT8_IR in refusal(copy)


def test_an_extra_link_to_a_folder_is_named(copy: Path, tmp_path: Path) -> None:
    (copy / "more").symlink_to(tmp_path, target_is_directory=True)
    assert "more" in refusal(copy)


def test_a_linked_folder_of_references_is_refused(copy: Path, tmp_path: Path) -> None:
    (copy / "references").rename(tmp_path / "elsewhere")
    (copy / "references").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert "references" in refusal(copy)


def test_a_pipe_in_place_of_a_file_is_refused_without_waiting_for_it(copy: Path) -> None:
    (copy / FP32_ONNX).unlink()
    os.mkfifo(copy / FP32_ONNX)
    assert FP32_ONNX in refusal(copy)


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "references/../../secret"])
def test_a_path_that_leaves_the_bundle_is_refused(copy: Path, name: str) -> None:
    seal(copy, lambda manifest: manifest["files"].update({name: "0" * 64}))
    assert "outside the bundle" in refusal(copy)


def test_a_newer_format_is_named_with_the_one_that_is_read(copy: Path) -> None:
    seal(copy, lambda manifest: manifest.update(format=4))
    assert "format 4, this Linewatch reads formats 1, 2 and 3" in refusal(copy)


def without_place(manifest: dict[str, Any]) -> None:
    """Turn a manifest into one of format 1, which said nothing of the map."""
    del manifest["map"], manifest["marking"]
    manifest["format"] = 1


def test_a_bundle_of_format_1_is_opened_with_the_threshold_as_its_marking_value(copy: Path) -> None:
    seal(copy, without_place)
    manifest = open_bundle(copy).manifest
    assert manifest.marking_value == manifest.threshold.value


@pytest.mark.parametrize(
    ("backbone", "columns", "shift"),
    [("tf_efficientnet_lite0", 8, -12.5), ("tf_efficientnet_b0", 4, -12.5), ("efficientnet_b0", 8, 0.0)],
)
def test_a_map_of_format_1_lies_where_its_backbone_looks(copy: Path, backbone: str, columns: int, shift: float) -> None:
    def old(manifest: dict[str, Any]) -> None:
        without_place(manifest)
        manifest["training"] = {"recipe": {"backbone": backbone}}

    seal(copy, old)
    place = open_bundle(copy).manifest.format_1_geometry(columns, columns)
    assert place.stride == 64 / columns
    assert place.offset == ((place.stride - 1) / 2 + shift,) * 2


def test_a_map_of_format_1_with_heads_lies_where_the_masks_taught_it(copy: Path) -> None:
    seal(copy, without_place)
    assert open_bundle(copy).manifest.format_1_geometry(16, 16).offset == (1.5, 1.5)


@pytest.mark.parametrize("key", ["map", "marking"])
def test_format_2_says_where_its_map_lies_and_what_it_marks(copy: Path, key: str) -> None:
    seal(copy, lambda manifest: manifest.pop(key))
    assert "format 2 needs map and marking" in refusal(copy)


def test_format_1_says_nothing_of_the_map(copy: Path) -> None:
    seal(copy, lambda manifest: manifest.update(format=1))
    assert "format 1 knows neither map nor marking" in refusal(copy)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"columns": 9}, "9 columns 8 pixels apart do not cover an input of 64 pixels"),
        ({"stride": 4.0}, "do not cover an input of 64 pixels"),
        ({"offset": [3.5, 99.0]}, "rows begin at 99 pixels"),
    ],
)
def test_a_geometry_that_does_not_fit_its_input_is_refused(copy: Path, changed: dict[str, Any], words: str) -> None:
    seal(copy, lambda manifest: manifest["map"].update(changed))
    assert words in refusal(copy)


@pytest.mark.parametrize("raw", [b"[]", b"null", b"3", b"{", b"\xff\xfe", b"{}"])
def test_a_manifest_that_is_no_manifest_is_refused(copy: Path, raw: bytes) -> None:
    (copy / MANIFEST).write_bytes(raw)
    (copy / DIGEST).write_text(f"{hashlib.sha256(raw).hexdigest()}  {MANIFEST}\n")
    refusal(copy)


@pytest.mark.parametrize("where", [(), ("threshold",), ("calibration",), ("input",), ("map",), ("marking",)])
def test_an_unknown_key_is_named(copy: Path, where: tuple[str, ...]) -> None:
    def add(manifest: dict[str, Any]) -> None:
        for key in where:
            manifest = manifest[key]
        manifest["surprise"] = 1

    seal(copy, add)
    assert ".".join((*where, "surprise")) in refusal(copy)


@pytest.mark.parametrize(
    ("key", "field", "value"),
    [
        ("threshold", "value", float("inf")),
        ("threshold", "value", float("nan")),
        ("threshold", "value", -1.0),
        ("calibration", "scale", 0.0),
        ("calibration", "midpoint", float("nan")),
        ("marking", "value", 0.0),
        ("marking", "share", 1.5),
        ("map", "stride", 0.0),
        ("map", "offset", [0.0, float("inf")]),
        ("input", "width", 0),
        ("input", "interpolation", "nearest"),
    ],
)
def test_a_value_that_cannot_be_is_named(copy: Path, key: str, field: str, value: object) -> None:
    seal(copy, lambda manifest: manifest[key].update({field: value}))
    assert f"{key}.{field}" in refusal(copy)


def test_a_tolerance_that_accepts_every_score_is_refused(copy: Path) -> None:
    seal(copy, lambda manifest: manifest["references"][0].update(tolerance=float("inf")))
    assert "tolerance" in refusal(copy)


def test_a_bundle_without_references_is_refused(copy: Path) -> None:
    seal(copy, lambda manifest: manifest.update(references=[]))
    assert "references" in refusal(copy)


@pytest.mark.parametrize("name", [*MODELS, REFERENCE])
def test_every_file_that_is_used_must_be_listed(copy: Path, name: str) -> None:
    seal(copy, lambda manifest: manifest["files"].pop(name))
    assert f"{name} is not listed" in refusal(copy)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "no such bundle folder" in refusal(tmp_path / "absent")


def parts(bundle: Bundle) -> tuple[dict[str, Any], dict[str, Path]]:
    facts = bundle.manifest.model_dump(mode="json", exclude={"format", "files"})
    return facts, {name: bundle.file(name) for name in bundle.manifest.files}


def test_what_is_written_is_what_is_opened(tiny_bundle: Bundle, tmp_path: Path) -> None:
    facts, files = parts(tiny_bundle)
    written = write_bundle(tmp_path / "a" / "b", facts, files)
    assert written.manifest == tiny_bundle.manifest
    assert open_bundle(tmp_path / "a" / "b") == written
    assert written.digest == tiny_bundle.digest  # the same facts and files are the same bundle
    assert written.title == f"tiny 1 {written.digest[:12]}"


def test_a_bundle_is_never_written_over(tiny_bundle: Bundle, copy: Path) -> None:
    before = {p: p.read_bytes() for p in copy.rglob("*") if p.is_file()}
    with pytest.raises(BundleError, match="exists already"):
        write_bundle(copy, *parts(tiny_bundle))
    assert {p: p.read_bytes() for p in copy.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("missing", [INT8_IR, REFERENCE])
def test_an_incomplete_bundle_leaves_nothing_behind(tiny_bundle: Bundle, tmp_path: Path, missing: str) -> None:
    facts, files = parts(tiny_bundle)
    del files[missing]
    with pytest.raises(EdgeError, match=missing):
        write_bundle(tmp_path / "bundle", facts, files)
    assert list(tmp_path.iterdir()) == []


SHIPPED = Path(__file__).parents[3] / "models" / "default"


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'{"training": ['])
def test_a_deeply_nested_manifest_is_refused_in_one_line(copy: Path, opening: bytes) -> None:
    raw = opening * 60_000
    (copy / MANIFEST).write_bytes(raw)
    (copy / DIGEST).write_text(f"{hashlib.sha256(raw).hexdigest()}  {MANIFEST}\n")
    assert "is not JSON" in refusal(copy)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (("threshold", "value"), 1e308),
        (("threshold", "value"), 1e6),
        (("threshold", "value"), 5e-324),
        (("threshold", "value"), True),
        (("threshold", "value"), "50"),
        (("threshold", "n"), 99.5),
        (("threshold", "n"), "99"),
        (("threshold", "n"), 10**30),
        (("threshold", "bound"), 1e-6),  # 99 parts guarantee 1 % at best
        (("threshold", "bound"), None),  # of method conformal
        (("marking", "value"), 1e300),
        (("marking", "value"), True),
        (("calibration", "scale"), 1e-308),
        (("calibration", "midpoint"), -1e300),
        (("references", 0, "tolerance"), 1e300),
        (("references", 0, "tolerance"), 6.0),  # a tenth of the threshold is 5
        (("references", 0, "tolerance"), "2"),
        (("references", 0, "score"), -1.0),
        (("references", 1, "score"), 1e308),
        (("references", 1, "score"), 4.9),  # then the threshold is more than ten times as high as any reference
        (("references", 0, "file"), "a\nb"),
        (("input", "width"), 10**9),
        (("input", "width"), True),
        (("input", "height"), "64"),
        (("map", "columns"), 10**9),
        (("holdout_scores",), [1e308]),
        (("holdout_scores",), [60.0, 61.0, 62.0]),  # all of them NG
        (("holdout_scores",), [True]),
        (("name",), 3),
        (("created",), True),
        (("types",), "scratch"),
        (("references",), {}),
        (("files",), []),
    ],
    ids=repr,
)
def test_a_recomputed_manifest_is_not_believed_where_a_value_cannot_be(
    copy: Path, key: tuple[str | int, ...], value: object
) -> None:
    def change(manifest: Any) -> None:
        for part in key[:-1]:
            manifest = manifest[part]
        manifest[key[-1]] = value

    seal(copy, change)
    assert str(key[0]) in refusal(copy)


def test_one_reference_proves_nothing(copy: Path) -> None:
    seal(copy, lambda manifest: manifest["references"].pop())
    assert "references: " in refusal(copy)


@pytest.mark.parametrize("share", [0.1, 0.9, 0.999, 10.1, 100.0, 1e3])
def test_a_threshold_where_no_reference_scores_is_refused(tmp_path: Path, share: float) -> None:
    folder = Path(shutil.copytree(SHIPPED, tmp_path / "shipped"))
    scores = [reference.score for reference in open_bundle(folder).manifest.references]

    def move(manifest: dict[str, Any]) -> None:
        manifest["threshold"]["value"] = (min(scores) if share < 1 else max(scores)) * share

    seal(folder, move)
    assert "threshold.value" in refusal(folder)


def test_format_1_with_training_facts_of_any_shape_has_a_geometry(copy: Path) -> None:
    for recipe in (3, None, [], {"backbone": []}):
        seal(copy, lambda m, recipe=recipe: m.update(training={"recipe": recipe}))  # type: ignore[misc]
        assert open_bundle(copy).manifest.format_1_geometry(8, 8).stride == 8.0


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def paths_in(value: object, so_far: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [so_far, *(path for key, inner in items for path in paths_in(inner, (*so_far, key)))]


@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_whatever_a_manifest_says_it_is_a_bundle_within_bounds_or_refused_in_one_line(
    shared_copy: Path, data: st.DataObject
) -> None:
    manifest, digest = (shared_copy / MANIFEST).read_bytes(), (shared_copy / DIGEST).read_bytes()
    places = [path for path in paths_in(json.loads(manifest)) if path]

    def change(found: Any) -> None:
        path = data.draw(st.sampled_from(places))
        for part in path[:-1]:
            found = found[part]
        found[path[-1]] = data.draw(JSON_VALUES)

    said = ""
    try:
        seal(shared_copy, change)
        opened = open_bundle(shared_copy).manifest
        scores = [reference.score for reference in opened.references]
        assert min(scores) < opened.threshold.value <= 10 * max(scores) <= 1e7
        assert opened.input.width * opened.input.height <= 4096 * 4096
    except BundleError as error:
        said = str(error)
    finally:
        (shared_copy / MANIFEST).write_bytes(manifest)
        (shared_copy / DIGEST).write_bytes(digest)
    assert "\n" not in said
    assert len(said) < 1000


@settings(deadline=None, max_examples=100)
@given(raw=st.binary(max_size=300))
def test_no_bytes_in_place_of_a_manifest_do_more_than_be_refused(shared_copy: Path, raw: bytes) -> None:
    manifest, digest = (shared_copy / MANIFEST).read_bytes(), (shared_copy / DIGEST).read_bytes()
    try:
        (shared_copy / MANIFEST).write_bytes(raw)
        (shared_copy / DIGEST).write_text(f"{hashlib.sha256(raw).hexdigest()}  {MANIFEST}\n")
        refusal(shared_copy)
    finally:
        (shared_copy / MANIFEST).write_bytes(manifest)
        (shared_copy / DIGEST).write_bytes(digest)
