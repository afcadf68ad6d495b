"""The programs in docs/examples/cpp, built by their CMake file, give the scores that Python gives."""

import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge.inference.bundle import Bundle
from edge.inference.detector import Detector
from tests.tiny import bad_image, good_image, write_tiny_bundle

SOURCES = Path(__file__).parents[1] / "docs" / "examples" / "cpp"
CLOSE = 1e-5  # relative; docs/how-to/integrate-in-cpp.md promises it
SIDE = 64

pytestmark = pytest.mark.skipif(
    not (shutil.which("cmake") and shutil.which("g++")), reason="cmake or g++ is not installed: apt install cmake g++"
)


def built(folder: Path, program: str) -> Path:
    """Configure and build one program; skips where the package brings no headers for it."""
    told = subprocess.run(
        ["cmake", "-S", SOURCES, "-B", folder, f"-DPYTHON={sys.executable}"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert told.returncode == 0, told.stderr
    if f"{program}: left out" in told.stdout:
        pytest.skip(f"{program}: its package brings no headers")
    command = ["cmake", "--build", folder, "--target", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / program


def lines(*command: str | Path) -> list[list[str]]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return [line.split() for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("build"), "score_openvino")


def test_the_openvino_program_gives_the_scores_and_verdicts_of_the_station(
    program: Path, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    detector, threshold = Detector.from_bundle(tiny_bundle), tiny_bundle.manifest.threshold.value
    expected = []
    for name, image in (("good", good_image()), ("bad", bad_image())):
        size = (detector.spec.width, detector.spec.height)
        prepared = np.asarray(cv2.resize(image, size), np.uint8)
        cv2.imwrite(str(tmp_path / f"{name}.ppm"), prepared)
        expected.append(detector.predict_prepared(np.ascontiguousarray(prepared[..., ::-1])[np.newaxis]).score)
    found = lines(program, tiny_bundle.path, tmp_path / "good.ppm", tmp_path / "bad.ppm")
    assert [float(score) for _, score, _ in found] == pytest.approx(expected, rel=CLOSE)
    assert [verdict for *_, verdict in found] == ["OK" if score < threshold else "NG" for score in expected]
    assert {verdict for *_, verdict in found} == {"OK", "NG"}
    cut = tmp_path / "cut.ppm"
    cut.write_bytes((tmp_path / "good.ppm").read_bytes()[:-1])
    refused = subprocess.run([program, tiny_bundle.path, cut], capture_output=True, text=True, timeout=60)
    assert (refused.returncode, refused.stderr) == (1, f"score_openvino: {cut}: is cut short\n")


def test_the_openvino_program_refuses_boxes_whose_limits_it_does_not_apply(program: Path, tmp_path: Path) -> None:
    bundle = write_tiny_bundle(tmp_path / "boxed", tmp_path / "work", boxed=True).path
    cv2.imwrite(str(tmp_path / "bad.ppm"), bad_image(SIDE, SIDE))
    refused = subprocess.run([program, bundle, tmp_path / "bad.ppm"], capture_output=True, text=True, timeout=60)
    words = f"score_openvino: {bundle}: is no bundle of format 1 or 2; judge boxes through the station's engine\n"
    assert (refused.returncode, refused.stdout, refused.stderr) == (1, "", words)


def test_the_torchscript_program_gives_the_scores_of_the_network(tmp_path: Path) -> None:
    import torch

    from train.network.backbones import Backbone
    from train.network.model import InspectionNet, Normality, NormalityHead, PatchFeatures

    program = built(tmp_path / "build", "score_torchscript")
    torch.manual_seed(0)
    features = PatchFeatures(Backbone("tf_efficientnet_lite0"), 16).eval()
    channels = sum(features.backbone.channels[-2:])
    head = NormalityHead(torch.zeros(channels), torch.ones(channels), torch.randn(40, channels))
    network = InspectionNet(Normality(features, head, top_k=3)).eval()
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        torch.jit.trace(network, torch.zeros(1, 3, SIDE, SIDE)).save(str(tmp_path / "model.torchscript"))
    images = [noise(seed) for seed in (1, 2)]
    for index, rgb in enumerate(images):
        cv2.imwrite(str(tmp_path / f"{index}.ppm"), rgb[..., ::-1])
    found = lines(program, tmp_path / "model.torchscript", *(tmp_path / f"{index}.ppm" for index in (0, 1)))
    with torch.inference_mode():
        expected = [
            float(network(torch.from_numpy(rgb.transpose(2, 0, 1)[None].astype(np.float32)))[0]) for rgb in images
        ]
    assert expected[0] != pytest.approx(expected[1], rel=CLOSE)
    assert [float(score) for _, score in found] == pytest.approx(expected, rel=CLOSE)


def noise(seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
