"""The measured latency of a station's stream: stored by `edge commission --latency`, read at the engine's start."""

from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError

from edge.config.cameras import CameraConfig, VideoCameraConfig
from edge.config.station import StationConfig
from edge.config.triggers import FreeRunTriggerConfig
from edge.core.types import EdgeError

REMEDY = "run `edge commission --latency`, or set camera.latency_ms and camera.fps"


class LatencyError(EdgeError):
    """A stored latency cannot be read."""


class StreamLatency(BaseModel):
    """How long a stream's picture is on its way, and how certain that is."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    format: Literal[1] = 1
    made_at: datetime
    # Which camera.source it is: another stream has another latency. The source may hold a password, so what is stored
    # is slow to compute and of this file alone; earlier versions stored a plain SHA-256.
    salt: Annotated[str, Field(pattern="^([0-9a-f]{32})?$")] = ""  # random
    source_scrypt: str = ""
    source_sha256: str = ""
    changes: PositiveInt  # of the light, that were seen in the picture
    quickest_ms: Annotated[float, Field(ge=0)]  # from a change's order to its picture
    slowest_ms: Annotated[float, Field(ge=0)]
    latency_ms: Annotated[float, Field(ge=0, le=10_000)]  # the bound: the slowest, and one frame period
    fps: Annotated[PositiveFloat, Field(le=1000)]  # frames a second that came meanwhile


def is_stream(camera: CameraConfig) -> bool:
    """Say whether the camera is a network stream, whose frames do not say when they were exposed."""
    return isinstance(camera, VideoCameraConfig) and not camera.is_device and not camera.is_file


def source_scrypt(camera: VideoCameraConfig, salt: str) -> str:
    """Return what tells one source from another and does not give its password away (RFC 7914, 16 MB)."""
    return hashlib.scrypt(camera.source.encode(), salt=bytes.fromhex(salt), n=2**14, r=8, p=1, dklen=32).hex()


def source_sha256(camera: VideoCameraConfig) -> str:
    """Return what earlier versions stored of a source."""
    return hashlib.sha256(camera.source.encode()).hexdigest()


def _is_of(known: StreamLatency, camera: VideoCameraConfig) -> bool:
    if known.source_scrypt:
        return known.source_scrypt == source_scrypt(camera, known.salt)
    return known.source_sha256 == source_sha256(camera)


def latency_file(config: StationConfig) -> Path:
    """Return the file that holds the measured latency."""
    return config.state_dir / "latency.json"


def with_latency(config: StationConfig) -> StationConfig:
    """Return the configuration with what was measured of its stream, where station.toml does not say it.

    Raises LatencyError when the file is damaged. A latency of another source counts as none.
    """
    camera, path = config.camera, latency_file(config)
    if not isinstance(camera, VideoCameraConfig) or not is_stream(camera) or camera.latency_ms is not None:
        return config
    try:
        known = StreamLatency.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return config
    except (OSError, ValidationError) as error:
        words = " ".join(str(error).split())[:200]
        raise LatencyError(f"{path}: cannot be read ({words}); run `edge commission --latency` again") from None
    if not _is_of(known, camera):
        return config
    measured = camera.model_copy(update={"latency_ms": known.latency_ms, "fps": camera.fps or known.fps})
    return config.model_copy(update={"camera": measured})


def timing_doubts(config: StationConfig) -> list[str]:
    """Return, one line each, why parts may get ERROR/stale_frame with a configuration that with_latency() made."""
    camera = config.camera
    if isinstance(config.trigger, FreeRunTriggerConfig) or not isinstance(camera, VideoCameraConfig):
        return []
    if not is_stream(camera):
        return []
    if camera.latency_ms is None:
        return [f"camera: the latency of the stream is not known, so every part gets ERROR/stale_frame; {REMEDY}"]
    if camera.fps is None:
        return ["camera.fps: not given, so nothing is proven about the stream's age; set its frames a second"]
    needed_ms, deadline_ms = camera.latency_ms + 1e3 / camera.fps, config.inspection.deadline_ms
    if needed_ms <= deadline_ms:
        return []
    return [
        f"inspection.deadline_ms: {deadline_ms:g} ms is over before a frame can be proven newer than the trigger: "
        f"{camera.latency_ms:g} ms latency and {1e3 / camera.fps:.0f} ms frame period are {needed_ms:.0f} ms; "
        "raise it, or use a faster camera"
    ]
