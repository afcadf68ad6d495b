"""The program that decodes a stream or a video file for the engine, in a process of its own.

FFmpeg reads what strangers send. Here it may crash, hang or ask for gigabytes, and the engine goes on. It also says
only in its log that it repaired a picture or that the stream became another one; here the log is read after each frame.

The program gets one line of JSON on its standard input: source and loop. It writes records to its standard output: a
head (HEAD), words, and a picture as (height, width, 3) uint8 BGR, or as a JPEG (height 0). The first record has no
picture, and frames a second in place of a stamp.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import resource
import struct
import sys
from collections.abc import Iterator

import cv2
import numpy as np

HEAD = struct.Struct("<IIIdII")  # kind, width, height, stamp in s, bytes of words, bytes of the picture
FRAME, FAILED = 0, 1  # kinds: a frame and why it must not be judged; why no frame will come
ENDED = "the video ended"
OPEN_TIMEOUT_MS = 5000
READ_TIMEOUT_MS = 3000
MAX_MEMORY = 2 * 1024**3  # bytes
MAX_LOG = 16 * 1024**2  # bytes that are logged with one frame
LOG_LEVEL = "48"  # AV_LOG_DEBUG: below it, a change of size is not told
MOTION_JPEG = {cv2.VideoWriter.fourcc(*name) for name in ("MJPG", "mjpg", "JPEG", "jpeg")}

# Decoders hold back pictures that are to be shown later, H.264 and H.265 at most 16. A whole picture that comes this
# soon after damage was told of may have been decoded before it.
HELD_BACK = 16
_LINE = re.compile(r"\[OPENCV:FFMPEG:(\d+)\]\s*([^\n]*)")
_DAMAGE = re.compile(r"conceal|corrupt|missed|missing|lost|damaged|truncat|invalid|continuity check failed", re.I)
_ERROR = 16  # AV_LOG_ERROR
_ANOTHER = "chosen by get_format"


class Damage:
    """Follows what the decoder says: from damage to the next whole picture, each frame may repeat what is not there."""

    def __init__(self) -> None:
        self._words = "it began between two key frames"
        self._since: int | None = None  # frames since damage was told of; None at the beginning

    def fault(self, said: str, kind: str) -> str:
        """Return why this frame must not be judged, or "". said: the log with this frame; kind: "I" is a key frame."""
        told = [words for level, words in _LINE.findall(said) if int(level) <= _ERROR or _DAMAGE.search(words)]
        if told:  # the first words stay: each other ones would be a line in the engine's log
            self._words, self._since = self._words or " ".join(told[0].split())[:80], 0
        elif self._since is not None:
            self._since += 1
        if kind == "I" and not told and (self._since is None or self._since > HELD_BACK):
            self._words = ""
        if not self._words:
            return ""
        return f"the stream is damaged until its next key frame ({self._words}); check the network, or use motion JPEG"


class Log:
    """What FFmpeg writes to standard error, in memory: a pipe could fill up and hold the decoder."""

    def __init__(self) -> None:
        self._file = os.memfd_create("log")
        os.dup2(self._file, sys.stderr.fileno())

    def said(self) -> str:
        """Return what was written since the last call."""
        size = os.fstat(self._file).st_size
        if size == 0:
            return ""
        words = os.pread(self._file, size, 0)
        os.ftruncate(self._file, 0)
        os.lseek(self._file, 0, os.SEEK_SET)
        return words.decode("utf-8", "replace")


def frames(source: str, loop: bool, log: Log) -> Iterator[tuple[bytes, memoryview]]:
    """Give each frame as a head with words, and a picture; an error is a head with words and without a picture."""
    limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, OPEN_TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, READ_TIMEOUT_MS]
    # One thread: with more, a picture comes after the log of later ones.
    capture = cv2.VideoCapture(source, cv2.CAP_FFMPEG, [*limits, cv2.CAP_PROP_N_THREADS, 1])
    if not capture.isOpened():
        yield _error("cannot be opened; check the camera, the network and camera.source")
        return
    raw = int(capture.get(cv2.CAP_PROP_FOURCC)) in MOTION_JPEG and capture.set(cv2.CAP_PROP_FORMAT, -1)
    fps, damage = capture.get(cv2.CAP_PROP_FPS), Damage()
    yield HEAD.pack(FRAME, 0, 0, fps, 0, 0), memoryview(b"")
    log.said()
    began = False
    while True:
        got, image = capture.read()
        if not got and loop and capture.set(cv2.CAP_PROP_POS_FRAMES, 0):
            log.said()
            got, image = capture.read()
        said = log.said()
        if not got:
            yield _error(ENDED)
            return
        if began and _ANOTHER in said:
            yield _error("the stream became another one (size or format of its pictures); it is opened again")
            return
        began = True
        kind = chr(int(capture.get(cv2.CAP_PROP_FRAME_TYPE)) & 0x7F)
        words = b"" if raw else damage.fault(said, kind).encode()
        data = np.ascontiguousarray(image).data.cast("B")
        height, width = (0, 0) if raw else image.shape[:2]
        stamp_s = capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3
        yield HEAD.pack(FRAME, width, height, stamp_s, len(words), len(data)) + words, data


def _error(words: str) -> tuple[bytes, memoryview]:
    return HEAD.pack(FAILED, 0, 0, 0.0, len(words.encode()), 0) + words.encode(), memoryview(b"")


def main() -> int:
    """Decode until the stream or the engine ends."""
    wanted = json.loads(sys.stdin.readline())
    out = os.dup(sys.stdout.fileno())
    resource.setrlimit(resource.RLIMIT_DATA, (MAX_MEMORY, MAX_MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_LOG, MAX_LOG))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG: it goes with the engine, whatever ends that
    log = Log()
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        for head, data in frames(wanted["source"], wanted["loop"], log):
            for piece in (memoryview(head), data):
                while piece:
                    piece = piece[os.write(out, piece) :]
    except BrokenPipeError:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
