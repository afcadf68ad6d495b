"""python -m train STAGE: one stage, one artefact in, one out, a JSON report beside it."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

from edge.core.cli import OneLineParser
from edge.core.types import EdgeError
from train import TrainError

STAGES = {
    "synth": ("train.stages.synth", "make the synthetic product's pictures"),
    "check": ("train.stages.check", "is this folder of pictures fit to be trained on?"),
    "pretrain": ("train.stages.pretrain", "good images -> weights for fit that have seen the product (optional)"),
    "budget": ("train.stages.budget", "the largest input that a latency budget allows (optional)"),
    "fit": ("train.stages.fit", "good images -> network with memory bank"),
    "export": ("train.stages.export", "network -> ONNX (and TorchScript on request)"),
    "quantize": ("train.stages.quantize", "network -> INT8 ONNX and OpenVINO IR, parity proven"),
    "calibrate": ("train.stages.calibrate", "held-out goods -> threshold and defect probability"),
    "evaluate": ("train.stages.evaluate", "test images -> measures, FP32 and INT8"),
    "report": ("train.stages.report", "measures and pictures -> one HTML page"),
    "pack": ("train.stages.pack", "run -> bundle"),
    "classify": ("train.peers.classifier.command", "pictures in classes -> a small classifier (optional)"),
    "compare": ("train.peers.compare", "bundles beside other methods of the field (optional)"),
    "all": ("train.stages.all", "the whole chain"),
    "keygen": ("train.signing.keygen", "a key pair to sign bundles with"),
    "sign": ("train.signing.sign", "bundle -> signed bundle, and the one file that carries it"),
}
REMOVED = {
    "profile": "measure a bundle with `python -m edge bench`",
    "yardstick": "compare the INT8 files with FP32 by `python -m train evaluate`",
}


def main(argv: list[str]) -> int:
    """Run one stage; 0 when it did its work, 1 with one line a problem, 2 for a wrong command line."""
    lines = [f"  {name:10} {what}" for name, (_, what) in STAGES.items()]
    parser = OneLineParser(
        prog="python -m train",
        usage="python -m train STAGE [options]   (STAGE --help lists its options)",
        description="\n".join(["stages:", *lines]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("stage", choices=STAGES, metavar="STAGE")
    if argv[:1] and argv[0] in REMOVED:
        parser.error(f"`train {argv[0]}` was removed; {REMOVED[argv[0]]}")
    args = parser.parse_args(argv[:1])
    try:
        importlib.import_module(STAGES[args.stage][0]).main(argv[1:])
    except (TrainError, EdgeError) as error:
        for line in str(error).splitlines():
            print(f"linewatch: {line}", file=sys.stderr)
        return 1
    except OSError as error:
        where = f"{Path(error.filename)}: " if error.filename else ""
        print(f"linewatch: {where}{error.strerror or error}; check the path and the free space", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("linewatch: interrupted; nothing finished was changed", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
