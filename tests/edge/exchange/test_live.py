from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.exchange.health import LATEST, LATEST_RAW
from edge.exchange.live import named, read_live, write_live
from tests.edge.web.standin import encoded
from tests.tiny import bad_image, good_image


@pytest.mark.parametrize("part", [1, 12, 2**63 - 1, None])
def test_a_live_picture_names_its_part_and_stays_the_same_picture(tmp_path: Path, part: int | None) -> None:
    jpeg = encoded(bad_image())
    write_live(tmp_path, named(jpeg, part), named(encoded(good_image()), part))
    found, raw = read_live(tmp_path / LATEST), read_live(tmp_path / LATEST_RAW)
    assert found is not None
    assert raw is not None
    assert (found.part, raw.part) == (part, part)
    shown, before = (cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) for data in (found.jpeg, jpeg))
    assert np.array_equal(shown, before)


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff\xd8", b"\xff\xd8\xff\xe0\xff\xff", b"no picture", encoded(good_image())],
    ids=["empty", "start only", "cut", "text", "no name"],
)
def test_a_picture_that_names_no_part_is_nobodys_picture(tmp_path: Path, data: bytes) -> None:
    (tmp_path / LATEST).write_bytes(data)
    assert read_live(tmp_path / LATEST) is None
    assert read_live(tmp_path / LATEST_RAW) is None
