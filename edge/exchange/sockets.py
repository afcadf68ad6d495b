"""The Unix sockets in run_dir, and the frames that go through them: bounded in length and in time."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import socket
import stat
import struct
import time
from collections.abc import Iterator
from pathlib import Path

from edge.exchange import ExchangeError

WAITING = 8  # connections the kernel keeps until they are accepted
MODE = 0o600  # of a socket: other users cannot connect
SHARED_MODE = 0o660  # in a run_dir with the setgid bit: its group, to which the page's user belongs, can connect
MAX_WORDS_BYTES = 64 * 1024
MAX_PICTURE_BYTES = 3 * 4096 * 4096  # the largest input that a bundle may have
_MAGIC = b"LWF1"
_HEAD = struct.Struct("!4sII")  # the magic, then the lengths of the words and of the picture in bytes

log = logging.getLogger(__name__)


class FrameError(ExchangeError):
    """Bytes from the other side that are no frame, or one that is too long."""


def listen(run_dir: Path, name: str) -> socket.socket:
    """Return the engine's end of a socket; raises OSError when run_dir cannot hold one.

    A socket of an earlier engine is replaced, and a folder that is in the way is put aside.
    """
    _make_way(run_dir / name)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        os.fchmod(listener.fileno(), MODE)  # before the name exists: nobody finds it open for a moment
        with _reachable(run_dir, name) as address:
            listener.bind(address)
            if os.stat(run_dir).st_mode & stat.S_ISGID:
                os.chmod(address, SHARED_MODE)  # whatever the umask is
        listener.listen(WAITING)
    except OSError:
        listener.close()
        raise
    return listener


def connect(run_dir: Path, name: str, timeout_s: float) -> socket.socket:
    """Return the caller's end of a socket, connected; raises OSError."""
    caller = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        caller.settimeout(timeout_s)
        with _reachable(run_dir, name) as address:
            caller.connect(address)
    except OSError:
        caller.close()
        raise
    return caller


def deserted(run_dir: Path, name: str) -> bool:
    """Return True when the process that listened at this socket is gone; False when it lives, or nobody can tell."""
    try:
        connect(run_dir, name, 0.0).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False


def send_frame(peer: socket.socket, words: bytes, picture: bytes | memoryview, until: float) -> None:
    """Send one frame before `until`, monotonic s; raises OSError, also when time is up."""
    peer.settimeout(max(0.001, until - time.monotonic()))
    peer.sendall(_HEAD.pack(_MAGIC, len(words), len(picture)) + words)
    if picture:  # else the peer may have answered and hung up by now
        peer.settimeout(max(0.001, until - time.monotonic()))
        peer.sendall(picture)


def receive_frame(peer: socket.socket, until: float) -> tuple[bytes, bytearray]:
    """Return the words and the picture of one frame that is whole before `until`, monotonic s.

    Raises FrameError for bytes that are no frame, and OSError when time is up or the peer hangs up.
    """
    magic, words, picture = _HEAD.unpack(_receive(peer, _HEAD.size, until))
    if magic != _MAGIC:
        raise FrameError("this is no frame; page and engine are of different versions")
    if words > MAX_WORDS_BYTES or picture > MAX_PICTURE_BYTES:
        raise FrameError(f"a frame of {words} and {picture} bytes is too long; send a smaller one")
    return bytes(_receive(peer, words, until)), _receive(peer, picture, until)


def _receive(peer: socket.socket, size: int, until: float) -> bytearray:
    data = bytearray(size)
    view, got = memoryview(data), 0
    while got < size:
        peer.settimeout(max(0.001, until - time.monotonic()))
        came = peer.recv_into(view[got:])
        if came == 0:
            raise ConnectionResetError("the other side hung up in the middle")
        if time.monotonic() > until:
            raise TimeoutError("the other side is too slow")
        got += came
    return data


def _make_way(path: Path) -> None:
    """Remove what has the name of a socket; a folder keeps what it holds, under another name."""
    try:
        path.unlink()
    except FileNotFoundError:
        pass
    except OSError:
        if not path.is_dir():
            raise
        aside = path.with_name(f"{path.name}.{secrets.token_hex(4)}.aside")
        path.rename(aside)
        log.warning("%s: a folder was in the way of the socket; it is %s now", path, aside.name)


@contextlib.contextmanager
def _reachable(run_dir: Path, name: str) -> Iterator[str]:
    """Yield an address of the socket that is short enough for the kernel (108 bytes), however long run_dir is."""
    folder = os.open(run_dir, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{name}"
    finally:
        os.close(folder)
