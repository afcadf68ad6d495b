"""Which bundle each recipe stands for: pinned by its digest when the engine starts, remembered over restarts."""

from __future__ import annotations

import logging
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from edge.config.station import StationConfig
from edge.core.files import write_atomically
from edge.engine import EngineError
from edge.inference.bundle import Bundle, BundleError, Sha256, read_digest
from edge.inference.release.versions import admitted

ACTIVATED = "bundles.json"  # in state_dir: the bundle of each recipe that judged last

log = logging.getLogger(__name__)


class LastJudge(BaseModel):
    """The bundle that judged last by one recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    digest: Sha256
    title: str


_FILE = TypeAdapter(dict[str, LastJudge])


class Pins:
    """The digests that the recipes of a running engine are held to.

    Only a start takes another bundle under an old name, and says so. While the engine runs, a recipe stands for the
    bundle that its folder held at the start, or for the first one that judged by it where the folder could not be read.
    """

    def __init__(self, config: StationConfig) -> None:
        """Read what judged last, and pin what the folders hold now."""
        self.change: str | None = None  # the last change of bundle since the start, one line for a person
        self._path = config.state_dir / ACTIVATED
        self._trust, self._required = config.bundle_trust, config.bundle_signatures == "required"
        self._last = _read(self._path)
        self._digests: dict[str, str] = {}
        for name, folder in config.bundles.items():
            try:
                self._digests[name] = read_digest(folder)
            except BundleError as error:
                log.warning("recipe %s: %s", name, error)

    def admit(self, name: str, bundle: Bundle) -> str | None:
        """Return the key that vouches for a recipe's bundle; None where nobody does, and nobody has to.

        Raises EngineError when the folder holds another bundle than the one that the recipe stands for, and
        BundleError when its signature or its version does not let it judge here.
        """
        pinned = self._digests.setdefault(name, bundle.digest)
        if bundle.digest != pinned:
            raise EngineError(
                f"{bundle.path}: holds another bundle ({bundle.title}) than the one that recipe {name!r} stands for "
                f"since the start (digest {pinned[:12]}); put that one back, or restart the engine to take this one"
            )
        return admitted(bundle, name, self._trust, self._required)

    def activated(self, name: str, bundle: Bundle) -> None:
        """Remember what judges by a recipe; log it when it is another bundle than last time."""
        last, now = self._last.get(name), LastJudge(digest=bundle.digest, title=bundle.title)
        if last == now:
            return
        if last is not None:
            self.change = f"recipe {name}: {now.title} judges, last time it was {last.title}"
            log.warning("bundle changed: %s (digest %s, was %s)", self.change, now.digest, last.digest)
        self._last = {**self._last, name: now}
        try:
            write_atomically(self._path, _FILE.dump_json(self._last, indent=1) + b"\n")
        except OSError as error:
            log.error("%s: what judges is not remembered (%s)", self._path, error.strerror)


def _read(path: Path) -> dict[str, LastJudge]:
    """Return what judged last; nothing, with an entry in the log, when the file cannot be read."""
    try:
        return _FILE.validate_json(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValidationError) as error:
        why = error.strerror if isinstance(error, OSError) else error.errors()[0]["msg"]
        log.error("%s: cannot be read (%s), so a change of bundle before this start is not seen", path, why)
        return {}
