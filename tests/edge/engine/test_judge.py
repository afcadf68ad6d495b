"""edge.engine.judge: one image gives one judgement, whatever the image is."""

import numpy as np

from edge.core.types import Verdict
from edge.engine.judge import judge
from tests.edge.engine.parts import ChosenModel, prediction
from tests.tiny import LIMITS


def test_judge_never_raises_for_what_is_not_an_image() -> None:
    model = ChosenModel(lambda _: prediction(1.0))
    for thing in (None, "image", np.zeros(3)):
        assert judge(model, LIMITS, thing).decision.verdict is Verdict.ERROR  # type: ignore[arg-type]
