"""The base class of every part of station.toml, and the types of fields that several parts share."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def host_name(value: str) -> str:
    """Return a name or address of a machine; raises ValueError when no machine can be called so."""
    try:
        known = value.isprintable() and " " not in value and bool(value.encode("idna"))
    except UnicodeError:  # an empty or too long part between two dots
        known = False
    if not known:
        raise ValueError(f"{value!r} is no name of a machine; correct it")
    return value


Host = Annotated[str, AfterValidator(host_name)]
Port = Annotated[int, Field(ge=1, le=65535)]
GpioLine = Annotated[int, Field(ge=0, le=1023)]


class Section(BaseModel):
    """One table of station.toml: it cannot be changed, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")
