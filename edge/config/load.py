"""Read station.toml, check it, and say in one line what is wrong with it."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from edge.config.cameras import CameraConfig, FolderCameraConfig, VideoCameraConfig, without_secrets
from edge.config.outputs import FILES, OutputConfig, with_base
from edge.config.station import DEFAULT_RECIPE, ConfigError, StationConfig
from edge.config.triggers import TriggerConfig


def _types(union: Any) -> set[str]:
    """Return every value that the key `type` may have in a union of sections."""
    return {get_args(section.model_fields["type"].annotation)[0] for section in get_args(get_args(union)[0])}


MAX_BYTES = 1024 * 1024  # of a station.toml
PAGE_FILES = ("certificate", "private_key")
MAX_WORDS = 500  # of a message

# pydantic puts the type of a section into the place of an error; station.toml has no such key.
_TYPES = _types(CameraConfig) | _types(TriggerConfig) | _types(OutputConfig)


def load_config(path: Path) -> StationConfig:
    """Read and validate a station.toml; raises ConfigError with one line."""
    try:
        config = StationConfig.model_validate(_parsed(path))
    except ValidationError as error:
        raise ConfigError(f"{path}: {_one_line(_first_error(error))}") from None
    return _absolute(config, path.resolve().parent)


def _parsed(path: Path) -> dict[str, Any]:
    """Return the tables of a TOML file; raises ConfigError with one line."""
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            raise ConfigError(f"{path}: more than {MAX_BYTES} bytes are no station.toml; give another file")
        return _of_64_bits(tomllib.loads(raw.decode()))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; copy an example station.toml there") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:  # of the syntax, the encoding, a number's length, the nesting
        raise ConfigError(f"{path}: not valid TOML: {_one_line(str(error))}") from None


def _of_64_bits(tables: dict[str, Any]) -> dict[str, Any]:
    """Return the tables; raises ValueError when a number has more bits than TOML allows."""
    waiting: list[tuple[str, Any]] = [("the file", tables)]
    while waiting:
        key, value = waiting.pop()
        if isinstance(value, dict):
            waiting.extend(value.items())
        elif isinstance(value, list):
            waiting.extend((key, inner) for inner in value)
        elif isinstance(value, int) and value.bit_length() > 63:
            raise ValueError(f"{key}: a number of {value.bit_length()} bits; at most 64 are taken")
    return tables


def _one_line(words: str) -> str:
    """Return the words without line feeds, and cut where they are long: a key can be any text."""
    return "".join(one if one.isprintable() else " " for one in words)[:MAX_WORDS]


def check_camera(config: StationConfig) -> None:
    """Raise ConfigError when what a folder or file camera shows is not there; a device may come later."""
    camera = config.camera
    if isinstance(camera, FolderCameraConfig) and not os.path.isdir(camera.path):
        raise ConfigError(f"camera.path: {camera.path} is no folder; put images there, or correct the path")
    if isinstance(camera, VideoCameraConfig) and camera.is_file and not os.path.isfile(camera.source):
        raise ConfigError(f"camera.source: {without_secrets(camera.source)} is no file; correct the path")


def check_files(config: StationConfig) -> None:
    """Raise ConfigError when a bundle, another station's file, or a file that an output needs is not there."""
    for name, bundle in config.bundles.items():
        key = "bundle" if name == DEFAULT_RECIPE else f"recipes.{name}"
        if not os.path.isdir(bundle):
            raise ConfigError(f"{key}: {bundle}: no such bundle folder; copy the bundle there, or correct the path")
    for number, other in enumerate(config.page.stations):
        if not os.path.isfile(other):
            raise ConfigError(f"page.stations.{number}: {other} is no file; correct the path, or remove it")
    for number, output in enumerate(config.output):
        for key in FILES:
            path = getattr(output, key, None)
            if path is not None and not (path.is_file() and os.access(path, os.R_OK)):
                raise ConfigError(
                    f"output.{number}.{key}: {path} is no file that can be read; create it, readable to the engine only"
                )


_REMOVED = {"inspection.tuned": "remove it, and set inspection.threads where the model must not use every core"}


def _first_error(error: ValidationError) -> str:
    """Say in one line which key is wrong, the value that it holds, and the value that it should hold."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"] if part not in _TYPES) or "the file"
    if first["type"] == "extra_forbidden" and key in _REMOVED:
        return f"{key}: was removed; {_REMOVED[key]}"
    if first["type"] == "extra_forbidden":
        return f"{key}: unknown key; remove it or correct its spelling"
    if first["type"] == "missing":
        return f"{key}: missing; add it"
    if first["type"] == "value_error":  # of this project's own: it names what is wrong, and what to do
        words = first["msg"].removeprefix("Value error, ")
        return words if not first["loc"] else f"{key}: {words}"
    shown = "" if key == "camera.source" else _shown(first.get("input"))
    return f"{key}: {first['msg']}{shown}"


def _shown(value: Any) -> str:
    """Return the value that was given, where it is short and no address, which may hold a password."""
    return f" (got {value!r})" if isinstance(value, str | int | float) and "://" not in str(value) else ""


def _absolute(config: StationConfig, base: Path) -> StationConfig:
    """Return the configuration with every relative path made absolute from base."""
    camera = config.camera
    if isinstance(camera, FolderCameraConfig):
        camera = camera.model_copy(update={"path": base / camera.path})
    elif isinstance(camera, VideoCameraConfig) and camera.is_file:
        camera = camera.model_copy(update={"source": str(base / camera.source)})
    paths = {key: base / getattr(config, key) for key in ("bundle", "state_dir", "run_dir", "bundle_trust")}
    output = tuple(with_base(one, base) for one in config.output)
    recipes = {name: base / path for name, path in config.recipes.items()}
    files = {key: base / path for key in PAGE_FILES if (path := getattr(config.page, key)) is not None}
    others = tuple(base / path for path in config.page.stations)
    page = config.page.model_copy(update={"stations": others, **files})
    return config.model_copy(update={**paths, "camera": camera, "recipes": recipes, "page": page, "output": output})
