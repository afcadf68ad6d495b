"""The shipped INT8 file, layer by layer: what both runtimes compute is what integers say, and known faults are found.

Each layer is recomputed from the codes that entered it in that runtime, so that no rounding adds up. One code of
difference is a tie that was rounded the other way; a fault is larger.
"""

import copy
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edge.inference.bundle import open_bundle
from edge.inference.preprocess import load_image, prepare
from tests.oracle.integer import Graph
from tests.oracle.runtimes import Known, quantised_tensors, run_onnxruntime, run_openvino

REPO = Path(__file__).parents[2]
DEFAULT = REPO / "models" / "default"
TIES = 0.05  # of the codes of a layer; the average of 9 codes often ends in a half
MAP_TOLERANCE = 1e-4
RUNTIMES = ("onnxruntime", "openvino")

pytestmark = pytest.mark.skipif(not DEFAULT.is_dir(), reason="models/default is not there; pack it with `make train`")


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    return onnx.load(DEFAULT / "model_int8.onnx")


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    """(1, H, W, 3) uint8: the first reference, as it enters the network."""
    bundle = open_bundle(DEFAULT)
    return prepare(load_image(bundle.file(bundle.manifest.references[0].file)), bundle.manifest.input)


def run(runtime: str, model: onnx.ModelProto, image: np.ndarray, folder: Path) -> Known:
    return run_onnxruntime(model, image) if runtime == "onnxruntime" else run_openvino(model, image, folder)


@pytest.fixture(scope="module", params=RUNTIMES)
def computed(request, model, image, tmp_path_factory) -> Known:
    return run(request.param, model, image, tmp_path_factory.mktemp("runtime"))


def attribute(node: onnx.NodeProto, name: str) -> onnx.AttributeProto:
    return next(one for one in node.attribute if one.name == name)


def source(graph: Graph, name: str) -> onnx.NodeProto:
    """Return the operator whose result is quantised as `name`; a Clip between them is part of the quantisation."""
    node = graph.nodes[graph.nodes[name].input[0]]
    while node.op_type == "Clip":
        node = graph.nodes[node.input[0]]
    return node


def weights_of(model: onnx.ModelProto, name: str) -> list[str]:
    """Return the names of a convolution's weights and of their scales."""
    graph = Graph(model)
    return list(graph.nodes[source(graph, name).input[1]].input[:2])


def layers(model: onnx.ModelProto) -> dict[str, str]:
    """Return the first layer of each kind: kind -> name of its codes."""
    graph, found = Graph(model), {}
    for name in quantised_tensors(model):
        node = source(graph, name)
        kind = node.op_type
        if kind == "Conv":
            size, depthwise = attribute(node, "kernel_shape").ints[0], attribute(node, "group").i > 1
            kind = f"Conv {size}x{size} stride {attribute(node, 'strides').ints[0]}{' depthwise' if depthwise else ''}"
        if kind == "AveragePool":
            kind += " padded" if sum(attribute(node, "pads").ints) else " whole"
        found.setdefault(kind, name)
    return found


def pointwise(model: onnx.ModelProto) -> list[str]:
    """Return the codes of all 1x1 convolutions, which sum over the most channels."""
    graph, found = Graph(model), []
    for name in quantised_tensors(model):
        node = source(graph, name)
        if node.op_type == "Conv" and list(attribute(node, "kernel_shape").ints) == [1, 1]:
            found.append(name)
    return found


def differences(model: onnx.ModelProto, known: Known, name: str) -> np.ndarray:
    """Return by how many codes a runtime's layer differs from the integers' answer."""
    others = {other: values for other, values in known.items() if other != name}
    return np.abs(Graph(model).codes(name, others).astype(int) - known[name].astype(int))


def test_the_shipped_graph_has_the_layers_that_went_wrong_before(model):
    kinds = set(layers(model))
    assert {"Add", "Concat", "AveragePool padded"} <= kinds
    assert {kind for kind in kinds if kind.endswith("depthwise")} >= {"Conv 3x3 stride 2 depthwise"}


def test_each_layer_is_what_integers_say(model, computed):
    for name in quantised_tensors(model):
        off = differences(model, computed, name)
        assert off.max() <= 1, name
        assert (off > 0).mean() <= TIES, name


def test_the_distance_to_the_bank_is_what_integers_say(model, computed):
    others = {name: values for name, values in computed.items() if name != "anomaly_map"}
    np.testing.assert_allclose(Graph(model).real("anomaly_map", others), computed["anomaly_map"], atol=MAP_TOLERANCE)


def test_a_pool_that_counts_its_padding_is_found_at_openvinos_borders(model, image, tmp_path):
    """OpenVINO pads a quantised input with code 0, which is not 0 where the zero point is another one."""
    faulty = copy.deepcopy(model)
    for node in faulty.graph.node:
        if node.op_type == "AveragePool" and sum(attribute(node, "pads").ints):
            attribute(node, "count_include_pad").i = 1
    name = layers(faulty)["AveragePool padded"]
    assert differences(faulty, run_onnxruntime(faulty, image), name).max() <= 1
    off = differences(faulty, run_openvino(faulty, image, tmp_path), name)
    assert off[..., 0, :].min() > 1, "the border is wrong"
    assert off[..., 1:-1, 1:-1].max() <= 1, "the inside is right"


def test_padding_that_was_moved_is_found(model, image):
    """The same file but for one number: a layer with stride 2 pads after the picture, as TensorFlow does."""
    name = layers(model)["Conv 3x3 stride 2 depthwise"]
    moved = copy.deepcopy(model)
    attribute(source(Graph(moved), name), "pads").ints[:] = [0, 0, 1, 1]
    known = run_onnxruntime(moved, image)
    assert differences(moved, known, name).max() <= 1
    assert (differences(model, known, name) > 1).mean() > TIES


SATURATED = """
import sys, numpy as np, onnx
from pathlib import Path
from tests.oracle.runtimes import run_openvino
folder = Path(sys.argv[1])
np.savez(folder / "known.npz", **run_openvino(onnx.load(folder / "wide.onnx"), np.load(folder / "image.npy"), folder))
"""


def test_weights_of_eight_bits_saturate_where_the_cpu_has_no_vnni(model, image, tmp_path):
    """The shipped weights have seven bits; the same values in eight overflow the 16-bit sums of AVX2.

    OpenVINO alone: ONNX Runtime has no setting that keeps it from VNNI, so only a CPU without it shows the fault there.
    """
    wide = copy.deepcopy(model)
    constants = {one.name: one for one in wide.graph.initializer}
    for name in pointwise(wide):
        codes, scale = (constants[one] for one in weights_of(wide, name))
        weights = numpy_helper.to_array(codes)
        assert -64 <= weights.min() <= weights.max() <= 63, "seven bits"
        doubled = (weights.astype(int) * 2).clip(-127, 127).astype(np.int8)
        codes.CopyFrom(numpy_helper.from_array(doubled, codes.name))
        scale.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(scale) / 2, scale.name))
    onnx.save(wide, tmp_path / "wide.onnx")
    np.save(tmp_path / "image.npy", image)
    environment = os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2", "PYTHONPATH": str(REPO)}
    subprocess.run([sys.executable, "-c", SATURATED, str(tmp_path)], check=True, env=environment, timeout=300)
    with np.load(tmp_path / "known.npz") as file:
        known = dict(file)
    assert max(differences(wide, known, name).max() for name in pointwise(wide)) > 1
