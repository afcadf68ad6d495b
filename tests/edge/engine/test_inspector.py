import itertools
import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.cameras.capture import FrameSlot
from edge.core.types import Image, Inspection, Prediction, Reason, Verdict
from edge.engine import EngineError
from edge.engine.inspector import Inspector
from edge.inference.bundle import Bundle
from edge.inference.detector import Detector
from edge.inference.preprocess import ImageError
from edge.line.outputs import OutputError
from edge.line.outputs.memory import MemoryOutput
from edge.line.triggers import TriggerEvent
from tests.edge.engine.parts import BUNDLE, chosen_recipe, frame, prediction
from tests.tiny import THRESHOLD, bad_image, good_image


class FailingOutput(MemoryOutput):
    """Fails as a bus with a cut cable does, or as a driver with a defect does."""

    def __init__(self, error: Exception, failures: int = 1_000_000) -> None:
        super().__init__()
        self.error = error
        self.failures = failures
        self.safes = 0

    def show(self, inspection: Inspection, until: float = math.inf) -> float:
        if self.failures > 0:
            self.failures -= 1
            raise self.error
        return super().show(inspection, until)

    def safe(self) -> None:
        self.safes += 1
        super().safe()


@dataclass
class Bench:
    """An inspector with everything round it."""

    answer: Callable[[Image], Prediction] = lambda _: prediction(1.0)
    image: Image | None = field(default_factory=good_image)
    outputs: list[MemoryOutput] = field(default_factory=lambda: [MemoryOutput()])
    deadline_ms: float = 10_000.0
    last_id: int = 0

    def __post_init__(self) -> None:
        self.slot = FrameSlot()
        self.inspector = Inspector(
            self.slot,
            chosen_recipe(self.answer),
            self.outputs,
            self.deadline_ms,
            itertools.count(self.last_id + 1).__next__,
        )

    def inspect(self, late_ms: float = 0.0) -> Inspection:
        at = time.monotonic() - late_ms / 1e3
        if self.image is not None:
            self.slot.put(frame(at + 1e-6, image=self.image))
        return self.inspector.inspect(TriggerEvent("t-1", at))


def raising(error: Exception) -> Callable[[Image], Prediction]:
    def answer(_: Image) -> Prediction:
        raise error

    return answer


def test_a_good_part_is_released_and_a_bad_one_is_not(tiny_bundle: Bundle) -> None:
    detector = Detector.from_bundle(tiny_bundle)
    for image, verdict, line in ((good_image(), Verdict.OK, "release"), (bad_image(), Verdict.NG, "reject")):
        output = MemoryOutput()
        found = Bench(detector.predict, image, [output]).inspect()
        assert (found.verdict, found.reason) == (verdict, Reason.SCORE)
        assert output.line == line
        assert output.counts == {verdict: 1}
        assert len(found.regions) == (verdict is Verdict.NG)
        assert found.timings.total_ms >= found.timings.infer_ms


def test_outputs_reject_before_the_first_part() -> None:
    output = MemoryOutput()
    output.line = "release"
    Bench(outputs=[output])
    assert output.line == "reject"


def test_inference_failure_is_an_error_verdict_and_the_next_part_is_judged() -> None:
    answers = iter([raising(RuntimeError("the plugin\nfailed")), lambda _: prediction(1.0)])
    bench = Bench(lambda image: next(answers)(image))
    first, second = bench.inspect(), bench.inspect()
    assert (first.verdict, first.reason, first.detail) == (Verdict.ERROR, Reason.INFERENCE_FAILED, "the plugin failed")
    assert second.verdict is Verdict.OK
    assert [first.id, second.id] == [1, 2]


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_no_number_is_an_error_and_stored_as_none(score: float) -> None:
    found = Bench(lambda _: prediction(score)).inspect()
    assert (found.verdict, found.reason) == (Verdict.ERROR, Reason.INFERENCE_FAILED)
    assert found.score is None


def test_no_frame_is_an_error_at_the_deadline() -> None:
    bench = Bench(image=None, deadline_ms=30.0)
    bench.slot.put(frame(time.monotonic() - 1.0))  # only one from before the trigger
    found = bench.inspect()
    assert (found.verdict, found.reason) == (Verdict.ERROR, Reason.NO_FRAME)
    assert found.image is None
    assert bench.outputs[0].line == "reject"


def test_a_frame_that_does_not_fit_the_bundle_is_a_bad_frame() -> None:
    found = Bench(raising(ImageError("the frame is 10x10"))).inspect()
    assert (found.verdict, found.reason) == (Verdict.ERROR, Reason.BAD_FRAME)


def test_a_dark_frame_is_refused_and_its_values_are_not_rescaled(tiny_bundle: Bundle) -> None:
    """In a peer, a frame whose brightest value is 1 was taken for one in 0..1 and scaled up."""
    dark = np.random.default_rng(0).integers(0, 2, (96, 128, 3)).astype(np.uint8)
    detector = Detector.from_bundle(tiny_bundle)
    assert detector.predict(dark).score == pytest.approx(128, abs=1.0), "black is as far from grey as can be"
    found = Bench(detector.predict, dark).inspect()
    assert (found.verdict, found.reason) == (Verdict.ERROR, Reason.BAD_FRAME)


@pytest.mark.parametrize("score", [1.0, THRESHOLD * 2])
def test_a_verdict_after_the_deadline_is_an_error_and_rejects(score: float) -> None:
    bench = Bench(lambda _: prediction(score), deadline_ms=50.0)
    found = bench.inspect(late_ms=60.0)
    assert (found.verdict, found.reason) == (Verdict.ERROR, Reason.LATE)
    assert found.score == score
    assert bench.outputs[0].line == "reject"
    assert bench.outputs[0].counts == {Verdict.ERROR: 1}


def test_an_ok_that_the_output_delays_past_the_deadline_does_not_stand() -> None:
    class Slow(MemoryOutput):
        def show(self, inspection: Inspection, until: float = math.inf) -> float:
            time.sleep(0.12)
            return super().show(inspection, until)

    output = Slow()
    found = Bench(outputs=[output], deadline_ms=100.0).inspect()
    assert (found.verdict, found.reason) == (Verdict.ERROR, Reason.LATE)
    assert output.line == "reject"


def test_an_ok_that_the_line_had_in_time_stands_though_the_engine_was_held_up_after_it() -> None:
    class HeldUp(MemoryOutput):
        def show(self, inspection: Inspection, until: float = math.inf) -> float:
            told_at = super().show(inspection, until)
            time.sleep(0.3)
            return told_at

    output = HeldUp()
    found = Bench(outputs=[output], deadline_ms=250.0).inspect()
    assert (found.verdict, output.line) == (Verdict.OK, "release"), "the row says what the line saw"
    assert found.timings.total_ms < 250.0


@pytest.mark.parametrize("error", [OutputError("no answer from the PLC"), OSError("bus"), KeyError("a defect")])
def test_an_output_that_fails_is_recorded_and_every_output_rejects(error: Exception) -> None:
    failing, healthy = FailingOutput(error), MemoryOutput()
    found = Bench(outputs=[healthy, failing]).inspect()
    assert (found.verdict, found.reason) == (Verdict.ERROR, Reason.OUTPUT_FAILED)
    assert "OK/score" in found.detail
    assert healthy.line == failing.line == "reject"
    assert failing.safes == 2, "once at the start, once after the failure"


class Reporting(MemoryOutput):
    """A report, as MQTT and webhook are: told last, and able or not to take another message."""

    def __init__(self, full: bool = False) -> None:
        super().__init__()
        self.full = full
        self.told: list[Inspection] = []

    @property
    def reports(self) -> bool:
        return True

    def able(self) -> None:
        if self.full:
            raise OutputError("1000 messages cannot be stored")

    def show(self, inspection: Inspection, until: float = math.inf) -> float:
        self.told.append(inspection)
        return time.monotonic()


def test_a_report_is_told_what_stands_in_the_end_wherever_it_is_listed() -> None:
    report, failing = Reporting(), FailingOutput(OutputError("no answer from the PLC"))
    found = Bench(outputs=[report, failing]).inspect()
    assert report.told == [found]
    assert found.reason is Reason.OUTPUT_FAILED


def test_outputs_after_one_that_failed_are_told_an_error_with_the_same_id() -> None:
    shown: list[Inspection] = []

    class Watching(MemoryOutput):
        def show(self, inspection: Inspection, until: float = math.inf) -> float:
            shown.append(inspection)
            return time.monotonic()

    found = Bench(outputs=[FailingOutput(OutputError("x")), Watching()]).inspect()
    assert [(one.id, one.verdict, one.reason) for one in shown] == [(found.id, Verdict.ERROR, Reason.OUTPUT_FAILED)]


def test_a_part_that_could_not_be_reported_is_not_released() -> None:
    line, report = MemoryOutput(), Reporting(full=True)
    found = Bench(outputs=[line, report]).inspect()
    assert (found.verdict, found.reason) == (Verdict.ERROR, Reason.OUTPUT_FAILED)
    assert "1000 messages" in found.detail
    assert (line.line, line.counts) == ("reject", {Verdict.ERROR: 1})


def test_the_line_hears_that_a_part_is_judged_and_that_the_next_one_may_come() -> None:
    heard: list[object] = []

    class Listening(MemoryOutput):
        def ready(self, accepts: bool) -> None:
            heard.append(accepts)

        def show(self, inspection: Inspection, until: float = math.inf) -> float:
            heard.append(inspection.verdict)
            return time.monotonic()

        def beat(self, overruns: int) -> None:
            heard.append(overruns)

    bench = Bench(outputs=[Listening()])
    bench.inspector.ready()
    bench.inspect()
    bench.inspector.ready()
    bench.inspector.beat(4)
    assert heard == [True, False, Verdict.OK, True, 4]


def test_failing_outputs_log_one_line_per_change(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    bench = Bench(outputs=[FailingOutput(OutputError("no answer"), failures=3)])
    for _ in range(6):
        bench.inspect()
    assert [r.message for r in caplog.records] == ["outputs failed: no answer", "outputs work again"]


def test_an_output_that_cannot_go_safe_does_not_keep_the_others_from_it() -> None:
    class Stuck(MemoryOutput):
        def safe(self) -> None:
            raise OutputError("stuck")

    healthy = MemoryOutput()
    bench = Bench(outputs=[Stuck(), healthy])
    bench.inspect()
    assert healthy.line == "release"
    bench.inspector.safe()
    assert healthy.line == "reject"


def test_a_row_names_the_bundle_that_judged_and_its_whole_digest() -> None:
    found = Bench().inspect()
    assert (found.bundle, found.bundle_digest, found.threshold) == (BUNDLE.title, BUNDLE.digest, THRESHOLD)


def test_another_recipe_judges_from_the_next_part_on() -> None:
    bench = Bench()
    first = bench.inspect()
    bench.inspector.refuse("the self-test failed")
    refused = bench.inspect()
    bench.inspector.use(chosen_recipe(lambda _: prediction(THRESHOLD + 1)))
    assert [one.verdict for one in (first, refused, bench.inspect())] == [Verdict.OK, Verdict.ERROR, Verdict.NG]
    assert refused.reason is Reason.SELF_TEST_FAILED


def test_ids_go_on_from_the_history() -> None:
    bench = Bench(last_id=41)
    assert [bench.inspect().id for _ in range(3)] == [42, 43, 44]


def test_the_frame_goes_through_without_a_copy() -> None:
    bench = Bench()
    assert bench.inspect().image is bench.image


ANSWERS: dict[str, Callable[[Image], Prediction]] = {
    "good": lambda _: prediction(1.0),
    "bad": lambda _: prediction(THRESHOLD),
    "nan": lambda _: prediction(math.nan),
    "nan map": lambda _: Prediction(1.0, 0.1, np.full((8, 8), np.nan, np.float32), 1.0, 1.0),
    "wrong map": lambda _: Prediction(THRESHOLD + 1, 0.1, np.zeros((0,), np.float32), 1.0, 1.0),
    "raises": raising(RuntimeError("x")),
    "raises oddly": raising(StopIteration()),
}
FRAMES: dict[str, Image | None] = {
    "good": good_image(),
    "none": None,
    "black": np.zeros((96, 128, 3), np.uint8),
    "grey": np.zeros((96, 128), np.uint8),
    "float": np.zeros((96, 128, 3), np.float32),  # type: ignore[dict-item]
}
ERRORS = {"fine": None, "bus": OutputError("x"), "defect": ValueError("x")}


@settings(deadline=None, max_examples=150)
@given(
    answer=st.sampled_from(sorted(ANSWERS)),
    picture=st.sampled_from(sorted(FRAMES)),
    faults=st.lists(st.sampled_from(sorted(ERRORS)), min_size=1, max_size=3),
    late=st.booleans(),
)
def test_any_mixture_of_failures_gives_one_inspection_one_output_action_and_no_false_ok(
    answer: str, picture: str, faults: list[str], late: bool
) -> None:
    shown: list[int] = []

    class Counting(MemoryOutput):
        def __init__(self, number: int, error: Exception | None) -> None:
            super().__init__()
            self.number, self.error = number, error

        def show(self, inspection: Inspection, until: float = math.inf) -> float:
            shown.append(self.number)
            if self.error is not None:
                raise self.error
            return super().show(inspection, until)

    outputs: list[MemoryOutput] = [Counting(n, ERRORS[fault]) for n, fault in enumerate(faults)]
    deadline_ms = 20.0 if picture == "none" else 5_000.0
    bench = Bench(ANSWERS[answer], FRAMES[picture], outputs, deadline_ms)
    found = bench.inspect(late_ms=deadline_ms + 1 if late else 0.0)

    all_right = answer == "good" and picture == "good" and not late and set(faults) == {"fine"}
    assert found.id == 1
    assert len(shown) == len(set(shown)), "no output is told twice"
    assert (found.verdict is Verdict.OK) == all_right
    assert {output.line for output in outputs} == ({"release"} if all_right else {"reject"})
    if set(faults) != {"fine"}:
        assert found.reason is Reason.OUTPUT_FAILED
    elif picture == "good" and not late:
        assert (found.verdict is Verdict.NG) == (answer == "bad")


@given(age_ms=st.floats(0.001, 5000))
def test_a_frame_that_is_not_proven_newer_than_the_trigger_is_stale_however_late_it_was_read(age_ms: float) -> None:
    bench = Bench(deadline_ms=10.0)
    at = time.monotonic()
    bench.slot.put(replace(frame(at + 1.0), exposed_after=at - age_ms / 1e3))
    judged = bench.inspector.inspect(TriggerEvent("t-1", at))
    assert (judged.verdict, judged.reason, judged.image) == (Verdict.ERROR, Reason.STALE_FRAME, None)
    assert abs(float(judged.detail.split("may be ")[1].split(" ms")[0]) - age_ms) < 1


def test_a_camera_that_proves_nothing_gives_no_verdict_but_to_a_tick() -> None:
    bench = Bench(deadline_ms=10.0)
    at = time.monotonic()
    bench.slot.put(replace(frame(at + 1.0), exposed_after=None))
    judged = bench.inspector.inspect(TriggerEvent("t-1", at))
    assert (judged.verdict, judged.reason) == (Verdict.ERROR, Reason.STALE_FRAME)
    assert "edge commission --latency" in judged.detail
    tick = Bench()
    tick.slot.put(replace(frame(at + 1.0), exposed_after=None))
    assert tick.inspector.inspect(TriggerEvent("t-1", at, is_part=False)).verdict is Verdict.OK


def test_the_inspector_waits_for_a_frame_that_is_proven_newer_than_the_trigger() -> None:
    bench = Bench()
    at = time.monotonic()
    bench.slot.put(replace(frame(at + 1.0, image=good_image()), exposed_after=at - 0.5))
    proven = replace(frame(at + 2.0, seq=2, image=bad_image()), exposed_after=at + 0.001)
    arriving = threading.Timer(0.05, lambda: bench.slot.put(proven))
    arriving.start()
    judged = bench.inspector.inspect(TriggerEvent("t-1", at))
    arriving.join()
    assert judged.image is proven.image


def test_a_frame_that_must_not_be_judged_is_named_when_nothing_better_comes() -> None:
    bench = Bench(deadline_ms=10.0)
    at = time.monotonic()
    bench.slot.put(replace(frame(at + 1.0), exposed_after=None, fault="torn: half of it is missing"))
    judged = bench.inspector.inspect(TriggerEvent("t-1", at))
    assert (judged.reason, judged.detail) == (Reason.BAD_FRAME, "torn: half of it is missing")


def test_a_frame_that_repeats_the_one_before_is_judged_for_no_part_and_for_no_tick() -> None:
    for is_part in (True, False):
        bench = Bench(deadline_ms=10.0)
        at = time.monotonic()
        bench.slot.put(replace(frame(at + 1.0), exposed_after=at - 0.1, repeats=True))
        judged = bench.inspector.inspect(TriggerEvent("t-1", at, is_part))
        assert (judged.verdict, judged.reason) == (Verdict.ERROR, Reason.BAD_FRAME)
        assert "frozen" in judged.detail


def test_a_part_with_the_picture_of_the_part_before_is_an_error_and_another_picture_is_judged() -> None:
    bench, seen = Bench(), []
    for image in (good_image(), good_image(), 255 - good_image(), good_image()):
        at = time.monotonic()
        bench.slot.put(replace(frame(at + 1e-6, image=image), still=0.0))
        seen.append(bench.inspector.inspect(TriggerEvent("t-1", at)).reason)
    assert seen == [Reason.SCORE, Reason.BAD_FRAME, Reason.SCORE, Reason.SCORE]


def test_while_an_engineer_sets_the_station_up_every_part_is_an_error_that_says_what_it_would_be(
    tiny_bundle: Bundle,
) -> None:
    detector = Detector.from_bundle(tiny_bundle)
    for image, would in ((good_image(), Verdict.OK), (bad_image(), Verdict.NG)):
        output = MemoryOutput()
        bench = Bench(detector.predict, image, [output])
        bench.inspector.commission("Anna")
        found = bench.inspect()
        assert (found.verdict, found.reason) == (Verdict.ERROR, Reason.COMMISSIONING)
        assert found.detail == f"Anna sets the station up; it would be {would}"
        assert bench.inspector.trial == (would, Reason.SCORE)
        assert output.line == "reject"
        assert output.counts == {Verdict.ERROR: 1}
        bench.inspector.commission(None)
        assert bench.inspect().verdict is would


def test_an_output_is_set_by_hand_only_while_the_station_is_set_up() -> None:
    output = MemoryOutput()
    bench = Bench(outputs=[output])
    with pytest.raises(EngineError, match="only while the station is set up"):
        bench.inspector.by_hand("memory", Verdict.OK)
    assert output.line == "reject"
    bench.inspector.commission("Anna")
    bench.inspector.by_hand("memory", Verdict.OK)
    assert output.line == "release"
    bench.inspector.by_hand("memory", None)
    assert output.line == "reject"
    with pytest.raises(EngineError, match="this station has memory"):
        bench.inspector.by_hand("gpio 1", Verdict.OK)


@pytest.mark.parametrize("accepted", [True, False])
def test_a_trigger_takes_back_what_was_set_by_hand(accepted: bool) -> None:
    output = MemoryOutput()
    bench = Bench(outputs=[output])
    bench.inspector.commission("Anna")
    bench.inspector.by_hand("memory", Verdict.OK)
    bench.inspector.hear(accepted)
    assert output.line == "reject"


def test_the_end_of_a_set_up_leaves_no_output_set_by_hand() -> None:
    output = MemoryOutput()
    bench = Bench(outputs=[output])
    bench.inspector.commission("Anna")
    bench.inspector.by_hand("memory", Verdict.OK)
    bench.inspector.commission(None)
    assert output.line == "reject"
