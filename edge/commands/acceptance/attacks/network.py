"""Attacks by neighbours that are away for a while: a webhook's receiver, an MQTT broker, a PLC."""

from __future__ import annotations

import http.server
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from edge.commands.acceptance.broker import MISSING, MOSQUITTO, Broker, Listener
from edge.commands.acceptance.fake_plc import FakePlc, PlcError
from edge.commands.acceptance.station import TrialStation, broken_sequence, free_port, happens, inspecting
from edge.commands.evidence import Evidence
from edge.core.types import Reason, Verdict
from edge.inference.bundle import Bundle
from edge.line.modbus_server import Coil

PREFIX = "proof"
PARTS = 20


def receiver(evidence: Evidence, bundle: Bundle, folder: Path) -> None:
    """Let a webhook's receiver come after the engine was killed: all messages arrive, repeats can be recognised."""
    heard: list[int] = []

    class Receiver(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            heard.append(int(body["sequence"]))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the name is http.server's
            """Say nothing."""

    server = http.server.HTTPServer(("127.0.0.1", 0), Receiver, bind_and_activate=False)
    server.server_bind()  # the port is taken, but nobody listens yet
    url = f"http://127.0.0.1:{server.server_address[1]}/"
    station = TrialStation(folder, bundle, output={"type": "webhook", "url": url, "secret_file": "secret"})
    (folder / "secret").write_text("a secret of sixteen bytes or more", encoding="ascii")
    with ThreadPoolExecutor(max_workers=1) as pool, server:
        with inspecting(station) as engine:
            before = station.triggers(PARTS)
            kept = happens(lambda: station.waiting() == len(before))
            engine.kill()  # and the engine dies meanwhile: the outbox is on the disk
        with inspecting(station) as engine:
            server.server_activate()
            serving = pool.submit(server.serve_forever, 0.05)
            told = {answer.id for answer in [*before, *station.triggers(5)]}
            arrived = happens(lambda: told <= set(heard))
            engine.stop()
            server.shutdown()
            serving.result()
    evidence.hold(
        "receiver down, engine killed meanwhile: everything arrives when it is back",
        kept and arrived and len(told) == PARTS + 5 and heard == sorted(heard),
        f"{len(told)} verdicts, {len(heard)} messages, {len(heard) - len(set(heard))} of them repeats",
    )


def broker(evidence: Evidence, bundle: Bundle, folder: Path) -> None:
    """Stop and start mosquitto twice in the middle of the work; a subscriber counts the messages that arrive."""
    name = "MQTT broker down for a while: every verdict arrives when it is back, in order, repeats recognisable"
    if MOSQUITTO is None:
        evidence.skip(name, MISSING)
        return
    folder.mkdir()
    server = Broker(folder)
    listener = Listener(server.port, PREFIX)
    try:
        server.start()
        subscribed = listener.subscribed.wait(60.0)
        output = {"type": "mqtt", "host": "127.0.0.1", "port": server.port, "topic": PREFIX}
        station = TrialStation(folder / "station", bundle, output=output)
        with inspecting(station) as engine:
            kept = [_without(server, station) for _ in range(2)]
            arrived = happens(lambda: len(listener.sequences()) == len(station.rows()) and not station.waiting())
            status = engine.stop()
        said = happens(lambda: listener.statuses[-1:] == ["stopped"])
    finally:
        listener.close()
        server.stop()
    rows = [row.id for row in station.rows()]
    evidence.hold(
        name,
        subscribed and all(kept) and arrived and said and status == 0 and listener.sequences() == rows,
        f"{len(rows)} verdicts, {len(listener.parts)} messages, {len(listener.parts) - len(rows)} of them repeats; "
        f"the last status is {listener.statuses[-1] if listener.statuses else 'none'}",
    )


def _without(server: Broker, station: TrialStation) -> bool:
    """Trigger parts with the broker and without it; returns True when the latter wait on the disk."""
    with_it = station.triggers(PARTS)
    server.stop()
    without = station.triggers(PARTS)
    kept = happens(lambda: station.waiting() >= len(without))
    server.start()
    return kept and len(with_it) == len(without) == PARTS


def plc(evidence: Evidence, bundle: Bundle, folder: Path) -> None:
    """Let the PLC die in the middle of a part and come back; then kill the engine under it."""
    port = free_port()
    trigger = {"type": "modbus", "page_button": True}
    station = TrialStation(folder, bundle, trigger=trigger, output={"type": "modbus", "port": port})
    with inspecting(station) as engine:
        first = FakePlc("127.0.0.1", port)
        seen = [first.part() for _ in range(PARTS)]
        first.write(Coil.TRIGGER, True)
        first.close()  # it has triggered, and never reads the result
        judged = happens(lambda: len(station.rows()) == PARTS + 1)
        others = station.triggers(5)  # the page's, refused: the result waits for a PLC
        second = FakePlc("127.0.0.1", port)
        waited = second.read()["sequence"] == PARTS + 1
        second.start()
        seen += [second.part() for _ in range(PARTS)]
        engine.kill()
        noticed = _gone(second)
    with inspecting(station) as engine:
        third = FakePlc("127.0.0.1", port)
        third.start()
        seen += [third.part() for _ in range(5)]
        third.close()
        status = engine.stop()
    _hold_results(evidence, station, seen, judged and noticed and waited and not others and status == 0)


def _hold_results(evidence: Evidence, station: TrialStation, seen: list[dict[str, Any]], went_on: bool) -> None:
    """Compare the results that the PLCs read, in their order, with the history."""
    rows = station.rows()
    died = {row.id for row in rows if row.reason is Reason.ENGINE_DIED}  # read, and not yet stored at the kill
    recorded = {row.id: row.verdict.value for row in rows}
    wrong = [one for one in seen if one["sequence"] not in died and one["verdict"] != recorded[one["sequence"]]]
    released = [one for one in seen if one["release"] != (one["verdict"] == Verdict.OK.value)]
    ids = [one["sequence"] for one in seen]
    in_order = ids == sorted(set(ids)) and not broken_sequence(rows)
    evidence.hold(
        "PLC away in the middle of a part, engine killed under it: each result it read is a row, ids go on",
        went_on and in_order and not wrong and not released,
        f"{len(seen)} results read, {len(rows)} rows, {len(wrong)} differ, {len(died)} are ERROR/engine_died"
        + ("" if went_on else "; it did NOT go on as it should"),
    )


def _gone(plc: FakePlc) -> bool:
    """Return True when a PLC notices that nobody answers, so that it can reject."""
    try:
        plc.read()
    except PlcError:
        return True
    finally:
        plc.close()
    return False
