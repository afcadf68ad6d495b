"""Three convolutions as the quantiser exports them, each behind Q/DQ pairs with a float weight."""

from pathlib import Path

import numpy as np
import onnx
import openvino
from onnx import TensorProto, helper, numpy_helper

from train.int8.graph import finish

SIDE = 16
FIRST, SECOND, THIRD = NAMES = ("net.first", "net.second", "net.third")
RNG = np.random.default_rng(0)
WEIGHTS = {
    FIRST: RNG.normal(size=(16, 3, 3, 3)).astype(np.float32) * 0.01,
    SECOND: RNG.normal(size=(16, 16, 1, 1)).astype(np.float32),
    THIRD: RNG.normal(size=(16, 16, 1, 1)).astype(np.float32) * 0.2,
}


def exported() -> onnx.ModelProto:
    """image - 128, then three times Q/DQ -> convolution, then |.|."""
    constants = {"grey": np.float32(128), "zero": np.uint8(128), "low": np.int8(-128), "high": np.int8(127)}
    nodes = [helper.make_node("Sub", ["x", "grey"], ["value"])]
    value = "value"
    for name, weight in WEIGHTS.items():
        scale = np.abs(weight).reshape(len(weight), -1).max(axis=1) / np.float32(127)
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


def written(model: onnx.ModelProto, folder: Path) -> Path:
    finish(model, SIDE, SIDE)
    onnx.save(model, folder / "model.onnx")
    openvino.save_model(openvino.convert_model(folder / "model.onnx"), folder / "model.xml", compress_to_fp16=False)
    return folder / "model.xml"
