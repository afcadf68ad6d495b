"""The folder in which a station's bundles lie side by side, and the link that names the one that judges."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge.commands import CommandError
from edge.config.station import StationConfig
from edge.core.files import make_folder, sync_folder
from edge.inference.bundle import MOST_BUNDLES, Bundle, BundleError, bundle_folders, open_bundle, read_digest
from edge.inference.release.archive import (
    SUFFIX,
    archive_path,
    extract_bundle,
    remove_leftovers,
    unpacked,
    write_archive,
)
from edge.inference.release.trust import Trust, read_trust
from edge.inference.release.versions import Activated, Versions, admitted, read_audit, read_versions, store_versions

LAST_ACTS = 10


class Store:
    """The bundles of a station: those that lie in the folder of its key `bundle`."""

    def __init__(self, config: StationConfig, who: str | None = None) -> None:
        """who: the person at the page for whom this is done; None: whoever started this process."""
        self.config = config
        self._who = who
        self.folder = config.bundle.parent
        self.trust_folder = config.bundle_trust
        self.required = config.bundle_signatures == "required"

    @contextmanager
    def alone(self, keep: str | None = None) -> Iterator[None]:
        """Keep every other act out while the block runs, and begin without leftovers; raises CommandError.

        keep: beginning of the names of leftovers that this act goes on with.
        """
        try:
            make_folder(self.folder)
            make_folder(self.trust_folder, 0o755)
            handle = os.open(self.trust_folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise CommandError(f"{error.filename}: {error.strerror}; run this as root, e.g. with sudo") from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._clear(keep)
            yield
        except BlockingIOError:
            raise CommandError(f"{self.trust_folder}: another `edge bundle` is at work; wait for it") from None
        finally:
            os.close(handle)

    def _clear(self, keep: str | None) -> None:
        try:
            remove_leftovers(self.folder, keep)
        except OSError as error:
            raise CommandError(f"{error.filename}: {error.strerror}; remove it, e.g. with sudo") from None

    def trust(self) -> Trust:
        return read_trust(self.trust_folder)

    def versions(self) -> Versions:
        return read_versions(self.trust_folder)

    def note(self, versions: Versions, act: str, why: str) -> Versions:
        """Write the note of versions after its act was noted in the audit, and return it; raises BundleError."""
        return store_versions(self.trust_folder, versions, act, why, self._who)

    def link(self, recipe: str) -> Path:
        """Return the path that station.toml gives for a recipe; raises CommandError for a recipe it does not have."""
        if recipe not in self.config.bundles:
            known = ", ".join(self.config.bundles)
            raise CommandError(f"no recipe {recipe!r}; {self.config.name} has {known}: add it to station.toml first")
        return self.config.bundles[recipe]

    @contextmanager
    def opened(self, source: Path) -> Iterator[Bundle]:
        """Give a verified bundle: that of an archive, or a folder, which may be named by its name in the store."""
        path = self._found(source)
        if path.is_dir():
            yield open_bundle(Path(os.path.realpath(path)))
            return
        with unpacked(path, self.folder if os.access(self.folder, os.W_OK) else path.parent) as bundle:
            yield bundle

    def _found(self, source: Path) -> Path:
        if not source.exists() and source.name == str(source) and (self.folder / source).is_dir():
            return self.folder / source
        if not source.exists():
            raise CommandError(
                f"{source}: no such bundle; give an {SUFFIX} file, a folder, or a name that `list` shows"
            )
        return source

    def admissible(self, bundle: Bundle, versions: Versions | None = None, recipe: str | None = None) -> str | None:
        """Return the key that vouches for a bundle, None where nobody does and nobody has to; raises BundleError.

        versions: None: as the station notes them. recipe: the one that is to judge with it, if any.
        """
        key = self.trust().signer(bundle, self.required)
        fault = (versions or self.versions()).rollback_fault(bundle.manifest.release, recipe)
        if fault is not None:
            raise BundleError(f"{bundle.path}: {fault}")
        return key

    def judged(self) -> Iterator[str]:
        """Yield one line for each recipe; raises BundleError for a bundle with which the engine would not start."""
        for recipe, path in self.config.bundles.items():
            bundle = open_bundle(Path(os.path.realpath(path)))
            yield f"{recipe}: {said(bundle, admitted(bundle, recipe, self.trust_folder, self.required))}"

    def install(self, source: Path) -> Bundle:
        """Put a bundle into the store, whole and verified, or not at all; one that lies there stays as it is."""

        def name(bundle: Bundle) -> str:
            self.admissible(bundle)
            target = f"{bundle.manifest.name}-{bundle.manifest.version}-{bundle.digest[:12]}"
            self._refuse_too_many(target)
            return target

        path = self._found(source)
        if not path.is_dir():
            return extract_bundle(path, self.folder, name)
        bundle = open_bundle(Path(os.path.realpath(path)))
        if bundle.path.parent == Path(os.path.realpath(self.folder)):
            self.admissible(bundle)
            return Bundle(self.folder / bundle.path.name, bundle.manifest, bundle.digest)
        carried = archive_path(self.folder / f".{bundle.digest[:12]}")
        try:
            write_archive(bundle, carried)
            return extract_bundle(carried, self.folder, name)
        except OSError as error:
            raise CommandError(f"{error.filename or self.folder}: {error.strerror}; make room, or use sudo") from None
        finally:
            carried.unlink(missing_ok=True)

    def _refuse_too_many(self, name: str) -> None:
        """Raise CommandError where there is no place for one more: only a person removes a bundle that judged."""
        there = bundle_folders(self.folder, self.config.bundles.values())
        if len(there) >= MOST_BUNDLES and not (self.folder / name).exists():
            raise CommandError(
                f"{self.folder}: holds {len(there)} bundles, and at most {MOST_BUNDLES} are kept; remove the folders "
                "of those that `python -m edge bundle list` shows without a role"
            )

    def judging(self, recipe: str) -> Activated | None:
        """Return the bundle that the recipe's path leads to, None where it leads to none that can be read."""
        link = self.link(recipe)
        try:
            bundle = open_bundle(Path(os.path.realpath(link)))
        except BundleError:
            return None
        return activated(bundle)

    def point(self, recipe: str, folder: str) -> None:
        """Let the recipe's path lead to a folder of the store, in one step; raises CommandError and OSError."""
        link = self.link(recipe)
        if Path(os.path.realpath(link)) == Path(os.path.realpath(self.folder / folder)):
            return
        self.refuse_no_link(link)
        draft = link.with_name(f".{link.name}.{os.getpid()}.tmp")
        draft.unlink(missing_ok=True)
        draft.symlink_to(os.path.relpath(self.folder / folder, link.parent))
        os.replace(draft, link)
        sync_folder(link.parent, inside=False)

    def refuse_no_link(self, link: Path) -> None:
        """Raise CommandError when a recipe's path is a folder itself, which cannot be exchanged in one step."""
        if link.exists() and not link.is_symlink():
            raise CommandError(
                f"{link}: is a folder and no link; rename the folder, then make a link to it: ln -s NEW_NAME {link}"
            )

    def listed(self) -> Iterator[str]:
        """Yield one line for each bundle in the store, and for each of the last acts."""
        trust, versions = self.trust(), self.versions()
        roles = {one.digest: f"judges by recipe {recipe}" for recipe, one in versions.active.items()}
        for recipe, one in versions.previous.items():
            roles.setdefault(one.digest, f"judged before by recipe {recipe}")
        if versions.activation is not None:
            roles[versions.activation.new.digest] = f"not confirmed yet, for recipe {versions.activation.recipe}"
        for path in bundle_folders(self.folder, self.config.bundles.values()):
            yield _line(path, trust, self.required, roles)
        for product, highest in sorted(versions.highest.items()):
            yield f"{product}: version {highest} or newer judges here"
        for act in read_audit(self.trust_folder)[-LAST_ACTS:]:
            yield f"{act['at']} {act['who']}: {act['act']}{': ' if act['why'] else ''}{act['why']}"


def _line(path: Path, trust: Trust, required: bool, roles: dict[str, str]) -> str:
    try:
        bundle = open_bundle(path)
        words = said(bundle, trust.signer(bundle, required))
        role = roles.get(bundle.digest, "")
    except BundleError as error:
        return f"{path.name}: WRONG: {error}"
    return f"{path.name}: {words}{'; ' if role else ''}{role}"


def said(bundle: Bundle, key: str | None) -> str:
    """Return what a bundle is and who vouches for it, in one line."""
    release = bundle.manifest.release
    version = f", version {release.counter} of {release.product}" if release else ""
    return f"{bundle.title}{version}: every file verified, {f'signed by key {key}' if key else 'NOT SIGNED'}"


def activated(bundle: Bundle) -> Activated:
    """Return what the note of versions says of a bundle."""
    manifest = bundle.manifest
    return Activated(folder=bundle.path.name, digest=bundle.digest, title=bundle.title, release=manifest.release)


def still_there(store: Store, one: Activated, versions: Versions, recipe: str) -> Bundle:
    """Return the verified bundle of a note, if it still lies in the store and may judge; raises EdgeError."""
    folder = store.folder / one.folder
    if read_digest(folder) != one.digest:
        raise CommandError(f"{folder}: holds another bundle than {one.title}; install that one again")
    bundle = open_bundle(folder)
    store.admissible(bundle, versions, recipe)
    return bundle
