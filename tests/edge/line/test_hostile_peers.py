"""Receivers and brokers that misbehave on a real socket: the fault is shown, tried again, and no message is lost."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge.commands.acceptance.broker import MISSING, MOSQUITTO, Broker, Listener
from edge.config.outputs import MqttOutputConfig, WebhookOutputConfig
from edge.line.outputs import delivery, mqtt
from edge.line.outputs.mqtt import MqttCarrier
from edge.line.outputs.webhook import WebhookCarrier
from edge.line.triggers.free_run import FreeRun
from edge.line.wiring import Line
from tests.edge.engine.parts import inspection, wait_for
from tests.edge.line.reporting import Reporter
from tests.edge.line.test_webhook import Receiver

Script = Callable[[socket.socket], object]


class Peer:
    """A neighbour that treats its first connections as it is told to, and hands the later ones on to a real one."""

    def __init__(self, *scripts: Script, real: int) -> None:
        self.scripts = list(scripts)
        self.connections = 0
        self._real = real
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                caller, _ = self._server.accept()
                self.connections += 1
                script = self.scripts.pop(0) if self.scripts else self._hand_on
                threading.Thread(target=self._run, args=(script, caller), daemon=True).start()

    def _run(self, script: Script, caller: socket.socket) -> None:
        with caller, contextlib.suppress(OSError):
            script(caller)

    def _hand_on(self, caller: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", self._real)) as real:
            threading.Thread(target=relay, args=(real, caller), daemon=True).start()
            relay(caller, real)

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()


def relay(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


def says(*answers: bytes) -> Script:
    """Read what comes first, then answer and hang up."""

    def script(caller: socket.socket) -> None:
        caller.recv(65536)
        for answer in answers:
            caller.sendall(answer)

    return script


def for_ever(first: bytes, then: bytes, pause_s: float = 0.0) -> Script:
    """Answer without an end; the caller has to hang up."""

    def script(caller: socket.socket) -> None:
        caller.recv(65536)
        caller.sendall(first)
        while True:
            caller.sendall(then)
            time.sleep(pause_s)

    return script


def mute(caller: socket.socket) -> None:
    """Read everything, and say nothing."""
    while caller.recv(65536):
        pass


def resets(caller: socket.socket) -> None:
    """Hang up as a crashed machine does."""
    caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "SHORTEST_PAUSE_S", 0.01)
    monkeypatch.setattr(WebhookCarrier, "longest_pause_s", 0.05)
    monkeypatch.setattr(MqttCarrier, "longest_pause_s", 0.05)
    monkeypatch.setattr(mqtt, "ANSWERS_WITHIN_S", 1.0)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


def hook(url: str, folder: Path, timeout_s: float = 1.0) -> Reporter:
    (folder / "secret").write_bytes(b"a secret of at least sixteen bytes")
    config = WebhookOutputConfig(type="webhook", url=url, secret_file=folder / "secret", timeout_s=timeout_s)
    return Reporter(WebhookCarrier(config), folder)


ANSWERS: dict[str, Script] = {
    "a redirect to no address": says(b"HTTP/1.1 302 Found\r\nLocation: http://[\r\nContent-Length: 0\r\n\r\n"),
    "a redirect to a file": says(b"HTTP/1.1 301 Moved\r\nLocation: file:///etc/passwd\r\n\r\n"),
    "a redirect without an end": says(b"HTTP/1.1 307 X\r\nLocation: /\r\nContent-Length: 99999999999\r\n\r\n"),
    "no status": says(b"HTTP/1.1 abc\r\n\r\n"),
    "a status of ten digits": says(b"HTTP/1.1 2000000000 OK\r\n\r\n"),
    "a negative status": says(b"HTTP/1.1 -200 OK\r\n\r\n"),
    "no HTTP": says(b"\0\xff\xfe" * 500),
    "nothing": says(b""),
    "a reset": resets,
    "a status line of 10 MB": says(b"HTTP/1.1 200 ", b"x" * 10_000_000),
    "a header of 10 MB": says(b"HTTP/1.1 200 OK\r\nA: ", b"x" * 10_000_000),
    "headers without an end": for_ever(b"HTTP/1.1 200 OK\r\n", b"A: b\r\n"),
    "a reason with control letters": says(b"HTTP/1.1 500 \x1b[31mred\x07\r\n\r\n"),
    "continue for ever": for_ever(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.01),
    "a letter at a time": for_ever(b"HTTP/1.1 200 OK\r\nA: ", b"x", 0.1),
    "silence": mute,
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_receiver_that_answers_nonsense_is_a_fault_that_is_shown_and_tried_again(
    answer: str, receiver: Receiver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    peer = Peer(*[ANSWERS[answer]] * 2, real=receiver.server_address[1])
    output = hook(f"http://127.0.0.1:{peer.port}/", tmp_path)
    faults = set()

    def arrived() -> bool:
        output.check()
        faults.add(output.state().detail)
        return receiver.sequences() == [1]

    output.show(inspection(1))
    wait_for(arrived)
    assert peer.connections == 3
    assert any("down: " in said for said in caplog.messages), "the state is gone where nobody asked in time"
    assert all(len(fault) <= 200 and (fault.isprintable()) for fault in faults), faults
    wait_for(lambda: output.state().up)
    output.close()
    peer.close()


def test_a_huge_body_after_a_good_status_is_not_read(receiver: Receiver, tmp_path: Path) -> None:
    peer = Peer(for_ever(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65536), real=receiver.server_address[1])
    output = hook(f"http://127.0.0.1:{peer.port}/", tmp_path)
    output.show(inspection(1))
    wait_for(lambda: output.state().waiting == 0)
    assert output.state().up
    output.close()
    peer.close()


def test_an_address_with_letters_of_every_script_is_asked_as_a_browser_asks_it(tmp_path: Path) -> None:
    asked: list[bytes] = []

    def script(caller: socket.socket) -> None:
        asked.append(caller.recv(65536).split(b"\r\n")[0])
        caller.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    peer = Peer(script, real=0)
    output = hook(f"http://127.0.0.1:{peer.port}/prüf platz/%C3%A4?werk=süd", tmp_path)
    output.show(inspection(1))
    wait_for(lambda: output.state().waiting == 0)
    assert asked == [b"POST /pr%C3%BCf%20platz/%C3%A4?werk=s%C3%BCd HTTP/1.1"]
    output.close()
    peer.close()


CONNACK = b"\x20\x02\x00\x00"
TALK: dict[str, Script] = {
    "an empty CONNACK": says(b"\x20\x00"),
    "a CONNACK of one byte": says(b"\x20\x01\x00"),
    "a CONNACK with an unknown code": says(b"\x20\x02\x00\xee"),
    "a wrong password": says(b"\x20\x02\x00\x05"),
    "no MQTT": says(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    "a length of five bytes": says(b"\x20\xff\xff\xff\xff\xff"),
    "a packet of 256 MB": for_ever(b"\x20\xff\xff\xff\x7f", b"x" * 65536),
    "a packet of 256 MB later": for_ever(CONNACK + b"\x30\xff\xff\xff\x7f", b"x" * 65536),
    "an empty PUBACK": says(CONNACK, b"\x40\x00"),
    "a PUBACK of one byte": says(CONNACK, b"\x40\x01\x00"),
    "PUBACKs for nothing that was sent": for_ever(CONNACK, b"\x40\x02\xbe\xef", 0.05),
    "packets that only a client sends": says(CONNACK, b"\x10\x02\x00\x00", b"\x82\x02\x00\x01"),
    "a message with a broken topic": says(CONNACK, b"\x30\x04\x00\xff\xff\xff"),
    "a welcome and a farewell": says(CONNACK),
    "a welcome and silence": lambda caller: (caller.recv(65536), caller.sendall(CONNACK), mute(caller)),
    "a reset": resets,
}


@pytest.mark.skipif(MOSQUITTO is None, reason=MISSING)
@pytest.mark.parametrize("talk", TALK)
def test_a_broker_that_talks_nonsense_is_a_fault_that_is_shown_and_tried_again(
    talk: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broker = Broker(tmp_path)
    broker.start()
    listener = Listener(broker.port, "cell")
    wait_for(listener.subscribed.is_set)
    peer = Peer(*[TALK[talk]] * 2, real=broker.port)
    config = MqttOutputConfig(type="mqtt", host="127.0.0.1", port=peer.port, topic="cell")
    output = Reporter(MqttCarrier(config, "Cell 4"), tmp_path)

    def arrived() -> bool:
        output.check()
        return listener.sequences() == [1]

    output.show(inspection(1))
    wait_for(arrived)
    assert peer.connections == 3
    assert [record for record in caplog.records if "down: " in record.message]  # health shows it until the next try
    wait_for(lambda: output.state().waiting == 0 and output.state().up)
    output.close()
    listener.close()
    broker.stop()
    peer.close()


def test_a_broker_that_takes_and_drops_each_connection_is_asked_ever_more_seldom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MqttCarrier, "longest_pause_s", 60.0)
    peer = Peer(*[TALK["a welcome and a farewell"]] * 1000, real=0)
    config = MqttOutputConfig(type="mqtt", host="127.0.0.1", port=peer.port, topic="cell")
    output = Reporter(MqttCarrier(config, "Cell 4"), tmp_path)
    output.show(inspection(1))
    time.sleep(2.0)
    assert peer.connections <= 9, "0.01 s, doubled each time"
    output.close()
    peer.close()


def test_the_engine_goes_on_when_a_carrier_has_a_fault_that_nobody_thought_of(tmp_path: Path) -> None:
    class Odd:
        name, thread, longest_pause_s, leaves_within_s = "odd", "odd", 0.05, 1.0
        left = 3

        def carry(self, mail: delivery.Mail) -> None:
            self.left -= 1
            if self.left:
                raise ZeroDivisionError("a fault of the program")
            mail.outbox.ack(0)
            mail.up()
            mail.closing.wait()

    output = Reporter(Odd(), tmp_path)
    wait_for(lambda: output.state().detail == "ZeroDivisionError: a fault of the program")
    wait_for(lambda: output.state().up)
    output.check()
    output.close()


def test_receivers_that_say_nothing_do_not_hold_up_a_stop(tmp_path: Path) -> None:
    peer = Peer(*[mute] * 100, real=0)
    outputs = []
    for number in range(4):
        (tmp_path / str(number)).mkdir()
        outputs.append(hook(f"http://127.0.0.1:{peer.port}/", tmp_path / str(number), timeout_s=60.0))
        outputs[-1].show(inspection(1))
    wait_for(lambda: peer.connections == 4)
    began = time.monotonic()
    Line(FreeRun(1.0), outputs, None).close()
    assert time.monotonic() - began < 6.0, "each would take its minute, or two seconds one after the other"
    peer.close()
