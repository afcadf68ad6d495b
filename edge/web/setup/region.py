"""The region to inspect, as it is dragged on the picture: a line of the recipe for the next training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from edge.config.station import StationConfig
from edge.core.files import write_atomically

SMALLEST = 32  # pixels a side


class WantedRegion(BaseModel):
    """A rectangle in pixels of the camera's picture."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    x: int = Field(ge=0, le=100_000)
    y: int = Field(ge=0, le=100_000)
    width: int = Field(ge=SMALLEST, le=100_000)
    height: int = Field(ge=SMALLEST, le=100_000)

    @property
    def line(self) -> str:
        """The line of a training recipe, docs/reference/training-config.md."""
        return f"crop = {{ x = {self.x}, y = {self.y}, width = {self.width}, height = {self.height} }}"

    def outside(self, width: int, height: int) -> str | None:
        """Return why this region does not lie in a picture of this size; None when it does."""
        if self.x + self.width <= width and self.y + self.height <= height:
            return None
        return (
            f"region: {self.width}x{self.height} at ({self.x}, {self.y}) reaches outside of the picture, which is "
            f"{width}x{height}; drag it inside"
        )


def recipe_path(config: StationConfig, recipe: str) -> Path:
    """Return the file with the region of a recipe."""
    return config.page_dir / f"region-{recipe}.json"


def store_region(config: StationConfig, recipe: str, region: WantedRegion, picture: tuple[int, int], who: str) -> None:
    """Store the region of a recipe, and of which picture (width, height) it is; raises OSError."""
    facts = region.model_dump() | {"picture": list(picture), "who": who, "line": region.line}
    write_atomically(recipe_path(config, recipe), json.dumps(facts, indent=1).encode() + b"\n")


def read_region(config: StationConfig, recipe: str) -> dict[str, Any] | None:
    """Return the stored region of a recipe; None where there is none, or none that can be read."""
    try:
        found = json.loads(recipe_path(config, recipe).read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
