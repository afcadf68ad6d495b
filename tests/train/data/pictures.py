"""A small product for tests of training: grey parts with faint texture, dents and scratches, in MVTec layout."""

from pathlib import Path

import cv2
import numpy as np

from edge.core.types import Image

WIDTH, HEIGHT = 96, 64


def good(number: int) -> Image:
    """(64, 96, 3) uint8 BGR."""
    rng = np.random.default_rng(number)
    return rng.integers(110, 140, (HEIGHT, WIDTH, 3)).astype(np.uint8)


def defective(number: int, dark: bool) -> tuple[Image, Image]:
    """A good part with a dark square or a bright bar, and its (64, 96) uint8 mask."""
    image, mask = good(number), np.zeros((HEIGHT, WIDTH), np.uint8)
    rng = np.random.default_rng(number)
    y, x = int(rng.integers(4, HEIGHT - 24)), int(rng.integers(4, WIDTH - 24))
    mask[y : y + (16 if dark else 6), x : x + (16 if dark else 20)] = 255
    image[mask > 0] = 10 if dark else 250
    return image, mask


def write(path: Path, image: Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def write_product(root: Path, goods: int = 24, defects: int = 6, masked: bool = True) -> Path:
    """train/good and, with defects, as many of train/dent and train/scratch; the first mask of each may be missing."""
    for i in range(goods):
        write(root / f"train/good/{i:03d}.png", good(i))
    for name in ("dent", "scratch"):
        for i in range(defects):
            image, mask = defective(1000 + i, name == "dent")
            write(root / f"train/{name}/{i:03d}.png", image)
            if masked or i > 0:
                write(root / f"ground_truth/{name}/{i:03d}_mask.png", mask)
    return root
