import numpy as np
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper

from edge.inference.preprocess import InputSpec
from tests.train.int8.exported import NAMES, SIDE, WEIGHTS, exported
from train.int8.bias import input_means
from train.int8.graph import finish, fold_weights

SPEC = InputSpec(width=SIDE, height=SIDE)


def image(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (1, SIDE, SIDE, 3), dtype=np.uint8)


def first_answer(picture: np.ndarray) -> np.ndarray:
    values = torch.from_numpy(picture.transpose(0, 3, 1, 2).astype(np.float32) - 128)
    return torch.nn.functional.conv2d(values, torch.from_numpy(WEIGHTS[NAMES[0]]), padding=1).numpy()


def test_the_means_are_of_what_the_first_convolution_is_given() -> None:
    pictures = [image(1), image(2)]
    found = input_means(exported(), pictures, SPEC)
    values = np.concatenate(pictures).transpose(0, 3, 1, 2).astype(np.float32) - 128
    assert np.allclose(found["net.first.y"], values.mean(axis=(0, 2, 3)), atol=1e-3)
    assert found["net.second.y"].shape == (16,)


def test_the_bias_gives_back_what_rounding_takes_from_the_mean() -> None:
    """On an even image every value is its mean, so inside its border nothing of the weights' rounding is left."""
    picture = np.full((1, SIDE, SIDE, 3), 200, np.uint8)
    errors = []
    for means in (None, input_means(exported(), [picture], SPEC)):
        model = exported()
        model.graph.output.append(
            helper.make_tensor_value_info(f"{NAMES[0]}.y", TensorProto.FLOAT, [1, 16, SIDE, SIDE])
        )
        fold_weights(model, means)
        finish(model, SIDE, SIDE)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        found = session.run([f"{NAMES[0]}.y"], {"image": picture})[0]
        errors.append(np.abs(found - first_answer(picture))[..., 1:-1, 1:-1].max())
    assert errors[1] < 1e-3 < errors[0]


def test_convolutions_that_share_a_bias_are_corrected_each_for_its_own_input() -> None:
    """Two scales share the backbone's weights, and see other means."""
    model = exported()
    first, second, _ = (node for node in model.graph.node if node.op_type == "Conv")
    second.input[2] = first.input[2]
    fold_weights(model, input_means(model, [image(1)], SPEC))
    first, second, _ = (node for node in model.graph.node if node.op_type == "Conv")
    biases = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    assert first.input[2] != second.input[2]
    assert not np.array_equal(biases[first.input[2]], biases[second.input[2]])


def test_a_convolution_whose_bias_the_exporter_dropped_gets_one() -> None:
    """A bias of zeros does not survive the export; the answer is the same as with one."""
    answers = []
    for dropped in (False, True):
        model = exported()
        if dropped:
            for node in model.graph.node:
                if node.op_type == "Conv":
                    del node.input[2]
        fold_weights(model, input_means(model, [image(1)], SPEC))
        finish(model, SIDE, SIDE)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        answers.append(session.run(["anomaly_map"], {"image": image(2)})[0])
    assert np.array_equal(*answers)
