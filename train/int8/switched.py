"""A model file whose memory bank can be used without the rows of one part: the score of a good that is in the bank."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper
from torch import Tensor

from edge.core.types import Image
from edge.inference.detector import Detector
from edge.inference.placement import MapGeometry
from edge.inference.preprocess import InputSpec
from train.data.dataset import Sample, read_dataset
from train.int8 import Int8Error
from train.int8.compiled import Fed
from train.int8.graph import COARSE, quantised
from train.network.bank import part_numbers
from train.network.second.place import Places
from train.run import FitReport

INT8_SWITCHED, FP32_SWITCHED = "limit_int8.onnx", "limit_fp32.onnx"  # of a run; never shipped
SCALES = ("normality.head.bank.", "normality.second.head.bank.")
OFF = 1e6  # the least distance that a row gives which is off: it is never the nearest
AGREEMENT = 1e-3  # relative, with nothing left out, against the file that ships
SWITCH = "off:"  # input (1, N, 1, 1) of a convolution's rows


def write_switched(
    model: Path, banks: Sequence[Mapping[str, Tensor]], path: Path, places: Places | None = None
) -> None:
    """Write a copy of a model file, with the stand-ins as further rows and an input that switches each row off.

    banks: of each scale, as the file's rows were made of. places: as the file's places were made of, which then are
    inputs, too. Nothing else changes: with the stand-ins off it is the file.
    """
    switched = onnx.load(model)
    for prefix, bank in zip(SCALES, banks, strict=False):
        rows = ((bank["spare"] - bank["mean"]) / bank["std"]).numpy()
        _switch(switched.graph, prefix, rows)
    known: dict[str, NDArray[np.generic]] = dict(_owners(banks))
    if places is not None:
        known |= {f"place_{number}": stage.numpy() for number, stage in enumerate(places.stages)}
        known["place_part"] = places.part.numpy()
        known["place_inputs"] = np.array(_places_given(switched.graph, places))
    onnx.checker.check_model(switched, full_check=True)
    onnx.save(switched, path)
    np.savez(path.with_suffix(".npz"), allow_pickle=False, **known)


def parts_in_bank(report: FitReport) -> dict[str, int]:
    """Return the part number of each good photograph that may be in the memory bank, by its name in the run."""
    return dict(zip(report.bank_images, part_numbers(bank_goods(report), report.recipe).tolist(), strict=True))


def bank_goods(report: FitReport) -> list[Sample]:
    """Return the good photographs that may be in the memory bank; raises Int8Error where one is gone."""
    dataset = read_dataset(report.data)
    named = {sample.path.relative_to(dataset.root).as_posix(): sample for sample in dataset.train_good}
    if missing := [name for name in report.bank_images if name not in named]:
        raise Int8Error(f"{report.data / missing[0]}: was trained on and is gone; put it back, or run fit again")
    return [named[name] for name in report.bank_images]


def _places_given(graph: GraphProto, places: Places) -> list[str]:
    """Turn the mean and the spread of each stage's places into inputs, and return their names in this order."""
    given: list[str] = []
    for stage in places.stages:
        shape = [1, *stage.shape[1:]]
        constants = {tensor.name: tensor for tensor in graph.initializer if list(tensor.dims) == shape}
        names = [
            name
            for kind in ("Sub", "Div")
            for node in graph.node
            if node.op_type == kind
            for name in node.input
            if name in constants
        ]
        if len(names) != 2:
            raise Int8Error("the graph does not show its places; run `python -m train export` again")
        for name in names:
            graph.initializer.remove(constants[name])
            graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        given += names
    return given


def _owners(banks: Sequence[Mapping[str, Tensor]]) -> dict[str, NDArray[np.int64]]:
    """Return for each scale the part of each row, and the part that each stand-in stands for."""
    keys = ("part", "spare_part")
    return {f"{key}_{number}": bank[key].numpy() for number, bank in enumerate(banks) for key in keys}


def _switch(graph: GraphProto, prefix: str, spare: NDArray[np.float32]) -> None:
    """Give each of a bank's convolutions a switch, and add one of stand-ins, (E, C) standardised."""
    convolutions = [node for node in graph.node if node.op_type == "Conv" and node.name.startswith(prefix)]
    if not convolutions:
        raise Int8Error(f"the graph has no memory bank {prefix}; run `python -m train export` again")
    if len(spare):
        convolutions.append(_more_rows(graph, convolutions[0], spare, f"{prefix}spare"))
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in convolutions:
        (nearest,) = (user for user in graph.node if node.output[0] in user.input)
        count = constants[node.input[2]].dims[0]
        graph.input.append(helper.make_tensor_value_info(SWITCH + node.name, TensorProto.FLOAT, [1, count, 1, 1]))
        added = f"{node.output[0]}:switched"
        _before(graph, nearest, helper.make_node("Max", [node.output[0], SWITCH + node.name], [added]))
        nearest.input[0] = added


def _more_rows(graph: GraphProto, like: NodeProto, rows: NDArray[np.float32], name: str) -> NodeProto:
    """Add a convolution of further rows beside a bank's first one, in its precision, and take the nearer of both."""
    makers = {output: node for node in graph.node for output in node.output}
    (nearest,) = (user for user in graph.node if like.output[0] in user.input)
    readers = [user for user in graph.node if nearest.output[0] in user.input]
    weight = -2.0 * rows[:, :, None, None]
    _constant(graph, f"{name}.bias", (rows * rows).sum(axis=1))
    if like.input[1] in makers:  # behind a DequantizeLinear: INT8
        step = np.abs(weight).max(axis=(1, 2, 3)) / (2 * COARSE)
        stored, step = quantised(weight, np.maximum(step, 1e-9).astype(np.float32), coarse=True)
        _constant(graph, f"{name}.weight", stored)
        _constant(graph, f"{name}.step", step)
        _constant(graph, f"{name}.zero", np.zeros(len(rows), np.int8))
        inputs = [f"{name}.{what}" for what in ("weight", "step", "zero")]
        _before(graph, nearest, helper.make_node("DequantizeLinear", inputs, [f"{name}.float"], axis=0))
    else:
        _constant(graph, f"{name}.float", weight)
    node = helper.make_node("Conv", [like.input[0], f"{name}.float", f"{name}.bias"], [f"{name}.y"], name=name)
    _before(graph, nearest, node)
    lowest = NodeProto()
    lowest.CopyFrom(nearest)
    lowest.name, lowest.input[0], lowest.output[0] = f"{name}.lowest", f"{name}.y", f"{name}.min"
    _before(graph, nearest, lowest)
    both = helper.make_node("Min", [nearest.output[0], f"{name}.min"], [f"{name}.both"])
    graph.node.insert(list(graph.node).index(nearest) + 1, both)
    for reader in readers:
        reader.input[:] = [f"{name}.both" if one == nearest.output[0] else one for one in reader.input]
    return node


def _constant(graph: GraphProto, name: str, values: NDArray[np.generic]) -> None:
    kind = np.int8 if values.dtype == np.int8 else np.float32
    graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values, kind), name))


def _before(graph: GraphProto, node: NodeProto, new: NodeProto) -> None:
    graph.node.insert(list(graph.node).index(node), new)


class Switched:
    """Judges a good photograph as if the bank had never seen its part. Not thread-safe."""

    def __init__(self, model: Path, shipped: Path, spec: InputSpec, geometry: MapGeometry | None = None) -> None:
        """model: of `write_switched`; shipped: the file that it was made of.

        `detector` is the shipped file's own, whose graph is then the one with the switches.
        """
        self._fed = Fed(model)
        with np.load(model.with_suffix(".npz")) as owners:
            self._owners = [
                np.concatenate([owners[f"part_{number}"], -1 - owners[f"spare_part_{number}"]])
                for number in range(sum(name.startswith("spare_part_") for name in owners.files))
            ]
            self._place_inputs: list[str] = owners["place_inputs"].tolist() if "place_part" in owners else []
            if self._place_inputs:
                fine, coarse, part = (torch.from_numpy(owners[f"place_{name}"]) for name in (0, 1, "part"))
                self._places = Places((fine, coarse), part)
        self.detector = Detector(shipped, spec, geometry=geometry)
        self.without(None)
        noise = np.random.default_rng(0).integers(0, 256, (1, spec.height, spec.width, 3), dtype=np.uint8)
        expected, _ = self.detector.infer(noise)
        self.detector.run = self._run
        found, _ = self.detector.infer(noise)
        if not abs(found - expected) <= AGREEMENT * expected:
            raise Int8Error(
                f"{model.name} scores {found:.5g} where {shipped.name} scores {expected:.5g}; quantize again"
            )

    def without(self, part: int | None) -> None:
        """Leave out the rows of a part, and let its stand-ins in; None: the bank that ships."""
        inputs = iter(name for name in self._fed.shapes if name.startswith(SWITCH))
        self._off: dict[str, NDArray[np.float32]] = {}
        for owner in self._owners:
            off = np.where(owner >= 0, owner == part, owner != (0 if part is None else -1 - part))
            values = np.where(off, OFF, -OFF).astype(np.float32)
            while len(values):
                name = next(inputs)
                count = self._fed.shapes[name][1]
                self._off[name] = values[:count].reshape(1, count, 1, 1)
                values = values[count:]
        if self._place_inputs:
            known = (one.numpy() for stage in self._places.statistics(part) for one in stage)
            self._off |= dict(zip(self._place_inputs, known, strict=True))

    def _run(self, tensor: Image) -> Mapping[str, NDArray[np.generic]]:
        return self._fed.run({"image": tensor, **self._off})
