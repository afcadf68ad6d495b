"""Whether places are judged beside the memory bank: a trial on the good photographs says so."""

from __future__ import annotations

from edge.inference.preprocess import InputSpec
from edge.inference.usable import UnusableError, load_photo
from train.config import TrainConfig
from train.data.dataset import GOOD, DataError, Dataset
from train.data.input_spec import own_size, spec_of, with_scales
from train.data.region.align import with_align
from train.data.region.fits import of_other_size
from train.data.split import Split
from train.network.backbones import Backbone
from train.network.model import PatchFeatures
from train.network.second.place import gain_by_places

SURE_OF_PLACES, NOT_WORSE = 0.95, 0.2  # share of resamples in which places must win, of one kind and of the other
TRIAL_SIDE = 448  # of that trial's input


def with_places(recipe: TrainConfig, roles: Split, dataset: Dataset, wanted: TrainConfig) -> tuple[TrainConfig, str]:
    """Return the recipe with its places decided, and the words for a region that follows the part because of them.

    Places are judged instead of a second scale, where all good photographs and labelled defects can be laid over each
    other and a trial says that they help. Two scales that are asked for go without them. A recipe that says how
    photographs are laid over the reference is taken at its word. wanted: the recipe before its
    region was decided. Raises DataError where places are asked for and a photo has another size than the good ones.
    """
    off = recipe.model_copy(update={"place": "off", "align": None})
    if recipe.place == "off" or (recipe.place == "auto" and recipe.scales == 2):
        return off, ""
    if recipe.place == "on" and recipe.align is not None:
        return recipe.model_copy(update={"scales": 1}), ""
    laid, words = with_align(dataset, recipe, wanted)
    on = laid.model_copy(update={"place": "on", "scales": 1})
    if recipe.place == "on":
        _tell_asked(dataset, on)
        return on, words
    if on.align is None:
        return off, ""
    own = own_size(roles.fit, on)
    if far := _of_other_size(dataset, on) or _not_laid(roles, spec_of(own, on)):
        print(f"fit: no places; {far}")
        return off, ""
    before = with_scales(on.model_copy(update={"scales": recipe.scales}), own, roles.has_heads)
    side = min(TRIAL_SIDE, recipe.side or TRIAL_SIDE)
    trial = on.model_copy(update={"scales": before.scales, "side": side, "native": False})
    features = PatchFeatures(Backbone.pretrained(recipe.backbone, recipe.weights), recipe.patch_stride).eval()
    gain = gain_by_places(features, roles.bank, spec_of(own, trial), trial)
    if gain is None:
        return off, ""
    sure = max(gain.displaced, gain.usual) >= SURE_OF_PLACES and min(gain.displaced, gain.usual) >= NOT_WORSE
    print(
        f"fit: {'places are judged' if sure else 'no places'}; that bank and places (weight {gain.weight:.1f}) see "
        f"what is displaced better is {gain.displaced:.0%} sure, other artificial defects {gain.usual:.0%}; "
        f"{SURE_OF_PLACES:.0%} of one and {NOT_WORSE:.0%} of the other are asked for"
    )
    if not sure:
        return off, ""
    if words:
        print(f"region: {words}")
    return on.model_copy(update={"place_weight": gain.weight}), words


def _tell_asked(dataset: Dataset, recipe: TrainConfig) -> None:
    """Say where places that are asked for are judged on photographs as they are; raises DataError as with_places."""
    if recipe.align is None:
        print("fit: places are judged where the photographs show them: they cannot be laid over each other")
    elif other := _of_other_size(dataset, recipe):
        raise DataError(f"place: {other}; remove it, or train with --place off")


def _of_other_size(dataset: Dataset, recipe: TrainConfig) -> str | None:
    """Return which photo cannot be laid over the reference, because it has another size; None where all have one."""
    if recipe.align is None:
        return None
    return of_other_size((*dataset.train_defects, *dataset.test), (recipe.align.width, recipe.align.height))


def _not_laid(roles: Split, spec: InputSpec) -> str:
    """Return which labelled defect cannot be laid over the reference, and why; empty where all can."""
    for sample in (*roles.defects, *(one for one in roles.validation if one.label != GOOD)):
        try:
            load_photo(sample.path, spec)
        except UnusableError as error:
            return str(error)
    return ""


def place_words(recipe: TrainConfig) -> str:
    """Return what the report says of places, behind the region."""
    if not recipe.places:
        return ""
    laid = ", on photos laid over the reference" if recipe.align is not None else ""
    return f"; what good parts show at each place is judged, too{laid} (--place off leaves it out)"
