"""Three convolutions as the quantiser exports them: what is kept in float, corrected, measured and let through."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from edge.inference.preprocess import InputSpec
from train.int8 import Int8Error
from train.int8.graph import finish, fold_weights, operators
from train.int8.parity import int8_convolutions
from train.int8.sensitivity import blocks, input_means, most_sensitive

SIDE = 16
SPEC = InputSpec(width=SIDE, height=SIDE)
FIRST, SECOND, THIRD = NAMES = ("net.first", "net.second", "net.third")
RNG = np.random.default_rng(0)
WEIGHTS = {
    FIRST: RNG.normal(size=(16, 3, 3, 3)).astype(np.float32) * 0.01,
    SECOND: RNG.normal(size=(16, 16, 1, 1)).astype(np.float32),
    THIRD: RNG.normal(size=(16, 16, 1, 1)).astype(np.float32) * 0.2,
}


def exported(coarse: str = "") -> onnx.ModelProto:
    """image - 128, then three times Q/DQ -> convolution, then |.|; the coarse one's weights have 2 steps, not 63."""
    constants = {"grey": np.float32(128), "zero": np.uint8(128), "low": np.int8(-128), "high": np.int8(127)}
    nodes = [helper.make_node("Sub", ["x", "grey"], ["value"])]
    value = "value"
    for name, weight in WEIGHTS.items():
        steps = np.float32(4 if name == coarse else 127)
        scale = np.abs(weight).reshape(len(weight), -1).max(axis=1) / steps
        constants |= {f"{name}.weight": weight, f"{name}.bias": np.zeros(16, np.float32)}
        constants |= {f"{name}.scale": scale, f"{name}.zero": np.zeros(16, np.int8)}
        constants |= {f"{name}.step": np.float32(1.0 if name == FIRST else 0.2)}
        weight_step, input_step = [f"{name}.scale", f"{name}.zero"], [f"{name}.step", "zero"]
        pads = [weight.shape[-1] // 2] * 4
        nodes += [
            helper.make_node("QuantizeLinear", [value, *input_step], [f"{name}.xq"]),
            helper.make_node("DequantizeLinear", [f"{name}.xq", *input_step], [f"{name}.xd"]),
            helper.make_node("QuantizeLinear", [f"{name}.weight", *weight_step], [f"{name}.q"], axis=0),
            helper.make_node("Clip", [f"{name}.q", "low", "high"], [f"{name}.c"]),
            helper.make_node("DequantizeLinear", [f"{name}.c", *weight_step], [f"{name}.d"], axis=0),
            helper.make_node("Conv", [f"{name}.xd", f"{name}.d", f"{name}.bias"], [f"{name}.y"], pads=pads),
        ]
        value = f"{name}.y"
    nodes.append(helper.make_node("Abs", [value], ["anomaly_map"]))
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("anomaly_map", TensorProto.FLOAT, [1, 16, SIDE, SIDE])],
        [numpy_helper.from_array(np.array(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def image(seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (1, SIDE, SIDE, 3), dtype=np.uint8)


def answer(model: onnx.ModelProto, picture: np.ndarray) -> np.ndarray:
    finish(model, SIDE, SIDE)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"image": picture})[0]


def float_answer(picture: np.ndarray) -> np.ndarray:
    values = torch.from_numpy(picture.transpose(0, 3, 1, 2).astype(np.float32) - 128)
    for weight in WEIGHTS.values():
        values = torch.nn.functional.conv2d(values, torch.from_numpy(weight), padding=weight.shape[-1] // 2)
    return values.abs().numpy()


def test_operators_are_named_by_their_modules_before_and_after() -> None:
    model = exported()
    assert operators(model) == list(NAMES)
    fold_weights(model, [SECOND])
    assert operators(model) == list(NAMES)
    finish(model, SIDE, SIDE)
    assert [node.name for node in model.graph.node if node.op_type == "Conv"] == list(NAMES)


def test_with_every_operator_kept_in_float_nothing_is_rounded() -> None:
    model = exported()
    assert fold_weights(model, NAMES) == 0
    assert "QuantizeLinear" not in {node.op_type for node in model.graph.node}
    assert np.allclose(answer(model, image()), float_answer(image()), atol=1e-3)


def test_an_operator_nobody_knows_cannot_be_kept_in_float() -> None:
    with pytest.raises(Int8Error, match=r"no convolution is called net\.fourth"):
        fold_weights(exported(), ["net.fourth"])


@pytest.mark.parametrize("kept", [(), (FIRST,), (SECOND,), (FIRST, SECOND)])
def test_the_gate_lets_through_what_was_kept_in_float_and_nothing_else(tmp_path: Path, kept: tuple[str, ...]) -> None:
    model = exported()
    fold_weights(model, kept)
    finish(model, SIDE, SIDE)
    onnx.save(model, tmp_path / "model.onnx")
    openvino.save_model(openvino.convert_model(tmp_path / "model.onnx"), tmp_path / "model.xml", compress_to_fp16=False)
    assert int8_convolutions(tmp_path / "model.xml", kept) == {name: name not in kept for name in NAMES}
    for others in ({*kept, THIRD}, {FIRST} ^ set(kept)):
        with pytest.raises(Int8Error, match="run in float"):
            int8_convolutions(tmp_path / "model.xml", others)


@pytest.mark.parametrize("coarse", NAMES)
def test_the_operator_whose_weights_round_worst_is_the_most_sensitive(coarse: str) -> None:
    found = most_sensitive(exported(coarse), [image(1), image(2)], SPEC)
    assert {block for block, _ in found} == {(name,) for name in NAMES}
    assert found[0][0] == (coarse,)
    assert found[-1][1] > 0


def test_the_parts_of_the_bank_stay_together() -> None:
    names = ["features.stem", "head.bank.0", "head.bank.1", "heads.last"]
    assert blocks(names) == [("features.stem",), ("head.bank.0", "head.bank.1"), ("heads.last",)]


def test_means_are_of_what_each_operator_is_given() -> None:
    pictures = [image(1), image(2)]
    found = input_means(exported(), pictures, SPEC)
    values = np.concatenate(pictures).transpose(0, 3, 1, 2).astype(np.float32) - 128
    assert np.allclose(found[FIRST], values.mean(axis=(0, 2, 3)), atol=1e-3)
    assert found[SECOND].shape == (16,)


def test_the_bias_gives_back_what_rounding_takes_from_the_mean() -> None:
    """On an even image every value is the mean, so inside its border nothing of the weights' rounding is left."""
    picture = np.full((1, SIDE, SIDE, 3), 200, np.uint8)
    errors = []
    for means in (None, input_means(exported(), [picture], SPEC)):
        model = exported()
        fold_weights(model, [SECOND, THIRD], means)
        errors.append(np.abs(answer(model, picture) - float_answer(picture))[..., 1:-1, 1:-1].max())
    assert errors[1] < 0.2 * errors[0]
