"""Where is the part? What stands out in a photo against the background that its border shows."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.core.types import Image

REDUCED_PX = 160  # about so many pixels on the longer side are looked at
RING = 3  # reduced pixels along the edge of the photo that show the background
PLAINEST = 16.0  # grey levels: what differs less from the background does not stand out, however plain that is
SPREADS = 6.0  # standard deviations of the background from which on something stands out
SPECK = 0.05  # share of the largest area below which something else is dirt
MAD = 1.4826  # standard deviations of a normal distribution in a median absolute deviation

Mask = NDArray[np.bool_]


def reduced(image: Image) -> Image:
    """Return an (H, W, 3) uint8 photo about REDUCED_PX pixels long; a photo of up to twice that size stays as it is.

    Rows and columns are left out first, as long as each result is still the mean of several samples.
    """
    factor = max(image.shape[:2]) // REDUCED_PX
    if factor < 2:
        return image
    step = max(1, factor // 3)
    height, width = (round(side / factor) for side in image.shape[:2])
    sampled = image[step // 2 :: step, step // 2 :: step]
    return np.asarray(cv2.resize(sampled, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def silhouette(small: Image) -> Mask:
    """Return what stands out in an (h, w, 3) uint8 reduced photo, (h, w), holes filled, specks left out.

    The border's pixels give the background: a smooth one, quadratic in x and y, so that a light that falls off to the
    sides is no part. A pixel stands out where a colour differs by SPREADS robust standard deviations of the border.
    """
    height, width = small.shape[:2]
    basis, ring = _basis(height, width)
    pixels = small.reshape(-1, 3).astype(np.float32)
    shape, border = basis[ring], pixels[ring]
    off = np.abs(border - np.median(border, axis=0)).max(axis=1)
    fit = np.zeros((basis.shape[1], 3), np.float32)
    for _ in range(2):  # what reaches into the border is left out of the fit
        near = (off <= max(3.0 * MAD * float(np.median(off)), PLAINEST / 2))[:, np.newaxis] * shape
        fit = np.linalg.lstsq(near.T @ shape, near.T @ border, rcond=None)[0]  # the normal equations: 5 x 5
        off = np.abs(border - shape @ fit).max(axis=1)
    level = max(PLAINEST, SPREADS * MAD * float(np.median(off)))
    pixels -= basis @ fit
    stands_out = (np.abs(pixels, out=pixels) > level).any(axis=1).reshape(height, width)
    return _filled(stands_out.view(np.uint8))


@lru_cache(maxsize=8)
def _basis(height: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Return 1, x, y, x^2, y^2 of every pixel, (h * w, 5), and the numbers of those on the border."""
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    ring = np.ones((height, width), np.bool_)
    ring[RING:-RING, RING:-RING] = False
    basis = np.stack([np.ones_like(x), x, y, x * x, y * y], axis=-1).reshape(-1, 5)
    return basis.astype(np.float32), np.flatnonzero(ring)


def _filled(found: NDArray[np.uint8]) -> Mask:
    """Return the larger areas of an (h, w) 0/1 mask, each closed and without holes."""
    found = np.asarray(cv2.morphologyEx(found, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)), np.uint8)
    found = np.asarray(cv2.morphologyEx(found, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)), np.uint8)
    outlines, _ = cv2.findContours(found, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    areas = [cv2.contourArea(outline) for outline in outlines]
    largest = max(areas, default=0.0)
    kept = [outline for outline, area in zip(outlines, areas, strict=True) if area >= SPECK * largest]
    filled = np.zeros(found.shape, np.uint8)
    cv2.drawContours(filled, kept, -1, 1, cv2.FILLED)
    return filled > 0
