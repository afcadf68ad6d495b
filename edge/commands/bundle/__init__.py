"""`edge bundle`: verify, install, activate and take back the bundles of a station."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from edge.commands import CommandError
from edge.commands.bundle.activation import activate, allow_rollback, confirm, roll_back
from edge.commands.bundle.desk import attend
from edge.commands.bundle.fetch import fetched, part_name
from edge.commands.bundle.store import Store, said
from edge.config.load import load_config
from edge.config.station import DEFAULT_RECIPE

SHADOW_S = 30.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    acts = parser.add_subparsers(required=True, metavar="ACT", dest="act")

    def act(name: str, does: str, run_act: Callable[[Store, argparse.Namespace], int]) -> argparse.ArgumentParser:
        one = acts.add_parser(name, help=does, description=f"{does[0].upper()}{does[1:]}.")
        one.add_argument("--config", type=Path, required=True, metavar="FILE", help="station.toml")
        one.set_defaults(run_act=run_act)
        return one

    one = act("verify", "say whether this station would take a bundle", _verify)
    one.add_argument("bundle", nargs="?", type=Path, metavar="BUNDLE", help="default: those that judge now")
    _given(act("install", "put a bundle beside the others; it does not judge yet", _install))
    one = act("fetch", "fetch a signed bundle from an HTTPS server and install it; it does not judge yet", _fetch)
    one.add_argument("url", metavar="URL", help="https://..., of an .lwb file")
    one.add_argument("--authorities", type=Path, metavar="FILE", help="PEM: who vouches for the server (the system's)")
    one = act("activate", "prove a bundle and let it judge from the next start of the engine on", _activate)
    _given(one)
    _recipe(one)
    one.add_argument("--new-product", action="store_true", help="the recipe judges another product from now on")
    one.add_argument("--shadow-seconds", type=float, default=SHADOW_S, metavar="S", help="0: no stored pictures (30)")
    one = act("confirm", "end an activation: the running engine judges with the new bundle", _confirm)
    one.add_argument("--wait", type=float, default=0.0, metavar="S", help="for the engine, so long at most (0)")
    one = act("rollback", "let the bundle before judge from the next start of the engine on", _roll_back)
    one.add_argument("--automatic", action="store_true", help="only while an activation is not confirmed")
    _recipe(one)
    act("list", "show the bundles, and what was done with them", _list)
    act("attend", "carry out what the page wishes, then end", _attend)
    one = act("allow-rollback", "let an older version of a product judge again", _allow)
    one.add_argument("--product", required=True, metavar="NAME")
    one.add_argument(
        "--to",
        type=int,
        required=True,
        metavar="N",
        help="the oldest version that may judge; 0: also a bundle that names none",
    )
    one.add_argument("--reason", required=True, metavar="WORDS", help="for the audit")


def _given(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="an .lwb file, or the folder of a bundle")


def _recipe(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--recipe", default=DEFAULT_RECIPE, metavar="NAME", help="of station.toml (default)")


def run(arguments: argparse.Namespace) -> int:
    """Do one act; returns the exit status. Raises EdgeError, and then the bundle that judges is the one before."""
    store = Store(load_config(arguments.config))
    status: int = arguments.run_act(store, arguments)
    return status


def _verify(store: Store, arguments: argparse.Namespace) -> int:
    if arguments.bundle is None:
        for line in store.judged():
            print(line)
        return 0
    with store.opened(arguments.bundle) as bundle:
        print(said(bundle, store.admissible(bundle)))
    return 0


def _install(store: Store, arguments: argparse.Namespace) -> int:
    with store.alone():
        bundle = store.install(arguments.bundle)
    print(f"{bundle.path.name}: installed; it judges after `python -m edge bundle activate {bundle.path.name}`")
    return 0


def _fetch(store: Store, arguments: argparse.Namespace) -> int:
    """Install what a server sends; it must be signed, also where station.toml takes unsigned bundles."""
    store.required = True
    with store.alone(part_name(arguments.url)), fetched(arguments.url, store.folder, arguments.authorities) as archive:
        bundle = store.install(archive)
    print(f"{bundle.path.name}: installed; it judges after `python -m edge bundle activate {bundle.path.name}`")
    return 0


def _activate(store: Store, arguments: argparse.Namespace) -> int:
    with store.alone():
        activate(store, arguments.bundle, arguments.recipe, arguments.new_product, arguments.shadow_seconds)
    print("restart the engine now, and then run `python -m edge bundle confirm`")
    return 0


def _confirm(store: Store, arguments: argparse.Namespace) -> int:
    with store.alone():
        print(confirm(store, arguments.wait))
    return 0


def _roll_back(store: Store, arguments: argparse.Namespace) -> int:
    with store.alone():
        print(roll_back(store, arguments.recipe, arguments.automatic))
    return 0


def _list(store: Store, _arguments: argparse.Namespace) -> int:
    for line in store.listed():
        print(line)
    return 0


def _attend(store: Store, _arguments: argparse.Namespace) -> int:
    try:
        attend(store.config)
    except OSError as error:
        raise CommandError(f"{error.filename}: {error.strerror}; run this as root, e.g. with sudo") from None
    return 0


def _allow(store: Store, arguments: argparse.Namespace) -> int:
    with store.alone():
        print(allow_rollback(store, arguments.product, arguments.to, arguments.reason))
    return 0
