"""The classifier: pictures of the real formats, its networks, and one training from files to a measured model."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from train.__main__ import main
from train.network.trunk.student import parameters
from train.peers.classifier import ClassifierError
from train.peers.classifier.learning import drawn, mixed
from train.peers.classifier.nano import SHAPES, Nano, Shape
from train.peers.classifier.sources import CIFAR_ROW, Labelled, PicturesInRoles, read_source

SIDE = 16


def write(path: Path, value: int, rng: np.random.Generator) -> None:
    """A noisy picture of one brightness."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = rng.integers(-15, 16, (20, 24, 3))
    assert cv2.imwrite(str(path), np.clip(value + noise, 0, 255).astype(np.uint8))


def class_folders(root: Path, counts: dict[str, int]) -> Path:
    """Folders of classes; the brightness of each is its own."""
    rng = np.random.default_rng(0)
    for index, (name, count) in enumerate(counts.items()):
        for number in range(count):
            write(root / name / f"{number:02d}.png", 40 + 60 * (index % 4), rng)
    return root


def cifar(root: Path, rows: dict[str, list[tuple[int, np.ndarray]]]) -> Path:
    """Files of CIFAR-10's binary version: a label, then the red, the green and the blue plane."""
    root.mkdir()
    for name, found in rows.items():
        data = b"".join(bytes([label]) + picture.transpose(2, 0, 1).tobytes() for label, picture in found)
        (root / name).write_bytes(data)
    (root / "batches.meta.txt").write_text("ship\ntruck\n\n")
    return root


def some_rows(count: int, seed: int) -> list[tuple[int, np.ndarray]]:
    rng = np.random.default_rng(seed)
    return [(index % 2, rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)) for index in range(count)]


def test_cifar_is_read_byte_for_byte_and_keeps_its_test_batch(tmp_path: Path) -> None:
    learned, tested = some_rows(30, 1), some_rows(8, 2)
    root = cifar(
        tmp_path / "c", {"data_batch_1.bin": learned, "data_batch_2.bin": learned[:10], "test_batch.bin": tested}
    )
    found = read_source(root, 32, 0)
    assert found.classes == ("ship", "truck")
    assert np.array_equal(found.test.pictures, np.stack([picture for _, picture in tested]))
    assert found.test.labels.tolist() == [label for label, _ in tested]
    assert len(found.train.labels) + len(found.validation.labels) == 40


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("data_batch_1.bin", b"\0" * (CIFAR_ROW + 1), "are no rows of 3073"),
        ("data_batch_1.bin", b"\7" * CIFAR_ROW, "has a class 7 of 2"),
        ("data_batch_1", b"\x80\x04.", "which is code; download the binary version"),
    ],
)
def test_a_cifar_file_that_is_none_is_one_line(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    root = cifar(tmp_path / "c", {})
    (root / name).write_bytes(content)
    with pytest.raises(ClassifierError, match=said):
        read_source(root, 32, 0)


def test_folders_with_roles_keep_them_and_their_missing_validation_is_drawn(tmp_path: Path) -> None:
    for role, count in (("train", 10), ("test", 3)):
        class_folders(tmp_path / role, {"NORMAL": count, "PNEUMONIA": 2 * count})
    found = read_source(tmp_path, SIDE, 0)
    assert found.classes == ("NORMAL", "PNEUMONIA")
    assert np.bincount(found.test.labels).tolist() == [3, 6]
    assert all("/test/" in part for part in found.test.parts)
    assert len(found.train.labels) + len(found.validation.labels) == 30


def test_no_part_has_two_roles_where_groups_tell_the_parts(tmp_path: Path) -> None:
    class_folders(tmp_path / "train", {"good": 24})
    class_folders(tmp_path / "test", {"good": 8, "crack": 24})
    files = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png"))
    lines = [f"{name},part{index // 2}" for index, name in enumerate(files)]
    (tmp_path / "groups.csv").write_text("\n".join(["file,group", *lines]) + "\n")
    found = read_source(tmp_path, SIDE, 0)
    roles = [set(one.parts) for one in (found.train, found.validation, found.test)]
    assert sum(map(len, roles)) == len(set.union(*roles)) == len(files) // 2


def test_a_class_without_pictures_for_a_role_is_one_line(tmp_path: Path) -> None:
    class_folders(tmp_path, {"a": 12, "b": 1})
    with pytest.raises(ClassifierError, match=r"b: has no picture to stop at; add pictures of more parts"):
        read_source(tmp_path, SIDE, 0)


@pytest.mark.parametrize(
    ("folder", "said"),
    [
        ("train/good", "good and no other class"),
        ("dark", "dark and no other class"),
        ("dark/deeper", "no class of pictures"),
    ],
)
def test_pictures_of_fewer_than_two_classes_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], folder: str, said: str
) -> None:
    class_folders(tmp_path / "pictures", {folder: 12})
    options = ["--data", str(tmp_path / "pictures"), "--out", str(tmp_path / "out"), "--side", str(SIDE)]
    assert main(["classify", *options]) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line == f"linewatch: {tmp_path / 'pictures'}: holds {said}; make a folder of pictures for each class"


@pytest.mark.parametrize("shape", SHAPES)
def test_a_network_has_fewer_than_a_million_parameters_and_answers_each_class(shape: Shape) -> None:
    network = Nano(10, shape).eval()
    assert parameters(network) < 1_000_000
    with torch.inference_mode():
        assert network(torch.zeros(2, 3, 32, 48)).shape == (2, 10)


def pure(labels: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures that are 1 in the channel of their class and 0 in the others, and their shares of the classes."""
    wanted = torch.eye(3)[labels]
    return wanted[:, :, None, None].expand(-1, -1, 8, 8).clone(), wanted


@given(st.integers(0, 10_000), st.lists(st.integers(0, 2), min_size=2, max_size=6))
def test_the_shares_of_a_mixed_picture_are_those_of_its_pixels(seed: int, labels: list[int]) -> None:
    pictures, shares = mixed(*pure(labels), np.random.default_rng(seed))
    assert pictures.shape == (len(labels), 3, 8, 8)
    assert torch.allclose(pictures.mean(dim=(2, 3)), shares, atol=1e-6)
    assert torch.allclose(shares.sum(dim=1), torch.ones(len(labels)))


def test_mixing_blends_some_batches_and_pastes_into_others() -> None:
    found = [mixed(*pure([0, 1, 2]), np.random.default_rng(seed)) for seed in range(20)]
    parts = [((shares > 0) & (shares < 1)).any() for _, shares in found]
    whole = [((pictures == 0) | (pictures == 1)).all() for pictures, _ in found]
    assert any(part and pasted for part, pasted in zip(parts, whole, strict=True)), "CutMix"
    assert any(part and not pasted for part, pasted in zip(parts, whole, strict=True)), "MixUp"


def test_a_rare_class_is_drawn_as_often_as_a_common_one() -> None:
    labels = np.array([0] * 97 + [1] * 3)
    rare = Labelled(np.zeros((100, 4, 4, 3), np.uint8), labels, tuple(map(str, range(100))))
    _, found = drawn(rare, 2000, 2, np.random.default_rng(0))
    assert float((found == 1).float().mean()) == pytest.approx(0.5, abs=0.05)


def test_sensitivity_and_specificity_are_those_of_the_table(tmp_path: Path) -> None:
    from train.peers.classifier.command import measured

    labels = np.array([0] * 6 + [1] * 4)
    one = Labelled(np.zeros((10, 2, 2, 3), np.uint8), labels, tuple("abcdefghij"))
    found = measured(PicturesInRoles(("ok", "ng"), one, one, one), np.array([0, 0, 0, 0, 0, 1, 1, 1, 1, 0]))
    assert found["confusion"] == [[5, 1], [1, 3]]
    assert found["by_class"]["ng"]["sensitivity"]["value"] == pytest.approx(3 / 4)
    assert found["by_class"]["ng"]["specificity"]["value"] == pytest.approx(5 / 6)
    assert found["by_class"]["ng"]["sensitivity"]["low"] < 3 / 4 < found["by_class"]["ng"]["sensitivity"]["high"]


@pytest.mark.parametrize("shape", SHAPES)
def test_pictures_become_a_measured_model_that_tells_the_classes_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], shape: Shape
) -> None:
    data = class_folders(tmp_path / "pictures", {"dark": 24, "light": 12})
    options = ["--side", "16", "--epochs", "40", "--batch", "12", "--no-mixing", "--shape", shape]
    assert main(["classify", "--data", str(data), "--out", str(tmp_path / "out"), *options]) == 0
    facts = json.loads((tmp_path / "out/classify.json").read_text())
    assert facts["test"]["balanced_accuracy"] == 1.0
    assert facts["shape"] == shape
    assert [epoch["epoch"] for epoch in facts["epochs"]] == list(range(1, 41))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "classifier.onnx",
        "classifier.pt",
        "classify.json",
    ]
    assert "sensitivity 1.000" in capsys.readouterr().out
