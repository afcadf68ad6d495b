"""edge.engine.judge: one image gives one judgement, whatever the image is."""

import numpy as np

from edge.core.types import Reason, Verdict
from edge.engine.judge import judge
from tests.edge.engine.parts import ChosenModel, prediction
from tests.tiny import LIMITS, good_image


def test_judge_never_raises_for_what_is_not_an_image() -> None:
    model = ChosenModel(lambda _: prediction(1.0))
    for thing in (None, "image", np.zeros(3)):
        assert judge(model, LIMITS, thing).decision.verdict is Verdict.ERROR  # type: ignore[arg-type]


def test_a_frame_that_is_too_small_for_the_model_is_no_defect() -> None:
    judged = judge(ChosenModel(lambda _: prediction(1e6)), LIMITS, good_image(7, 7)).decision
    assert (judged.verdict, judged.reason) == (Verdict.ERROR, Reason.BAD_FRAME)
    assert "7x7 pixels, too few" in judged.detail
