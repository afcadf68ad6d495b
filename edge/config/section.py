"""The base class of every part of station.toml, and the types of fields that several parts share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator

LONGEST_TEXT = 1024  # characters
LONGEST_NAME = 255  # bytes of one file or folder, as Linux has it


def host_name(value: str) -> str:
    """Return a name or address of a machine; raises ValueError when no machine can be called so."""
    try:
        known = value.isprintable() and " " not in value and bool(value.encode("idna"))
    except UnicodeError:  # an empty or too long part between two dots
        known = False
    if not known:
        raise ValueError(f"{value!r} is no name of a machine; correct it")
    return value


def plain_text(value: str) -> str:
    """Return a text that a system call and a log take as it is; raises ValueError for any other."""
    if len(value) > LONGEST_TEXT:
        raise ValueError(f"{value[:20]!r}... has {len(value)} characters; at most {LONGEST_TEXT} are taken")
    if any(ord(one) < 32 or 127 <= ord(one) < 160 or 0xD800 <= ord(one) < 0xE000 for one in value):
        raise ValueError(f"{value[:80]!r} holds a control character; correct it")
    return value


def _given_path(value: Any) -> Any:
    """Return what stands for a path; raises ValueError when no file can be called so."""
    if isinstance(value, str | Path):
        text = plain_text(os.fspath(value))
        if not text:
            raise ValueError("is empty; give a path")
        if any(len(part.encode()) > LONGEST_NAME for part in text.split("/")):
            raise ValueError(f"{text[:80]!r}... holds a name of more than {LONGEST_NAME} bytes; correct it")
    return value


GivenPath = Annotated[Path, Field(strict=False), BeforeValidator(_given_path)]
Pixels = Annotated[int, Field(ge=1, le=65_535)]
FramesPerSecond = Annotated[float, Field(ge=0.001, le=1000)]
Host = Annotated[str, AfterValidator(host_name)]
Port = Annotated[int, Field(ge=1, le=65535)]
GpioLine = Annotated[int, Field(ge=0, le=1023)]


class Section(BaseModel):
    """One table of station.toml: it cannot be changed, and an unknown key or a value of another type is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _texts_are_plain(cls, value: Any) -> Any:
        return plain_text(value) if isinstance(value, str) else value
