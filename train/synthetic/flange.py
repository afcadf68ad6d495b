"""The synthetic product: a turned steel flange on a conveyor belt, rendered from its geometry.

Everything is computed at twice the size of the image and averaged down. The metal is shaded with the anisotropic
lobe of Ward ("Measuring and modeling anisotropic reflection", 1992): narrow along the turning marks and broad across
them, which gives turned faces their bow-tie highlights.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]

SUPERSAMPLE = 2
# Radii in units of the outer radius.
BORE, HUB, BOLT_CIRCLE, HOLE, COUNTERSINK, FACE_EDGE = 0.34, 0.52, 0.765, 0.075, 0.1, 0.962
HOLES = 6
# Radial slope of the turned profile (height gained per unit of radius): bore chamfer, hub step, groove, rim chamfer.
PROFILE = ((BORE, 0.372, 0.75), (0.505, HUB, -0.9), (0.892, 0.901, -0.8), (0.901, 0.910, 0.8), (FACE_EDGE, 1.01, -0.7))
ALONG, ACROSS = 0.145, 0.46  # roughness along and across the turning marks
ANGLES = 720  # columns of the polar texture


@dataclass(frozen=True)
class Pose:
    """The place of the part, in supersampled pixels; rotation in radians."""

    x: float
    y: float
    radius: float
    rotation: float

    def point(self, distance: float, angle: float) -> tuple[float, float]:
        """Return the pixel at a distance (in outer radii) and an angle from the centre."""
        return (
            self.x + self.radius * distance * float(np.cos(angle)),
            self.y + self.radius * distance * float(np.sin(angle)),
        )

    def holes(self) -> list[tuple[float, float]]:
        """Centres of the bolt holes, in supersampled pixels."""
        return [self.point(BOLT_CIRCLE, self.rotation + 2 * np.pi * k / HOLES) for k in range(HOLES)]


@dataclass(frozen=True)
class Scene:
    """One part in front of the camera: all that varies between good images, drawn once."""

    width: int  # of the final image, pixels
    height: int
    pose: Pose
    grain: NDArray[np.float32]  # (rows, ANGLES + 1, 2) radial and tangential slope, by radius and angle
    key_angle: float  # radians, where the main light stands
    key_strength: float
    exposure: float
    shade: Plane  # (6, 6) slow variation of the illumination
    belt_offset: tuple[int, int]
    noise: NDArray[np.float32]  # (height, width, 3) unit normal

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the supersampled planes."""
        return self.height * SUPERSAMPLE, self.width * SUPERSAMPLE


@dataclass(frozen=True)
class Defect:
    """The change that a defect makes to the part; every plane has the scene's supersampled shape."""

    cover: NDArray[np.bool_]  # where the part is changed: the ground truth
    relief: Plane | None = None  # height added, supersampled pixels
    removed: Plane | None = None  # 0..1, material that is not there
    filled: Plane | None = None  # 0..1, material where a hole should be
    film: Plane | None = None  # 0..1, density of what lies on the surface
    film_colour: tuple[float, float, float] = (1.0, 1.0, 1.0)  # BGR transmission at density 1
    gain: Plane | None = None  # brightness factor


def draw_scene(rng: np.random.Generator, width: int, height: int) -> Scene:
    """Place one good part under the camera, with its own turning marks, light and sensor noise."""
    size = SUPERSAMPLE * min(width, height)
    shift = rng.uniform(-0.014, 0.014, 2) * size
    pose = Pose(
        x=float(SUPERSAMPLE * width / 2 + shift[0]),
        y=float(SUPERSAMPLE * height / 2 + shift[1]),
        radius=0.405 * size * rng.uniform(0.985, 1.015),
        rotation=float(np.radians(rng.uniform(-9, 9))),
    )
    return Scene(
        width=width,
        height=height,
        pose=pose,
        grain=_turning_marks(rng, pose.radius),
        key_angle=float(np.radians(-128 + rng.uniform(-4, 4))),
        key_strength=rng.uniform(0.93, 1.07),
        exposure=rng.uniform(0.93, 1.07),
        shade=rng.uniform(-1, 1, (6, 6)).astype(np.float32),
        belt_offset=(int(rng.integers(0, 4096)), int(rng.integers(0, 4096))),
        noise=rng.standard_normal((height, width, 3), dtype=np.float32),
    )


def _turning_marks(rng: np.random.Generator, radius: float) -> NDArray[np.float32]:
    """Slopes of the machined surface in polar form: full circles, and arcs that begin and end."""
    rows = int(radius * 1.08)
    circles = rng.standard_normal((rows, 1)).astype(np.float32)
    pitch = radius / 62
    feed = np.sin(2 * np.pi * np.arange(rows) / pitch + rng.uniform(0, 6.28))[:, None].astype(np.float32)
    waves = cv2.GaussianBlur(circles, (1, 0), 0.1, sigmaY=radius / 90) * np.sqrt(radius / 90) * 1.5
    arcs = rng.standard_normal((rows, ANGLES), dtype=np.float32)
    closed = np.concatenate([arcs[:, -40:], arcs, arcs[:, :40]], axis=1)  # an arc may cross angle 0
    long_arcs = cv2.blur(closed, (41, 1))[:, 40:-40] * 5.0
    fine_arcs = cv2.blur(closed[::-1], (9, 1))[:, 40:-40] * 3.0
    radial = 0.055 * circles + 0.05 * feed + 0.04 * waves + 0.05 * long_arcs
    tangential = 0.016 * long_arcs[::-1] + 0.014 * fine_arcs
    grain = np.dstack([radial, tangential])
    grain[:, :, 0] += _profile_slope(rows, radius)[:, None]
    return np.concatenate([grain, grain[:, :1]], axis=1)


def _profile_slope(rows: int, radius: float) -> Plane:
    """Radial slope of the turned profile, one value a row of the polar texture."""
    distance = np.arange(rows, dtype=np.float32) / radius
    slope = np.zeros(rows, np.float32)
    for inner, outer, value in PROFILE:
        slope[(distance >= inner) & (distance < outer)] = value
    return slope


@lru_cache(maxsize=2)
def _belt(size: int) -> Plane:
    """A tile (size, size) of woven rubber belt that repeats without a seam, linear light about 0.1."""
    rng = np.random.default_rng(20240229)
    y, x = np.mgrid[0:size, 0:size].astype(np.float32)
    turns = 2 * np.pi * 44 / size
    weave = np.sin(turns * (x + y)) * np.sin(turns * (x - y))
    weave = np.tanh(2.2 * weave)
    noise = rng.standard_normal((size, size), dtype=np.float32)
    scuffs = _wrapped_blur(noise, size // 12, 0.8) * np.sqrt(size / 12)
    clouds = _wrapped_blur(noise[::-1], size / 28, size / 28) * size / 14
    tile = 0.062 + 0.016 * weave + 0.0065 * noise + 0.012 * scuffs + 0.0055 * clouds
    return np.clip(cv2.GaussianBlur(tile, (0, 0), 1.1, borderType=cv2.BORDER_REFLECT), 0.015, 0.4)


def _wrapped_blur(plane: Plane, sigma_x: float, sigma_y: float) -> Plane:
    size = plane.shape[0]
    tiled = np.tile(plane, (3, 3))
    blurred = cv2.GaussianBlur(tiled, (0, 0), sigmaX=sigma_x, sigmaY=sigma_y)
    return blurred[size : 2 * size, size : 2 * size]


def _edge(distance: Plane) -> Plane:
    """Coverage 0..1 of a pixel whose centre lies this far (pixels) inside an edge."""
    return np.clip(distance + 0.5, 0, 1)


class Geometry:
    """Planes that follow from the pose alone: directions, slopes and where there is metal."""

    def __init__(self, scene: Scene) -> None:
        pose, (rows, columns) = scene.pose, scene.shape
        dx = np.repeat((np.arange(columns, dtype=np.float32) - pose.x)[None], rows, axis=0)
        dy = np.repeat((np.arange(rows, dtype=np.float32) - pose.y)[:, None], columns, axis=1)
        distance, angle = cv2.cartToPolar(dx, dy)
        self.cos = dx / np.maximum(distance, 1)
        self.sin = dy / np.maximum(distance, 1)
        grain = cv2.remap(
            scene.grain, angle * np.float32(ANGLES / (2 * np.pi)), distance, cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
        self.radial, self.tangential = grain[:, :, 0].copy(), grain[:, :, 1].copy()
        self.metal = _edge(pose.radius - distance) * _edge(distance - BORE * pose.radius)
        for hole in pose.holes():
            self._drill(pose, *hole)

    def _drill(self, pose: Pose, x: float, y: float) -> None:
        """Cut one countersunk bolt hole."""
        reach = int(COUNTERSINK * pose.radius) + 3
        rows = slice(int(y) - reach, int(y) + reach + 1)
        columns = slice(int(x) - reach, int(x) + reach + 1)
        dx = np.arange(columns.start, columns.stop, dtype=np.float32)[None] - np.float32(x)
        dy = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] - np.float32(y)
        distance = np.hypot(dx, dy)
        sunk = _edge(COUNTERSINK * pose.radius - distance)
        away = np.maximum(distance, 1)
        cos, sin = self.cos[rows, columns], self.sin[rows, columns]
        slope = 0.62
        self.radial[rows, columns] += sunk * (slope * (dx * cos + dy * sin) / away - self.radial[rows, columns])
        self.tangential[rows, columns] += sunk * slope * (dy * cos - dx * sin) / away
        self.metal[rows, columns] *= _edge(distance - HOLE * pose.radius)

    def tilt(self, relief: Plane) -> None:
        """Add the slopes of a height change (supersampled pixels)."""
        slope_x = cv2.Sobel(relief, cv2.CV_32F, 1, 0, scale=0.125)
        slope_y = cv2.Sobel(relief, cv2.CV_32F, 0, 1, scale=0.125)
        self.radial += slope_x * self.cos + slope_y * self.sin
        self.tangential += slope_y * self.cos - slope_x * self.sin


def _lobe(geometry: Geometry, angle: float, tilt: float) -> Plane:
    """Ward's lobe for a light whose half vector leans by `tilt` towards `angle`; 0..1."""
    x, y = np.float32(tilt * np.cos(angle)), np.float32(tilt * np.sin(angle))
    along = (y * geometry.cos - x * geometry.sin + geometry.tangential) * np.float32(1 / ALONG)
    across = (x * geometry.cos + y * geometry.sin + geometry.radial) * np.float32(1 / ACROSS)
    return cv2.exp(-(along * along + across * across))


def _shadow(scene: Scene, metal: Plane) -> Plane:
    """Light that reaches the belt, 0..1: the part's soft shadow and the dark gap along its edges."""
    rows, columns = scene.shape
    small = cv2.resize(metal, (columns // 4, rows // 4), interpolation=cv2.INTER_AREA)
    unit = scene.pose.radius / 4
    away = 0.1 * unit * np.array([np.cos(scene.key_angle), np.sin(scene.key_angle)])
    shift = np.array([[1, 0, -away[0]], [0, 1, -away[1]]], np.float32)
    cast = cv2.warpAffine(cv2.GaussianBlur(small, (0, 0), 0.075 * unit), shift, (small.shape[1], small.shape[0]))
    contact = cv2.GaussianBlur(small, (0, 0), 0.03 * unit)
    light = (1 - 0.62 * cast) * (1 - 0.55 * contact)
    return cv2.resize(light, (columns, rows), interpolation=cv2.INTER_LINEAR)


def _down(plane: Plane, scene: Scene) -> Plane:
    return cv2.resize(plane, (scene.width, scene.height), interpolation=cv2.INTER_AREA)


def render(scene: Scene, defect: Defect | None = None) -> NDArray[np.uint8]:
    """Render the camera's image of a scene, (height, width, 3) uint8 BGR, with a defect or without."""
    geometry = Geometry(scene)
    light_on_belt = _shadow(scene, geometry.metal)  # a small defect leaves the part's shadow as it is
    gain = np.float32(1)
    if defect is not None:
        gain = _damage(geometry, defect)
    metal = geometry.metal * gain
    steep = geometry.radial * geometry.radial + geometry.tangential * geometry.tangential
    dome = metal * (0.05 + 0.125 / (1 + 1.6 * steep))
    key = metal * (0.74 * scene.key_strength) * _lobe(geometry, scene.key_angle, 0.30)
    fill = metal * 0.30 * _lobe(geometry, scene.key_angle + 1.9, 0.24)
    belt = (1 - geometry.metal) * light_on_belt * _belt_under(scene)
    planes = [_down(plane, scene) for plane in (dome, key, fill, belt)]
    return _expose(scene, _colour(planes, defect, scene))


def _damage(geometry: Geometry, defect: Defect) -> Plane:
    """Change the part as the defect says; returns the brightness factor."""
    if defect.removed is not None:
        geometry.metal *= 1 - defect.removed
    if defect.filled is not None:
        geometry.metal = np.maximum(geometry.metal, defect.filled)
    if defect.relief is not None:
        geometry.tilt(defect.relief)
    return np.ones_like(geometry.metal) if defect.gain is None else defect.gain


def _belt_under(scene: Scene) -> Plane:
    rows, columns = scene.shape
    tile = _belt(max(rows, columns))
    y, x = scene.belt_offset
    return np.roll(tile, (y % tile.shape[0], x % tile.shape[1]), axis=(0, 1))[:rows, :columns]


def _colour(planes: list[Plane], defect: Defect | None, scene: Scene) -> NDArray[np.float32]:
    """Linear BGR light from the shares of dome, key, fill and belt."""
    tints = ((1.03, 1.0, 0.96), (0.92, 0.98, 1.03), (1.04, 1.0, 0.95))
    metal = sum(plane[:, :, None] * np.array(tint, np.float32) for plane, tint in zip(planes, tints, strict=False))
    if defect is not None and defect.film is not None:
        density = _down(defect.film, scene)[:, :, None]
        metal = metal * np.exp(density * np.log(np.array(defect.film_colour, np.float32)))
    return np.asarray(metal + planes[3][:, :, None] * np.array((1.12, 1.0, 0.82), np.float32), np.float32)


def _expose(scene: Scene, light: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Lens and sensor: slow shading, vignetting, gamma and noise."""
    shade = cv2.resize(scene.shade, (scene.width, scene.height), interpolation=cv2.INTER_CUBIC)
    x = np.linspace(-1, 1, scene.width, dtype=np.float32)[None]
    y = np.linspace(-1, 1, scene.height, dtype=np.float32)[:, None]
    factor = scene.exposure * (1 + 0.035 * shade) * (1 - 0.11 * (x * x + y * y)) * (1 - 0.05 * x - 0.04 * y)
    light = light * factor[:, :, None]
    light = light / (1 + 0.22 * light) * 1.2  # the sensor's shoulder: highlights roll off instead of clipping
    light = cv2.GaussianBlur(light, (0, 0), 0.5)
    tone = cv2.pow(np.maximum(light, 1e-6), 1 / 2.2) * 255
    grey = scene.noise[:, :, :1]
    noise = (0.8 * grey + 0.35 * scene.noise) * (0.9 + 0.5 * (tone / 255))
    return np.clip(np.rint(tone + noise), 0, 255).astype(np.uint8)
