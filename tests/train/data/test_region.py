"""The region that is inspected: what is proposed, when it is safe, and what is refused."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge.core.types import Image
from edge.inference.preprocess import Crop
from tests.train.data.pictures import write
from train.config import TrainConfig
from train.data.dataset import DataError, read_dataset
from train.data.input_spec import input_spec
from train.data.region import Proposal, propose, with_region, without_lost
from train.data.region.picture import region_picture, write_picture
from train.stages.check import main

WIDTH, HEIGHT = 240, 160
Rng = np.random.Generator


def scene(rng: Rng, x: float, y: float, size: tuple[int, int] = (60, 50)) -> Image:
    """A board with traces at (x, y), on a lit background that falls off to the sides, with noise."""
    down, across = np.mgrid[0:HEIGHT, 0:WIDTH]
    light = 140 - 30 * ((across / WIDTH - 0.5) ** 2 + (down / HEIGHT - 0.5) ** 2) * rng.uniform(0.9, 1.1)
    image = np.repeat(light[..., np.newaxis], 3, axis=2)
    left, top = round(x - size[0] / 2), round(y - size[1] / 2)
    columns = slice(max(0, left), max(0, left + size[0]))
    image[top : top + size[1], columns] = (50, 110, 60)
    image[top + 10 : top + 15, columns] = (130, 190, 200)
    return np.clip(image + rng.normal(0, 3, image.shape), 0, 255).astype(np.uint8)


def goods(root: Path, draw: Callable[[Rng, int], Image], number: int = 8) -> Path:
    for index in range(number):
        write(root / f"train/good/{index:02d}.bmp", draw(np.random.default_rng(index), index))
    return root


def proposed(root: Path) -> Proposal:
    return propose(read_dataset(root), TrainConfig())


def middle(rng: Rng, _: int) -> Image:
    return scene(rng, WIDTH / 2 + rng.uniform(-4, 4), HEIGHT / 2 + rng.uniform(-4, 4))


def test_the_region_holds_every_good_part_with_a_margin_and_little_else(tmp_path: Path) -> None:
    crop = proposed(goods(tmp_path, middle)).crop
    assert crop is not None
    left, top, right, bottom = WIDTH / 2 - 34, HEIGHT / 2 - 29, WIDTH / 2 + 34, HEIGHT / 2 + 29
    assert left - 12 <= crop.x <= left - 1
    assert top - 12 <= crop.y <= top - 1
    assert right + 1 <= crop.x + crop.width <= right + 12
    assert bottom + 1 <= crop.y + crop.height <= bottom + 12


def test_what_varies_beside_the_part_belongs_to_the_region(tmp_path: Path) -> None:
    """A lamp that is on in every other photo: what changes on good parts may be meant to be inspected."""

    def draw(rng: Rng, index: int) -> Image:
        image = scene(rng, 100, 80)
        image[75:85, 165:175] += np.uint8(60 * (index % 2))
        return image

    crop = proposed(goods(tmp_path, draw)).crop
    assert crop is not None
    assert crop.x + crop.width >= 175


def two_sizes(rng: Rng, index: int) -> Image:
    return middle(rng, index)[: HEIGHT - index % 2]


def absent(rng: Rng, index: int) -> Image:
    return middle(rng, index) if index != 5 else scene(rng, -500, 80)


def leaving(rng: Rng, index: int) -> Image:
    return middle(rng, index) if index != 5 else scene(rng, 10, 80)


def unlike(rng: Rng, index: int) -> Image:
    return middle(rng, index) if index != 5 else scene(rng, 120, 80, (110, 60))


def filling(rng: Rng, _: int) -> Image:
    return scene(rng, 120, 80, (215, 140))


def textured(rng: Rng, _: int) -> Image:
    return rng.integers(0, 255, (HEIGHT, WIDTH, 3)).astype(np.uint8)


@pytest.mark.parametrize(
    ("draw", "why"),
    [
        (two_sizes, "the good photos have several sizes (240x159 to 240x160)"),
        (absent, "nothing that could be the part stands out against the border in 05.bmp"),
        (leaving, "what stands out reaches the edge of 05.bmp"),
        (unlike, "what stands out in 05.bmp is 2."),
        (filling, "the parts fill it"),
        (textured, "nothing that could be the part stands out"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_the_whole_photo_is_inspected_where_a_region_is_not_safe(
    tmp_path: Path, draw: Callable[[Rng, int], Image], why: str
) -> None:
    found = proposed(goods(tmp_path, draw))
    assert found.crop is None
    assert why in found.words


def test_a_labelled_defect_outside_of_the_region_makes_it_unsafe(tmp_path: Path) -> None:
    goods(tmp_path, middle)
    mask: NDArray[np.uint8] = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[5:15, 5:15] = 255
    write(tmp_path / "train/smear/00.png", scene(np.random.default_rng(99), 120, 80))
    write(tmp_path / "ground_truth/smear/00_mask.png", mask)
    found = proposed(tmp_path)
    assert found.crop is None
    assert "00_mask.png marks a defect outside of" in found.words


def test_the_input_follows_from_the_region_and_not_from_the_photo(tmp_path: Path) -> None:
    dataset = read_dataset(goods(tmp_path, middle))
    recipe, words = with_region(dataset, TrainConfig(native=True))
    spec = input_spec(dataset.train_good, recipe)
    assert spec.crop == recipe.region is not None
    assert (spec.width, spec.height) < (WIDTH / 2, HEIGHT / 1.5)
    assert words.endswith("(--crop off inspects the whole photo)")


def test_off_inspects_the_whole_photo(tmp_path: Path) -> None:
    dataset = read_dataset(goods(tmp_path, middle))
    recipe, words = with_region(dataset, TrainConfig.model_validate({"crop": "off"}))
    assert input_spec(dataset.train_good, recipe).crop is None
    assert words == "the whole photo is inspected"


def test_a_stated_region_outside_of_a_photo_is_refused_in_one_line(tmp_path: Path) -> None:
    dataset = read_dataset(goods(tmp_path, middle, 2))
    with pytest.raises(DataError, match=r"crop: 200,0,100,50 lies outside .*00.bmp, which has 240x160 pixels; remove"):
        with_region(dataset, TrainConfig(crop=Crop(x=200, y=0, width=100, height=50)))


@pytest.mark.parametrize("folder", ["test/smear", "test/good", "train/smear"])
def test_a_photo_of_any_role_that_does_not_hold_the_region_is_named(tmp_path: Path, folder: str) -> None:
    goods(tmp_path, middle, 2)
    write(tmp_path / folder / "small.bmp", np.full((40, 60, 3), 90, np.uint8))
    with pytest.raises(DataError, match=rf"crop: 0,0,100,50 lies outside .*{folder}/small.bmp, which has 60x40 pixels"):
        with_region(read_dataset(tmp_path), TrainConfig(crop=Crop(x=0, y=0, width=100, height=50)))


def test_a_photo_of_another_size_than_those_that_a_part_is_followed_in_is_named(tmp_path: Path) -> None:
    goods(tmp_path, turned)
    write(tmp_path / "test/good/large.bmp", np.full((HEIGHT, WIDTH + 2, 3), 90, np.uint8))
    with pytest.raises(DataError, match=r"follow: .*large.bmp has 242x160 pixels, and the good photos have 240x160; "):
        with_region(read_dataset(tmp_path), TrainConfig())


@pytest.mark.parametrize(
    ("polygon", "said"),
    [
        (((-5, -5), (400, -5), (400, 400), (-5, 400)), r"cover all that is inspected of .*00.bmp; draw smaller ones"),
        (((240, 10), (300, 10), (300, 60)), r"polygon 2 lies outside of the good photos, which have 240x160 pixels; "),
    ],
    ids=["everything", "nothing"],
)
def test_polygons_that_cover_everything_or_nothing_are_refused(
    tmp_path: Path, polygon: tuple[tuple[float, float], ...], said: str
) -> None:
    stamp = ((90.0, 60.0), (100.0, 60.0), (100.0, 70.0))
    dataset = read_dataset(goods(tmp_path, middle, 2))
    with_region(dataset, TrainConfig(crop=None, follow=None, ignore=(stamp,)))
    with pytest.raises(DataError, match=f"ignore: (the polygons )?{said}"):
        with_region(dataset, TrainConfig(crop=None, follow=None, ignore=(stamp, polygon)))


def test_check_names_a_test_photo_that_does_not_hold_the_region_it_proposes(tmp_path: Path) -> None:
    goods(tmp_path, middle, 20)
    write(tmp_path / "test/good/small.bmp", scene(np.random.default_rng(0), 120, 80)[:90])
    with pytest.raises(DataError, match=r"crop: .* lies outside .*test/good/small.bmp, which has 240x90 pixels"):
        main(["--data", str(tmp_path)])


def test_the_picture_shows_the_region_and_darkens_the_rest(tmp_path: Path) -> None:
    goods(tmp_path, middle, 1)
    photo = tmp_path / "train/good/00.bmp"
    plain = cv2.imread(str(photo)).astype(int)
    shown = region_picture(photo, Crop(x=50, y=30, width=100, height=75)).astype(int)
    assert np.array_equal(shown[35:100, 55:145], plain[35:100, 55:145])
    assert np.array_equal(shown[:25], plain[:25] // 2)


def test_check_proposes_the_region_and_draws_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(
        ["--data", str(goods(tmp_path / "data", middle)), "--min-good", "8", "--picture", str(tmp_path / "region.png")]
    )
    assert "region: " in capsys.readouterr().out
    assert cv2.imread(str(tmp_path / "region.png")).shape == (HEIGHT, WIDTH, 3)
    with pytest.raises(DataError, match=r"region.txt: no kind of picture that is written; name a .jpg or .png"):
        write_picture(scene(np.random.default_rng(0), 120, 80), tmp_path / "region.txt")


def turned(rng: Rng, index: int) -> Image:
    """A board that lies anywhere and is turned a little; the first and the second lie straight."""
    whole = scene(rng, WIDTH / 2, HEIGHT / 2)
    angle = 0.0 if index < 2 else rng.uniform(-25, 25)
    matrix = cv2.getRotationMatrix2D((WIDTH / 2, HEIGHT / 2), angle, 1.0)
    matrix[:, 2] += rng.uniform((-60, -30), (60, 30))
    return np.asarray(cv2.warpAffine(whole, matrix, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REPLICATE), np.uint8)


def test_a_region_follows_parts_that_move_and_turn(tmp_path: Path) -> None:
    found = proposed(goods(tmp_path, turned))
    assert found.follow is not None
    assert found.follow.turn
    assert found.crop is not None
    assert found.crop.width < 90
    assert "it moves with the part" in found.words


def test_a_region_stays_where_following_is_off_or_parts_stay(tmp_path: Path) -> None:
    dataset = read_dataset(goods(tmp_path / "moving", turned))
    recipe, _ = with_region(dataset, TrainConfig.model_validate({"follow": "off"}))
    assert recipe.followed is None
    assert proposed(goods(tmp_path / "still", middle)).follow is None


def test_following_is_refused_where_a_good_part_is_not_found(tmp_path: Path) -> None:
    dataset = read_dataset(goods(tmp_path, absent))
    with pytest.raises(DataError, match=r"follow: the parts cannot be followed: nothing that could be .* in 05.bmp"):
        with_region(dataset, TrainConfig(follow="on"))


def test_polygons_of_a_part_that_is_followed_need_the_photo_they_were_drawn_on(tmp_path: Path) -> None:
    dataset = read_dataset(goods(tmp_path, turned))
    recipe = TrainConfig(follow="on", ignore=(((90, 60), (100, 60), (100, 70)),))
    with pytest.raises(DataError, match=r'in pixels of one photo; name it, e.g. reference = "00.bmp"'):
        with_region(dataset, recipe)
    with pytest.raises(DataError, match=r"reference: no good photo is named 77.bmp"):
        with_region(dataset, recipe.model_copy(update={"reference": "77.bmp"}))
    decided, words = with_region(dataset, recipe.model_copy(update={"reference": "01.bmp"}))
    spec = input_spec(dataset.train_good, decided)
    assert "in 01.bmp is inspected" in words
    assert (spec.follow, spec.ignore) == (decided.followed, recipe.ignore)
    assert spec.follow is not None


def test_a_labelled_defect_whose_part_is_not_found_is_left_out_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    goods(tmp_path, turned)
    write(tmp_path / "train/gone/00.bmp", scene(np.random.default_rng(1), -500, 80))
    write(tmp_path / "train/gone/01.bmp", turned(np.random.default_rng(2), 2))
    dataset = read_dataset(tmp_path)
    recipe, _ = with_region(dataset, TrainConfig())
    assert [sample.path.name for sample in without_lost(dataset, recipe).train_defects] == ["01.bmp"]
    assert "00.bmp: no part is found" in capsys.readouterr().out
    write(tmp_path / "test/gone/00.bmp", scene(np.random.default_rng(3), -500, 80))
    drawn = recipe.model_copy(update={"labelled": 1})
    assert without_lost(read_dataset(tmp_path), drawn).test == ()
