"""Command lines that answer a mistake in one line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn


class OneLineParser(argparse.ArgumentParser):
    """An ArgumentParser that says in one line what is wrong and where help is, and exits 2."""

    def error(self, message: str) -> NoReturn:
        words = " ".join(message.split())
        self.exit(2, f"linewatch: {words}; see {self.prog} --help\n")


class Removed(argparse.Action):
    """An option that was removed: it is refused in one line, and `instead` says what to do."""

    def __init__(self, option_strings: Sequence[str], dest: str, instead: str) -> None:
        super().__init__(option_strings, dest, nargs="?", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        self._instead = instead

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        _namespace: argparse.Namespace,
        _values: object,
        option: str | None = None,
    ) -> NoReturn:
        parser.error(f"{option} was removed; {self._instead}")
