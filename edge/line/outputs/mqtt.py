"""The delivery by MQTT with QoS 1: each inspection at least once, in order, recognisable when it comes twice."""

from __future__ import annotations

import json
import ssl
import time

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge.config.outputs import MqttOutputConfig
from edge.line.outputs import OutputError
from edge.line.outputs.delivery import Mail

THREAD = "mqtt"
WINDOW = 20  # messages on their way at once
LOOK_S = 0.05  # how soon a new message is noticed
STATUS_S = 1.0  # the status follows the count of overruns at most so often
GOODBYE_S = 1.0
ANSWERS_WITHIN_S = 30.0  # a broker that holds a connection and acknowledges nothing is as good as away
LONGEST_PACKET = 256  # bytes; a publisher is sent acknowledgements, and they have less than ten


class MqttCarrier:
    """The carrier to a broker. A retained topic has the status: `stopped` at the end, or `lost` by last will."""

    thread = THREAD
    longest_pause_s = 10.0
    leaves_within_s = 2 * GOODBYE_S + 0.5

    def __init__(self, config: MqttOutputConfig, station: str) -> None:
        """Read the password and the certificates; raises OutputError when one cannot be used."""
        self._config = config
        self._topic = config.topic or f"linewatch/{topic_level(station)}"
        self._port = config.port or (8883 if config.tls else 1883)
        self._password = _password(config)
        self._tls = _tls(config)
        self.name = f"{config.name} {config.host}:{self._port}"

    def carry(self, mail: Mail) -> None:
        session = Session(self._client(), self._topic, mail)
        try:
            session.open(self._config.host, self._port, self._config.keepalive_s)
            mail.up()
            while not mail.closing.is_set():
                session.say()
                session.send()
                session.turn()
            session.close()
        finally:
            session.drop()

    def _client(self) -> paho.Client:
        """Return a fresh client, one for each connection: what was on its way is read from the outbox again."""
        client = _Client(CallbackAPIVersion.VERSION2)
        if self._config.user is not None:
            client.username_pw_set(self._config.user, self._password)
        if self._tls is not None:
            client.tls_set_context(self._tls)
        return client


class _Client(paho.Client):
    """A client that takes no long packet: paho would keep up to 256 MB of one."""

    def _sock_recv(self, bufsize: int) -> bytes:
        if bufsize > LONGEST_PACKET:
            raise ConnectionError(f"the broker sends a packet of {bufsize} bytes")
        return super()._sock_recv(bufsize)


class Session:
    """One connection to the broker."""

    def __init__(self, client: paho.Client, topic: str, mail: Mail) -> None:
        self._client = client
        self._topic = topic
        self._mail = mail
        self._outbox = mail.outbox
        self._on_the_way: dict[int, int] = {}  # MQTT's message id -> id of the row
        self._heard_at = 0.0  # when the broker acknowledged a message last, or owed nothing; monotonic s
        self._sent = 0  # id of the last row that was sent
        self._answer: ReasonCode | None = None
        self._said: tuple[str, int] | None = None
        self._said_mid: int | None = None  # MQTT's message id of a status that is on its way
        self._said_at = 0.0
        client.on_connect = self._connected
        client.on_publish = self._published
        client.will_set(f"{topic}/status", _status("lost", 0), qos=1, retain=True)

    def open(self, host: str, port: int, keepalive_s: int) -> None:
        """Connect; raises OSError or OutputError when the broker is not there, or refuses."""
        self._client.connect(host, port, keepalive_s)
        give_up = time.monotonic() + 10.0
        while self._answer is None:
            self.turn()
            if time.monotonic() > give_up or self._mail.closing.is_set():
                raise OutputError("the broker does not answer")

    def turn(self) -> None:
        """Read and write what is due; raises OutputError when the connection is gone."""
        code = self._client.loop(LOOK_S)
        self._acknowledge()
        if self._answer is not None and self._answer.is_failure:
            raise OutputError(f"the broker refuses the connection: {self._answer}")
        if code != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise OutputError(f"the connection to the broker broke: {paho.error_string(code)}")
        now = time.monotonic()
        owes = bool(self._on_the_way) or self._said_mid is not None
        if not owes:
            self._heard_at = now
        if owes and now - self._heard_at > ANSWERS_WITHIN_S:
            raise OutputError(f"the broker acknowledged nothing for {ANSWERS_WITHIN_S:g} s")

    def send(self) -> None:
        """Fill the window with what was not yet sent over this connection."""
        room = WINDOW - len(self._on_the_way)
        for number, body in self._outbox.pending(room, self._sent) if room else ():
            told = self._client.publish(f"{self._topic}/inspection", body, qos=1)
            if told.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
                raise OutputError(f"the broker does not take messages: {paho.error_string(told.rc)}")
            self._on_the_way[told.mid] = self._sent = number

    def say(self) -> None:
        """Publish the retained status when it changed, and the broker has the one before."""
        if self._said_mid is not None:
            return
        state, overruns, now = self._mail.status, self._mail.overruns, time.monotonic()
        changed = self._said is None or self._said[0] != state
        if changed or (self._said != (state, overruns) and now - self._said_at >= STATUS_S):
            told = self._client.publish(f"{self._topic}/status", _status(state, overruns), qos=1, retain=True)
            self._said_mid = told.mid
            self._said, self._said_at = (state, overruns), now

    def close(self) -> None:
        """Send what there is time for, say `stopped`, and leave so that the last will is not read out."""
        give_up = time.monotonic() + GOODBYE_S
        while (self._on_the_way or self._outbox.waiting()) and time.monotonic() < give_up:
            self.send()
            self.turn()
        farewell = self._client.publish(
            f"{self._topic}/status", _status("stopped", self._mail.overruns), qos=1, retain=True
        )
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
        """Note that the broker has one message."""
        self._heard_at = time.monotonic()
        self._on_the_way.pop(mid, None)
        if mid == self._said_mid:
            self._said_mid = None

    def _acknowledge(self) -> None:
        """Take out of the outbox what the broker has. Brokers answer in order; after a gap some are sent again."""
        number = min(self._on_the_way.values(), default=self._sent + 1) - 1
        if number > self._outbox.acked:
            self._outbox.ack(number)


def topic_level(station: str) -> str:
    """Return a station's name as one level of a topic."""
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
