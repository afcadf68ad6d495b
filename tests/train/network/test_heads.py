from pathlib import Path

import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.inference.bundle import FP32_ONNX
from tests.train.data.pictures import write_product
from train.config import TrainConfig
from train.network.backbones import Backbone
from train.network.bank import image_tensor
from train.network.heads import DefectHeads
from train.network.saved import load_network
from train.network.trunk.halfway import halfway
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


def test_with_two_types_of_defect_the_export_has_four_outputs(work: Run) -> None:
    export(work)
    model = onnx.load(work.file(FP32_ONNX))
    shapes = {out.name: [axis.dim_value for axis in out.type.tensor_type.shape.dim] for out in model.graph.output}
    assert shapes == {"score": [1], "anomaly_map": [1, 1, 16, 20], "defect_types": [1, 2], "class_map": [1, 1, 16, 20]}


def test_types_are_shares_and_the_score_is_of_the_map(work: Run) -> None:
    report = work.fit_report()
    with torch.inference_mode():
        score, anomaly_map, types, _ = load_network(work)(
            image_tensor(report.data / report.defect_images[0], report.input)
        )
    assert float(types.sum()) == pytest.approx(1.0)
    highest = anomaly_map.flatten().topk(report.recipe.top_k).values.mean()
    assert float(score) == pytest.approx(float(highest))
    assert float(anomaly_map.min()) >= 0


def test_artificial_defects_alone_teach_the_backbone_and_leave_no_heads(tmp_path: Path) -> None:
    """All goods teach, since nothing is weighed."""
    work = Run(tmp_path / "run")
    report = fit(
        write_product(tmp_path / "data", defects=0), TrainConfig.model_validate(SMALL | {"artificial": True}), work
    )
    assert report is not None
    assert not report.validation_images
    assert not report.holdout_images
    export(work)
    assert [out.name for out in onnx.load(work.file(FP32_ONNX)).graph.output] == ["score", "anomaly_map"]
    assert len(work.read_report("heads.json", "fit")["epochs"]) == 1
    own, known = (
        load_network(work).normality.features.backbone.state_dict(),
        Backbone.pretrained(report.recipe.backbone),
    )
    assert any(not torch.equal(own[key], value) for key, value in known.state_dict().items())


def test_what_a_backbone_keeps_of_its_lesson_is_half() -> None:
    before = {"weight": torch.tensor([1.0, 2.0]), "count": torch.tensor(3)}
    after = {"weight": torch.tensor([3.0, 6.0]), "count": torch.tensor(5)}
    kept = halfway(before, after)
    assert kept["weight"].tolist() == [2.0, 4.0]
    assert int(kept["count"]) == 5


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000))
def test_the_mean_of_the_class_maps_is_the_logit_of_a_defective_part(seed: int) -> None:
    torch.manual_seed(seed)
    heads = DefectHeads((4, 6, 8), 2).eval()
    for parameter in heads.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    stages = [torch.randn(2, channels, 64 // s, 96 // s) for channels, s in ((4, 4), (6, 8), (8, 16))]
    with torch.inference_mode():
        _, parts, (coarse, fine) = heads.explained(stages)
        assert torch.equal(heads(stages)[1], parts)
    assert coarse.shape == fine.shape == (2, 1, 4, 6)
    means = (coarse + fine).mean(dim=(1, 2, 3))
    assert torch.allclose(means, parts[:, 0], atol=1e-3 * (1 + float((coarse + fine).abs().max())))


def test_a_class_map_is_highest_where_the_peak_is_that_speaks_for_a_defect() -> None:
    head = DefectHeads((4, 6, 8), 2).classification.eval()
    with torch.no_grad():
        head.out.weight.zero_()
        head.out.weight[0, -1] = 2.0  # the peak of the segmentation's logits
    coarse, decoded, logits = torch.zeros(1, 8, 4, 6), torch.zeros(1, 32, 16, 24), torch.full((1, 1, 16, 24), -3.0)
    logits[0, 0, 9, 21] = 4.0
    with torch.inference_mode():
        found = sum(head.class_maps(head.maps(coarse, decoded, logits)))
    assert found.flatten().argmax() == 2 * 6 + 5
    assert float(found.mean()) == pytest.approx(2.0 * 4.0 + float(head.out.bias.detach()[0]), rel=1e-4)
    assert float(found.flatten().sort().values[-2]) < 1.0


def test_before_training_defects_are_rare() -> None:
    """As the focal loss wants it to begin with (Lin et al. 2017, section 4.1)."""
    heads = DefectHeads((24, 40, 112), 2).eval()
    with torch.inference_mode():
        logits, parts = heads([torch.randn(1, c, 64 // s, 64 // s) for c, s in ((24, 4), (40, 8), (112, 16))])
    assert logits.shape == (1, 1, 16, 16)
    assert parts.shape == (1, 3)
    assert logits.sigmoid().mean() < 0.1
