"""The base class of every part of station.toml, and the types of fields that several parts share."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Port = Annotated[int, Field(ge=1, le=65535)]
GpioLine = Annotated[int, Field(ge=0, le=1023)]


class Section(BaseModel):
    """One table of station.toml: it cannot be changed, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")
