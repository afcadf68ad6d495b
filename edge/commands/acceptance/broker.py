"""A real MQTT broker as a child process, and a subscriber that misses nothing; for `edge chaos` and for tests."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from edge.commands import CommandError
from edge.commands.acceptance.station import free_port

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
MISSING = "mosquitto is not installed; Debian: apt-get install mosquitto"
ENDS_WITHIN_S = 60.0


class Broker:
    """Runs mosquitto on a port of its own; messages that it took for a subscriber outlive its process."""

    def __init__(self, folder: Path, settings: str = "allow_anonymous true\n") -> None:
        self.port = free_port()
        self._file = folder / "mosquitto.conf"
        kept = f"persistence true\npersistence_location {folder}/\n"
        self._file.write_text(f"listener {self.port} 127.0.0.1\nuser root\n{kept}{settings}", encoding="utf-8")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the broker; raises CommandError when mosquitto is not installed."""
        if MOSQUITTO is None:
            raise CommandError(MISSING)
        command = [MOSQUITTO, "-c", str(self._file)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def stop(self) -> None:
        """Stop the broker as an administrator does; it stores what its subscribers have not had."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(ENDS_WITHIN_S)
        self._process = None


class Listener:
    """Subscribes to PREFIX/# and comes back when the broker does; the broker keeps its messages meanwhile."""

    def __init__(self, port: int, prefix: str, name: str = "listener") -> None:
        self.parts: list[dict[str, Any]] = []
        self.statuses: list[str] = []
        self.subscribed = threading.Event()
        self._status = f"{prefix}/status"
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id=name, clean_session=False)
        self._client.reconnect_delay_set(0.05, 0.2)  # type: ignore[arg-type]
        self._client.on_connect = lambda client, *_: client.subscribe(f"{prefix}/#", qos=1)
        self._client.on_subscribe = lambda *_: self.subscribed.set()
        self._client.on_message = self._message
        self._client.connect_async("127.0.0.1", port)
        self._client.loop_start()

    def sequences(self) -> list[int]:
        """Return the sequence numbers of the parts in the order in which they came, without repeats."""
        return list(dict.fromkeys(part["sequence"] for part in self.parts))

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _message(self, _client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        content = json.loads(message.payload)
        if message.topic == self._status:
            self.statuses.append(content["state"])
        else:
            self.parts.append(content)
