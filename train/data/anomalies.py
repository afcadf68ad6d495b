"""Artificial defects on photographs of good parts, with their masks: what the heads learn from when labels are few.

A third is of three broad kinds: shapes of Perlin noise filled with another texture, darker or brighter (DRAEM,
Zavrtanik et al. 2021), pieces of a part pasted elsewhere (CutPaste, Li et al. 2021), and scratches. Two thirds look
like real defects (train.data.families). Labelled defects are also transplanted to good parts (Ghiasi et al. 2021).
All are drawn at the model's input size.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.core.types import Image
from train.data.families import LIFELIKE, Painter, perlin

Mask = NDArray[np.bool_]
MARKED = 0.3  # share of a pixel that counts as marked
LIFELIKE_SHARE = 0.65  # of the defects are of train.data.families, the others of PAINTERS
PIECE, PIECES = 0.05, 6  # share of the shorter side that a displaced piece has, and how many are compared
MIN_CHANGE = 6.0  # mean grey levels inside the mask: what differs less nobody could have drawn round


def add_anomaly(image: Image, other: Image, rng: np.random.Generator) -> tuple[Image, Mask]:
    """One artificial defect on a copy of an (H, W, 3) uint8 good image; other: a good image of the same shape.

    Returns the image and its (H, W) mask. A defect that can hardly be seen is drawn again, stronger, and at last as a
    black or white patch; the mask is never empty.
    """
    for attempt in range(8):
        painters = LIFELIKE if rng.random() < LIFELIKE_SHARE else PAINTERS
        painter = painters[int(rng.integers(len(painters)))]
        soft, fill = painter(image, other, rng)
        opacity = (rng.uniform(0.35, 1.0) if attempt < 4 else 1.0) * soft[..., None]
        changed = np.clip(image * (1 - opacity) + fill * opacity, 0, 255).astype(np.uint8)
        mask = soft > 0.5
        if mask.any() and cv2.absdiff(changed, image)[mask].mean() >= MIN_CHANGE:
            return changed, mask
    mask = np.zeros(image.shape[:2], np.bool_)
    height, width = max(1, image.shape[0] // 12), max(1, image.shape[1] // 12)
    y, x = int(rng.integers(image.shape[0] - height + 1)), int(rng.integers(image.shape[1] - width + 1))
    mask[y : y + height, x : x + width] = True
    changed = image.copy()
    changed[mask] = np.where(image[mask] < 128, 255, 0)
    return changed, mask


def displaced(image: Image, rng: np.random.Generator) -> Image:
    """A small piece of a good image (H, W, 3) uint8, copied softly to where it does not belong.

    What it shows is normal, only not there: nothing but the place tells it. Of several pieces and places those are
    taken that change the image most.
    """
    height, width = image.shape[:2]
    side = max(6, round(PIECE * min(height, width) * rng.uniform(0.7, 1.4)))
    soft = np.zeros((side, side), np.float32)
    soft[2:-2, 2:-2] = 1.0
    soft = cv2.GaussianBlur(soft, (0, 0), 1.0)[..., np.newaxis]
    best, most = image, -1.0
    for _ in range(PIECES):
        (from_y, to_y), (from_x, to_x) = (rng.integers(0, edge - side + 1, 2).tolist() for edge in (height, width))
        piece, there = (
            image[from_y : from_y + side, from_x : from_x + side],
            np.s_[to_y : to_y + side, to_x : to_x + side],
        )
        change = float(cv2.absdiff(piece, image[there]).mean())
        if change > most:
            best, most = image.copy(), change
            best[there] = np.rint(piece * soft + image[there] * (1.0 - soft)).astype(np.uint8)
    return best


def transplant(
    source: Image, marked: NDArray[np.float32], good: Image, rng: np.random.Generator
) -> tuple[Image, NDArray[np.float32]]:
    """Copy the defect that (H, W) marked 0..1 shows of source onto a copy of good: turned, resized and, often, moved.

    Its grey levels are shifted by what lies round it there and here, so that a bright part's dent stays a dent on a
    dark one. Something must be marked. Returns the image and its (H, W) mask 0..1; of a defect that ends up outside
    the picture nothing is left.
    """
    height, width = marked.shape
    ys, xs = np.nonzero(marked > MARKED)
    centre = np.array([xs.mean(), ys.mean()])
    turn = cv2.getRotationMatrix2D(
        (float(centre[0]), float(centre[1])), float(rng.uniform(-30, 30)), float(np.exp(rng.uniform(-0.5, 0.4)))
    )
    if rng.random() < 0.5:
        turn[:, 2] += rng.uniform([0, 0], [width, height]) - centre
    size = (width, height)
    around = cv2.dilate(marked, np.ones((3, 3), np.uint8), iterations=max(1, min(height, width) // 100))
    piece, mask, moved = (
        np.asarray(cv2.warpAffine(one, turn, size), dtype=np.float32) for one in (source, marked, around)
    )
    soft = cv2.GaussianBlur(moved, (0, 0), 1.0)[..., None]
    shift = _colour_round(good, moved) - _colour_round(source, np.asarray(around, dtype=np.float32))
    changed = good * (1 - soft) + (piece + shift) * soft
    return np.clip(changed, 0, 255).astype(np.uint8), mask


def _colour_round(image: Image, marked: NDArray[np.float32]) -> NDArray[np.float64]:
    """(3,) mean colour of a rim round what is marked; of the whole image where there is none."""
    rim = (cv2.dilate(marked, np.ones((9, 9), np.uint8)) > MARKED) & (marked <= MARKED)
    return np.asarray(image[rim].mean(axis=0) if rim.any() else image.mean(axis=(0, 1)), dtype=np.float64)


def _blob(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float32]:
    """Soft mask of Perlin islands inside one random window, so that defects of every size occur."""
    height, width = shape
    cells = int(2 ** rng.integers(1, 5)), int(2 ** rng.integers(1, 5))
    noise = perlin(height, width, cells, rng)
    side = np.exp(rng.uniform(np.log(0.06), np.log(1.0), 2))
    h, w = max(4, int(height * side[0])), max(4, int(width * side[1]))
    y, x = int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1))
    window = np.zeros(shape, np.float32)
    cv2.ellipse(
        window, (x + w // 2, y + h // 2), (max(2, w // 2), max(2, h // 2)), float(rng.uniform(0, 180)), 0, 360, 1.0, -1
    )
    level = np.quantile(noise[window > 0], rng.uniform(0.2, 0.8)) if window.any() else 0.0
    inside = ((noise > level) & (window > 0)).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(inside, (0, 0), float(rng.uniform(0.5, 1.5))), dtype=np.float32)


def _textured(image: Image, other: Image, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Another texture: the other part turned round, or noise of its own grain."""
    if rng.random() < 0.5:
        turned = np.ascontiguousarray(np.rot90(other, 1))
        fill = cv2.resize(turned, image.shape[1::-1], interpolation=cv2.INTER_LINEAR).astype(np.float32)
    else:
        grain = max(1, int(rng.integers(1, 12)))
        height, width = image.shape[:2]
        noise = rng.normal(0, 1, (height // grain + 1, width // grain + 1)).astype(np.float32)
        level = float(rng.uniform(0, 255))
        fill = level + rng.uniform(5, 60) * cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)[..., None]
        fill = np.repeat(fill, 3, axis=2)
    return _blob(image.shape[:2], rng), np.asarray(fill, dtype=np.float32)


def _shaded(image: Image, other: Image, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Darker, brighter or blurred in place: stains, dents, uneven grinding."""
    soft = _blob(image.shape[:2], rng)
    if rng.random() < 0.25:
        fill = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(2, 6))).astype(np.float32) + rng.uniform(-15, 15)
    else:
        gain = rng.uniform(0.25, 0.8) if rng.random() < 0.6 else rng.uniform(1.25, 2.0)
        fill = image.astype(np.float32) * gain + rng.uniform(-10, 10)
    return soft, np.asarray(fill, dtype=np.float32)


def _pasted(image: Image, other: Image, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A rectangle of this or the other part, turned and pasted elsewhere: a patch, or a long thin scar."""
    height, width = image.shape[:2]
    source = other if rng.random() < 0.5 else image
    area, ratio = rng.uniform(0.002, 0.08) * height * width, np.exp(rng.uniform(-2.3, 2.3))
    h, w = int(np.clip((area * ratio) ** 0.5, 3, height - 1)), int(np.clip((area / ratio) ** 0.5, 3, width - 1))
    y, x = int(rng.integers(0, height - h)), int(rng.integers(0, width - w))
    to_x, to_y = int(rng.integers(0, width - w + 1)), int(rng.integers(0, height - h + 1))
    turn = cv2.getRotationMatrix2D((x + w / 2, y + h / 2), float(rng.uniform(-45, 45)), 1.0)
    turn[:, 2] += (to_x - x, to_y - y)
    piece = np.zeros((height, width), np.float32)
    piece[y : y + h, x : x + w] = 1.0
    soft = cv2.warpAffine(piece, turn, (width, height))
    fill = cv2.warpAffine(source, turn, (width, height)).astype(np.float32) * rng.uniform(0.8, 1.2)
    return np.asarray(soft, dtype=np.float32), np.asarray(fill, dtype=np.float32)


def _scratch(image: Image, other: Image, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A thin bent line, dark or bright: scratches and cracks."""
    height, width = image.shape[:2]
    steps = int(rng.integers(4, 24))
    bend = rng.normal(0, 0.35, steps).cumsum() + rng.uniform(0, 2 * np.pi)
    length = rng.uniform(0.05, 0.6) * max(height, width) / steps
    start = rng.uniform([0, 0], [width, height])
    points = start + np.cumsum(np.stack([np.cos(bend), np.sin(bend)], 1) * length, axis=0)
    line = np.zeros((height, width), np.float32)
    thickness = int(rng.integers(1, max(2, max(height, width) // 80) + 1))
    cv2.polylines(line, [np.rint(points * 16).astype(np.int32)], False, 1.0, thickness, cv2.LINE_AA, 4)
    level = rng.uniform(-110, -35) if rng.random() < 0.65 else rng.uniform(35, 110)
    return line, np.asarray(image.astype(np.float32) + level, dtype=np.float32)


PAINTERS: tuple[Painter, ...] = (_textured, _shaded, _shaded, _pasted, _scratch)
