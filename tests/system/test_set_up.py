"""The set-up of a station, with the real engine in a process of its own and the page's application beside it."""

from __future__ import annotations

from pathlib import Path

from edge.config.load import load_config
from edge.core.types import Reason, Verdict
from edge.exchange.health import Commissioning, State
from edge.exchange.trigger_socket import ask_trigger
from edge.inference.bundle import Bundle
from edge.web.server import create_app
from tests.edge.engine.parts import wait_for
from tests.system.station import HANG_S, Engine, Station, free_port

MODBUS = '\n[[output]]\ntype = "modbus"\nhost = "127.0.0.1"\nport = {port}\n'


def test_an_engineer_sets_a_station_up_from_the_page(tmp_path: Path, tiny_bundle: Bundle) -> None:
    station = Station(tmp_path, tiny_bundle)
    text = station.file.read_text().replace('type = "free_run"\nrate_hz = 10.0\n', 'type = "software"\n')
    station.file.write_text(text + MODBUS.format(port=free_port()))
    (station.camera / "b_bad.png").unlink()
    station.config = load_config(station.file)
    client = create_app(station.config).test_client()

    def state() -> Commissioning | None:
        health = station.health()
        return None if health is None else health.commissioning

    def ask(path: str, **facts: object) -> tuple[int, dict[str, object]]:
        answer = client.post(path, json={"who": "Anna", **facts})
        return answer.status_code, answer.get_json()

    with Engine(station, "--no-page") as engine:
        engine.ready()
        (output,) = [one["name"] for one in client.get("/api/set-up").get_json()["outputs"]]
        assert ask("/api/set-up/output", output=output, verdict="OK")[0] == 409, "the line runs"
        assert ask("/api/set-up", step="begin")[0] == 200
        told = ask_trigger(station.config.run_dir, HANG_S)
        assert (told.verdict, told.reason) == (Verdict.ERROR, Reason.COMMISSIONING)
        for verdict in ("OK", "safe"):
            assert ask("/api/set-up/output", output=output, verdict=verdict)[0] == 200
        assert ask("/api/set-up", step="baseline", frames=2, seconds=0)[0] == 200
        wait_for(lambda: (found := state()) is not None and found.baseline_at is not None)
        seen = client.get("/api/set-up").get_json()
        assert seen["state"] == State.COMMISSIONING
        assert seen["sight"]["focus"] > 0
        trials = seen["commissioning"]["trials"]
        assert [(one["would"], one["reason"]) for one in trials] == [("OK", "score")]
        status, answer = ask("/api/set-up/certificate", goods=[trials[0]["id"]])
        assert status == 409
        assert any("1 good and 0 bad parts" in line for line in answer["missing"])  # type: ignore[attr-defined]
        assert ask("/api/set-up", step="end")[0] == 200
        wait_for(lambda: state() is None)
        assert ask_trigger(station.config.run_dir, HANG_S).verdict is Verdict.OK
        assert engine.stop() == 0
