import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from train.int8 import Int8Error
from train.int8.graph import finish, fold_weights

PAIR_LIMIT = 2**15 - 1  # what a pair of u8 x s8 products may reach in the 16-bit sums of CPUs without VNNI


def quantised_convolution(weight: np.ndarray, group: int = 1) -> onnx.ModelProto:
    """image -> Quantize -> Dequantize -> Conv with a weight behind Quantize -> Clip -> Dequantize, as torch exports."""
    scale = np.maximum(np.abs(weight).reshape(len(weight), -1).max(axis=1), 1e-3).astype(np.float32) / 127
    constants = [
        numpy_helper.from_array(weight, "weight"),
        numpy_helper.from_array(scale, "weight_scale"),
        numpy_helper.from_array(np.zeros(len(weight), np.int8), "weight_zero"),
        numpy_helper.from_array(np.int8(-128), "low"),
        numpy_helper.from_array(np.int8(127), "high"),
        numpy_helper.from_array(np.float32(1.0), "scale"),
        numpy_helper.from_array(np.uint8(0), "zero"),
    ]
    nodes = [
        helper.make_node("QuantizeLinear", ["weight", "weight_scale", "weight_zero"], ["wq"], axis=0),
        helper.make_node("Clip", ["wq", "low", "high"], ["wc"]),
        helper.make_node("DequantizeLinear", ["wc", "weight_scale", "weight_zero"], ["wd"], axis=0),
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "scale", "zero"], ["xd"]),
        helper.make_node("Conv", ["xd", "wd"], ["y"], group=group, pads=[1, 1, 1, 1]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, len(weight), 8, 8])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def stored(model: onnx.ModelProto) -> np.ndarray:
    (tensor,) = (t for t in model.graph.initializer if t.name == "weight_int8")
    return numpy_helper.to_array(tensor)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000))
def test_dense_weights_cannot_overflow_16_bit_sums(seed: int) -> None:
    weight = np.random.default_rng(seed).normal(size=(5, 3, 3, 3)).astype(np.float32)
    model = quantised_convolution(weight)
    assert fold_weights(model) == 1
    assert 2 * 255 * int(np.abs(stored(model).astype(int)).max()) <= PAIR_LIMIT


def test_depthwise_weights_keep_eight_bits() -> None:
    weight = np.random.default_rng(0).normal(size=(3, 1, 3, 3)).astype(np.float32)
    model = quantised_convolution(weight, group=3)
    fold_weights(model)
    assert np.abs(stored(model).astype(int)).max() == 127


def test_folding_leaves_no_float_weight_and_no_clip() -> None:
    model = quantised_convolution(np.ones((5, 3, 3, 3), np.float32))
    fold_weights(model)
    assert "Clip" not in {node.op_type for node in model.graph.node}
    assert "weight" not in {tensor.name for tensor in model.graph.initializer}


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 10_000))
def test_folded_weights_stay_within_half_a_step(seed: int) -> None:
    weight = np.random.default_rng(seed).normal(size=(5, 3, 3, 3)).astype(np.float32)
    model = quantised_convolution(weight)
    fold_weights(model)
    (scale,) = (numpy_helper.to_array(t) for t in model.graph.initializer if t.name == "weight_int8_scale")
    back = stored(model) * scale.reshape(-1, 1, 1, 1)
    inside = np.abs(weight) <= 63 * scale.reshape(-1, 1, 1, 1)
    assert (
        np.abs(back - weight)[inside] <= 0.5001 * np.broadcast_to(scale.reshape(-1, 1, 1, 1), weight.shape)[inside]
    ).all()


def test_a_byte_image_gives_what_the_float_image_gave() -> None:
    model = quantised_convolution(np.random.default_rng(1).normal(size=(4, 3, 3, 3)).astype(np.float32))
    fold_weights(model)
    image = np.random.default_rng(2).integers(0, 256, (1, 8, 8, 3), dtype=np.uint8)
    as_float = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = as_float.run(None, {"x": image.transpose(0, 3, 1, 2).astype(np.float32)})[0]
    finish(model, 8, 8)
    as_bytes = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert np.array_equal(as_bytes.run(None, {"image": image})[0], expected)


def test_the_bytes_of_an_image_are_the_first_convolutions_int8_input() -> None:
    """image - 128, then rounded in steps of .9 and clipped: of that nothing is left but the bytes as they are."""
    model = quantised_convolution(np.random.default_rng(1).normal(size=(4, 3, 3, 3)).astype(np.float32))
    fold_weights(model)
    constants = {"grey": np.float32(128), "scale": np.float32(0.9), "zero": np.uint8(130)}
    for name in ("scale", "zero"):
        model.graph.initializer.remove(next(t for t in model.graph.initializer if t.name == name))
    model.graph.initializer.extend(numpy_helper.from_array(np.array(value), name) for name, value in constants.items())
    next(node for node in model.graph.node if node.op_type == "QuantizeLinear").input[0] = "centred"
    model.graph.node.insert(0, helper.make_node("Sub", ["x", "grey"], ["centred"]))
    finish(model, 8, 8)
    assert [node.op_type for node in model.graph.node] == ["DequantizeLinear", "Transpose", "DequantizeLinear", "Conv"]
    image = np.random.default_rng(2).integers(0, 256, (1, 8, 8, 3), dtype=np.uint8)
    found = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    scale = next(numpy_helper.to_array(t) for t in model.graph.initializer if t.name == "weight_int8_scale")
    weight = torch.from_numpy(stored(model) * scale.reshape(-1, 1, 1, 1))
    centred = torch.from_numpy(image.transpose(0, 3, 1, 2).astype(np.float32) - 128)
    expected = torch.nn.functional.conv2d(centred, weight, padding=1).numpy()
    assert np.allclose(found.run(None, {"image": image})[0], expected, atol=1e-3)


@pytest.mark.parametrize("zero", [127.5, -1.0, 256.0])
def test_an_image_that_is_shifted_by_no_byte_is_refused(zero: float) -> None:
    model = quantised_convolution(np.ones((4, 3, 3, 3), np.float32))
    model.graph.initializer.append(numpy_helper.from_array(np.float32(zero), "grey"))
    next(node for node in model.graph.node if node.input[0] == "x").input[0] = "centred"
    model.graph.node.insert(0, helper.make_node("Sub", ["x", "grey"], ["centred"]))
    with pytest.raises(Int8Error, match="no byte"):
        finish(model, 8, 8)


def test_a_graph_of_another_size_is_refused() -> None:
    with pytest.raises(Int8Error, match=r"\(1, 3, 16, 8\)"):
        finish(quantised_convolution(np.ones((4, 3, 3, 3), np.float32)), 16, 8)
