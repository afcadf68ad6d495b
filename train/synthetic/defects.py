"""The defects of the synthetic product: scratches, dents, stains and missing material, easy and subtle ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from train.synthetic.flange import BORE, COUNTERSINK, HOLE, SUPERSAMPLE, Defect, Geometry, Plane, Pose, Scene

OIL = (0.20, 0.33, 0.45)  # BGR transmission of the densest film
RUST = (0.10, 0.24, 0.50)


def draw_defect(kind: str, rng: np.random.Generator, scene: Scene) -> Defect:
    """One defect of a kind (a key of PAINTERS) at a random place of the part."""
    return _confine(PAINTERS[kind](rng, scene), scene)


def defect_mask(defect: Defect, width: int, height: int) -> NDArray[np.uint8]:
    """Pixels at least half of which the defect changes, (height, width) uint8 0/255."""
    cover = defect.cover.astype(np.float32).reshape(height, SUPERSAMPLE, width, SUPERSAMPLE)
    return np.where(cover.mean(axis=(1, 3)) >= 0.5, 255, 0).astype(np.uint8)


def _confine(defect: Defect, scene: Scene) -> Defect:
    """Undo what lies apart from the mask, such as slivers thinner than a pixel; the ground truth misses nothing."""
    near = cv2.dilate(defect_mask(defect, scene.width, scene.height), np.ones((7, 7), np.uint8)) > 0
    within = np.kron(near, np.ones((SUPERSAMPLE, SUPERSAMPLE), bool)).astype(np.float32)
    planes = {name: getattr(defect, name) for name in ("relief", "removed", "filled", "film")}
    kept = {name: plane * within for name, plane in planes.items() if plane is not None}
    gain = None if defect.gain is None else 1 + (defect.gain - 1) * within
    return replace(defect, gain=gain, **kept)


def _place_on_face(rng: np.random.Generator, pose: Pose, margin: float) -> tuple[float, float]:
    """A point of the turned face at least a margin (outer radii) away from the bolt holes."""
    clear = (COUNTERSINK + margin) * pose.radius
    while True:
        x, y = pose.point(rng.uniform(BORE + 0.07, 0.90), rng.uniform(0, 2 * np.pi))
        if all(np.hypot(x - hole_x, y - hole_y) > clear for hole_x, hole_y in pose.holes()):
            return x, y


def _offsets(scene: Scene, x: float, y: float) -> tuple[Plane, Plane]:
    """Horizontal and vertical distance of every pixel from a point; broadcastable, supersampled pixels."""
    rows, columns = scene.shape
    dx = np.arange(columns, dtype=np.float32)[None] - np.float32(x)
    dy = np.arange(rows, dtype=np.float32)[:, None] - np.float32(y)
    return dx, dy


def _roughness(rng: np.random.Generator, scene: Scene, grid: float) -> Plane:
    """Smooth noise over the whole image, about -1..1, with features of `grid` outer radii."""
    rows, columns = scene.shape
    cell = max(grid * scene.pose.radius, 2.0)
    coarse = rng.uniform(-1, 1, (int(rows / cell) + 3, int(columns / cell) + 3)).astype(np.float32)
    return cv2.resize(coarse, (columns, rows), interpolation=cv2.INTER_CUBIC)


def _on_metal(scene: Scene, cover: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return cover & (Geometry(scene).metal > 0.5)


def scratch(rng: np.random.Generator, scene: Scene) -> Defect:
    """A groove with raised burrs along a slightly bent line; it skips where the tool bounced."""
    radius = scene.pose.radius
    start = np.array(_place_on_face(rng, scene.pose, 0.0))
    heading, bend = rng.uniform(0, 2 * np.pi), rng.uniform(-0.5, 0.5)
    length = radius * rng.uniform(0.16, 0.6)
    steps = np.linspace(0, 1, 48)
    angles = heading + bend * steps
    line = start + np.cumsum(np.stack([np.cos(angles), np.sin(angles)], 1) * length / 48, axis=0)
    away = np.full(scene.shape, 255, np.uint8)
    cv2.polylines(away, [np.rint(line * 16).astype(np.int32)], False, 0, 1, cv2.LINE_AA, 4)
    distance = cv2.distanceTransform((away > 127).astype(np.uint8), cv2.DIST_L2, 5)
    distance = cv2.GaussianBlur(distance, (0, 0), 0.8)  # whole-pixel steps would look like beads
    half_width = radius * rng.uniform(0.0045, 0.0105)
    depth = half_width * rng.uniform(0.55, 1.6) * np.clip(1.15 + _roughness(rng, scene, 0.06), 0.15, 1.6)
    groove = np.clip(1 - distance / half_width, 0, 1)
    burr = np.clip(1 - np.abs(distance - 1.35 * half_width) / (0.6 * half_width), 0, 1)
    relief = cv2.GaussianBlur(depth * (0.45 * burr - groove), (3, 3), 0)
    gain = 1 + rng.uniform(-0.45, 0.1) * groove
    cover = _on_metal(scene, distance <= 1.7 * half_width)
    return Defect(cover=cover, relief=relief, gain=gain.astype(np.float32))


def dent(rng: np.random.Generator, scene: Scene) -> Defect:
    """A rounded depression with a faint raised lip, as from a dropped part."""
    radius = scene.pose.radius
    long = radius * rng.uniform(0.038, 0.095)
    short = long * rng.uniform(0.55, 1.0)
    dx, dy = _offsets(scene, *_place_on_face(rng, scene.pose, 0.02))
    turn = rng.uniform(0, np.pi)
    along = (dx * np.cos(turn) + dy * np.sin(turn)) / long
    across = (dy * np.cos(turn) - dx * np.sin(turn)) / short
    reach = np.sqrt(along * along + across * across) * (1 + 0.1 * _roughness(rng, scene, 0.05))
    depth = short * rng.uniform(0.22, 0.6)
    hollow = np.clip(1 - reach / 0.8, 0, 1) ** 1.5
    lip = np.clip(1 - np.abs(reach - 0.82) / 0.18, 0, 1) ** 2
    relief = (depth * (0.14 * lip - hollow)).astype(np.float32)
    return Defect(cover=_on_metal(scene, reach < 1), relief=cv2.GaussianBlur(relief, (0, 0), 1.2))


def stain(rng: np.random.Generator, scene: Scene) -> Defect:
    """Oil that dried with a darker rim, or a speckled patch of rust; both with soft edges."""
    size = scene.pose.radius * rng.uniform(0.06, 0.17)
    dx, dy = _offsets(scene, *_place_on_face(rng, scene.pose, -0.06))
    stretch = rng.uniform(0.7, 1.4)
    distance = np.sqrt(dx * dx * stretch + dy * dy / stretch) / size
    distance = distance + 0.33 * _roughness(rng, scene, 0.09) + 0.12 * _roughness(rng, scene, 0.03)
    inside = np.clip((1 - distance) / 0.45, 0, 1)
    if rng.random() < 0.55:
        rim = np.clip(1 - np.abs(distance - 0.78) / 0.2, 0, 1)
        density, colour = inside * rng.uniform(0.30, 0.8) + 0.18 * rim, OIL
    else:
        specks = np.clip(0.62 + 0.75 * _roughness(rng, scene, 0.022), 0, 1.2)
        density, colour = inside * specks * rng.uniform(0.45, 1.1), RUST
    gain = (1 - 0.2 * inside).astype(np.float32)
    film = np.clip(density, 0, 1.2).astype(np.float32)
    metal = Geometry(scene).metal
    return Defect(cover=(film > 0.06) & (metal > 0.5), film=film * metal, film_colour=colour, gain=gain)


def missing(rng: np.random.Generator, scene: Scene) -> Defect:
    """Material that should be there, or a bolt hole that was not drilled through."""
    return (_chip, _broken_rim, _blind_hole)[int(rng.integers(0, 3))](rng, scene)


def _chip(rng: np.random.Generator, scene: Scene) -> Defect:
    """A piece broken out of the outer rim or of the bore."""
    at_rim = rng.random() < 0.7
    x, y = scene.pose.point(1.0 if at_rim else BORE, rng.uniform(0, 2 * np.pi))
    dx, dy = _offsets(scene, x, y)
    size = scene.pose.radius * rng.uniform(0.05, 0.13)
    distance = np.sqrt(dx * dx + dy * dy) + 0.35 * size * _roughness(rng, scene, 0.05)
    return _fracture(rng, scene, size - distance)


def _broken_rim(rng: np.random.Generator, scene: Scene) -> Defect:
    """A segment of the outer rim broken off along a ragged line."""
    angle = rng.uniform(0, 2 * np.pi)
    dx, dy = _offsets(scene, *scene.pose.point(rng.uniform(0.9, 0.965), angle))
    beyond = dx * np.cos(angle) + dy * np.sin(angle)
    ragged = beyond + scene.pose.radius * (0.02 * _roughness(rng, scene, 0.13) + 0.009 * _roughness(rng, scene, 0.035))
    return _fracture(rng, scene, ragged)


def _fracture(rng: np.random.Generator, scene: Scene, inside: Plane) -> Defect:
    """Remove what lies more than a rough, sloping fracture face inside a border (pixels)."""
    face = scene.pose.radius * rng.uniform(0.012, 0.028)
    inside = (inside + 0.004 * scene.pose.radius * _roughness(rng, scene, 0.012)).astype(np.float32)
    removed = np.clip(inside - face + 0.5, 0, 1)
    drop = np.clip(inside, 0, face) * (0.8 + 0.5 * _roughness(rng, scene, 0.018))
    gain = np.where(inside > 0, np.float32(rng.uniform(0.6, 0.95)), np.float32(1))
    cover = _on_metal(scene, inside > 0)
    return Defect(cover=cover, relief=(-drop).astype(np.float32), removed=removed, gain=gain)


def _blind_hole(rng: np.random.Generator, scene: Scene) -> Defect:
    """A bolt hole whose drill stopped early: its conical bottom reflects, or chips fill it."""
    holes = scene.pose.holes()
    dx, dy = _offsets(scene, *holes[int(rng.integers(0, len(holes)))])
    distance = np.sqrt(dx * dx + dy * dy)
    hole = HOLE * scene.pose.radius
    filled = np.clip(hole - distance + 0.5, 0, 1)
    rings = np.sin(distance * np.float32(np.pi / (1.6 * SUPERSAMPLE)))
    relief = np.where(distance < hole, 0.45 * distance + 0.5 * rings + 0.8 * _roughness(rng, scene, 0.01), 0.45 * hole)
    relief = relief - np.float32(0.45 * hole)
    gloom = np.clip(0.45 + 0.65 * (1 - distance / hole), 0.3, 1) * rng.uniform(0.6, 1.0)
    gain = np.where(distance < hole, gloom, 1).astype(np.float32)
    return Defect(cover=distance <= hole, relief=relief.astype(np.float32), filled=filled, gain=gain)


PAINTERS: dict[str, Callable[[np.random.Generator, Scene], Defect]] = {
    "scratch": scratch,
    "dent": dent,
    "stain": stain,
    "missing": missing,
}
