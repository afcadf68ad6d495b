from pathlib import Path

import pytest
from onnx import numpy_helper

from tests.train.int8.exported import NAMES, SIDE, WEIGHTS, exported, written
from train.int8 import Int8Error
from train.int8.graph import finish, fold_weights, operators
from train.int8.parity import int8_convolutions


def test_operators_are_named_by_their_modules_before_and_after() -> None:
    model = exported()
    assert operators(model) == list(NAMES)
    fold_weights(model)
    assert operators(model) == list(NAMES)
    finish(model, SIDE, SIDE)
    assert [node.name for node in model.graph.node if node.op_type == "Conv"] == list(NAMES)


def test_the_gate_counts_the_convolutions_of_a_file_that_is_all_int8(tmp_path: Path) -> None:
    model = exported()
    fold_weights(model)
    assert int8_convolutions(written(model, tmp_path)) == len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_gate_refuses_a_file_in_which_one_convolution_is_float(tmp_path: Path, name: str) -> None:
    model = exported()
    fold_weights(model)
    (convolution,) = (node for node in model.graph.node if node.op_type == "Conv" and node.output[0] == f"{name}.y")
    model.graph.initializer.append(numpy_helper.from_array(WEIGHTS[name], f"{name}.weight"))
    convolution.input[1] = f"{name}.weight"
    with pytest.raises(Int8Error, match=rf"1 of 3 convolutions run in float: {name}"):
        int8_convolutions(written(model, tmp_path))
