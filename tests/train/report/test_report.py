import html
import json
import re
from pathlib import Path

import pytest

from train.report.pictures import best_catches, worst_escapes, worst_overkill
from train.run import Run
from train.stages import StageError
from train.stages.evaluate import evaluate_work
from train.stages.report import report


def page_of(work: Run) -> str:
    return report(work).read_text(encoding="utf-8")


def changed(work: Run, name: str, **facts: object) -> None:
    work.write_report(name, work.read_report(name, "evaluate") | facts)


@pytest.fixture(scope="module")
def measured() -> dict[str, str]:
    """What evaluate.json holds, after the first test; the same photos have the same figures in each folder."""
    return {}


@pytest.fixture
def evaluated(tiny_run: Run, measured: dict[str, str]) -> Run:
    """A run that was measured; may be damaged."""
    root, file = str(tiny_run.folder.parents[1]), tiny_run.file("evaluate.json")
    if not measured:
        evaluate_work(tiny_run)
        measured["text"] = file.read_text().replace(root, "ROOT")
    file.write_text(measured["text"].replace("ROOT", root))
    return tiny_run


def test_the_page_needs_nothing_but_itself(evaluated: Run, tmp_path: Path) -> None:
    page = report(evaluated, tmp_path / "new/page.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 5
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    assert not re.findall(r"url\((?!#)|@import|<script", page)


def test_the_page_holds_every_measure_with_its_interval(evaluated: Run) -> None:
    page = page_of(evaluated)
    facts = evaluated.read_report("evaluate.json", "evaluate")["int8"]["intervals"]
    for found in (*facts["image"].values(), *facts["pixel"].values(), facts["sensitivity"], facts["specificity"]):
        assert f"{found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}]" in page


def test_the_data_card_counts_what_was_used_and_what_was_left_out(evaluated: Run) -> None:
    page = page_of(evaluated)
    assert evaluated.fit_report().dataset_sha256 in page
    for cells in (
        ("kept for validation", "6 dark"),
        ("test images", "4 dark, 8 good, 6 spot"),
        ("test images left out", "6, used in training or calibration, or other photos of parts that were"),
    ):
        assert "<tr><td>{}</td><td>{}</td></tr>".format(*cells) in page


def test_every_mistake_at_the_threshold_is_pictured(evaluated: Run) -> None:
    """With the threshold above all scores every defective part is an escape, and six are shown, three pictures each.

    The contact sheet shows all ten once more.
    """
    changed(evaluated, "evaluate.json", threshold=999.0)
    threshold = evaluated.read_report("calibration.json", "calibrate")["threshold"]
    changed(evaluated, "calibration.json", threshold=threshold | {"value": 999.0})
    page = page_of(evaluated)
    assert page.count("data:image/jpeg;base64,") == 18 + 10
    assert "None: every good test part passes." in page


def test_the_guarantee_is_told_with_its_confidence_and_an_estimate_as_one(evaluated: Run) -> None:
    assert "at most 9.1% of good parts rejected in expectation, 25.9% with 95 % confidence" in page_of(evaluated)
    threshold = evaluated.read_report("calibration.json", "calibrate")["threshold"]
    few = threshold | {"bound": None, "upper_95": None, "method": "normal_limit", "alpha": 0.01}
    changed(evaluated, "calibration.json", threshold=few)
    assert "no guarantee; one needs 99 held-out good parts" in page_of(evaluated)


def test_what_other_stages_left_is_shown_and_its_absence_is_no_fault(evaluated: Run) -> None:
    bare = page_of(evaluated)
    assert "<h2>Training</h2>" not in bare
    assert "quantiser tried" not in bare
    epochs = [{"epoch": n, "loss": 1 / n, "validation_auroc": None if n == 1 else 0.9} for n in (1, 2, 3)]
    evaluated.write_report("heads.json", {"epochs": epochs})
    changed(evaluated, "quantize.json", trials=[{"method": "minmax", "auroc": 0.91}, {"method": "kl", "kept": True}])
    page = page_of(evaluated)
    assert "validation AUROC after each epoch" in page
    assert "<td>kl</td><td>–</td><td>yes</td>" in page


def test_a_good_far_beyond_the_rest_is_pictured_with_the_threshold_of_the_others(evaluated: Run) -> None:
    before = page_of(evaluated)
    name = evaluated.fit_report().holdout_images[0]
    changed(evaluated, "calibration.json", outliers={name: 12.5}, with_outliers=31.5)
    page = page_of(evaluated)
    assert page.count("data:image/jpeg;base64,") == before.count("data:image/jpeg;base64,") + 2
    assert "without this image it would be 12.5" in page
    assert "it would be 31.5; they are shown below" in page


def test_a_model_whose_int8_costs_more_than_allowed_says_so(evaluated: Run) -> None:
    changed(evaluated, "quantize.json", trials=[{"what": "ranges"}], within_limits=True)
    assert "None of these keeps the limits" not in page_of(evaluated)
    changed(evaluated, "quantize.json", within_limits=False)
    assert "None of these keeps the limits" in page_of(evaluated)


def test_names_from_folders_cannot_bring_markup(evaluated: Run) -> None:
    facts = json.loads(evaluated.file("evaluate.json").read_text().replace('"spot"', '"<b>spot"'))
    evaluated.write_report("evaluate.json", facts)
    page = page_of(evaluated)
    assert "<b>spot" not in page
    assert "&lt;b&gt;spot" in page


def test_a_report_of_another_version_is_one_line(evaluated: Run) -> None:
    evaluated.write_report("evaluate.json", {"data": "photos"})
    with pytest.raises(StageError, match="run `python -m train evaluate` again"):
        report(evaluated)


def test_figures_of_another_threshold_are_not_shown(evaluated: Run) -> None:
    changed(evaluated, "evaluate.json", threshold=999.0)
    with pytest.raises(StageError, match=r"another threshold than calibration\.json; run `python -m train evaluate`"):
        report(evaluated)


def entries(*pairs: tuple[str, float]) -> list[dict[str, object]]:
    return [{"label": label, "score": score} for label, score in pairs]


def test_pictures_are_the_extreme_ones_of_each_kind() -> None:
    images = entries(("good", 1.0), ("good", 5.0), ("good", 7.0), ("a", 2.0), ("a", 9.0), ("a", 8.0), ("b", 6.0))
    assert [image["score"] for image in worst_escapes(images, 4.0)] == [2.0]
    assert [image["score"] for image in worst_overkill(images, 4.0)] == [7.0, 5.0]
    assert [image["score"] for image in best_catches(images, 4.0)] == [9.0, 6.0, 8.0]


def test_every_defect_has_the_sentence_of_a_worker_and_says_whether_the_map_hit_it(evaluated: Run) -> None:
    page = page_of(evaluated)
    sheet = page[page.index("Every defective part") :]
    assert sheet.count("<figure>") == 10
    assert sheet.count("Defect found: 1 marked area. The hottest pixel lies on the mask.") == 10
    assert "The map's hottest pixel lies on the mask in 10 of 10 found" in html.unescape(sheet)
