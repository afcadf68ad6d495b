from pathlib import Path

import onnx
import pytest
import torch

from edge.inference.bundle import FP32_ONNX
from tests.train.data.pictures import write_product
from train.config import TrainConfig
from train.network.backbones import Backbone
from train.network.bank import image_tensor
from train.network.heads import DefectHeads
from train.network.saved import load_network
from train.run import Run
from train.stages.export import export
from train.stages.fit import fit

SMALL = {"side": 64, "bank": 50, "candidates": 1000, "epochs": 1, "steps": 2, "batch": 4}


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("heads")
    work = Run(folder / "run")
    fit(write_product(folder / "data", masked=False), TrainConfig.model_validate(SMALL), work)
    return work


def test_with_two_types_of_defect_the_export_has_three_outputs(work: Run) -> None:
    export(work)
    model = onnx.load(work.file(FP32_ONNX))
    shapes = {out.name: [axis.dim_value for axis in out.type.tensor_type.shape.dim] for out in model.graph.output}
    assert shapes == {"score": [1], "anomaly_map": [1, 1, 16, 20], "defect_types": [1, 2]}


def test_types_are_shares_and_the_score_is_of_the_map(work: Run) -> None:
    report = work.fit_report()
    with torch.inference_mode():
        score, anomaly_map, types = load_network(work)(
            image_tensor(report.data / report.defect_images[0], report.input)
        )
    assert float(types.sum()) == pytest.approx(1.0)
    highest = anomaly_map.flatten().topk(report.recipe.top_k).values.mean()
    assert float(score) == pytest.approx(float(highest))
    assert float(anomaly_map.min()) >= 0


def test_artificial_defects_alone_teach_the_backbone_and_leave_no_heads(tmp_path: Path) -> None:
    """The bank holds the goods of the validation as well, since nothing is weighed on them."""
    work = Run(tmp_path / "run")
    report = fit(
        write_product(tmp_path / "data", defects=0), TrainConfig.model_validate(SMALL | {"artificial": True}), work
    )
    assert report is not None
    assert report.validation_images
    assert set(report.validation_images) < set(report.fit_images)
    assert not set(report.holdout_images) & set(report.fit_images)
    export(work)
    assert [out.name for out in onnx.load(work.file(FP32_ONNX)).graph.output] == ["score", "anomaly_map"]
    assert len(work.read_report("heads.json", "fit")["epochs"]) == 1
    own, known = (
        load_network(work).normality.features.backbone.state_dict(),
        Backbone.pretrained(report.recipe.backbone),
    )
    assert any(not torch.equal(own[key], value) for key, value in known.state_dict().items())


def test_before_training_defects_are_rare() -> None:
    """As the focal loss wants it to begin with (Lin et al. 2017, section 4.1)."""
    heads = DefectHeads((24, 40, 112), 2).eval()
    with torch.inference_mode():
        logits, parts = heads([torch.randn(1, c, 64 // s, 64 // s) for c, s in ((24, 4), (40, 8), (112, 16))])
    assert logits.shape == (1, 1, 16, 16)
    assert parts.shape == (1, 3)
    assert logits.sigmoid().mean() < 0.1
