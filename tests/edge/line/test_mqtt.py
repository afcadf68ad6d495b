"""A real broker: mosquitto, as a child process, stopped and started in the middle."""

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge.commands.acceptance.broker import MISSING, MOSQUITTO, Broker, Listener
from edge.config.outputs import MqttOutputConfig
from edge.line.outputs import OutputError
from edge.line.outputs.mqtt import MqttCarrier, topic_level
from tests.edge.engine.parts import inspection, wait_for
from tests.edge.line.reporting import Reporter, outbox

HANG_S = 60.0
pytestmark = pytest.mark.skipif(MOSQUITTO is None, reason=MISSING)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    broker = Broker(tmp_path)
    yield broker
    broker.stop()


@pytest.fixture
def listener(broker: Broker) -> Iterator[Listener]:
    listener = Listener(broker.port, "cell")
    yield listener
    listener.close()


def output(broker: Broker, folder: Path, **keys: Any) -> Reporter:
    config = MqttOutputConfig(type="mqtt", host="127.0.0.1", port=broker.port, topic="cell", **keys)
    return Reporter(MqttCarrier(config, "Cell 4"), folder)


def test_every_part_arrives_in_order_with_its_verdict(broker: Broker, listener: Listener, tmp_path: Path) -> None:
    broker.start()
    wait_for(listener.subscribed.is_set)
    mqtt = output(broker, tmp_path)
    for number in range(1, 101):
        mqtt.show(inspection(number))
    wait_for(lambda: len(listener.parts) == 100)
    assert listener.sequences() == list(range(1, 101))
    assert listener.parts[0]["id"] == "Cell 4:1"
    assert (listener.parts[0]["verdict"], listener.parts[0]["reason"]) == ("NG", "score")
    wait_for(lambda: mqtt.state().waiting == 0)
    assert mqtt.state().up
    mqtt.close()


def subscribed_once(broker: Broker, listener: Listener) -> None:
    """From now on the broker keeps for the listener what it took, whoever of the two is away."""
    broker.start()
    wait_for(listener.subscribed.is_set)
    broker.stop()


def test_a_broker_that_is_away_costs_nothing_and_its_return_brings_everything_in_order(
    broker: Broker, listener: Listener, tmp_path: Path
) -> None:
    subscribed_once(broker, listener)
    mqtt = output(broker, tmp_path)
    for number in range(1, 31):
        mqtt.show(inspection(number))
    wait_for(lambda: "refused" in mqtt.state().detail and mqtt.state().waiting == 30)
    assert not mqtt.state().up
    broker.start()
    wait_for(lambda: mqtt.state().waiting == 0)
    broker.stop()
    for number in range(31, 61):
        mqtt.show(inspection(number))
    wait_for(lambda: not mqtt.state().up)
    broker.start()
    for number in range(61, 91):
        mqtt.show(inspection(number))
    wait_for(lambda: len(listener.sequences()) == 90)
    assert listener.sequences() == list(range(1, 91)), "in order"
    wait_for(lambda: mqtt.state().waiting == 0)
    mqtt.close()


def test_a_broker_stopped_again_and_again_loses_no_message_and_duplicates_are_recognised_by_id(
    broker: Broker, listener: Listener, tmp_path: Path
) -> None:
    broker.start()
    wait_for(listener.subscribed.is_set)
    mqtt = output(broker, tmp_path)
    number = 0
    for _ in range(3):
        for _ in range(40):
            number += 1
            mqtt.show(inspection(number))
            time.sleep(0.002)
        broker.stop()
        broker.start()
    wait_for(lambda: len(set(listener.sequences())) == number)
    assert list(dict.fromkeys(part["id"] for part in listener.parts)) == [f"Cell 4:{n}" for n in range(1, number + 1)]
    wait_for(lambda: mqtt.state().waiting == 0)
    mqtt.close()


def test_what_was_not_delivered_waits_for_the_next_start(broker: Broker, listener: Listener, tmp_path: Path) -> None:
    subscribed_once(broker, listener)
    first = output(broker, tmp_path)
    for number in range(1, 6):
        first.show(inspection(number))
    first.close()
    second = output(broker, tmp_path)
    assert second.state().waiting == 5
    second.show(inspection(6))
    broker.start()
    wait_for(lambda: len(listener.sequences()) == 6)
    assert listener.sequences() == [1, 2, 3, 4, 5, 6]
    second.close()


def test_the_status_is_retained_and_says_safe_inspecting_and_stopped(
    broker: Broker, listener: Listener, tmp_path: Path
) -> None:
    broker.start()
    wait_for(listener.subscribed.is_set)
    mqtt = output(broker, tmp_path)
    wait_for(lambda: listener.statuses == ["safe"])
    mqtt.ready(True)
    wait_for(lambda: listener.statuses == ["safe", "inspecting"])
    mqtt.safe()
    wait_for(lambda: listener.statuses == ["safe", "inspecting", "safe"])
    mqtt.close()
    wait_for(lambda: listener.statuses[-1] == "stopped")
    late = Listener(broker.port, "cell", "late")
    wait_for(lambda: late.statuses == ["stopped"])
    late.close()


def killable(broker: Broker, folder: Path, station: str) -> subprocess.Popen[bytes]:
    """Start an engine's output in a process of its own; it tells of part 1."""
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom edge.config.outputs import MqttOutputConfig\n"
        "from edge.line.outputs.mqtt import MqttCarrier\nfrom tests.edge.engine.parts import inspection\n"
        "from tests.edge.line.reporting import Reporter\n"
        f"config = MqttOutputConfig(type='mqtt', host='127.0.0.1', port={broker.port})\n"
        f"output = Reporter(MqttCarrier(config, {station!r}), Path(sys.argv[1]))\n"
        "output.ready(True)\noutput.show(inspection(1))\ntime.sleep(600)\n"
    )
    return subprocess.Popen([sys.executable, "-c", code, str(folder)])


def test_the_last_will_of_an_engine_that_is_killed_says_lost_and_nothing_of_another_station(
    broker: Broker, tmp_path: Path
) -> None:
    """Two stations share a broker, each under its name."""
    broker.start()
    first, second = (Listener(broker.port, f"linewatch/{name}", name) for name in ("Cell_1", "Cell_2"))
    wait_for(lambda: first.subscribed.is_set() and second.subscribed.is_set())
    config = MqttOutputConfig(type="mqtt", host="127.0.0.1", port=broker.port)
    mqtt = Reporter(MqttCarrier(config, "Cell 2"), tmp_path / "lives")
    mqtt.ready(True)
    mqtt.show(inspection(7))
    engine = killable(broker, tmp_path / "killed", "Cell 1")
    wait_for(lambda: first.parts and second.parts and "inspecting" in first.statuses)
    engine.kill()
    engine.wait(HANG_S)
    wait_for(lambda: first.statuses[-1] == "lost")
    mqtt.show(inspection(8))
    wait_for(lambda: len(second.parts) == 2)
    assert [part["sequence"] for part in first.parts] == [1]
    assert [part["sequence"] for part in second.parts] == [7, 8]
    late = [Listener(broker.port, f"linewatch/{name}", f"late {name}") for name in ("Cell_1", "Cell_2")]
    wait_for(lambda: [one.statuses for one in late] == [["lost"], ["inspecting"]])
    for listener in (first, second, *late):
        listener.close()
    mqtt.close()


def test_showing_never_waits_for_a_broker_that_accepts_and_says_nothing(tmp_path: Path) -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        config = MqttOutputConfig(type="mqtt", host="127.0.0.1", port=mute.getsockname()[1], topic="cell")
        mqtt = Reporter(MqttCarrier(config, "Cell 4"), tmp_path)
        for number in range(1, 501):
            mqtt.show(inspection(number))
        assert (mqtt.state().waiting, mqtt.state().told) == (500, 500)
        mqtt.close()
    assert outbox(tmp_path).waiting() == 500


def test_a_user_with_a_wrong_password_is_refused_and_said_so(tmp_path: Path) -> None:
    passwords = tmp_path / "passwords"
    done = subprocess.run(
        ["mosquitto_passwd", "-b", "-c", str(passwords), "cell", "right"], capture_output=True, timeout=HANG_S
    )
    assert done.returncode == 0, done.stderr
    broker = Broker(tmp_path, f"allow_anonymous false\npassword_file {passwords}\n")
    broker.start()
    secret = tmp_path / "secret"
    secret.write_text("wrong\n")
    mqtt = output(broker, tmp_path / "a", user="cell", password_file=secret)
    wait_for(lambda: "refuses the connection" in mqtt.state().detail)
    mqtt.close()
    secret.write_text("right\n")
    mqtt = output(broker, tmp_path / "b", user="cell", password_file=secret)
    wait_for(lambda: mqtt.state().up)
    mqtt.close()
    broker.stop()


# paho leaves the socket of a failed TLS handshake to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_tls_needs_the_right_authority(tmp_path: Path) -> None:
    def openssl(*arguments: str) -> None:
        done = subprocess.run(["openssl", *arguments], capture_output=True, timeout=HANG_S, cwd=tmp_path)
        assert done.returncode == 0, done.stderr

    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    for name in ("right", "wrong"):
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.pem",
                "-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1")  # fmt: skip
    broker = Broker(tmp_path, f"allow_anonymous true\ncertfile {tmp_path}/right.pem\nkeyfile {tmp_path}/right.key\n")
    broker.start()
    mqtt = output(broker, tmp_path / "a", tls=True, tls_ca_file=tmp_path / "wrong.pem")
    wait_for(lambda: "CERTIFICATE_VERIFY_FAILED" in mqtt.state().detail)
    mqtt.close()
    mqtt = output(broker, tmp_path / "b", tls=True, tls_ca_file=tmp_path / "right.pem")
    wait_for(lambda: mqtt.state().up)
    mqtt.close()
    broker.stop()


def test_a_certificate_or_password_that_cannot_be_read_is_one_clear_line(tmp_path: Path) -> None:
    for keys in ({"user": "a", "password_file": tmp_path / "no"}, {"tls": True, "tls_ca_file": tmp_path / "no"}):
        config = MqttOutputConfig(type="mqtt", host="127.0.0.1", **keys)  # type: ignore[arg-type]
        with pytest.raises(OutputError, match="cannot be"):
            MqttCarrier(config, "Cell 4")


def test_a_stations_name_is_one_level_of_a_topic() -> None:
    assert topic_level("Cell 4/left + #2") == "Cell_4_left____2"
