"""One bundle, two runtimes, one answer: what OpenVINO says and what ONNX Runtime says must not differ."""

from pathlib import Path

import numpy as np
import pytest

from edge.core.types import Image
from edge.inference.bundle import Bundle, open_bundle
from edge.inference.decision import decide
from edge.inference.detector import Detector, Precision
from edge.inference.preprocess import inspected_box, load_image
from tests.tiny import bad_image, good_image

DEFAULT = Path(__file__).parents[2] / "models" / "default"
PRECISIONS: tuple[Precision, ...] = ("int8", "fp32")
# Of the score: floats are summed in another order; INT8 also rounds at other places on the way.
# The first is what `quantize` promises for photos of the product; images that are none (noise, black, white) leave the
# INT8 ranges, are clipped at other places, and are far above every threshold anyway.
TOLERANCE = {"int8": 0.03, "fp32": 1e-3}
ALIEN_TOLERANCE = {"int8": 0.08, "fp32": 1e-3}


@pytest.fixture(scope="module", params=["tiny", "default"])
def bundle(request: pytest.FixtureRequest, tiny_bundle: Bundle) -> Bundle:
    if request.param == "tiny":
        return tiny_bundle
    if not DEFAULT.is_dir():
        pytest.skip("models/default is not there; pack it with `make train`")
    return open_bundle(DEFAULT)


@pytest.fixture(scope="module")
def frames(bundle: Bundle) -> list[Image]:
    """The bundle's references, and what no training set holds: the tiny model's images, noise, dark, bright."""
    references = [load_image(bundle.file(reference.file)) for reference in bundle.manifest.references]
    height, width = references[0].shape[:2]
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    flat = [np.full((height, width, 3), value, np.uint8) for value in (0, 255)]
    return [*references, good_image(width, height), bad_image(width, height), noise, *flat]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_scores_and_maps_agree(bundle: Bundle, frames: list[Image], precision: Precision) -> None:
    first = Detector.from_bundle(bundle, "openvino", precision)
    second = Detector.from_bundle(bundle, "onnxruntime", precision)
    photos = len(bundle.manifest.references)
    for number, frame in enumerate(frames):
        ours, theirs = first.predict(frame), second.predict(frame)
        tolerance = (TOLERANCE if number < photos else ALIEN_TOLERANCE)[precision]
        assert ours.score == pytest.approx(theirs.score, rel=tolerance, abs=1e-3), f"frame {number}"
        assert ours.anomaly_map.shape == theirs.anomaly_map.shape
        difference = np.abs(ours.anomaly_map - theirs.anomaly_map)
        assert difference.mean() <= tolerance * max(ours.score, theirs.score) + 1e-3, f"frame {number}"


def test_verdicts_on_the_references_agree(bundle: Bundle) -> None:
    detectors = [Detector.from_bundle(bundle, runtime) for runtime in ("openvino", "onnxruntime")]
    for reference in bundle.manifest.references:
        frame = load_image(bundle.file(reference.file))
        box = inspected_box(frame.shape, bundle.manifest.input)
        verdicts = {decide(d.predict(frame), bundle.manifest.limits, box).verdict for d in detectors}
        assert len(verdicts) == 1, reference.file
