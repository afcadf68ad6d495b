from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.cameras.network.multipart import MAX_PART, Parts, PartsError, boundary_of
from tests.edge.cameras.network.server import jpeg, part

PICTURES = [jpeg(seed) for seed in range(3)]


def pieces(data: bytes, size: int) -> Callable[[], bytes]:
    """Return the data in pieces of one size."""
    parts: Iterator[bytes] = (data[at : at + size] for at in range(0, len(data), size))
    return lambda: next(parts, b"")


def read_on(parts: Parts, count: int) -> None:
    for _ in range(count):
        parts.next()


@settings(deadline=None)
@given(
    size=st.integers(1, 9000),
    counted=st.booleans(),
    extra=st.sampled_from([0, 2]),
    mark=st.sampled_from([b"--frame", b"----frame", b"--my boundary 'x'", b"frame"]),
    newline=st.sampled_from([b"\r\n", b"\n"]),
    preamble=st.sampled_from([b"", b"\r\n", b"hello\r\n\r\n"]),
    more=st.sampled_from([b"", b"X-Timestamp: 12.5\r\n", b"x-timestamp:12.5\r\n"]),
)
def test_every_picture_comes_whole_however_a_camera_writes_its_parts(
    size: int, counted: bool, extra: int, mark: bytes, newline: bytes, preamble: bytes, more: bytes
) -> None:
    stream = preamble
    for body in PICTURES:
        length = len(body) + extra if counted else None
        head, _, rest = part(body, length=length, more=more, mark=mark).partition(b"\r\n\r\n")
        stream += (head + b"\r\n\r\n").replace(b"\r\n", newline) + rest
    stream += mark + b"--\r\n"
    parts = Parts(b"frame", pieces(stream, size))
    found = [parts.next() for _ in PICTURES]
    assert [one.body.rstrip(b"\r\n") for one in found] == PICTURES
    assert not [one.torn for one in found if one.torn]
    assert {one.headers.get("x-timestamp") for one in found} == ({"12.5"} if more else {None})
    with pytest.raises(PartsError, match="ended the stream"):
        parts.next()


@settings(deadline=None)
@given(cut=st.integers(1, len(PICTURES[0]) - 1), size=st.integers(100, 9000))
def test_a_part_that_is_cut_is_known_as_torn_and_the_next_one_is_whole(cut: int, size: int) -> None:
    body = PICTURES[0]
    stream = part(body[:cut], length=len(body)) + part(PICTURES[1]) + part(PICTURES[2])
    parts = Parts(b"frame", pieces(stream + part(body), size))
    first = parts.next()
    assert first.torn or first.body[:cut] == body[:cut]
    assert PICTURES[2] in [parts.next().body, parts.next().body]


@settings(deadline=None)
@given(garbage=st.binary(max_size=4000), size=st.integers(1, 5000))
def test_garbage_ends_in_one_error_and_never_in_another_exception(garbage: bytes, size: int) -> None:
    parts = Parts(b"frame", pieces(b"--frame\r\n" + garbage, size))
    with pytest.raises(PartsError):
        read_on(parts, 4002)


@pytest.mark.parametrize(
    ("begin", "endless"),
    [
        (b"", b"x" * 65536),
        (b"", b"--"),
        (b"", b"x\r\n"),
        (b"--frame\r\n", b"a: b\r\n"),
        (b"--frame\r\nContent-Type: image/jpeg\r\n\r\n", b"y" * 65536),
        (b"--frame\r\nContent-Length: 2000000000\r\n\r\n", b"z" * 65536),
        (b"--frame\r\nContent-Length: 10\r\n\r\n0123456789", b"z" * 65536),
        (b"--frame\r\nContent-Length: " + b"9" * 30 + b"\r\n\r\n", b"z" * 65536),
    ],
)
def test_whatever_has_no_end_is_given_up_at_a_bound(begin: bytes, endless: bytes) -> None:
    taken = 0

    def more() -> bytes:
        nonlocal taken
        data = endless if taken else begin or endless
        taken += len(data)
        return data

    parts = Parts(b"frame", more)
    with pytest.raises(PartsError, match=r"over the limit|exceed|longer than|more than|no part begins"):
        read_on(parts, 3)
    assert taken <= MAX_PART + 3 * 65536


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("multipart/x-mixed-replace;boundary=frame", b"frame"),
        ('Multipart/X-Mixed-Replace; Boundary="--my frame"', b"--my frame"),
        ("multipart/x-mixed-replace", b""),
        ("multipart/x-mixed-replace; boundary=", b""),
        ("image/jpeg", None),
        ("video/mp4", None),
        ("", None),
    ],
)
def test_the_boundary_is_read_as_cameras_write_it(content_type: str, expected: bytes | None) -> None:
    assert boundary_of(content_type) == expected
