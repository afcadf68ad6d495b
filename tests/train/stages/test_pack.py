from pathlib import Path

import cv2
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.core.types import EdgeError
from edge.inference.bundle import INT8_ONNX, open_bundle
from edge.inference.preprocess import ImageError
from edge.inference.release.archive import unpacked
from tests.tiny import bad_image
from train.measure.threshold import set_threshold
from train.run import Run
from train.stages import StageError
from train.stages.calibrate import calibrate
from train.stages.evaluate import evaluate_work
from train.stages.pack import check_promise, main, pack


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_references_have_one_size_where_photos_have_several(tiny_run: Run, tmp_path: Path) -> None:
    scores = tiny_run.read_report("calibration.json", "calibrate")["holdout"]
    highest = tiny_run.fit_report().data / max(scores, key=scores.__getitem__)
    photo = cv2.imread(str(highest))
    cv2.imwrite(str(highest), cv2.resize(photo, None, fx=1.5, fy=1.0))
    bundle = pack(tiny_run, tmp_path / "models/tiny")
    assert len({cv2.imread(str(bundle.file(one.file))).shape for one in bundle.manifest.references}) == 1


def test_packing_again_leaves_the_old_bundle_whole(tiny_run: Run, tmp_path: Path) -> None:
    first = pack(tiny_run, tmp_path / "models/tiny")
    second = pack(tiny_run, tmp_path / "models/tiny")
    assert open_bundle(tmp_path / f"models/tiny-{first.manifest.version}").digest == first.digest
    assert open_bundle(tmp_path / "models/tiny").digest == second.digest
    assert len(names(tmp_path / "models")) == 2


def test_a_taken_name_for_the_old_bundle_is_numbered(tiny_run: Run, tmp_path: Path) -> None:
    """Two bundles packed within one second have one version."""
    first = pack(tiny_run, tmp_path / "models/tiny")
    (tmp_path / f"models/tiny-{first.manifest.version}").mkdir()
    pack(tiny_run, tmp_path / "models/tiny")
    assert open_bundle(tmp_path / f"models/tiny-{first.manifest.version}.2").digest == first.digest


def test_each_pack_is_a_version_further_and_never_an_older_one(tiny_run: Run, tmp_path: Path) -> None:
    target = tmp_path / "models/tiny"
    releases = [pack(tiny_run, target).manifest.release, pack(tiny_run, target, counter=9).manifest.release]
    assert [(one.product, one.counter) for one in releases if one] == [("tiny", 1), ("tiny", 9)]
    with pytest.raises(StageError, match="version 9 of tiny is not newer than 9"):
        pack(tiny_run, target, counter=9)
    main(["--work", str(tiny_run.folder), "--out", str(target)])
    with unpacked(tmp_path / "models/tiny.lwb", tmp_path) as carried:
        assert carried.manifest.release is not None
        assert carried.manifest.release.counter == 10
        assert carried.digest == open_bundle(target).digest


def test_a_bundle_that_must_not_ship_leaves_the_old_one_where_it_was(tiny_run: Run, tmp_path: Path) -> None:
    first = pack(tiny_run, tmp_path / "models/tiny")
    model = onnx.load(tiny_run.file(INT8_ONNX))
    (mid,) = (t for t in model.graph.initializer if t.name == "mid")
    mid.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(mid) + 50, "mid"))
    onnx.save(model, tiny_run.file(INT8_ONNX))
    with pytest.raises(StageError, match=r"onnxruntime scores .* do not ship"):
        pack(tiny_run, tmp_path / "models/tiny")
    assert open_bundle(tmp_path / "models/tiny").digest == first.digest
    assert names(tmp_path / "models") == ["tiny"]


def test_a_folder_that_is_no_bundle_is_not_moved(tiny_run: Run, tmp_path: Path) -> None:
    (tmp_path / "models/tiny").mkdir(parents=True)
    (tmp_path / "models/tiny/notes.txt").write_text("mine")
    with pytest.raises(EdgeError, match=r"manifest\.json is missing"):
        pack(tiny_run, tmp_path / "models/tiny")
    assert names(tmp_path / "models") == ["tiny"]
    assert names(tmp_path / "models/tiny") == ["notes.txt"]


def test_figures_of_another_threshold_are_not_packed(tiny_run: Run, tmp_path: Path) -> None:
    evaluate_work(tiny_run)
    assert pack(tiny_run, tmp_path / "models/tiny").manifest.metrics["n_good"] == 8
    facts = tiny_run.read_report("evaluate.json", "evaluate")
    tiny_run.write_report("evaluate.json", facts | {"threshold": 999.0})
    with pytest.raises(
        StageError, match="another threshold than the one to ship; run `python -m train evaluate` again"
    ):
        pack(tiny_run, tmp_path / "models/other")


def test_a_promise_the_goods_support_is_packed_with_its_confidence(tiny_run: Run, tmp_path: Path) -> None:
    """Ten held-out goods, one of them allowed above: 1/11 on average, and 26 % in the worst twentieth."""
    threshold = pack(tiny_run, tmp_path / "models/tiny", promise=0.1).manifest.threshold
    assert threshold.bound == pytest.approx(1 / 11)
    assert threshold.upper_95 == pytest.approx(1 - 0.05 ** (1 / 10))


def test_a_promise_without_the_goods_for_it_is_refused_with_their_number(tiny_run: Run, tmp_path: Path) -> None:
    out = tmp_path / "models/tiny"
    with pytest.raises(
        StageError, match=r"10 held-out good parts cannot guarantee .* 1\.00% .*: 99 are needed"
    ) as found:
        main(["--work", str(tiny_run.folder), "--out", str(out), "--promise", "0.01"])
    assert "\n" not in str(found.value)
    assert not out.parent.exists()


@pytest.mark.parametrize("share", ["0", "1", "much", "nan", "-0.1"])
def test_a_promise_that_is_no_share_is_wrong_usage(share: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as found:
        main(["--work", "runs/none", f"--promise={share}"])
    assert found.value.code == 2
    assert "is no share" in capsys.readouterr().err


@settings(deadline=None, max_examples=50)
@given(st.integers(4, 300), st.floats(0.002, 0.2), st.floats(0.002, 0.2))
def test_a_promise_is_made_only_where_the_threshold_guarantees_it(n: int, alpha: float, promise: float) -> None:
    threshold = set_threshold([1.0 + index for index in range(n)], alpha)
    if threshold.bound is not None and threshold.bound <= promise:
        check_promise(threshold, promise)
    else:
        with pytest.raises(StageError, match=r"are needed; add good parts|train with --alpha"):
            check_promise(threshold, promise)


def test_enough_goods_but_a_threshold_for_another_share_says_what_to_change() -> None:
    threshold = set_threshold([1.0 + index for index in range(120)], 0.05)
    with pytest.raises(
        StageError, match=r"was set for 5\.00% .* not for the promised 1\.00%; train with --alpha 0\.01"
    ):
        check_promise(threshold, 0.01)


def blind(work: Run) -> None:
    """Raise the threshold over every score, as one damaged good image did."""
    facts = work.read_report("calibration.json", "calibrate")
    facts["threshold"]["value"] = 250.0
    facts["outliers"] = {"train/good/29.png": 1.0}
    work.write_report("calibration.json", facts)


@pytest.mark.parametrize("measured", [True, False])
def test_a_model_that_finds_none_of_the_known_defects_is_not_packed(
    tiny_run: Run, tmp_path: Path, measured: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    blind(tiny_run)
    if measured:
        evaluate_work(tiny_run)
    with pytest.raises(StageError, match=r"finds none of the \d+ known defects; look at train/good/29.png"):
        pack(tiny_run, tmp_path / "models/blind")
    assert not (tmp_path / "models").exists()
    pack(tiny_run, tmp_path / "models/blind", although_blind=True)
    assert "warning: this model finds none" in capsys.readouterr().out


def test_a_damaged_held_out_photo_is_named_and_sets_no_threshold(tiny_run: Run) -> None:
    report = tiny_run.fit_report()
    path = report.data / report.holdout_images[0]
    jpeg = cv2.imencode(".jpg", cv2.imread(str(path)))[1].tobytes()
    path.write_bytes(jpeg[: len(jpeg) * 2 // 3])
    with pytest.raises(ImageError, match=rf"{path.name}: the JPEG is damaged"):
        calibrate(tiny_run)


def test_calibration_asks_for_a_look_at_a_good_image_far_beyond_the_rest(
    tiny_run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tiny_run.fit_report()
    path = report.data / report.holdout_images[0]
    assert cv2.imwrite(str(path), bad_image())
    before = tiny_run.read_report("calibration.json", "calibrate")["threshold"]["value"]
    calibrate(tiny_run)
    found = tiny_run.read_report("calibration.json", "calibrate")
    assert list(found["outliers"]) == [report.holdout_images[0]]
    assert found["outliers"][report.holdout_images[0]] == pytest.approx(before, rel=0.5)
    assert f"look at {path}" in capsys.readouterr().out
