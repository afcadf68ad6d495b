"""Each inspection as an MQTT message with QoS 1: at least once, in order, recognisable when it comes twice."""

from __future__ import annotations

import json
import ssl
import time

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge.lineconfig import MqttOutputConfig
from edge.outbox import Outbox, OutboxError
from edge.outputs import OutputError, OutputState
from edge.outputs.message import message
from edge.outputs.post import Post
from edge.types import Inspection
from edge.worker import Worker

THREAD = "mqtt"
BACKOFF_S = (0.2, 10.0)
WINDOW = 20  # messages on their way at once
LOOK_S = 0.05  # how soon a new message is noticed
STATUS_S = 1.0  # the status follows the count of overruns at most so often
GOODBYE_S = 2.0


class MqttOutput:
    """A report: it moves no part. Shutdown value: the retained status topic says `stopped`, or `lost` by last will."""

    def __init__(self, config: MqttOutputConfig, station: str, outbox: Outbox) -> None:
        """Raises OutputError when the password or a certificate cannot be used."""
        self._config = config
        self._station = station
        self._topic = config.topic or f"linewatch/{topic_level(station)}"
        self._port = config.port or (8883 if config.tls else 1883)
        self._password = _password(config)
        self._tls = _tls(config)
        self._post = Post(f"{config.name} {config.host}:{self._port}", outbox)
        self._state = "safe"
        self._overruns = 0
        self._session: Session | None = None
        self._worker = Worker(THREAD, self._run)
        self._worker.start()

    @property
    def reports(self) -> bool:
        return True

    def ready(self, accepts: bool) -> None:
        self._state = "inspecting"

    def show(self, inspection: Inspection) -> None:
        self._post.put(message(self._station, inspection))

    def last_reported(self) -> int | None:
        return self._post.last_reported()

    def safe(self) -> None:
        self._state = "safe"

    def beat(self, overruns: int) -> None:
        self._overruns = overruns

    def able(self) -> None:
        self._post.able()

    def check(self) -> None:
        self._post.check()
        self._worker.check()

    def state(self) -> OutputState:
        return self._post.state()

    def close(self) -> None:
        """Says `stopped` when the broker is there; what is not delivered waits for the next start."""
        self._state = "stopped"
        self._post.close()
        self._worker.join(2 * GOODBYE_S + 5.0)

    def _run(self) -> None:
        shortest, longest = BACKOFF_S
        delay = shortest
        while not self._post.closing.is_set():
            session = Session(self._client(), self._topic, self._post)
            try:
                session.open(self._config.host, self._port, self._config.keepalive_s)
                self._post.up()
                delay = shortest
                self._deliver(session)
            except (OSError, OutputError, OutboxError) as error:  # a failed TLS handshake is an OSError
                self._post.down(str(error) or type(error).__name__)
                session.drop()
                self._post.closing.wait(delay)
                delay = min(2 * delay, longest)

    def _deliver(self, session: Session) -> None:
        """Until the output closes; raises when the connection breaks."""
        while not self._post.closing.is_set():
            session.say(self._state, self._overruns)
            session.send()
            session.turn()
        session.close(self._overruns)

    def _client(self) -> paho.Client:
        """A fresh one for each connection: what was on its way is read from the outbox again."""
        client = paho.Client(CallbackAPIVersion.VERSION2)
        if self._config.user is not None:
            client.username_pw_set(self._config.user, self._password)
        if self._tls is not None:
            client.tls_set_context(self._tls)
        return client


class Session:
    """One connection to the broker."""

    def __init__(self, client: paho.Client, topic: str, post: Post) -> None:
        self._client = client
        self._topic = topic
        self._outbox = post.outbox
        self._closing = post.closing
        self._on_the_way: dict[int, int] = {}  # MQTT's message id -> number in the outbox
        self._sent = 0  # number of the last one that was sent
        self._answer: ReasonCode | None = None
        self._said: tuple[str, int] | None = None
        self._said_at = 0.0
        client.on_connect = self._connected
        client.on_publish = self._published
        client.will_set(f"{topic}/status", _status("lost", 0), qos=1, retain=True)

    def open(self, host: str, port: int, keepalive_s: int) -> None:
        """Raises OSError or OutputError when the broker is not there, or does not let us in."""
        self._client.connect(host, port, keepalive_s)
        give_up = time.monotonic() + 10.0
        while self._answer is None:
            self.turn()
            if time.monotonic() > give_up or self._closing.is_set():
                raise OutputError("the broker does not answer")

    def turn(self) -> None:
        """Read and write what is due; raises OutputError when the connection is gone."""
        code = self._client.loop(LOOK_S)
        if self._answer is not None and self._answer.is_failure:
            raise OutputError(f"the broker refuses the connection: {self._answer}")
        if code != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise OutputError(f"the connection to the broker broke: {paho.error_string(code)}")

    def send(self) -> None:
        """Fill the window with what was not yet sent over this connection."""
        room = WINDOW - len(self._on_the_way)
        for number, body in self._outbox.pending(room, self._sent) if room else ():
            told = self._client.publish(f"{self._topic}/inspection", body, qos=1)
            if told.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
                raise OutputError(f"the broker does not take messages: {paho.error_string(told.rc)}")
            self._on_the_way[told.mid] = self._sent = number

    def say(self, state: str, overruns: int) -> None:
        """The retained status, when it changed."""
        now = time.monotonic()
        changed = self._said is None or self._said[0] != state
        if changed or (self._said != (state, overruns) and now - self._said_at >= STATUS_S):
            self._client.publish(f"{self._topic}/status", _status(state, overruns), qos=1, retain=True)
            self._said, self._said_at = (state, overruns), now

    def close(self, overruns: int) -> None:
        """Send what there is time for, say `stopped`, and leave so that the last will is not read out."""
        give_up = time.monotonic() + GOODBYE_S
        while (self._on_the_way or self._outbox.waiting()) and time.monotonic() < give_up:
            self.send()
            self.turn()
        farewell = self._client.publish(f"{self._topic}/status", _status("stopped", overruns), qos=1, retain=True)
        while not farewell.is_published() and time.monotonic() < give_up + GOODBYE_S:
            self.turn()
        self._client.disconnect()
        self._client.loop(LOOK_S)

    def drop(self) -> None:
        """Leave as if the cable was cut."""
        connection = self._client.socket()
        if connection is not None:
            connection.close()

    def _connected(
        self, _client: paho.Client, _data: object, _flags: paho.ConnectFlags, code: ReasonCode, _: Properties | None
    ) -> None:
        self._answer = code

    def _published(
        self, _client: paho.Client, _data: object, mid: int, _code: ReasonCode, _properties: Properties
    ) -> None:
        """The broker has it. Brokers acknowledge in order; a gap only means that some are sent again."""
        if self._on_the_way.pop(mid, None) is not None:
            self._outbox.ack(min(self._on_the_way.values(), default=self._sent + 1) - 1)


def topic_level(station: str) -> str:
    """A station's name as one level of a topic."""
    return "".join("_" if letter in "+#/ \0" else letter for letter in station)


def _status(state: str, overruns: int) -> bytes:
    return json.dumps({"state": state, "overruns": overruns}).encode()


def _password(config: MqttOutputConfig) -> str | None:
    if config.password_file is None:
        return None
    try:
        return config.password_file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise OutputError(f"{config.password_file}: cannot be read ({error}); it holds the password") from error


def _tls(config: MqttOutputConfig) -> ssl.SSLContext | None:
    if not config.tls:
        return None
    try:
        context = ssl.create_default_context(cafile=config.tls_ca_file)
        if config.tls_cert_file is not None:
            context.load_cert_chain(config.tls_cert_file, config.tls_key_file)
    except OSError as error:  # ssl.SSLError is one
        raise OutputError(
            f"output {config.name}: its certificates cannot be used ({error}); check tls_*_file"
        ) from error
    return context
