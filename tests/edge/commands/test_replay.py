"""A stored inspection is judged again: the same score, or a line that says why not."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.commands import CommandError
from edge.commands.replay import replay
from edge.config.load import load_config
from edge.config.station import StationConfig
from edge.core.types import Image
from edge.engine.judge import judge
from edge.engine.recorder import Recorder
from edge.history.eventlog import EventLog
from edge.history.pictures import INPUT, picture_path
from edge.inference.bundle import Bundle, open_bundle, write_bundle
from edge.inference.detector import Detector
from tests.edge.commands.test_main import complained, edge, station
from tests.edge.engine.parts import inspection
from tests.tiny import bad_image, good_image

PARTS = 8  # no more than may wait for the disk


def noisy(number: int) -> Image:
    """A part whose size is not the model's and whose score has many digits."""
    rng = np.random.default_rng(number)
    image = bad_image(167, 131) if number % 2 else good_image(167, 131)
    return np.asarray(np.clip(image + rng.normal(0, 20, image.shape), 0, 255), dtype=np.uint8)


def recorded(config: StationConfig, bundle: Bundle, images: list[Image]) -> None:
    """Do with each image as the engine does: judge it, store its row and pictures."""
    events = EventLog(config.events_db)
    config.run_dir.mkdir()
    recorder = Recorder(events, config.images_dir, config.run_dir, config.storage)
    recorder.start()
    detector = Detector.from_bundle(bundle)
    for number, image in enumerate(images, start=1):
        judged = judge(detector, bundle.manifest.limits, image)
        assert judged.prediction is not None
        part = replace(
            inspection(number, image),
            score=judged.score,
            verdict=judged.decision.verdict,
            bundle=bundle.title,
            bundle_digest=bundle.digest,
            anomaly_map=judged.prediction.anomaly_map,
        )
        recorder.put(part, bundle)
    recorder.stop()
    assert recorder.images_dropped == 0
    events.close()


@pytest.fixture
def file(tiny_bundle: Bundle, tmp_path: Path) -> Path:
    file = station(tmp_path, tiny_bundle.path)
    recorded(load_config(file), tiny_bundle, [noisy(number) for number in range(PARTS)])
    return file


def test_every_score_is_exactly_the_same_again(file: Path) -> None:
    for number in range(1, PARTS + 1):
        assert "exactly the stored score" in replay(load_config(file), number)


def test_the_frame_alone_would_not_have_given_the_same_score(file: Path, tiny_bundle: Bundle) -> None:
    """The model's input is kept without loss, because the JPEG that people look at scores otherwise."""
    config, detector = load_config(file), Detector.from_bundle(tiny_bundle)
    events = EventLog(config.events_db)
    frame = cv2.imread(str(picture_path(config.images_dir, 1, "frame")))
    assert frame is not None
    row = events.get(1)
    events.close()
    assert row is not None
    assert detector.predict(np.asarray(frame, dtype=np.uint8)).score != row.score


def test_the_command_is_one_line_and_its_status_tells(file: Path) -> None:
    done = edge("replay", 1, "--config", file)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 1
    assert "no such row" in complained(edge("replay", 99, "--config", file))
    assert "ID" in complained(edge("replay", "one", "--config", file), status=2)


def test_a_picture_that_was_changed_gives_another_score(file: Path) -> None:
    config = load_config(file)
    path = picture_path(config.images_dir, 3, INPUT)
    image = cv2.imread(str(path))
    assert image is not None
    image[:] = 255
    cv2.imwrite(str(path), image)
    with pytest.raises(CommandError, match=r"inspection 3: scores .* is stored"):
        replay(config, 3)
    assert "within 1000" in replay(config, 3, tolerance=1000.0)


def test_a_picture_that_is_gone_is_said(file: Path) -> None:
    config = load_config(file)
    picture_path(config.images_dir, 2, INPUT).unlink()
    with pytest.raises(CommandError, match="not kept any more"):
        replay(config, 2)


def test_a_row_without_a_score_cannot_be_replayed(file: Path) -> None:
    config = load_config(file)
    events = EventLog(config.events_db)
    events.append(replace(inspection(PARTS + 1), score=None))
    events.close()
    with pytest.raises(CommandError, match="no score"):
        replay(config, PARTS + 1)


def test_another_bundle_is_refused_and_the_right_one_is_found_among_the_recipes(
    file: Path, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    facts = tiny_bundle.manifest.model_dump(mode="json", exclude={"format", "files"}) | {"version": "2"}
    files = {name: tiny_bundle.file(name) for name in tiny_bundle.manifest.files}
    write_bundle(tmp_path / "newer", facts, files)
    file.write_text(file.read_text().replace(str(tiny_bundle.path), "newer"))
    with pytest.raises(CommandError, match=r"judged by 'tiny 1 .*no bundle of this station"):
        replay(load_config(file), 1)
    file.write_text(f'{file.read_text()}[recipes]\nolder = "{tiny_bundle.path}"\n')
    assert open_bundle(tiny_bundle.path).title in replay(load_config(file), 1)
