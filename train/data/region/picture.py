"""A picture of the region that is inspected, for a person to look at."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from edge.core.types import FULL, Bits, Image
from edge.inference.preprocess import Crop, load_image
from train.config import TrainConfig
from train.data.dataset import DataError, Dataset
from train.data.region import reference_photo
from train.run import REGION, REGION_PICTURE, Run

PICTURE_PX = 1000  # longer side of the picture with the box


def region_picture(photo: Path, crop: Crop | None, bits: Bits | None = None) -> Image:
    """Return a photo with the region drawn on it, darker outside, uint8 BGR, at most PICTURE_PX wide and high."""
    image = load_image(photo, FULL if bits is None else bits)
    scale = min(1.0, PICTURE_PX / max(image.shape[:2]))
    if crop is not None:
        shown = np.asarray(image // 2, np.uint8)
        left, top, right, bottom = crop.x, crop.y, crop.x + crop.width, crop.y + crop.height
        shown[top:bottom, left:right] = image[top:bottom, left:right]
        line = max(1, round(2 / scale))
        cv2.rectangle(shown, (left, top), (right - 1, bottom - 1), (0, 0, 0), 2 * line)
        cv2.rectangle(shown, (left, top), (right - 1, bottom - 1), (255, 255, 255), line)
        image = shown
    return np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)


def report_region(work: Run, dataset: Dataset, recipe: TrainConfig, words: str) -> None:
    """Write the region of a recipe that settled it into the run's folder, as a picture and as facts."""
    crop = recipe.region
    write_picture(region_picture(reference_photo(dataset, recipe), crop, recipe.bits), work.file(REGION_PICTURE))
    work.write_report(REGION, {"crop": crop and crop.model_dump(), "words": words})


def write_picture(picture: Image, target: Path) -> None:
    """Write a picture as PNG or JPEG, as its name says; raises DataError."""
    if target.suffix.lower() not in (".jpg", ".jpeg", ".png"):
        raise DataError(f"{target}: no kind of picture that is written; name a .jpg or .png file")
    _, data = cv2.imencode(target.suffix, picture)
    try:
        target.write_bytes(data.tobytes())
    except OSError as error:
        raise DataError(f"{target}: the picture cannot be written ({error.strerror})") from error
