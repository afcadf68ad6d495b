"""What the doctor says: a name, words for a person, and whether it keeps the station from working."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How much a finding matters."""

    FACT = "fact"
    LOOK = "look"  # the station works, and somebody should look at this
    WRONG = "wrong"  # the station does not work, or not as it should


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor; the words of what is wrong name the remedy, too."""

    name: str
    words: str
    level: Level = Level.FACT

    def facts(self) -> dict[str, str]:
        """Return the finding as JSON has it."""
        return {"name": self.name, "level": self.level.value, "words": self.words}


def look_if(name: str, words: str, doubt: str) -> Finding:
    """Return a finding that somebody should look at when there is a doubt, which follows the words."""
    return Finding(name, f"{words}; {doubt}" if doubt else words, Level.LOOK if doubt else Level.FACT)
