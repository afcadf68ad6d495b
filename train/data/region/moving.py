"""How a part that moves is found again: by its outline or its picture, whichever suits the good parts better."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from edge.core.types import Image
from edge.inference.part import AROUND, By, Follow, Mask, PartPose, centre_of, polar, pose_of

WAYS: tuple[tuple[By, bool], ...] = (("outline", False), ("outline", True), ("picture", True))
SLACK = 0.05  # of likeness below the least like good part that still counts as the part
RELIABLE = 0.5  # likeness that every good part must have
FARTHER, MORE_PX, MORE_DEG = (
    1.5,
    0.1,
    5.0,
)  # reach: times the farthest good part, and a share of the radius, and degrees
BETTER = 1.03  # a way that does not turn may leave so many times the difference


def followed(
    smalls: Sequence[Image], masks: Sequence[Mask], number: int, size: tuple[int, int]
) -> tuple[Follow, int | None]:
    """Return how the part is found, and the number of the first good photo in which it is not; None: in all of them.

    smalls, masks: reduced good photos and their silhouettes; number: of the reference; size: (width, height) of photos.
    Of all ways the one is taken that leaves the least difference when all good parts are laid over the reference.
    """
    tried = []
    for by, turn in WAYS:
        follow = _follow(smalls[number], masks[number], size, by, turn)
        poses = [pose_of(small, mask, follow) for small, mask in zip(smalls, masks, strict=True)]
        tried.append((_difference(smalls, masks, poses, number, size) / (1.0 if turn else BETTER), follow, poses))
    _, follow, poses = min(tried, key=lambda way: way[0])
    likeness = min(pose.likeness for pose in poses)
    reach = FARTHER * max(pose.shift for pose in poses) + MORE_PX * follow.radius
    turned = FARTHER * max(abs(pose.turn) for pose in poses) + MORE_DEG if follow.turn else 0.0
    facts: dict[str, Any] = {"least": max(0.0, likeness - SLACK), "reach_px": reach, "reach_deg": min(turned, 180.0)}
    lost = next((index for index, pose in enumerate(poses) if pose.likeness < RELIABLE), None)
    return follow.model_copy(update=facts), lost


def _follow(small: Image, mask: Mask, size: tuple[int, int], by: By, turn: bool) -> Follow:
    scale = size[0] / small.shape[1]
    centre = centre_of(mask)
    rows, columns = np.nonzero(mask)
    radius = AROUND * float(np.hypot(columns - centre[0], rows - centre[1]).max())
    return Follow(
        width=size[0],
        height=size[1],
        centre=tuple(((centre + 0.5) * scale - 0.5).tolist()),
        radius=radius * scale,
        by=by,
        turn=turn,
        signal=base64.b64encode(polar(small, mask, centre, radius, by).tobytes()).decode(),
        least=0.0,
        reach_px=0.0,
        reach_deg=0.0,
    )


def _difference(
    smalls: Sequence[Image], masks: Sequence[Mask], poses: Sequence[PartPose], number: int, size: tuple[int, int]
) -> float:
    """Return how much the good parts differ, in grey levels, when all are laid over the reference."""
    scale = size[0] / smalls[number].shape[1]
    layers = []
    for small, mask, pose in zip(smalls, masks, poses, strict=True):
        part = np.where(mask[..., np.newaxis], small, np.uint8(0))
        to_frame = pose.matrix.copy()  # for reduced pixels
        to_frame[:, 2] = (pose.matrix @ [0.5 * scale - 0.5, 0.5 * scale - 0.5, 1.0] + 0.5) / scale - 0.5
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        layers.append(cv2.warpAffine(part, to_frame, (small.shape[1], small.shape[0]), flags=flags))
    spread = np.std(np.asarray(layers, np.float32), axis=0)
    return float(spread[masks[number]].mean())
