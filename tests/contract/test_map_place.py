"""The default bundle's heatmap points at what is wrong: dots painted on sample frames are seen where they are."""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.core.types import Image
from edge.inference.bundle import open_bundle
from edge.inference.cpu import cpu_tier
from edge.inference.detector import RUNTIMES, Detector, Runtime
from edge.inference.preprocess import load_image

ROOT = Path(__file__).parents[2]
DEFAULT = ROOT / "models" / "default"
GOODS = sorted((ROOT / "models" / "samples").glob("*_good.jpg"))[:5]
DOTS = 8  # of each frame
LIMIT_PX = 2.0  # of the model's input: the median error


def dotted(frame: Image, x: float, y: float) -> Image:
    image = frame.copy()
    grey = 0 if image[int(y) - 3 : int(y) + 4, int(x) - 3 : int(x) + 4].mean() > 127 else 255
    cv2.circle(image, (round(x * 16), round(y * 16)), 6 * 16, (grey, grey, grey), cv2.FILLED, cv2.LINE_AA, 4)
    return image


def median_error(runtime: Runtime) -> tuple[float, float]:
    """How far the heat lies beside the dots, in pixels of the model's input, x and y."""
    bundle = open_bundle(DEFAULT)
    detector, rng = Detector.from_bundle(bundle, runtime), np.random.default_rng(5)
    off = []
    for path in GOODS:
        frame = load_image(path)
        plain = detector.predict(frame).anomaly_map
        rows, columns = np.indices(plain.shape)
        for _ in range(DOTS):
            x, y = rng.uniform(0.3, 0.7, 2) * frame.shape[1::-1]
            rise = np.maximum(detector.predict(dotted(frame, x, y)).anomaly_map - plain, 0).astype(float) ** 2
            at = np.array([x / frame.shape[1] * plain.shape[1], y / frame.shape[0] * plain.shape[0]])
            near = (abs(columns - at[0]) < 12) & (abs(rows - at[1]) < 12)
            weight = np.where(near, rise, 0.0)
            seen = [(weight * (axis + 0.5)).sum() / weight.sum() for axis in (columns, rows)]
            off.append((seen - at) * bundle.manifest.input.width / plain.shape[1])
    across, down = np.median(off, axis=0)
    return float(across), float(down)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_default_bundle_sees_dots_where_they_are(runtime: Runtime) -> None:
    assert max(map(abs, median_error(runtime))) <= LIMIT_PX


@pytest.mark.skipif(cpu_tier() == "AVX2", reason="this CPU is the lesser tier itself")
def test_a_lesser_cpu_sees_them_there_too() -> None:
    code = "from tests.contract.test_map_place import median_error; print(*median_error('openvino'))"
    cap = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=cap, timeout=300)
    assert done.returncode == 0, done.stderr
    assert max(abs(float(off)) for off in done.stdout.split()) <= LIMIT_PX
