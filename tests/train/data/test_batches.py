from pathlib import Path

import pytest
import torch
from torch.nn.functional import avg_pool2d

from edge.inference.preprocess import InputSpec
from tests.train.data.pictures import defective, write, write_product
from train.config import TrainConfig
from train.data.batches import Draws, Photos, validation_examples
from train.data.dataset import DataError, read_dataset

SPEC = InputSpec(width=96, height=64)
RECIPE = TrainConfig(steps=8, batch=8)


def draws(root: Path, recipe: TrainConfig = RECIPE) -> Draws:
    data = read_dataset(root)
    types = sorted({sample.label for sample in data.train_defects})
    return Draws(Photos(SPEC), data.train_good, data.train_defects, types if len(types) > 1 else (), recipe)


def test_an_example_depends_on_its_number_and_epoch_alone(tmp_path: Path) -> None:
    first, second = (draws(write_product(tmp_path)) for _ in range(2))
    torch.manual_seed(1)
    expected = first[5]
    torch.manual_seed(2)
    found = [second[i] for i in (0, 5)][1]
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))
    second.epoch = 1
    assert not torch.equal(second[5][0], expected[0])


def test_goods_real_and_artificial_defects_are_all_drawn(tmp_path: Path) -> None:
    found = [example[2:] for example in map(draws(write_product(tmp_path)).__getitem__, range(64))]
    assert {int(kind) for _, kind, _ in found} == {-1, 0, 1}
    assert {float(defective) for defective, kind, _ in found if kind < 0} == {0.0, 1.0}


def test_a_single_kind_of_defect_is_drawn_as_well(tmp_path: Path) -> None:
    data = read_dataset(write_product(tmp_path))
    dents = [sample for sample in data.train_defects if sample.label == "dent"]
    found = Draws(Photos(SPEC), data.train_good, dents, (), RECIPE)
    assert any(int(found[i][3]) == 0 for i in range(32))


def test_a_defect_without_a_mask_is_defective_and_its_mask_is_not_believed(tmp_path: Path) -> None:
    data = read_dataset(write_product(tmp_path, masked=False))
    bare = [sample for sample in data.train_defects if sample.mask is None]
    assert {sample.label for sample in bare} == {"dent", "scratch"}
    found = Draws(Photos(SPEC), data.train_good, bare, ("dent", "scratch"), RECIPE)
    real = [example for example in map(found.__getitem__, range(32)) if int(example[3]) >= 0]
    assert real
    assert all(float(defective) == 1 and float(believed) == 0 for _, _, defective, _, believed in real)


def test_a_window_shows_the_defect_and_the_whole_part_where_nobody_marked_it(tmp_path: Path) -> None:
    """Windows have half the sides."""
    data = read_dataset(write_product(tmp_path, masked=False))
    spec = InputSpec(width=160, height=128)
    bare = [sample for sample in data.train_defects if sample.mask is None]
    marked = [sample for sample in data.train_defects if sample.mask is not None]
    for defects, believed in ((bare, 0.0), (marked, 1.0)):
        found = Draws(Photos(spec), data.train_good, defects, ("dent", "scratch"), RECIPE)
        real = [one for one in map(found.__getitem__, range(16)) if int(one[3]) >= 0]
        assert real
        assert all(one[0].shape[1:] == (64, 80) and float(one[2]) == 1 and float(one[4]) == believed for one in real)
        for one in real:  # the dent or the scratch itself, unlike the even grain around it
            grey = avg_pool2d(one[0].mean(dim=0)[None, None], 4)
            assert (grey - grey.median()).abs().max() > 40


@pytest.mark.parametrize(
    ("scales", "labels", "shape"), [(1, True, (128, 160)), (2, True, (64, 80)), (1, False, (64, 80))]
)
def test_one_of_ten_batches_shows_whole_parts_where_heads_ship(
    tmp_path: Path, scales: int, labels: bool, shape: tuple[int, int]
) -> None:
    """Of two scales as the second one sees them; no window is larger than what is left."""
    data, recipe = read_dataset(write_product(tmp_path)), RECIPE.model_copy(update={"scales": scales, "steps": 20})
    defects = data.train_defects if labels else ()
    found = Draws(Photos(InputSpec(width=160, height=128)), data.train_good, defects, (), recipe)
    assert found[8 * 9][0].shape[1:] == shape
    assert {found[8 * turn][0].shape[1:] for turn in (0, 2, 5, 8, 10)} == {(64, 80)}


def test_all_examples_of_a_batch_have_one_size_however_small_the_photos_are(tmp_path: Path) -> None:
    data, recipe = read_dataset(write_product(tmp_path, masked=False)), RECIPE.model_copy(update={"scales": 2})
    found = Draws(Photos(SPEC), data.train_good, data.train_defects, ("dent", "scratch"), recipe)
    for turn in range(8):
        assert len({found[8 * turn + place][0].shape for place in range(8)}) == 1


def test_a_mask_of_another_size_is_one_line(tmp_path: Path) -> None:
    data = read_dataset(write_product(tmp_path))
    write(tmp_path / "ground_truth/dent/000_mask.png", defective(0, True)[1][:32])
    with pytest.raises(DataError, match="the mask is 96x32, but its image is 96x64"):
        Photos(SPEC).load(data.train_defects[0])


def test_few_defects_are_validated_together_with_artificial_ones(tmp_path: Path) -> None:
    data = read_dataset(write_product(tmp_path))
    samples = (*data.train_good[:5], *data.train_defects[:2])
    found = validation_examples(Photos(SPEC), samples, ("dent", "scratch"), RECIPE)
    assert [float(one[2]) for one in found] == [0.0] * 5 + [1.0] * 2 + [1.0] * 5


def test_photos_that_are_decoded_before_a_fork_need_no_file_after_it(tmp_path: Path) -> None:
    goods, photos = read_dataset(write_product(tmp_path, goods=3, defects=0)).train_good, Photos(SPEC)
    photos.fill(goods)
    for sample in goods:
        sample.path.unlink()
    assert [photos.load(sample)[0].shape for sample in goods] == [(64, 96, 3)] * 3
