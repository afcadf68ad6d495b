"""Command lines whose mistakes are answered in one line."""

from __future__ import annotations

import argparse
from typing import NoReturn


class OneLineParser(argparse.ArgumentParser):
    """An ArgumentParser that says what is wrong and where help is, and exits 2; no usage text in between."""

    def error(self, message: str) -> NoReturn:
        words = " ".join(message.split())
        self.exit(2, f"linewatch: {words}; see {self.prog} --help\n")
