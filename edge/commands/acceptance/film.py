"""`edge film`: photos go by a real engine; an MP4 and a small WebP show photo, heatmap, verdict, latency and counts."""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np

from edge.commands import CommandError
from edge.commands.acceptance.station import EngineProcess, TrialStation, inspecting
from edge.commands.evidence import say
from edge.config.station import ConfigError
from edge.core.files import write_atomically
from edge.core.types import Image, Inspection, Verdict
from edge.history.pictures import picture_path
from edge.inference.bundle import open_bundle
from edge.inference.preprocess import ImageError, image_files, load_image

WIDTH, HEIGHT = 1280, 720  # pixels of the film
PANEL = (600, 450)  # pixels of a picture in it, width and height
SMALL = 480  # pixels, the width of the WebP
FPS = 12
PART_S = 1.0  # a part stays in view
SLIDE = 4  # frames in which a part moves in
SETTLED_S = 0.3  # the folder camera does not judge a file that was changed just now
MAX_PARTS = 500
SEED = 20261127
CODEC = "vp09"  # plays in browsers, and the OpenCV wheel can write it
FONT = cv2.FONT_HERSHEY_DUPLEX
INK, MUTED, GROUND = (243, 238, 238), (184, 172, 160), (21, 17, 12)  # BGR
COLOURS = {Verdict.OK: (90, 104, 0), Verdict.NG: (10, 48, 179), Verdict.ERROR: (5, 183, 242)}  # BGR, those of the page
CAMERA = {"type": "folder", "path": "camera", "fps": 100, "seconds_per_image": 86400}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bundle", type=Path, required=True, metavar="BUNDLE")
    parser.add_argument(
        "--photos", type=Path, required=True, metavar="FOLDER", help="photos that the model has not seen"
    )
    parser.add_argument("--parts", type=int, default=40, metavar="N", help="how many of them (40)")
    parser.add_argument("--seed", type=int, default=SEED, metavar="N", help="which ones, in which order")
    parser.add_argument(
        "--out", type=Path, default=Path("evidence/film.mp4"), metavar="FILE", help="the WebP lies beside"
    )


def run(arguments: argparse.Namespace) -> int:
    """Write the film and print its counts; raises CommandError, ConfigError and BundleError."""
    if not 1 <= arguments.parts <= MAX_PARTS:
        raise ConfigError(f"film shows 1 to {MAX_PARTS} --parts")
    if arguments.out.suffix != ".mp4":
        raise ConfigError(f"--out {arguments.out}: a film ends in .mp4")
    counts = film(arguments.bundle, chosen(arguments.photos, arguments.parts, arguments.seed), arguments.out)
    said = ", ".join(f"{counts[verdict]} {verdict.value}" for verdict in Verdict)
    print(f"film: {arguments.out} and {arguments.out.with_suffix('.webp').name}: {said}")
    return 0


def chosen(folder: Path, parts: int, seed: int) -> list[tuple[Path, str]]:
    """Return photos in a random order that the seed decides, each with its name below the folder.

    A folder in MVTec layout shows its test photos. Raises CommandError when there is none.
    """
    root = folder / "test" if (folder / "test").is_dir() else folder
    if not root.is_dir():
        raise CommandError(f"{folder}: is no folder; name a folder of photos")
    places = [root, *sorted(path for path in root.rglob("*") if path.is_dir())]
    files = [file for place in places for file in image_files(place)]
    if not files:
        raise CommandError(f"{folder}: no photo is in it; name a folder of PNG or JPEG files")
    random.Random(seed).shuffle(files)
    return [(file, file.relative_to(root).as_posix()) for file in files[:parts]]


def film(bundle_path: Path, photos: list[tuple[Path, str]], out: Path) -> Counter[Verdict]:
    """Send the photos past a real engine, one trigger each, and write what it recorded; returns the verdicts."""
    bundle = open_bundle(bundle_path)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="linewatch-film-") as name:
        station = TrialStation(Path(name) / "station", bundle, camera=CAMERA, storage={"keep_free_mb": 0})
        for file in image_files(station.parts):
            file.unlink()
        _show(station, photos[0][0])
        captions = {}
        with inspecting(station) as engine:
            for number, (file, caption) in enumerate(photos, 1):
                captions[_judged(station, engine, file)] = caption
                say(f"part {number} of {len(photos)}")
            engine.stop()
        rows = [row for row in station.rows() if row.id in captions]
        scenes = list(_scenes(rows, captions, station.config.images_dir, bundle.title))
    _write_film(scenes, out)
    _write_small(scenes, out.with_suffix(".webp"))
    return Counter(row.verdict for row in rows)


def _show(station: TrialStation, file: Path) -> None:
    """Put a photo before the camera; raises CommandError for a file that is none."""
    try:
        _, png = cv2.imencode(".png", load_image(file), [cv2.IMWRITE_PNG_COMPRESSION, 1])
    except ImageError as error:
        raise CommandError(str(error)) from None
    write_atomically(station.parts / "part.png", png.tobytes())


def _judged(station: TrialStation, engine: EngineProcess, file: Path) -> int:
    """Show a photo, trigger once it has settled, and return the id of its part."""
    _show(station, file)
    time.sleep(SETTLED_S)
    answer = station.trigger()
    if answer is None or answer.id is None:
        raise CommandError(f"the engine gave no answer: {(station.said().splitlines() or [''])[-1]}")
    return answer.id


def _scenes(rows: Iterable[Inspection], captions: dict[int, str], images: Path, title: str) -> Iterator[Image]:
    """Give one (HEIGHT, WIDTH, 3) BGR picture for each part, with the counts until then."""
    counts: Counter[Verdict] = Counter()
    for row in rows:
        counts[row.verdict] += 1
        scene = np.full((HEIGHT, WIDTH, 3), GROUND, np.uint8)
        for left, kind in ((26, "frame"), (654, "heat")):
            _place(scene, picture_path(images, row.id, kind), left)
        _write(scene, f"Part {row.id}   {captions[row.id]}", (26, 44), 0.8, MUTED)
        cv2.rectangle(scene, (26, 540), (330, 694), COLOURS[row.verdict], -1)
        ink = GROUND if row.verdict is Verdict.ERROR else INK
        _write(scene, row.verdict.value, (50, 650), 2.2 if row.verdict is Verdict.ERROR else 3.4, ink, 4)
        far = "" if row.distance is None else f"   distance from good {row.distance:.2f}, limit 1"
        _write(scene, f"{row.timings.total_ms:.0f} ms{far}", (360, 580), 0.95, INK)
        tally = "   ".join(f"{verdict.value} {counts[verdict]}" for verdict in Verdict)
        _write(scene, tally, (360, 634), 0.95, INK)
        _write(scene, title, (360, 684), 0.6, MUTED)
        yield scene


def _place(scene: Image, file: Path, left: int) -> None:
    """Fit a stored picture into its panel; without one the panel says so."""
    width, height = PANEL
    panel = scene[64 : 64 + height, left : left + width]
    image = cv2.imread(str(file)) if file.is_file() else None
    if image is None:
        _write(panel, "no picture", (20, height // 2), 1.0, MUTED)
        return
    scale = min(width / image.shape[1], height / image.shape[0])
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    x, y = (width - size[0]) // 2, (height - size[1]) // 2
    panel[y : y + size[1], x : x + size[0]] = cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _write(
    scene: Image, text: str, place: tuple[int, int], size: float, colour: tuple[int, ...], bold: int = 1
) -> None:
    cv2.putText(scene, text.encode("ascii", "replace").decode(), place, FONT, size, colour, bold, cv2.LINE_AA)


def _write_film(scenes: list[Image], out: Path) -> None:
    """Write an MP4 in which each part's pictures move in from the right; raises CommandError."""
    writer = cv2.VideoWriter(str(out), cv2.VideoWriter.fourcc(*CODEC), FPS, (WIDTH, HEIGHT))
    if not writer.isOpened():
        raise CommandError(f"{out}: no film can be written there; check the folder and the free space")
    pictures = slice(64, 64 + PANEL[1])
    before = np.full_like(scenes[0], GROUND)
    for scene in scenes:
        for step in range(round(FPS * PART_S)):
            moved = scene.copy()
            cut = round(WIDTH * max(0.0, 1 - (step + 1) / SLIDE))
            if cut:
                moved[pictures] = np.hstack([before[pictures, WIDTH - cut :], scene[pictures, : WIDTH - cut]])
            writer.write(moved)
        before = scene
    writer.release()


def _write_small(scenes: list[Image], out: Path) -> None:
    """Write an animated WebP, one picture a part, for a document."""
    animation = cv2.Animation()
    size = (SMALL, SMALL * HEIGHT // WIDTH)
    animation.frames = [cv2.resize(scene, size, interpolation=cv2.INTER_AREA) for scene in scenes]
    animation.durations = [round(1000 * PART_S)] * len(scenes)
    if not cv2.imwriteanimation(str(out), animation, [cv2.IMWRITE_WEBP_QUALITY, 60]):
        raise CommandError(f"{out}: cannot be written; check the folder and the free space")
