"""Artificial defects that look like defects: crack, hairline, scratch, hole, chip, texture, tone, smooth patch, paste.

Each painter takes an (H, W, 3) uint8 good image, another of the same shape and a random generator. It returns a soft
mask (H, W) 0..1 and what fills it (H, W, 3), both float32. A grey part stays grey: colours are only scaled and shifted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.core.types import Image

Soft = NDArray[np.float32]
Painter = Callable[[Image, Image, np.random.Generator], tuple[Soft, Soft]]
USUAL = 320.0  # pixels a side of the pictures that the sizes below are meant for


def perlin(height: int, width: int, cells: tuple[int, int], rng: np.random.Generator) -> Soft:
    """(height, width) float32 gradient noise, about -1..1, over a grid of (rows, columns) cells (Perlin 1985)."""
    rows, columns = cells
    angles = rng.uniform(0, 2 * np.pi, (rows + 1, columns + 1)).astype(np.float32)
    gradients = np.stack([np.cos(angles), np.sin(angles)], -1)
    y, x = np.linspace(0, rows, height, endpoint=False), np.linspace(0, columns, width, endpoint=False)
    top, left = y.astype(int), x.astype(int)
    dy, dx = np.meshgrid(y - top, x - left, indexing="ij")

    def corner(down: int, right: int) -> Soft:
        at = gradients[np.ix_(top + down, left + right)]
        return np.asarray(at[..., 0] * (dx - right) + at[..., 1] * (dy - down), dtype=np.float32)

    fade_y, fade_x = (t * t * t * (t * (t * 6 - 15) + 10) for t in (dy, dx))
    upper = corner(0, 0) * (1 - fade_x) + corner(0, 1) * fade_x
    lower = corner(1, 0) * (1 - fade_x) + corner(1, 1) * fade_x
    return np.asarray(1.414 * (upper * (1 - fade_y) + lower * fade_y), dtype=np.float32)


def crack(image: Image, other: Image, rng: np.random.Generator) -> tuple[Soft, Soft]:
    """A wandering line, often dark and often from the picture's edge, sometimes with a branch."""
    unit = _unit(image, rng)
    wobble = rng.uniform(0.03, 0.4)
    start, heading = _anywhere(image, rng, at_edge=0.3), float(rng.uniform(0, 2 * np.pi))
    steps = int(rng.integers(8, 60))
    path = _walk(start, heading, steps, rng.uniform(3, 7) * unit, wobble, rng)
    paths = [path]
    if steps > 12 and rng.random() < 0.3:
        turned = heading + rng.choice([-1, 1]) * rng.uniform(0.5, 1.2)
        paths.append(_walk(path[steps // 2], turned, steps // 3, 4 * unit, wobble, rng))
    soft = _lines(image, paths, rng.uniform(1, 3.5) * unit**0.5, rng)
    factor = rng.uniform(0.2, 0.75) if rng.random() < 0.85 else rng.uniform(1.3, 1.9)
    return soft, _scaled(image, factor)


def hairline(image: Image, other: Image, rng: np.random.Generator) -> tuple[Soft, Soft]:
    """A faint line, one pixel wide, long and almost straight."""
    unit = _unit(image, rng)
    length = rng.uniform(30, 260) * unit
    path = _walk(_anywhere(image, rng), rng.uniform(0, 2 * np.pi), 12, length / 12, rng.uniform(0, 0.08), rng)
    level = rng.choice([-1, -1, 1]) * rng.uniform(10, 45)
    return _lines(image, [path], 1.0, rng), _shifted(image, level)


def scratches(image: Image, other: Image, rng: np.random.Generator) -> tuple[Soft, Soft]:
    """One to three straight lines, dark or bright, close to each other and alike in direction."""
    unit, heading = _unit(image, rng), rng.uniform(0, 2 * np.pi)
    first = _anywhere(image, rng)
    paths = []
    for number in range(int(rng.integers(1, 4))):
        start = first + number * rng.uniform(-12, 12, 2) * unit
        paths.append(_walk(start, heading + rng.normal(0, 0.1), 1, rng.uniform(15, 150) * unit, 0.0, rng))
    return _lines(image, paths, rng.uniform(1, 2.5) * unit**0.5, rng), _shifted(image, _sign(rng) * rng.uniform(20, 80))


def hole(image: Image, other: Image, rng: np.random.Generator) -> tuple[Soft, Soft]:
    """A round or ragged spot of a few pixels, mostly darker than what lies round it."""
    unit = _unit(image, rng)
    soft = _blob(image, _anywhere(image, rng), _between(1.8, 14, rng) * unit, 0.45, rng)
    soft = _blurred(soft, rng.uniform(0.4, 1.2))
    factor = rng.uniform(0.1, 0.75) if rng.random() < 0.75 else rng.uniform(1.25, 1.9)
    return soft, _low(image, 3.0) * np.float32(factor) + _noise(image, 1, rng) * np.float32(3)


def chip(image: Image, other: Image, rng: np.random.Generator) -> tuple[Soft, Soft]:
    """A piece off the edge: of the picture, or of the part, where what lies beside the outline comes in."""
    unit = _unit(image, rng)
    radius = _between(4, 40, rng) * unit
    outline = _outline(image, rng) if rng.random() < 0.6 else None
    if outline is None:
        soft = _blob(image, _anywhere(image, rng, at_edge=1.0), radius, 0.6, rng)
        fill = _low(image, rng.uniform(2, 8)) * np.float32(rng.uniform(0.3, 1.5))
        fill = fill + _noise(image, rng.uniform(0.8, 3), rng) * np.float32(rng.uniform(3, 25))
    else:
        point, across = outline
        soft = _blob(image, point, radius, 0.6, rng)
        move = np.hstack([np.eye(2), 2 * radius * across[:, None]])
        there = cv2.warpAffine(image, move, image.shape[1::-1], borderMode=cv2.BORDER_REFLECT)
        fill = np.asarray(there, dtype=np.float32)
    return _blurred(soft, rng.uniform(0.5, 1.5)), fill


def texture(image: Image, other: Image, rng: np.random.Generator) -> tuple[Soft, Soft]:
    """The same light and another finish: duller, rougher, brushed, grained, or that of the other part turned round."""
    soft, size = _region(image, rng), rng.uniform(4, 14)
    low = _low(image, size)
    fine = image.astype(np.float32) - low
    kind = rng.random()
    if kind < 0.45:
        fill = low + fine * np.float32(rng.uniform(0, 0.5) if kind < 0.2 else rng.uniform(1.6, 3.2))
    elif kind < 0.65:
        turned = other if rng.random() < 0.5 else np.ascontiguousarray(np.rot90(other))
        turned = np.asarray(cv2.resize(turned, image.shape[1::-1]), dtype=np.uint8)
        fill = low + (turned.astype(np.float32) - _low(turned, size)) * np.float32(rng.uniform(0.8, 1.6))
    elif kind < 0.8:
        long = int(rng.integers(5, 25))
        fill = cv2.blur(image, (long, 1) if rng.random() < 0.5 else (1, long)).astype(np.float32)
    else:
        grain = _noise(image, rng.uniform(0.6, 3), rng, stretch=rng.uniform(1, 5))
        fill = low + grain * np.float32(rng.uniform(6, 25))
    gain = rng.uniform(0.75, 1.3) if rng.random() < 0.5 else 1.0
    return soft, np.asarray(fill * np.float32(gain), dtype=np.float32)


def tone(image: Image, other: Image, rng: np.random.Generator) -> tuple[Soft, Soft]:
    """A region that is darker or brighter, its texture as it was."""
    return _region(image, rng), _scaled(image, rng.uniform(0.5, 0.85) if rng.random() < 0.5 else rng.uniform(1.18, 1.7))


def smooth_patch(image: Image, other: Image, rng: np.random.Generator) -> tuple[Soft, Soft]:
    """A patch without the part's texture, as of glue, paint or wear."""
    soft = _blob(image, _anywhere(image, rng), _between(8, 80, rng) * _unit(image, rng), 0.45, rng)
    fill = _low(image, rng.uniform(8, 25)) * np.float32(rng.uniform(0.6, 1.25))
    return _blurred(soft, rng.uniform(0.6, 2)), fill + _noise(image, 1, rng) * np.float32(rng.uniform(1, 10))


def paste(image: Image, other: Image, rng: np.random.Generator) -> tuple[Soft, Soft]:
    """What stands elsewhere on this part or on the other, often at this place's brightness, whole or in islands."""
    height, width = image.shape[:2]
    tall, wide = (int(_between(6, max(7.0, side * 0.5), rng)) for side in (height, width))
    from_y, to_y = (int(rng.integers(0, height - tall + 1)) for _ in range(2))
    from_x, to_x = (int(rng.integers(0, width - wide + 1)) for _ in range(2))
    piece = (other if rng.random() < 0.5 else image)[from_y : from_y + tall, from_x : from_x + wide].astype(np.float32)
    if rng.random() < 0.5:
        here = image[to_y : to_y + tall, to_x : to_x + wide]
        piece = piece + np.float32(here.mean() - piece.mean())
    fill = image.astype(np.float32)
    fill[to_y : to_y + tall, to_x : to_x + wide] = piece
    soft = np.zeros((height, width), np.float32)
    soft[to_y : to_y + tall, to_x : to_x + wide] = 1.0
    if rng.random() < 0.5:
        soft *= _islands(image, _cells(rng), rng) > rng.uniform(-0.4, 0.2)
    return _inside(_blurred(soft, rng.uniform(0.5, 1.2)), soft), fill


# What is most common on real parts is drawn most often.
LIFELIKE: tuple[Painter, ...] = (
    *(crack, crack, crack, hairline, scratches, hole, hole, hole),
    *(chip, chip, texture, texture, texture, tone, smooth_patch, paste),
)


def _unit(image: Image, rng: np.random.Generator) -> float:
    """Return the factor on sizes in pixels: in a large picture a defect may be as few pixels as in a small one."""
    return float((max((image.shape[0] * image.shape[1]) ** 0.5, 64.0) / USUAL) ** rng.uniform(0, 1))


def _between(low: float, high: float, rng: np.random.Generator) -> float:
    """Draw evenly by ratio."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _sign(rng: np.random.Generator) -> float:
    return float(rng.choice([-1.0, 1.0]))


def _cells(rng: np.random.Generator) -> tuple[int, int]:
    return int(2 ** rng.integers(1, 5)), int(2 ** rng.integers(1, 5))


def _islands(image: Image, cells: tuple[int, int], rng: np.random.Generator) -> Soft:
    """Return gradient noise (H, W), drawn at a quarter of the size, which is quicker."""
    height, width = image.shape[:2]
    small = perlin(max(16, height // 4), max(16, width // 4), cells, rng)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.float32)


def _anywhere(image: Image, rng: np.random.Generator, at_edge: float = 0.0) -> NDArray[np.float64]:
    """Draw a point (x, y); with a chance of at_edge one on the picture's border."""
    size = np.array([image.shape[1] - 1.0, image.shape[0] - 1.0])
    point = rng.uniform(0, 1, 2) * size
    if rng.random() < at_edge:
        axis = int(rng.integers(2))
        point[axis] = rng.choice([0.0, size[axis]])
    return point


def _walk(
    start: NDArray[np.float64], heading: float, steps: int, step: float, wobble: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return (steps + 1, 2) points x, y; the heading wanders by about wobble radians a step."""
    headings = heading + np.cumsum(rng.normal(0, 0.6 * wobble, steps)) + rng.normal(0, wobble, steps)
    moves = step * np.stack([np.cos(headings), np.sin(headings)], axis=1)
    return np.concatenate([start[None], start + np.cumsum(moves, axis=0)])


def _lines(image: Image, paths: Sequence[NDArray[np.float64]], thick: float, rng: np.random.Generator) -> Soft:
    """Draw the paths as a soft mask; the strength of the line varies along each."""
    soft = np.zeros(image.shape[:2], np.float32)
    thickness = max(1, round(thick))
    for path in paths:
        points = np.rint(np.clip(path, -4096, 8192) * 8).astype(np.int32)
        for one, two in pairwise(points):
            level = float(rng.uniform(0.7, 1.0))
            cv2.line(soft, (int(one[0]), int(one[1])), (int(two[0]), int(two[1])), level, thickness, cv2.LINE_AA, 3)
    blurred = _blurred(soft, rng.uniform(0.4, 0.8))
    return np.asarray(np.minimum(blurred / max(0.5, float(blurred.max())), 1.0), dtype=np.float32)


def _blob(image: Image, centre: NDArray[np.float64], radius: float, rough: float, rng: np.random.Generator) -> Soft:
    """Return a filled shape round (x, y): an ellipse whose radius varies with the angle."""
    height, width = image.shape[:2]
    angles = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    waves = sum(rng.normal(0, rough / k) * np.cos(k * angles + rng.uniform(0, 2 * np.pi)) for k in range(2, 7))
    radii = radius * np.clip(1 + 0.5 * np.asarray(waves), 0.3, 2.0)
    longer, turn = np.exp(rng.uniform(-0.35, 0.35)), rng.uniform(0, np.pi)
    shape = np.stack([np.cos(angles) * radii * longer, np.sin(angles) * radii / longer], axis=1)
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    soft = np.zeros((height, width), np.float32)
    cv2.fillPoly(soft, [np.rint((shape @ rotation + centre) * 8).astype(np.int32)], 1.0, cv2.LINE_AA, 3)
    return soft


def _region(image: Image, rng: np.random.Generator) -> Soft:
    """Return a large area: beyond a wavy line across the picture, one blob, or islands of noise."""
    height, width = image.shape[:2]
    kind = rng.random()
    if kind < 0.35:
        angle = rng.uniform(0, 2 * np.pi)
        y, x = np.mgrid[0:height, 0:width].astype(np.float32)
        away = (x - width / 2) * np.cos(angle) + (y - height / 2) * np.sin(angle)
        reach = abs(np.cos(angle)) * width / 2 + abs(np.sin(angle)) * height / 2
        away = away + _islands(image, (2, 2), rng) * rng.uniform(0, 0.08) * (height + width) / 2
        soft = (away > reach * rng.uniform(-0.2, 0.9)).astype(np.float32)
    elif kind < 0.75:
        soft = _blob(image, _anywhere(image, rng), _between(10, 90, rng) * _unit(image, rng), 0.5, rng)
    else:
        noise = _islands(image, _cells(rng), rng)
        soft = (noise > np.quantile(noise, rng.uniform(0.5, 0.92))).astype(np.float32)
    return _inside(_blurred(soft, _between(0.6, 5, rng)), soft)


def _outline(image: Image, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Return a point (x, y) on a strong edge of the part and the unit vector across it, None where there is none."""
    grey = cv2.cvtColor(_low(image, 3.0), cv2.COLOR_RGB2GRAY)
    dx, dy = cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    strength = np.hypot(dx, dy)
    ys, xs = np.nonzero(strength > max(16.0, 0.5 * float(strength.max())))
    if len(ys) == 0:
        return None
    at = int(rng.integers(len(ys)))
    y, x = int(ys[at]), int(xs[at])
    across = np.array([dx[y, x], dy[y, x]], dtype=np.float64) / float(strength[y, x])
    return np.array([x, y], dtype=np.float64), _sign(rng) * across


def _blurred(soft: Soft, sigma: float) -> Soft:
    return np.minimum(cv2.GaussianBlur(soft, (0, 0), float(sigma)), np.float32(1.0))  # rounding exceeds 1


def _inside(soft: Soft, shape: Soft) -> Soft:
    """Return a soft mask that is full where it was meant to be: thin islands do not vanish in their own blur."""
    return np.asarray(np.maximum(soft, 0.75 * shape), dtype=np.float32)


def _low(image: Image, sigma: float) -> Soft:
    """Return the image blurred by about sigma pixels; large blurs are made of a smaller picture, which is quicker."""
    height, width = image.shape[:2]
    shrink = max(1, int(sigma / 2))
    small = cv2.resize(image, (max(2, width // shrink), max(2, height // shrink)), interpolation=cv2.INTER_AREA)
    blurred = cv2.GaussianBlur(small.astype(np.float32), (0, 0), max(0.3, sigma / shrink))
    return np.asarray(cv2.resize(blurred, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.float32)


def _noise(image: Image, grain: float, rng: np.random.Generator, stretch: float = 1.0) -> Soft:
    """Return (H, W, 1) noise of standard deviation 1, its grain in pixels, longer one way by stretch."""
    noise = rng.standard_normal(image.shape[:2], dtype=np.float32)
    wide, tall = (grain * stretch, grain) if rng.random() < 0.5 else (grain, grain * stretch)
    grains = cv2.GaussianBlur(noise, (0, 0), wide, sigmaY=tall)[..., None]
    return np.asarray(grains / max(1e-6, float(grains.std())), dtype=np.float32)


def _scaled(image: Image, factor: float) -> Soft:
    return image.astype(np.float32) * np.float32(factor)


def _shifted(image: Image, level: float) -> Soft:
    return image.astype(np.float32) + np.float32(level)
