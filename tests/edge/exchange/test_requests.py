import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge.core.types import Image, Prediction
from edge.exchange import ExchangeError
from edge.exchange.requests import Answer, Command, RequestBox, Verb
from edge.inference.bundle import Bundle
from edge.inference.detector import Detector
from edge.inference.preprocess import prepare
from tests.edge.engine.parts import Answering, prediction, wait_for
from tests.tiny import LIMITS, bad_image, good_image

TENSOR = np.zeros((1, 64, 64, 3), np.uint8)


def asked(box: RequestBox, tensor: Image, predict: Callable[[Image], Prediction]) -> Answer:
    """One question from another thread, one answer from this one."""
    outcome: list[Answer | Exception] = []

    def ask() -> None:
        try:
            outcome.append(box.ask(tensor, 30.0))
        except ExchangeError as error:
            outcome.append(error)

    page = threading.Thread(target=ask)
    page.start()
    wait_for(lambda: box.answer_next(Answering(predict)))
    page.join(30)
    assert list(box.folder.iterdir()) == [], "nothing is left behind"
    if isinstance(outcome[0], Exception):
        raise outcome[0]
    return outcome[0]


def test_an_upload_gets_the_score_that_the_line_would(tmp_path: Path, tiny_bundle: Bundle) -> None:
    detector = Detector.from_bundle(tiny_bundle)
    for image in (good_image(), bad_image()):
        answer = asked(RequestBox(tmp_path), prepare(image, detector.spec), detector.predict_prepared)
        wanted = detector.predict(image)
        assert answer.score == wanted.score
        assert answer.defect_probability == wanted.defect_probability
        assert (answer.anomaly_map == wanted.anomaly_map).all()
        assert (answer.limits, answer.bundle) == (LIMITS, "tiny 1 0")


def test_red_and_blue_of_an_upload_reach_the_model_in_order(tmp_path: Path, tiny_bundle: Bundle) -> None:
    spec = tiny_bundle.manifest.input
    red = np.full((96, 128, 3), (0, 0, 255), np.uint8)  # BGR
    seen: list[Image] = []

    def predict(tensor: Image) -> Prediction:
        seen.append(tensor)
        return prediction(1.0)

    asked(RequestBox(tmp_path), prepare(red, spec), predict)
    assert seen[0][0, 0, 0].tolist() == [255, 0, 0], "RGB, as the model was trained"


@pytest.mark.parametrize("error", [ValueError("odd"), RuntimeError("the plugin failed"), ExchangeError("no")])
def test_a_model_that_fails_on_an_upload_refuses_it_and_does_not_stop_the_line(
    tmp_path: Path, error: Exception
) -> None:
    def predict(_: Image) -> Prediction:
        raise error

    with pytest.raises(ExchangeError, match=f"refused the image: {error}"):
        asked(RequestBox(tmp_path), TENSOR, predict)


def test_a_tensor_of_another_size_is_refused(tmp_path: Path, tiny_bundle: Bundle) -> None:
    detector = Detector.from_bundle(tiny_bundle)
    with pytest.raises(ExchangeError, match="refused the image"):
        asked(RequestBox(tmp_path), np.zeros((1, 8, 8, 3), np.uint8), detector.predict_prepared)


@pytest.mark.parametrize("content", [b"", b"not numpy", b"\x93NUMPY\x01\x00\xff\xff{"])
def test_a_request_that_is_no_array_is_answered_and_removed(tmp_path: Path, content: bytes) -> None:
    box = RequestBox(tmp_path)
    question = tmp_path / f"{'0' * 32}.npy"
    question.write_bytes(content)
    assert box.answer_next(Answering(lambda _: prediction(1.0)))
    assert not question.exists()
    assert question.with_suffix(".npz").exists()


def test_a_pickle_is_never_loaded(tmp_path: Path) -> None:
    box = RequestBox(tmp_path)
    with (tmp_path / f"{'0' * 32}.npy").open("wb") as stream:
        np.save(stream, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    called: list[Image] = []

    def predict(tensor: Image) -> Prediction:
        called.append(tensor)
        return prediction(1.0)

    assert box.answer_next(Answering(predict))
    assert called == []


def test_other_files_are_not_requests(tmp_path: Path) -> None:
    box = RequestBox(tmp_path)
    for name in ("x.npy", f".{'0' * 32}.npy.1.tmp", f"{'0' * 32}.npz", f"{'g' * 32}.npy"):
        (tmp_path / name).write_bytes(b"")
    assert not box.answer_next(Answering(lambda _: prediction(1.0)))


def test_an_engine_that_does_not_answer_is_an_error_and_the_request_is_withdrawn(tmp_path: Path) -> None:
    box = RequestBox(tmp_path)
    with pytest.raises(ExchangeError, match="did not answer within"):
        box.ask(TENSOR, 0.05)
    assert list(tmp_path.iterdir()) == []


def test_clear_removes_what_a_killed_engine_left(tmp_path: Path) -> None:
    box = RequestBox(tmp_path / "requests")
    (box.folder / f"{'0' * 32}.npy").write_bytes(b"old")
    box.clear()
    assert list(box.folder.iterdir()) == []


def commanded(box: RequestBox, ask: Callable[[], None], obey: Callable[[Command], None]) -> str | None:
    """One command from another thread; what the page is told when it is refused."""
    outcome: list[str | None] = []

    def page() -> None:
        try:
            ask()
            outcome.append(None)
        except ExchangeError as error:
            outcome.append(str(error))

    thread = threading.Thread(target=page)
    thread.start()
    wait_for(lambda: box.obey_next(obey))
    thread.join(30)
    assert list(box.folder.iterdir()) == [], "nothing is left behind"
    return outcome[0]


def test_a_command_is_obeyed_once_and_in_full(tmp_path: Path) -> None:
    box, obeyed = RequestBox(tmp_path), list[Command]()
    for ask in (box.self_test, lambda: box.switch_recipe("washer")):
        assert commanded(box, ask, obeyed.append) is None
    assert [(c.verb, c.recipe) for c in obeyed] == [
        (Verb.SELF_TEST, None),
        (Verb.SWITCH_RECIPE, "washer"),
    ]


def test_a_refused_command_tells_the_page_why(tmp_path: Path) -> None:
    box = RequestBox(tmp_path)

    def refuse(_: Command) -> None:
        raise ExchangeError("not now; wait for the part")

    assert commanded(box, box.self_test, refuse) == "not now; wait for the part"


def test_a_command_of_another_version_is_refused_and_not_obeyed(tmp_path: Path) -> None:
    box, obeyed = RequestBox(tmp_path), list[Command]()
    question = tmp_path / f"{'a' * 32}.json"
    question.write_text('{"verb": "explode"}')
    assert box.obey_next(obeyed.append)
    assert not question.exists()
    assert "different versions" in question.with_suffix(".answer").read_text()
    assert obeyed == []


def test_a_command_that_nobody_obeys_is_withdrawn(tmp_path: Path) -> None:
    box = RequestBox(tmp_path)
    with pytest.raises(ExchangeError, match="did not answer"):
        box.self_test(timeout_s=0.05)
    assert list(tmp_path.iterdir()) == []
