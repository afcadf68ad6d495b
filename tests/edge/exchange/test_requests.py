import json
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.core.types import EdgeError, Image, Located, Prediction
from edge.exchange import ExchangeError
from edge.exchange.commands import Command, Verb
from edge.exchange.requests import REQUESTS, Answer, Requests, RequestServer
from edge.exchange.sockets import MAX_PICTURE_BYTES, connect, listen, receive_frame
from edge.inference.bundle import Bundle
from edge.inference.detector import Detector
from edge.inference.preprocess import prepare
from tests.edge.engine.parts import Answering, prediction, wait_for
from tests.tiny import LIMITS, bad_image, good_image

TENSOR = np.zeros((1, 64, 64, 3), np.uint8)
HANG_S = 60.0


class Engine:
    """The engine's side of the socket, served by a thread as the loop serves it between two parts."""

    def __init__(self, run_dir: Path) -> None:
        self.predict: Callable[[Image], Prediction] = lambda _: prediction(1.0)
        self.refusal: str | None = None
        self.obeyed: list[Command] = []
        self.serving = threading.Event()
        self.served = 0
        self.server = RequestServer(run_dir)
        self.server.start()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.serving.set()
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(0.002):
            if self.serving.is_set():
                self.served += self.server.serve_next(Answering(lambda tensor: self.predict(tensor)), self._obey)

    def _obey(self, command: Command) -> None:
        if self.refusal is not None:
            raise ExchangeError(self.refusal)
        self.obeyed.append(command)

    def close(self) -> None:
        self._stop.set()
        self._thread.join(HANG_S)
        self.server.stop()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = Engine(tmp_path)
    yield engine
    engine.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time-outs so short that a test can wait for them."""
    monkeypatch.setattr("edge.exchange.requests.FRAME_WITHIN_S", 0.2)
    monkeypatch.setattr("edge.exchange.requests.SERVED_WITHIN_S", 0.3)


def still_serves(run_dir: Path) -> Answer:
    return Requests(run_dir).ask(TENSOR, HANG_S)


def test_an_upload_gets_the_score_that_the_line_would(tmp_path: Path, engine: Engine, tiny_bundle: Bundle) -> None:
    detector = Detector.from_bundle(tiny_bundle)
    engine.predict = detector.predict_prepared
    for image in (good_image(), bad_image()):
        answer = Requests(tmp_path).ask(prepare(image, detector.spec), HANG_S)
        wanted = detector.predict(image)
        assert answer.score == wanted.score
        assert answer.defect_probability == wanted.defect_probability
        assert (answer.anomaly_map == wanted.anomaly_map).all()
        assert (answer.limits, answer.bundle) == (LIMITS, "tiny 1 0")


def test_boxes_reach_the_page_as_the_model_found_them(tmp_path: Path, engine: Engine) -> None:
    boxes = (Located(0.1, 2.5, 30.25, 40.0, 3.5, "spur"), Located(1.0, 2.0, 3.0, 4.0, 0.5, "Grat ü"))
    engine.predict = lambda _: replace(prediction(3.5), boxes=boxes)
    assert still_serves(tmp_path).boxes == boxes
    engine.predict = lambda _: prediction(3.5)
    assert still_serves(tmp_path).boxes is None


def test_red_and_blue_of_an_upload_reach_the_model_in_order(
    tmp_path: Path, engine: Engine, tiny_bundle: Bundle
) -> None:
    spec = tiny_bundle.manifest.input
    red = np.full((96, 128, 3), (0, 0, 255), np.uint8)  # BGR
    seen: list[Image] = []

    def predict(tensor: Image) -> Prediction:
        seen.append(tensor)
        return prediction(1.0)

    engine.predict = predict
    Requests(tmp_path).ask(prepare(red, spec), HANG_S)
    assert seen[0].shape == (1, 64, 64, 3)
    assert seen[0][0, 0, 0].tolist() == [255, 0, 0], "RGB, as the model was trained"


def test_an_answer_that_is_not_a_number_comes_back_as_it_is(tmp_path: Path, engine: Engine) -> None:
    engine.predict = lambda _: prediction(float("nan"))
    answer = still_serves(tmp_path)
    assert np.isnan(answer.score)
    assert np.isnan(answer.anomaly_map).all()


def test_a_model_that_fails_on_an_upload_refuses_it(tmp_path: Path, engine: Engine) -> None:
    def predict(_: Image) -> Prediction:
        raise EdgeError("the plugin failed")

    engine.predict = predict
    with pytest.raises(ExchangeError, match="refused the image: the plugin failed"):
        Requests(tmp_path).ask(TENSOR, HANG_S)
    engine.predict = lambda _: prediction(1.0)
    assert still_serves(tmp_path).score == 1.0


def test_a_tensor_of_another_size_is_refused(tmp_path: Path, engine: Engine, tiny_bundle: Bundle) -> None:
    engine.predict = Detector.from_bundle(tiny_bundle).predict_prepared
    with pytest.raises(ExchangeError, match="refused the image"):
        Requests(tmp_path).ask(np.zeros((1, 8, 8, 3), np.uint8), HANG_S)


def test_a_picture_that_is_larger_than_any_input_is_not_sent(tmp_path: Path) -> None:
    huge = np.broadcast_to(np.uint8(0), (1, 1, MAX_PICTURE_BYTES // 3 + 1, 3))
    with pytest.raises(ExchangeError, match="too large"):
        Requests(tmp_path).ask(huge, HANG_S)


def test_a_command_is_obeyed_once_and_in_full(tmp_path: Path, engine: Engine) -> None:
    page = Requests(tmp_path)
    page.self_test()
    page.switch_recipe("washer")
    assert [(c.verb, c.recipe) for c in engine.obeyed] == [(Verb.SELF_TEST, None), (Verb.SWITCH_RECIPE, "washer")]


def test_a_refused_command_tells_the_page_why(tmp_path: Path, engine: Engine) -> None:
    engine.refusal = "not now; wait for the part"
    with pytest.raises(ExchangeError, match=r"^not now; wait for the part$"):
        Requests(tmp_path).self_test()


@pytest.mark.usefixtures("impatient")
def test_a_request_that_the_page_withdrew_is_not_carried_out(tmp_path: Path, engine: Engine) -> None:
    engine.serving.clear()
    with pytest.raises(ExchangeError, match="did not answer within"):
        Requests(tmp_path).self_test(timeout_s=0.05)
    engine.serving.set()
    assert still_serves(tmp_path).score == 1.0
    assert engine.obeyed == []


@pytest.mark.usefixtures("impatient")
def test_a_loop_that_serves_nobody_leaves_a_request_undone_and_says_so(tmp_path: Path, engine: Engine) -> None:
    engine.serving.clear()
    with pytest.raises(ExchangeError, match="busy"):
        Requests(tmp_path).self_test()
    engine.serving.set()
    assert still_serves(tmp_path).score == 1.0
    assert engine.obeyed == []


def test_an_engine_that_is_not_there_is_an_error_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ExchangeError, match="not running"):
        Requests(tmp_path).ask(TENSOR, 0.05)
    with pytest.raises(ExchangeError, match="not running"):
        Requests(tmp_path / "nowhere").self_test(0.05)


def test_a_page_that_waits_hears_that_the_engine_stops(tmp_path: Path) -> None:
    server, said = RequestServer(tmp_path), list[str]()

    def page() -> None:
        with pytest.raises(ExchangeError) as error:
            Requests(tmp_path).self_test(HANG_S)
        said.append(str(error.value))

    server.start()
    asking = threading.Thread(target=page)
    asking.start()
    wait_for(lambda: not server._calls.empty())
    server.stop()
    asking.join(HANG_S)
    assert said == ["the engine is busy or stops; try again"]
    assert "requests" not in {thread.name for thread in threading.enumerate()}


def test_only_the_station_s_own_user_may_connect(tmp_path: Path, engine: Engine) -> None:
    assert (tmp_path / REQUESTS).stat().st_mode & 0o777 == 0o600


def test_the_group_of_a_folder_that_is_shared_with_it_may_connect_and_nobody_else(tmp_path: Path) -> None:
    tmp_path.chmod(0o2750)
    before = os.umask(0o027)  # the unit's
    with closing(listen(tmp_path, REQUESTS)):
        os.umask(before)
        assert (tmp_path / REQUESTS).stat().st_mode & 0o777 == 0o660


def send(run_dir: Path, *pieces: bytes, read: bool = True) -> bytes:
    """Write bytes to the engine as a page that was taken over might, and return its answer."""
    with connect(run_dir, REQUESTS, HANG_S) as engine, suppress(OSError):
        for piece in pieces:
            engine.sendall(piece)
        engine.shutdown(socket.SHUT_WR)
        if read:
            return b"".join(iter(lambda: engine.recv(4096), b""))
    return b""


def frame(words: bytes, picture: bytes = b"", magic: bytes = b"LWF1") -> bytes:
    return struct.pack("!4sII", magic, len(words), len(picture)) + words + picture


BAD_FRAMES = {
    "other magic": frame(b"{}", magic=b"HTTP"),
    "no words": frame(b""),
    "not JSON": frame(b"\xff\xfe"),
    "deep": frame(b"[" * 60_000),
    "a list": frame(b"[]"),
    "unknown verb": frame(b'{"verb": "explode"}'),
    "unknown key": frame(b'{"verb": "self_test", "path": "/etc"}'),
    "long recipe": frame(json.dumps({"verb": "switch_recipe", "recipe": "x" * 65}).encode()),
    "a picture and a command": frame(b'{"verb": "self_test"}', b"123"),
    "no such size": frame(b'{"height": 64, "width": 64}', bytes(3)),
    "negative": frame(b'{"height": -1, "width": -1}', bytes(3)),
    "a float": frame(b'{"height": 1.0, "width": 1}', bytes(3)),
    "text": frame(b'{"height": "1", "width": 1}', bytes(3)),
    "huge size": frame(b'{"height": 99999999999999999999, "width": 1}', bytes(3)),
    "numpy's file": frame(b"\x93NUMPY\x01\x00", b"\x93NUMPY\x01\x00v\x00{'descr': '|O'}"),
    "huge words": struct.pack("!4sII", b"LWF1", 2**32 - 1, 0),
    "huge picture": struct.pack("!4sII", b"LWF1", 2, 2**32 - 1) + b"{}",
}


@pytest.mark.parametrize("data", BAD_FRAMES.values(), ids=BAD_FRAMES)
def test_a_frame_that_asks_for_nothing_known_is_answered_and_carries_nothing_out(
    tmp_path: Path, engine: Engine, data: bytes
) -> None:
    called: list[Image] = []
    engine.predict = lambda tensor: called.append(tensor) or prediction(1.0)  # type: ignore[func-returns-value]
    with connect(tmp_path, REQUESTS, HANG_S) as page:
        page.sendall(data)
        words, picture = receive_frame(page, time.monotonic() + HANG_S)
    assert list(json.loads(words)) == ["error"]
    assert picture == b""
    assert engine.obeyed == []
    assert called == []
    assert still_serves(tmp_path).score == 1.0


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("sent", [0, 1, 11, 12, 14, 40, 12_000])
def test_a_page_that_stops_in_the_middle_or_hangs_up_costs_only_itself(
    tmp_path: Path, engine: Engine, sent: int
) -> None:
    whole = frame(b'{"height": 64, "width": 64}', TENSOR.tobytes())
    send(tmp_path, whole[:sent])
    with connect(tmp_path, REQUESTS, HANG_S) as silent:
        silent.sendall(whole[:sent])
        assert silent.recv(1) == b"", "hung up on after the time-out"
    assert engine.served == 0
    assert still_serves(tmp_path).score == 1.0


@pytest.mark.usefixtures("impatient")
def test_a_page_that_sends_one_byte_at_a_time_is_hung_up_on(tmp_path: Path, engine: Engine) -> None:
    sent = 0
    with connect(tmp_path, REQUESTS, HANG_S) as slow, suppress(OSError):
        for byte in frame(b'{"verb": "self_test"}'):
            slow.sendall(bytes([byte]))
            sent += 1
            time.sleep(0.05)
    assert sent < 33
    assert engine.obeyed == []
    assert still_serves(tmp_path).score == 1.0


@pytest.mark.usefixtures("impatient")
def test_a_page_that_never_reads_its_answer_is_hung_up_on(tmp_path: Path, engine: Engine) -> None:
    engine.predict = lambda _: Prediction(1.0, 0.5, np.zeros((2000, 2000), np.float32), 1.0, 1.0)
    with connect(tmp_path, REQUESTS, HANG_S) as deaf:
        deaf.sendall(frame(b'{"height": 64, "width": 64}', TENSOR.tobytes()))
        wait_for(lambda: engine.served == 1)
        engine.predict = lambda _: prediction(1.0)
        assert still_serves(tmp_path).score == 1.0


def test_many_connections_wait_in_the_kernel_and_take_no_descriptor_of_the_engine(
    tmp_path: Path, engine: Engine
) -> None:
    before = len(os.listdir("/proc/self/fd"))
    callers, refused = [], 0
    for _ in range(200):
        caller = socket.socket(socket.AF_UNIX)
        caller.setblocking(False)
        callers.append(caller)
        try:
            caller.connect(str(tmp_path / REQUESTS))
        except BlockingIOError:
            refused += 1
    assert refused > 100
    assert len(os.listdir("/proc/self/fd")) - before <= len(callers) + 5
    for caller in callers:
        caller.close()
    assert still_serves(tmp_path).score == 1.0


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.one_of(
        st.binary(max_size=200),
        st.builds(frame, st.binary(max_size=100), st.binary(max_size=100)),
        st.builds(
            lambda words, picture: frame(json.dumps(words).encode(), picture),
            st.dictionaries(
                st.sampled_from(["verb", "recipe", "height", "width", "x"]),
                st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=70)),
            ),
            st.binary(max_size=30),
        ),
    ),
    read=st.booleans(),
)
def test_no_bytes_stop_the_engine(tmp_path: Path, engine: Engine, data: bytes, read: bool) -> None:
    said = send(tmp_path, data, read=read)
    assert said == b"" or said.startswith(b"LWF1")
    assert still_serves(tmp_path).score == 1.0


def bound(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))


IN_THE_WAY: dict[str, Callable[[Path], object]] = {
    "file": lambda path: path.write_bytes(b"garbage"),
    "fifo": os.mkfifo,
    "folder": lambda path: (path / "kept").mkdir(parents=True),
    "link": lambda path: path.symlink_to("/etc"),
    "socket": bound,
}


@pytest.mark.parametrize("lay", IN_THE_WAY.values(), ids=IN_THE_WAY)
def test_what_lies_in_the_socket_s_place_does_not_keep_the_engine_from_listening(
    tmp_path: Path, lay: Callable[[Path], object]
) -> None:
    lay(tmp_path / REQUESTS)
    engine = Engine(tmp_path)
    try:
        assert still_serves(tmp_path).score == 1.0
    finally:
        engine.close()
    kept = 1 if lay is IN_THE_WAY["folder"] else 0
    assert len(list(tmp_path.glob("*.aside/kept"))) == kept, "what a folder held is put aside, not lost"


def test_a_socket_that_cannot_be_opened_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("edge.exchange.requests.AGAIN_S", 0.05)
    engine = Engine(tmp_path / "later")
    try:
        assert "requests of the page are not heard" in caplog.text
        (tmp_path / "later").mkdir()
        wait_for(lambda: (tmp_path / "later" / REQUESTS).exists())
        assert still_serves(tmp_path / "later").score == 1.0
    finally:
        engine.close()


def test_a_thread_that_dies_is_started_again(tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.exchange.requests.AGAIN_S", 0.05)

    def fail(*_: object) -> None:
        raise ZeroDivisionError("a defect")

    with monkeypatch.context() as defect:
        defect.setattr("edge.exchange.requests._understood", fail)
        send(tmp_path, frame(b"{}"))
    assert still_serves(tmp_path).score == 1.0
