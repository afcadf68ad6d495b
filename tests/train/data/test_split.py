from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from train.config import TrainConfig
from train.data.dataset import GOOD, DataError, Dataset, Sample
from train.data.parts import part_names
from train.data.split import Split, split

TYPES = ("crack", "dent", "fray")


def dataset(goods: list[int], test: list[tuple[str, int]], train: list[tuple[str, int]], named: bool) -> Dataset:
    """Images whose part is a number: in the file's name, or as groups.csv would tell it."""

    def sample(side: str, label: str, number: int, index: int) -> Sample:
        name = f"{side}/{label}/{index}_num_{number}.png"
        return Sample(Path(name), label, None, None if named else str(number))

    return Dataset(
        Path(),
        tuple(sample("train", GOOD, number, i) for i, number in enumerate(goods)),
        tuple(sample("test", label, number, i) for i, (label, number) in enumerate(test)),
        tuple(sample("train", label, number, i) for i, (label, number) in enumerate(train)),
    )


numbers = st.integers(0, 80)
defects = st.tuples(st.sampled_from(TYPES), numbers)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Dataset, TrainConfig]:
    goods = draw(st.lists(numbers, min_size=8, max_size=40))
    test = draw(st.lists(st.tuples(st.sampled_from((GOOD, *TYPES)), numbers), max_size=40))
    train = draw(st.lists(defects, max_size=12))
    bad = sum(label != GOOD for label, _ in test)
    named = draw(st.booleans())
    recipe = TrainConfig(
        group_regex=r"_num_(\d+)" if named else None,
        group_gap=draw(st.integers(0, 2)) if named else 0,
        labelled=draw(st.integers(0, max(0, bad - 1))),
        artificial=draw(st.booleans()),
        seed=draw(st.integers(0, 5)),
    )
    return dataset(goods, test, train, named), recipe


def roles(data: Dataset, recipe: TrainConfig) -> Split:
    try:
        return split(data, recipe)
    except DataError as error:
        assume("at least 2 parts" not in str(error))
        raise


def parts(samples: tuple[Sample, ...], recipe: TrainConfig) -> dict[Sample, str]:
    return dict(zip(samples, part_names(samples, recipe.group_regex, recipe.group_gap), strict=True))


@settings(deadline=None, max_examples=100)
@given(case=cases())
def test_no_image_has_two_roles(case: tuple[Dataset, TrainConfig]) -> None:
    found = roles(*case)
    every = (*found.fit, *found.holdout, *found.validation, *found.defects, *found.left_out)
    assert len(every) == len(set(every))
    assert set(every) <= set(case[0].samples)


@settings(deadline=None, max_examples=100)
@given(case=cases())
def test_no_part_is_on_two_sides(case: tuple[Dataset, TrainConfig]) -> None:
    """Fitted, held out and validated goods; defects trained on and validated on; all of those and what is measured."""
    data, recipe = case
    found = roles(data, recipe)
    of = parts(data.train_good, recipe)
    kept = [sample for sample in found.validation if sample.label == GOOD]
    sides = [{of[sample] for sample in samples} for samples in (found.fit, found.holdout, kept)]
    assert sum(map(len, sides)) == len(set().union(*sides))
    of = parts((*data.train_defects, *data.test), recipe)
    validated = [sample for sample in found.validation if sample.label != GOOD]
    assert not {of[sample] for sample in found.defects} & {of[sample] for sample in validated}
    seen = {*found.defects, *validated, *found.left_out}
    measured = {of[sample] for sample in data.test if sample not in seen}
    assert not {of[sample] for sample in (*found.defects, *validated)} & measured


def test_an_image_that_is_not_drawn_joins_those_on_both_sides_of_it() -> None:
    data = dataset(
        list(range(0, 80, 4)), [("crack", 101)], [("crack", n) for n in (100, 100, 102, 102, 110, 120)], True
    )
    recipe = TrainConfig(group_regex=r"_num_(\d+)", group_gap=1)
    found = split(data, recipe)
    numbers = {sample.path.stem.rpartition("_")[2] for sample in found.defects}
    assert {"100", "102"} <= numbers
    assert [sample.path.stem.rpartition("_")[2] for sample in found.left_out] == ["101"]


@settings(deadline=None, max_examples=100)
@given(case=cases())
def test_as_many_defects_as_wanted_and_always_the_same(case: tuple[Dataset, TrainConfig]) -> None:
    data, recipe = case
    found = roles(data, recipe)
    labelled = [sample for sample in (*found.defects, *found.validation) if sample.label != GOOD]
    drawn = [sample for sample in labelled if sample in data.test]
    assert len(drawn) == recipe.labelled
    assert set(data.train_defects) <= set(labelled)
    assert split(data, recipe) == found


def test_types_are_drawn_alike_as_far_as_they_go() -> None:
    test = (
        [("crack", i) for i in range(20)]
        + [("dent", 100 + i) for i in range(2)]
        + [("fray", 200 + i) for i in range(20)]
    )
    found = split(dataset(list(range(300, 340)), test, [], True), TrainConfig(labelled=14))
    labels = [sample.label for sample in (*found.defects, *found.validation)]
    assert [labels.count(name) for name in TYPES] == [6, 2, 6]


def test_another_seed_draws_others() -> None:
    data = dataset(list(range(40)), [("dent", 100 + i) for i in range(40)], [], True)
    assert split(data, TrainConfig(labelled=10)) != split(data, TrainConfig(labelled=10, seed=1))


def test_more_labels_than_there_are_defects_are_refused() -> None:
    data = dataset(list(range(40)), [("dent", 100), ("dent", 101), (GOOD, 102)], [], True)
    with pytest.raises(DataError, match="labelled = 2, but test/ holds 2 defective images; leave some"):
        split(data, TrainConfig(labelled=2))


@pytest.mark.parametrize("artificial", [False, True])
def test_without_labels_there_is_no_validation(artificial: bool) -> None:
    found = split(dataset(list(range(40)), [("dent", 100)], [], True), TrainConfig(artificial=artificial))
    assert found.validation == found.defects == found.left_out == ()
    assert len(found.fit) + len(found.holdout) == 40


def test_without_heads_every_good_is_fitted_and_sets_the_limit_where_few_could_be_held_out() -> None:
    data = dataset(list(range(40)), [("dent", 100)], [], True)
    found = split(data, TrainConfig(artificial=False))
    assert (found.fit, found.holdout, found.cross) == (data.train_good, (), True)
    assert found.bank == data.train_good


def test_goods_are_held_out_where_a_fifth_of_them_guarantees_alpha_and_may_hold_an_outlier() -> None:
    many = dataset(list(range(1000)), [], [], True)
    assert not split(many, TrainConfig()).cross
    assert split(many, TrainConfig(alpha=0.009)).cross
    assert not split(many, TrainConfig(alpha=0.009, outliers=0)).cross
    assert split(many, TrainConfig(limit="cross")).cross
    assert not split(dataset(list(range(40)), [], [], True), TrainConfig(limit="split")).cross


def test_photographs_of_one_part_count_once_for_that() -> None:
    assert split(dataset([index // 2 for index in range(1000)], [], [], False), TrainConfig()).cross


def test_heads_leave_held_out_goods_that_the_bank_may_know() -> None:
    data = dataset(list(range(40)), [], [("dent", 100 + i) for i in range(8)], True)
    found = split(data, TrainConfig())
    assert found.cross
    assert len(found.holdout) == 10
    assert set(found.bank) == {*found.fit, *found.holdout}
    kept = [sample for sample in found.validation if sample.label == GOOD]
    assert kept
    assert not {*kept} & {*found.bank}


def test_goods_of_one_part_are_refused() -> None:
    data = dataset([1] * 30, [], [("dent", 100)], False)
    with pytest.raises(DataError, match="30 good images show 1 part; holding some out needs at least 2"):
        split(data, TrainConfig())
