"""Bundles and other methods judge the same unseen images, and one piece of code measures them."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from edge.inference.bundle import Bundle
from edge.inference.preprocess import InputSpec, prepare
from tests.edge.inference.test_part import CROP, follow, photo
from tests.train.conftest import KINDS, VALIDATED
from train.config import TrainConfig
from train.peers import PeersError
from train.peers.compare import compare_methods, main, peer_spec
from train.peers.methods import METHODS
from train.run import Run
from train.stages.evaluate import evaluate_bundle
from train.stages.pack import pack


@pytest.fixture
def bundle(tiny_run: Run, tmp_path: Path) -> Bundle:
    return pack(tiny_run, tmp_path / "models/tiny")


def test_a_bundle_has_the_figures_that_its_evaluation_gives(tiny_run: Run, bundle: Bundle, tmp_path: Path) -> None:
    data = tiny_run.fit_report().data
    found = compare_methods(data, [bundle.path], [], TrainConfig(side=64), tmp_path / "out")
    alone = evaluate_bundle(bundle.path, data, None)["int8"]
    (row,) = found["rows"]
    assert row["image"] == alone["image"]
    assert {key: row["pixel"][key] for key in ("auroc", "au_pro")} == {
        key: alone["pixel"][key] for key in ("auroc", "au_pro")
    }
    assert row["intervals"]["image"] == alone["intervals"]["image"]


def test_images_that_one_bundle_has_seen_are_left_out_for_all(
    tiny_run: Run, bundle: Bundle, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    data = tiny_run.fit_report().data
    found = compare_methods(data, [tiny_bundle.path, bundle.path], [], TrainConfig(side=64), tmp_path / "out")
    assert found["left_out"] == VALIDATED
    assert found["n_defective"] == KINDS["test/spot"] + KINDS["test/dark"] - VALIDATED
    assert [row["name"] for row in found["rows"]] == [str(tiny_bundle.path), str(bundle.path)]


def test_the_page_and_the_report_hold_every_method(tiny_run: Run, tiny_bundle: Bundle, tmp_path: Path) -> None:
    out, data = tmp_path / "out", tiny_run.fit_report().data
    options = ["--data", str(data), "--bundle", str(tiny_bundle.path), "--peers", "none", "--out", str(out)]
    main(options)
    page = (out / "compare.html").read_text(encoding="utf-8")
    (row,) = json.loads((out / "compare.json").read_text(encoding="utf-8"))["rows"]
    assert str(tiny_bundle.path) in page
    assert f"{row['image']['auroc']:.3f} [" in page
    assert page.count("<svg") == 1
    assert row["total_ms_p50"] > 0


def test_a_missing_anomalib_is_one_line_before_anything_is_written(
    tiny_run: Run, tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "anomalib", None)  # as where it is not installed
    data = tiny_run.fit_report().data
    with pytest.raises(PeersError, match=r"anomalib is not installed; run `pip install .*--peers none") as found:
        compare_methods(data, [tiny_bundle.path], list(METHODS), TrainConfig(side=64), tmp_path / "out")
    assert "\n" not in str(found.value)
    assert not (tmp_path / "out").exists()


def test_test_images_of_one_kind_are_one_line(tiny_run: Run, tiny_bundle: Bundle, tmp_path: Path) -> None:
    data = tiny_run.fit_report().data
    for path in (data / "test/good").iterdir():
        path.unlink()
    with pytest.raises(PeersError, match="good and defective images that no bundle was trained on are needed"):
        compare_methods(data, [tiny_bundle.path], [], TrainConfig(side=64), tmp_path / "out")


def test_a_peer_sees_of_a_photo_what_the_bundle_sees() -> None:
    """The region moves with the part, and what is ignored is grey, or moving parts would be compared unfairly."""
    stamp = ((60.0, 50.0), (90.0, 50.0), (90.0, 80.0))
    ours = InputSpec(crop=CROP, follow=follow("board", "picture"), ignore=(stamp,), width=96, height=96)
    frame = photo("board", dx=9.0)
    assert np.array_equal(prepare(frame, peer_spec(ours, 96)), prepare(frame, ours))
    assert not np.array_equal(
        prepare(frame, peer_spec(ours.model_copy(update={"follow": None}), 96)), prepare(frame, ours)
    )


@pytest.mark.parametrize("method", METHODS)
def test_a_peer_is_trained_and_judges_through_the_same_detector(
    tiny_run: Run, tiny_bundle: Bundle, tmp_path: Path, method: str
) -> None:
    pytest.importorskip("anomalib", reason="an extra of the workstation: pip install 'linewatch[compare]'")
    recipe = TrainConfig(side=128, bank=32)
    found = compare_methods(tiny_run.fit_report().data, [tiny_bundle.path], [method], recipe, tmp_path / "out")
    assert found["rows"][1]["name"] == f"anomalib {method}"
    assert found["rows"][1]["image"]["auroc"] > 0.9
