import base64
import hashlib
import re
import resource
import socket
import time
from collections.abc import Callable
from urllib.request import parse_http_list, parse_keqv_list

import numpy as np
import pytest

from edge.cameras import Camera, CameraError, Shot, make_camera
from edge.cameras.capture import Capture, FrameSlot
from edge.config.cameras import VideoCameraConfig
from edge.core.types import Frame
from tests.edge.cameras.network.server import HEAD, jpeg, part, picture, serving

MEGABYTE = 1024 * 1024


def camera_at(url: str, **more: object) -> Camera:
    return make_camera(VideoCameraConfig.model_validate({"type": "video", "source": url, **more}))


def open_and_read(camera: Camera) -> Shot:
    try:
        camera.open()
        return camera.read()
    finally:
        camera.close()


def first_frame(stream: bytes, **more: object) -> tuple[np.ndarray, str]:
    """Return the first picture of a stream, with its fault."""
    with serving(HEAD + stream) as server:
        shot = open_and_read(camera_at(f"http://127.0.0.1:{server.port}/", **more))
    return shot.image, shot.fault


@pytest.mark.parametrize("options", [(), (2, 1), (4, 4)], ids=["baseline", "progressive", "restarts"])
@pytest.mark.parametrize("share", [0.01, 0.1, 0.55, 0.9, 0.99, 0.9999])
@pytest.mark.parametrize("length", ["full", "cut", "none"])
def test_a_frame_that_is_cut_is_in_fault_wherever_it_is_cut(
    share: float, length: str, options: tuple[int, ...]
) -> None:
    whole = jpeg(1, 160, 120, *options)
    cut = whole[: max(3, int(len(whole) * share) - 1)]
    said = {"full": len(whole), "cut": len(cut), "none": None}[length]
    _, fault = first_frame(part(cut, length=said) + part(jpeg(2)) * 30)
    assert "torn" in fault


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"\x89PNG....", "no JPEG"),
        (jpeg()[:900] + jpeg(), "torn"),
        (jpeg() + jpeg(1), "more than one picture"),
        (jpeg()[:-2], "torn"),
        (jpeg()[:900] + jpeg()[1000:], "torn"),
        (jpeg()[:900] + bytes(100) + jpeg()[1000:], "torn"),
        (jpeg(0, 8, 8), "8x8"),
        (jpeg(0, 16, 60000), "16x60000"),
        (jpeg(0, 160, 120).replace(b"\x00\x78\x00\xa0", b"\xff\x00\xff\x00"), "65280x65280"),
    ],
)
def test_what_is_no_whole_picture_of_a_possible_size_is_in_fault(body: bytes, words: str) -> None:
    assert words in first_frame(part(body))[1]


def test_a_whole_frame_is_the_picture_that_was_sent() -> None:
    image, fault = first_frame(part(jpeg(3) + b"\0\0"))
    assert not fault
    assert np.abs(image.astype(int) - picture(3)).mean() < 3


def test_a_grey_jpeg_becomes_three_equal_channels() -> None:
    import cv2

    grey = cv2.imencode(".jpg", picture(1)[..., 0])[1].tobytes()
    image, fault = first_frame(part(grey))
    assert not fault
    assert image.shape == (120, 160, 3)
    assert (image == image[..., :1]).all()


def test_chunked_transfer_is_read_too() -> None:
    body = part(jpeg(1)) + part(jpeg(2))
    chunks = b"".join(
        b"%x\r\n%s\r\n" % (len(body[at : at + 700]), body[at : at + 700]) for at in range(0, len(body), 700)
    )
    head = HEAD.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n")
    with serving(head + chunks + b"0\r\n\r\n") as server:
        camera = camera_at(f"http://127.0.0.1:{server.port}/")
        camera.open()
        assert [camera.read().fault for _ in range(2)] == ["", ""]
        with pytest.raises(CameraError, match="closed the connection"):
            camera.read()
        camera.close()


def test_what_a_camera_sends_between_its_pictures_is_stepped_over() -> None:
    event = b"--frame\r\nContent-Type: application/xml; charset=UTF-8\r\nContent-Length: 4\r\n\r\n<a/>\r\n"
    assert first_frame(event + part(jpeg()))[1] == ""


def test_another_size_than_asked_for_is_refused() -> None:
    with pytest.raises(CameraError, match=r"gives 160x120.*1920x1080"):
        first_frame(part(jpeg()), width=1920, height=1080)


def frames_of(stream: bytes, count: int) -> list[Frame]:
    """Return the first frames as the inspection sees them."""
    found: dict[int, Frame] = {}
    slot = FrameSlot()
    put = slot.put
    slot.put = lambda frame: (found.setdefault(frame.seq, frame), put(frame))[1]  # type: ignore[method-assign]
    with serving(HEAD + stream) as server:
        capture = Capture(camera_at(f"http://127.0.0.1:{server.port}/"), slot)
        capture.start()
        until = time.monotonic() + 20
        while len(found) < count and time.monotonic() < until:
            time.sleep(0.01)
        capture.stop(10)
    return [found[number + 1] for number in range(count)]


def test_a_stream_that_changes_its_size_is_in_fault_until_it_changes_back() -> None:
    sizes = [(160, 120), (320, 240), (160, 112), (160, 120)]
    frames = frames_of(b"".join(part(jpeg(0, *size)) for size in sizes), 4)
    assert [bool(frame.fault) for frame in frames] == [False, True, True, False]
    assert "320x240, the first was 160x120" in frames[1].fault


# What a camera may ask before it gives its stream.

USER, PASSWORD = "wim", "p/a@s s?"
LOGIN = "wim:p%2Fa%40s%20s%3F@"


def unauthorized(*offers: str) -> bytes:
    lines = "".join(f"WWW-Authenticate: {offer}\r\n" for offer in offers)
    return f"HTTP/1.1 401 Unauthorized\r\n{lines}Content-Length: 0\r\nConnection: close\r\n\r\n".encode()


def digest_is_right(head: bytes, hashed: Callable[[str], str]) -> bool:
    found = re.search(rb"Authorization: Digest (.*)\r\n", head)
    if found is None:
        return False
    said = parse_keqv_list(parse_http_list(found[1].decode()))
    one, two = hashed(f"{USER}:cam:{PASSWORD}"), hashed(f"GET:{said['uri']}")
    middle = f"{said['nc']}:{said['cnonce']}:auth:" if "qop" in said else ""
    return said["response"] == hashed(f"{one}:{said['nonce']}:{middle}{two}")


def md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


BASIC = b"Authorization: Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode())
MD5 = 'Digest realm="cam", nonce="abc", qop="auth", algorithm=MD5'
SHA256 = 'Digest realm="cam", qop="auth", algorithm=SHA-256, nonce="def"'
OLD = 'Digest realm="cam", nonce="abc"'
SHA512 = 'Digest realm="cam", qop="auth", algorithm=SHA-512-256, nonce="ghi"'


@pytest.mark.parametrize(
    ("offers", "is_right"),
    [
        (['Basic realm="cam"'], lambda head: BASIC in head),
        ([MD5], lambda head: digest_is_right(head, md5)),
        ([OLD], lambda head: digest_is_right(head, md5)),
        ([SHA256, MD5], lambda head: digest_is_right(head, sha256)),
        ([SHA512, MD5], lambda head: digest_is_right(head, md5)),
        (['Basic realm="cam"', MD5], lambda head: digest_is_right(head, md5)),
        ([SHA512, 'Basic realm="cam"'], lambda head: BASIC in head),
    ],
)
def test_user_and_password_are_given_in_the_way_that_the_camera_asks_for(
    offers: list[str], is_right: Callable[[bytes], bool]
) -> None:
    stream = HEAD + part(jpeg())
    with serving(lambda head, client: client.sendall(stream if is_right(head) else unauthorized(*offers))) as server:
        camera = camera_at(f"http://{LOGIN}127.0.0.1:{server.port}/axis-cgi/mjpg/video.cgi?camera=1&x=a@b")
        assert open_and_read(camera).fault == ""
    assert server.heads[-1].startswith(b"GET /axis-cgi/mjpg/video.cgi?camera=1&x=a@b HTTP/1.1\r\n")


@pytest.mark.parametrize("offers", [[], ['Basic realm="cam"'], [MD5], ["Negotiate"], ["Digest"], ["\x01"]])
def test_a_camera_that_takes_no_password_is_one_clear_error(offers: list[str]) -> None:
    with serving(unauthorized(*offers)) as server:
        camera = camera_at(f"http://{LOGIN}127.0.0.1:{server.port}/")
        with pytest.raises(CameraError, match="refuses user and password"):
            camera.open()


def redirect(target: str, code: int = 302) -> bytes:
    return f"HTTP/1.1 {code} Elsewhere\r\nLocation: {target}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed_and_the_password_stays_with_its_camera(code: int) -> None:
    def other(head: bytes, client: socket.socket) -> None:
        client.sendall(HEAD + part(jpeg()) if b"Authorization" not in head else unauthorized())

    with serving(other) as second, serving(redirect(f"http://127.0.0.1:{second.port}/b", code)) as first:
        camera = camera_at(f"http://{LOGIN}127.0.0.1:{first.port}/a")
        assert open_and_read(camera).fault == ""
    assert not [head for head in second.heads if b"Authorization" in head]


@pytest.mark.parametrize(
    "answer",
    [
        redirect("http://["),
        redirect("http://127.0.0.1:99999/"),
        redirect("http://a..b/"),
        redirect("http://\xfc" + "x" * 70 + "/"),
        redirect("file:///etc/passwd"),
        redirect("gopher://127.0.0.1/"),
        redirect("/"),
        redirect(""),
        b"HTTP/1.1 500 Ouch\r\n\r\n",
        b"HTTP/1.1 999999 Ouch\r\n\r\n",
        b"HTTP/1.1 200",
        b"garbage\r\n\r\n",
        b"",
        HEAD[:-2] + b"a: b\r\n" * 200 + b"\r\n",
        HEAD[:-2] + b"a: " + b"b" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        HEAD + b"--frame\r\nContent-Length: 2147483648\r\n\r\n" + b"x" * MEGABYTE,
        HEAD + b"--frame--\r\n",
        HEAD,
    ],
)
def test_an_answer_that_no_camera_should_give_is_a_camera_fault(answer: bytes) -> None:
    with serving(answer) as server:
        camera = camera_at(f"http://127.0.0.1:{server.port}/")
        with pytest.raises(CameraError, match=rf"camera http://127.0.0.1:{server.port}"):
            open_and_read(camera)


@pytest.mark.parametrize(
    "source",
    ["http://", "http://[", "http://127.0.0.1:99999/", "http://a..b/", "http://a b/", "http://u:p@/"],
)
def test_an_address_that_cannot_be_is_a_camera_fault(source: str) -> None:
    camera = camera_at(source)
    with pytest.raises(CameraError):
        camera.open()
    assert "\n" not in camera.describe()


def trickle(begin: bytes, client: socket.socket) -> None:
    client.sendall(begin)
    for _ in range(300):
        client.sendall(b"a")
        time.sleep(0.05)


@pytest.mark.parametrize(
    "begin", [b"HTTP/1.1 ", HEAD[:-2], HEAD, HEAD + b"--frame\r\n", HEAD + b"--frame\r\nContent-Length: 9000\r\n\r\n"]
)
def test_a_server_that_trickles_is_given_up_in_time(begin: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.cameras.network.connection.OPEN_TIMEOUT_S", 0.5)
    monkeypatch.setattr("edge.cameras.network.mjpeg.READ_TIMEOUT_S", 0.5)
    with serving(lambda _, client: trickle(begin, client)) as server:
        camera = camera_at(f"http://127.0.0.1:{server.port}/")
        started = time.monotonic()
        with pytest.raises(CameraError, match="in time"):
            open_and_read(camera)
    assert time.monotonic() - started < 8


def flood(begin: bytes, client: socket.socket) -> None:
    client.sendall(begin)
    for _ in range(2048):
        client.sendall(bytes(MEGABYTE))


@pytest.mark.parametrize(
    "begin",
    [
        HEAD + b"--frame\r\nContent-Length: 2147483648\r\n\r\n",
        HEAD + b"--frame\r\n\r\n",
        HEAD + b"--frame\r\nX: ",
        HEAD,
        HEAD[:-4],
        redirect("/")[:-4].replace(b"Content-Length: 0", b"Content-Length: 2147483648") + b"\r\n\r\n",
    ],
)
def test_two_gigabytes_are_not_held_in_memory(begin: bytes) -> None:
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with serving(lambda _, client: flood(begin, client)) as server:
        camera = camera_at(f"http://127.0.0.1:{server.port}/")
        with pytest.raises(CameraError):
            open_and_read(camera)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 200 * 1024
