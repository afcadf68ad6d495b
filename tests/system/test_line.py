"""The real engine with real neighbours: a PLC, a broker, a receiver, the page's trigger."""

import json
import signal
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from edge.commands.acceptance.broker import MISSING, MOSQUITTO, Broker, Listener
from edge.commands.acceptance.fake_plc import FakePlc, PlcError
from edge.config.load import load_config
from edge.core.types import Reason, Verdict
from edge.exchange import ExchangeError
from edge.exchange.trigger_socket import OverrunError, TriggerAnswer, ask_trigger
from edge.history.eventlog import EventLog
from edge.history.ids import AHEAD
from edge.inference.bundle import Bundle
from edge.line.modbus_server import Coil
from edge.line.outputs.outbox import Outbox
from tests.edge.engine.parts import inspection, wait_for
from tests.edge.line.test_webhook import SECRET, Receiver
from tests.system.station import HANG_S, Engine, Station, free_port

MODBUS_TRIGGER = '[trigger]\ntype = "modbus"\npage_button = true\n'


def wired(folder: Path, bundle: Bundle, trigger: str, outputs: str) -> Station:
    """A station with another [trigger] and with [[output]] tables."""
    station = Station(folder, bundle)
    before, _, after = station.file.read_text().partition("[trigger]\n")
    station.file.write_text(before + trigger + after[after.index("[inspection]") :] + outputs)
    station.config = load_config(station.file)
    return station


def modbus(port: int) -> str:
    return f'[[output]]\ntype = "modbus"\nport = {port}\n'


def test_a_plc_gets_one_result_a_trigger_and_each_is_a_row(tmp_path: Path, tiny_bundle: Bundle) -> None:
    port = free_port()
    fake = '[[output]]\ntype = "gpio"\nchip = "fake"\nok_line = 1\nng_line = 2\npulse_ms = 5\n'
    station = wired(tmp_path, tiny_bundle, MODBUS_TRIGGER, modbus(port) + fake)
    with Engine(station, "--no-page") as engine:
        assert engine.ready() == "READY"
        plc = FakePlc("127.0.0.1", port, HANG_S)
        seen = [plc.part() for _ in range(40)]
        beat = plc.read()["heartbeat"]
        wait_for(lambda: plc.read()["heartbeat"] != beat)
        plc.close()
        assert engine.stop(signal.SIGTERM) == 0
    rows = station.rows()
    assert [row.id for row in rows] == [part["sequence"] for part in seen] == list(range(1, 41))
    assert [row.verdict.value for row in rows] == [part["verdict"] for part in seen]
    assert {part["verdict"] for part in seen} == {"OK", "NG"}
    assert [part["release"] for part in seen] == [row.verdict is Verdict.OK for row in rows]
    assert {row.trigger_id.split("-")[0] for row in rows} == {"modbus"}
    with pytest.raises(PlcError, match="no Modbus server"):
        FakePlc("127.0.0.1", port)


def test_no_release_is_read_from_a_trigger_until_its_verdict_when_the_trigger_is_not_modbus(
    tmp_path: Path, tiny_bundle: Bundle
) -> None:
    port = free_port()
    station = wired(tmp_path, tiny_bundle, '[trigger]\ntype = "free_run"\nrate_hz = 50\n', modbus(port))
    with Engine(station, "--no-page") as engine:
        assert engine.ready() == "READY"
        plc = FakePlc("127.0.0.1", port, HANG_S)
        seen = []
        while len([one for one in seen if one["busy"]]) < 100 or not any(one["release"] for one in seen):
            seen.append(plc.read())
        plc.close()
        assert engine.stop() == 0
    assert not [one for one in seen if one["busy"] and (one["release"] or one["verdict"] != "NONE")]
    verdicts = {row.id: row.verdict.value for row in station.rows()}
    assert {one["verdict"] for one in seen if one["results_valid"]} >= {"OK"}
    assert all(verdicts[one["sequence"]] == one["verdict"] for one in seen if one["results_valid"])


def test_triggers_from_everywhere_at_once_are_rows_or_overruns_and_nothing_else(
    tmp_path: Path, tiny_bundle: Bundle
) -> None:
    port = free_port()
    station = wired(tmp_path, tiny_bundle, MODBUS_TRIGGER, modbus(port))
    with Engine(station, "--no-page") as engine:
        assert engine.ready() == "READY"

        def page(_: int) -> TriggerAnswer | None:
            try:
                return ask_trigger(station.config.run_dir, HANG_S)
            except OverrunError:
                return None

        answers: list[TriggerAnswer | None] = []
        with ThreadPoolExecutor(4) as pool:
            while len(answers) < 60 or answers.count(None) < 2:  # on a loaded machine callers seldom collide
                answers += pool.map(page, range(20))
        judged = [answer for answer in answers if answer is not None]
        refused = len(answers) - len(judged)
        plc = FakePlc("127.0.0.1", port, HANG_S)
        wait_for(lambda: plc.read()["overruns"] == refused)
        assert plc.read()["verdict"] != "NONE", "a later part replaces a result that nobody acknowledged"
        plc.write(Coil.TRIGGER, True)
        assert plc.read()["overrun"], "not READY, because a result waits for its acknowledgement"
        refused += 1

        def told() -> bool:
            health = station.health()
            return health is not None and health.overruns == refused

        wait_for(told)
        plc.close()
        assert engine.stop() == 0
    rows = station.rows()
    assert refused > 1, "four callers at once must collide"
    assert sorted(answer.id or 0 for answer in judged) == [row.id for row in rows]
    by_id = {row.id: row for row in rows}
    assert all(answer.verdict is by_id[answer.id or 0].verdict for answer in judged)


def test_a_trigger_that_a_stalled_disk_leaves_no_id_for_is_refused_and_every_accepted_one_has_its_row(
    tmp_path: Path, tiny_bundle: Bundle
) -> None:
    station = wired(tmp_path, tiny_bundle, '[trigger]\ntype = "software"\n', "")
    with Engine(station, "--no-page") as engine:
        assert engine.ready() == "READY"
        run_dir = station.config.run_dir
        stored = ask_trigger(run_dir, HANG_S).id
        wait_for(lambda: [row.id for row in station.rows()] == [stored])
        disk = sqlite3.connect(station.config.events_db, isolation_level=None)
        disk.execute("BEGIN IMMEDIATE")  # no row can be stored until this ends
        answers = [ask_trigger(run_dir, HANG_S).id for _ in range(AHEAD - 1)]
        with pytest.raises(OverrunError):
            ask_trigger(run_dir, HANG_S)
        engine.process.send_signal(signal.SIGTERM)
        disk.execute("ROLLBACK")
        disk.close()
        assert engine.ended() == 0
    assert [row.id for row in station.rows()] == [stored, *answers]


def test_a_plc_that_triggers_right_before_a_stop_reads_its_result(tmp_path: Path, tiny_bundle: Bundle) -> None:
    port = free_port()
    station = wired(tmp_path, tiny_bundle, MODBUS_TRIGGER, modbus(port))
    with Engine(station, "--no-page") as engine:
        assert engine.ready() == "READY"
        plc = FakePlc("127.0.0.1", port, HANG_S)
        first = plc.part()
        plc.wait(lambda now: bool(now["ready"]), "ready")
        plc.write(Coil.TRIGGER, True)
        engine.process.send_signal(signal.SIGTERM)
        last = plc.wait(lambda now: bool(now["results_valid"]), "done")
        assert not last["ready"]
        plc.write(Coil.TRIGGER, False)
        plc.write(Coil.RESULTS_ACK, True)
        plc.close()
        assert engine.ended() == 0
    rows = station.rows()
    assert [(row.id, row.verdict.value) for row in rows] == [(one["sequence"], one["verdict"]) for one in (first, last)]


def test_a_page_trigger_that_was_accepted_is_judged_even_when_the_engine_is_told_to_stop(
    tmp_path: Path, tiny_bundle: Bundle
) -> None:
    station = wired(tmp_path, tiny_bundle, '[trigger]\ntype = "software"\n', "")
    answers: list[TriggerAnswer] = []
    stopped = threading.Event()

    def press() -> None:
        while not stopped.is_set():
            try:
                answers.append(ask_trigger(station.config.run_dir, HANG_S))
            except ExchangeError:
                if stopped.wait(0.01):
                    return

    with Engine(station, "--no-page") as engine:
        assert engine.ready() == "READY"
        presser = threading.Thread(target=press)
        presser.start()
        wait_for(lambda: len(answers) >= 5)
        assert engine.stop() == 0
        stopped.set()
        presser.join(HANG_S)
    assert [answer.id for answer in answers] == [row.id for row in station.rows()]


def waiting(station: Station, name: str) -> list[int]:
    """Return the sequences that wait for a receiver while no engine runs."""
    outbox = Outbox(station.config.state_dir / "outbox" / name, station.config.events_db, station.config.name)
    found: list[int] = []
    while piece := outbox.pending(after=found[-1] if found else 0):
        found += [json.loads(message)["sequence"] for _, message in piece]
    outbox.close()
    return found


@pytest.mark.skipif(MOSQUITTO is None, reason=MISSING)
def test_broker_and_receiver_may_be_away_and_the_engine_may_be_killed_and_every_row_is_reported(
    tmp_path: Path, tiny_bundle: Bundle
) -> None:
    broker, receiver = Broker(tmp_path), Receiver(500, 500)
    (tmp_path / "secret").write_bytes(SECRET)
    outputs = (
        f'[[output]]\ntype = "mqtt"\nhost = "127.0.0.1"\nport = {broker.port}\ntopic = "cell"\n'
        f'[[output]]\ntype = "webhook"\nurl = "{receiver.url}"\nsecret_file = "secret"\n'
    )
    station = wired(tmp_path, tiny_bundle, '[trigger]\ntype = "free_run"\nrate_hz = 20\n', outputs)
    with Engine(station, "--no-page") as engine:  # no broker
        assert engine.ready() == "READY"
        wait_for(lambda: len(station.rows()) >= 20)
        health = station.health()
        assert health is not None
        assert {one.name.split()[0]: one.up for one in health.outputs}["mqtt"] is False
        engine.stop(signal.SIGKILL)
    kept = waiting(station, "mqtt")
    assert kept == list(range(1, len(kept) + 1))
    broker.start()
    listener = Listener(broker.port, "cell")
    wait_for(listener.subscribed.is_set)
    with Engine(station, "--no-page") as engine:
        assert engine.ready() == "READY"
        wait_for(lambda: len(listener.parts) >= len(kept) + 10)
        assert engine.stop() == 0
    rows = [row.id for row in station.rows()]
    assert rows == list(range(1, len(rows) + 1))
    wait_for(lambda: listener.statuses[-1] == "stopped")
    assert listener.sequences() == rows, "in order, every one"
    assert listener.parts[0]["id"] == "Test:1"
    reported = [*receiver.sequences(), *waiting(station, "webhook")]
    assert list(dict.fromkeys(reported)) == rows
    listener.close()
    broker.stop()
    receiver.close()


def test_an_output_that_comes_back_after_weeks_gets_every_row_and_no_part_is_late_for_it(
    tmp_path: Path, tiny_bundle: Bundle
) -> None:
    behind = 30_000
    receiver = Receiver()
    (tmp_path / "secret").write_bytes(SECRET)
    hook = f'[[output]]\ntype = "webhook"\nurl = "{receiver.url}"\nsecret_file = "secret"\n'
    station = wired(tmp_path, tiny_bundle, '[trigger]\ntype = "software"\n', hook)
    with closing(EventLog(station.config.events_db)) as log:
        folder = station.config.state_dir / "outbox" / "webhook"
        Outbox(folder, station.config.events_db, "Test").close()
        log.append(*(inspection(number) for number in range(1, behind + 1)))
    with Engine(station, "--no-page") as engine:
        assert engine.ready() == "READY"
        answers = [ask_trigger(station.config.run_dir, HANG_S) for _ in range(20)]
        wait_for(lambda: len(receiver.taken) >= 100)
        health = station.health()
        assert health is not None
        assert health.outputs[0].waiting > 1000
        assert engine.stop() == 0
    assert [answer.id for answer in answers] == list(range(behind + 1, behind + 21))
    assert {answer.reason for answer in answers} <= {Reason.SCORE}, "none is late, and none is refused by the output"
    assert receiver.sequences() == list(range(1, len(receiver.taken) + 1))
    receiver.close()
