"""How the model uses this CPU, as `edge tune` measured it: a profile of one bundle on one CPU with one OpenVINO."""

from __future__ import annotations

import logging
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge.config.station import StationConfig
from edge.core.files import write_atomically
from edge.core.types import EdgeError
from edge.inference.bundle import Bundle
from edge.inference.cpu import read_cpu
from edge.inference.runtimes import CoreType, Settings, runtime_version

FORMAT = 1

log = logging.getLogger(__name__)


class TuningError(EdgeError):
    """A profile that is not for this station as it is now."""


class Facts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Place(Facts):
    """What a profile holds for: with any of it changed, it says nothing."""

    cpu: str
    tier: str
    logical_cores: int
    openvino: str
    bundle_digest: str


class Choice(Facts):
    """What is set; what is not is left to OpenVINO. The names are those of its properties."""

    inference_num_threads: int = Field(default=0, ge=0, le=1024)
    enable_cpu_pinning: bool | None = None
    enable_hyper_threading: bool | None = None
    scheduling_core_type: CoreType | None = None

    def settings(self) -> Settings:
        return Settings(
            self.inference_num_threads, self.enable_cpu_pinning, self.enable_hyper_threading, self.scheduling_core_type
        )

    def words(self) -> str:
        given = self.model_dump(exclude_defaults=True)
        return ", ".join(f"{name} {value}" for name, value in given.items()) or "OpenVINO's own choice"


class Trial(Facts):
    """One choice as it was measured beside another one, taking turns."""

    choice: Choice
    against: Choice
    p50_ms: float
    ratio: float  # of its median to that of the other one
    low: float  # 95 % interval of the ratio
    high: float
    n: int


class Profile(Facts):
    """What `edge tune` found: the choice that the engine follows, and all that were tried."""

    format: int = FORMAT
    measured_at: datetime
    bundle: str
    place: Place
    choice: Choice
    trials: tuple[Trial, ...]


def here(bundle: Bundle) -> Place:
    """This CPU, this OpenVINO and this bundle."""
    cpu = read_cpu()
    return Place(
        cpu=cpu.model,
        tier=cpu.tier,
        logical_cores=cpu.logical_cores,
        openvino=runtime_version("openvino"),
        bundle_digest=bundle.digest,
    )


def write_profile(path: Path, profile: Profile) -> None:
    write_atomically(path, (profile.model_dump_json(indent=2) + "\n").encode())


def read_profile(path: Path, bundle: Bundle) -> Profile:
    """Read a profile; raises TuningError when it is damaged, or of another place than this one."""
    try:
        profile = Profile.model_validate_json(path.read_bytes())
    except OSError as error:
        raise TuningError(f"{path}: cannot be read ({error.strerror}); run: edge tune") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise TuningError(f"{path}: {where}: {first['msg']}; run: edge tune") from None
    if profile.format != FORMAT:
        raise TuningError(f"{path}: format {profile.format}, this Linewatch reads {FORMAT}; run: edge tune")
    then, now = profile.place.model_dump(), here(bundle).model_dump()
    for fact, value in then.items():
        if value != now[fact]:
            raise TuningError(
                f"{path}: was measured with {fact.replace('_', ' ')} {value}, here it is {now[fact]}; run: edge tune"
            )
    return profile


def station_settings(config: StationConfig, recipe: str, bundle: Bundle) -> Settings:
    """How the station's model uses the CPU: inspection.threads, or else what was measured here, or else the runtime's
    own choice. A profile that does not hold here is refused with one line in the log.
    """
    inspection, path = config.inspection, config.tuning(recipe)
    if inspection.threads or not inspection.tuned or inspection.runtime != "openvino" or not path.exists():
        return Settings(threads=inspection.threads)
    try:
        profile = read_profile(path, bundle)
    except TuningError as error:
        log.warning("%s (OpenVINO's own choice is used meanwhile)", error)
        return Settings()
    log.info("tuned: %s", profile.choice.words())
    return profile.choice.settings()
