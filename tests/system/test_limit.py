"""Another limit with the real engine: proven, stored, kept over a restart, taken back; and refused where it must be."""

from pathlib import Path

import pytest

from edge.core.types import Verdict
from edge.exchange import ExchangeError
from edge.exchange.commands import LimitWish
from edge.exchange.health import Health
from edge.exchange.requests import Requests
from edge.history.limits import LIMITS
from edge.inference.bundle import Bundle
from tests.edge.engine.parts import wait_for
from tests.system.station import HANG_S, Engine, Station
from tests.tiny import THRESHOLD


def health(station: Station) -> Health:
    found = station.health()
    assert found is not None
    return found


def test_a_limit_is_proven_stored_kept_over_a_restart_and_taken_back(tmp_path: Path, tiny_bundle: Bundle) -> None:
    station = Station(tmp_path, tiny_bundle)

    def ask(after: float | None, before: float, **more: str) -> None:
        facts = {"who": "Anna", "reason": "rust marks are fine", "bundle_digest": tiny_bundle.digest} | more
        Requests(station.config.run_dir).set_limit(LimitWish(before=before, after=after, **facts), HANG_S)

    def refused(after: float, words: str) -> None:
        before = health(station).limits_decided
        ask(after, THRESHOLD)
        wait_for(lambda: health(station).limits_decided > before)
        assert words in (health(station).limit_fault or "")
        assert (health(station).threshold, health(station).own_limit) == (THRESHOLD, None)

    with Engine(station, "--no-page") as engine:
        engine.ready()
        refused(126.0 + 10.0, "a bad part, which would pass")
        refused(1.0, "a good part, which would be rejected")
        with pytest.raises(ExchangeError, match="somebody else changed it"):
            ask(60.0, THRESHOLD + 1)
        with pytest.raises(ExchangeError, match="another bundle judges"):
            ask(60.0, THRESHOLD, bundle_digest="0" * 64)
        ask(60.0, THRESHOLD)
        wait_for(lambda: health(station).threshold == 60.0)
        wait_for(lambda: [row.threshold for row in station.rows()[-1:]] == [60.0])
        assert engine.stop() == 0
    rows = station.rows()
    assert [row.threshold for row in rows] == sorted(row.threshold or 0.0 for row in rows), "no part between two limits"
    assert {row.verdict for row in rows} == {Verdict.OK, Verdict.NG}
    assert [row.id for row in rows] == list(range(1, len(rows) + 1))
    with Engine(station, "--no-page") as engine:
        engine.ready()
        assert health(station).threshold == 60.0
        assert "Anna" in (health(station).own_limit or "")
        ask(None, 60.0)
        wait_for(lambda: health(station).threshold == THRESHOLD)
        assert engine.stop() == 0
    assert "limit 60 is not the bundle's" in engine.said
    (station.config.state_dir / LIMITS).write_bytes(b"x" * 5000)
    with Engine(station, "--no-page") as engine:
        assert engine.ended() == 1
    assert "file of limits" in engine.said
    assert "Traceback" not in engine.said
