"""Whatever a file of the training holds, it is read, or refused in one line that names what is wrong."""

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import strategies as st

from edge.core.types import EdgeError
from edge.inference.preprocess import decode_image
from tests.fuzz.campaign import campaign, damaged, refused_in_one_line
from tests.tiny import bad_image, good_image
from train.config import TrainError
from train.data.dataset import GROUPS_FILE, load_mask, read_groups


def _encoded() -> list[bytes]:
    colour, deep = bad_image(), (good_image().astype(np.uint16) << 8)
    grey = colour[..., 0]
    kinds = [(end, one) for end in (".jpg", ".png", ".webp", ".bmp", ".tiff") for one in (colour, grey)]
    found = [cv2.imencode(end, one)[1].tobytes() for end, one in [*kinds, (".png", deep), (".tiff", deep)]]
    progressive = cv2.imencode(".jpg", colour, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    bomb = bytearray(found[2])
    bomb[16:24] = struct.pack(">II", 100_000, 100_000)
    return [*found, progressive, bytes(bomb), b"", b"\xff\xd8\xff\xd9"]


def test_images(seconds: float) -> None:
    def target(content: bytes) -> None:
        def read() -> None:
            image = decode_image(content)
            assert image.dtype == np.uint8
            assert image.ndim == 3
            assert image.shape[2] == 3
            assert image.size

        refused_in_one_line(read, EdgeError)

    seeds = _encoded()
    for one in seeds[:10]:
        decode_image(one)  # each kind can be read when it is whole
    campaign(target, st.one_of([damaged(one) for one in seeds]) | st.binary(max_size=200), seconds)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_masks(tmp_path: Path, seconds: float) -> None:
    file = tmp_path / "1_mask.png"

    def target(content: bytes) -> None:
        file.write_bytes(content)

        def read() -> None:
            mask = load_mask(file, (96, 128))
            assert (mask.shape, mask.dtype) == ((96, 128), np.bool_)

        refused_in_one_line(read, TrainError, EdgeError)

    mask = np.zeros((96, 128), np.uint8)
    mask[20:40, 20:40] = 255
    seeds = [cv2.imencode(".png", one)[1].tobytes() for one in (mask, cv2.merge([mask] * 4), mask.T)]
    campaign(target, st.one_of([damaged(one) for one in [*seeds, *_encoded()]]), seconds)


def test_groups(tmp_path: Path, seconds: float) -> None:
    (tmp_path / "train" / "good").mkdir(parents=True)
    for number in range(3):
        (tmp_path / "train" / "good" / f"{number}.png").write_bytes(b"")
    table = "file,group\n" + "".join(f"train/good/{number}.png,part {number}\n" for number in range(3))

    def target(content: bytes) -> None:
        (tmp_path / GROUPS_FILE).write_bytes(content)

        def read() -> None:
            for file, group in read_groups(tmp_path).items():
                assert (tmp_path / file).is_file()
                assert group

        refused_in_one_line(read, TrainError)

    files = st.sampled_from(["train/good/0.png", "./train/good/0.png", "train//good/1.png", "..", "/etc/passwd", "\0"])
    lines = st.lists(st.tuples(files | st.text(max_size=10), st.text(max_size=10)), max_size=5)
    tables = lines.map(lambda rows: "file,group\n" + "".join(f"{file},{group}\n" for file, group in rows))
    endless = st.sampled_from([300, 900, 5000, 150_000]).map(lambda size: f"file,group\n{'x' * size},a\n")
    texts = (tables | endless).map(lambda text: text.encode("utf-8", "surrogatepass"))
    campaign(target, damaged(table.encode()) | texts, seconds)
