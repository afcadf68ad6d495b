"""train.network.trunk: the least squares of a student, its shape, and what it sees beside its teacher."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from edge.core.types import Image
from train.config import TrainConfig
from train.network import NetworkError
from train.network.backbones import Backbone
from train.network.trunk import distil as distilling
from train.network.trunk import student as shape
from train.network.trunk.distil import Equations, distil
from train.network.trunk.student import groups_of, parameters, shrink

LITE0 = "tf_efficientnet_lite0"
ROWS, CHANNELS, ANSWERS = 60, 7, 3


def rows(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Inner channels, answers that follow from them but for noise, and the weights by which they do."""
    generator = torch.Generator().manual_seed(seed)
    inner = torch.randn(ROWS, CHANNELS, generator=generator)
    weights = torch.randn(CHANNELS, ANSWERS, generator=generator)
    return inner, inner @ weights + 0.3 * torch.randn(ROWS, ANSWERS, generator=generator), weights


@contextmanager
def plain_least_squares() -> Iterator[None]:
    """Nothing draws the weights to the teacher's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distilling, "RIDGE", 1e-9)
        yield


def squares_left(inner: Tensor, answers: Tensor, kept: Tensor) -> Tensor:
    """(O,): what NumPy's least squares on the channels kept leaves of each answer's squares."""
    found = np.linalg.lstsq(inner[:, kept].double().numpy(), answers.double().numpy(), rcond=None)[0]
    return (answers.double() - inner[:, kept].double() @ torch.from_numpy(found)).square().sum(dim=0)


@given(st.integers(0, 10_000), st.integers(0, CHANNELS - 1))
@settings(max_examples=30, deadline=None)
def test_the_cost_of_a_channel_is_the_error_that_its_absence_adds(seed: int, gone: int) -> None:
    inner, answers, known = rows(seed)
    every = torch.arange(CHANNELS)
    with plain_least_squares():
        costs = Equations.of(inner, answers, known).costs(every)
    rise = squares_left(inner, answers, every[every != gone]) - squares_left(inner, answers, every)
    assert float(costs[gone]) == pytest.approx(float((rise / answers.double().square().sum(dim=0)).sum()), rel=0.02)


@given(st.integers(0, 10_000), st.permutations(range(CHANNELS)))
@settings(max_examples=30, deadline=None)
def test_what_is_missed_is_a_share_and_grows_as_channels_leave(seed: int, order: list[int]) -> None:
    equations = Equations.of(*rows(seed))
    with plain_least_squares():
        missed = [equations.missed(torch.tensor(order[:count])) for count in range(CHANNELS, 0, -1)]
    assert missed[0] >= 0.0
    assert missed[-1] <= 1.0
    assert all(after >= before - 1e-6 for before, after in itertools.pairwise(missed))


@given(st.integers(0, 10_000), st.sampled_from([0.1, 1.0, 10.0]))
@settings(max_examples=20, deadline=None)
def test_differences_weigh_as_much_as_they_are_said_to(seed: int, times: float) -> None:
    answers, differences = Equations.of(*rows(seed)), Equations.of(*(5.0 * one for one in rows(seed + 1)))
    added = answers.plus(differences, times).answers.sum() - answers.answers.sum()
    assert float(added) == pytest.approx(times * float(answers.answers.sum()), rel=1e-6)


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_channels_that_tell_nothing_leave_first(seed: int) -> None:
    inner, answers, known = rows(seed)
    idle = torch.randn(ROWS, 4, generator=torch.Generator().manual_seed(seed + 1))
    known = torch.cat([torch.zeros(4, ANSWERS), known])
    kept = Equations.of(torch.cat([idle, inner], dim=1), answers, known).chosen(CHANNELS)
    assert int((kept >= 4).sum()) >= CHANNELS - 1  # one channel may happen to tell next to nothing


@given(st.integers(0, 10_000), st.integers(1, 5))
@settings(max_examples=20, deadline=None)
def test_the_teachers_weights_stay_where_rows_are_too_few(seed: int, count: int) -> None:
    inner, _, known = rows(seed)
    few, known = inner[:count].double(), known.double()
    found = Equations.of(few, few @ known, known).weights(torch.arange(CHANNELS))
    torch.testing.assert_close(found, known)


class MadePhotos:
    """Good photographs of 64 x 64 pixels: soft stripes, no two alike."""

    def load(self, sample: int) -> tuple[Image, None]:
        rng = np.random.default_rng(sample)
        waves = np.sin(np.indices((64, 64)).sum(axis=0) / (4 + sample))[..., None] * rng.uniform(20, 60, 3)
        return np.clip(128 + waves + rng.normal(0, 4, (64, 64, 3)), 0, 255).astype(np.uint8), None


@pytest.fixture(scope="module")
def teacher() -> Backbone:
    return Backbone.pretrained(LITE0).eval()


def learned(teacher: Backbone) -> tuple[Backbone, dict[str, object]]:
    return distil(teacher, MadePhotos(), range(6), TrainConfig(profile="nano"))  # type: ignore[arg-type]


def error(student: Backbone, teacher: Backbone) -> float:
    """Mean square beside the teacher's stages on photographs that neither learned on, in the teacher's variances."""
    photos = torch.from_numpy(np.stack([MadePhotos().load(number)[0] for number in range(20, 24)]))
    with torch.inference_mode():
        pairs = zip(
            student(photos.permute(0, 3, 1, 2).float()), teacher(photos.permute(0, 3, 1, 2).float()), strict=True
        )
        return float(np.mean([float((a - b).square().mean() / b.var()) for a, b in list(pairs)[1:]]))


def test_a_student_that_keeps_everything_is_its_teacher(teacher: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shape, "SHARES", (1.0,))
    monkeypatch.setattr(shape, "BLOCKS", (9,))
    monkeypatch.setattr(distilling, "MOST", 2)
    student, _ = learned(teacher)
    assert error(student, teacher) < 1e-6


def test_a_student_is_small_sees_more_than_its_cut_teacher_and_is_read_back(
    teacher: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distilling, "MOST", 8)
    student, facts = learned(teacher)
    untaught = Backbone.from_state(LITE0, teacher.state_dict()).eval()
    shrink(untaught.stages, LITE0)
    assert facts["parameters"] == parameters(student) == parameters(untaught) < parameters(teacher) < 1_000_000
    assert error(student, teacher) < 0.5 * error(untaught, teacher)
    again = Backbone.from_state(LITE0, student.state_dict()).eval()
    assert error(again, student) == 0.0


def test_a_backbone_that_weighs_its_channels_has_no_student() -> None:
    backbone = Backbone("efficientnet_b0")
    with pytest.raises(NetworkError, match="efficientnet_b0: has no student; use profile = full, or backbone = "):
        groups_of(backbone.stages, backbone.name)
