"""The health of an engine that judges with the bundle in use, for a computer without one."""

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from edge.config.load import load_config
from edge.inference.bundle import open_bundle
from tests.edge.web.standin import StandIn

config = load_config(Path("/etc/linewatch/station.toml"))
engine = StandIn(Path(tempfile.mkdtemp()), open_bundle(config.bundle))
engine.config = engine.config.model_copy(update={"run_dir": config.run_dir})
config.run_dir.mkdir(exist_ok=True)
engine.says = {"recipe": "default"}
engine.health(written_at=datetime.now(UTC) + timedelta(hours=1))
