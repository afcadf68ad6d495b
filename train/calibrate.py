"""Stage calibrate: held-out good parts, judged by the shipped INT8 file -> threshold and defect probability."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import stats

from edge.arguments import OneLineParser
from edge.bundle import INT8_IR, Calibration, Threshold
from edge.detector import Detector
from edge.preprocess import load_image
from train.errors import TrainError
from train.work import Work, progress

MIN_HOLDOUT = 4
GOOD_MEDIAN_PROBABILITY = 0.02  # what the middle one of the good parts reads on the page, where 0.5 is the threshold


class CalibrateError(TrainError):
    """Too few held-out good parts, or scores that cannot be used."""


def main(argv: list[str]) -> None:
    parser = OneLineParser(prog="python -m train calibrate", description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="the run's folder, e.g. runs/NAME")
    calibrate(Work(parser.parse_args(argv).work))


def calibrate(work: Work) -> None:
    """Score the held-out goods with the INT8 IR through the device's code and write calibration.json."""
    report = work.fit_report()
    detector = Detector(work.need(INT8_IR, "quantize"), report.input)
    files = [report.data / name for name in report.holdout_images]
    scores = [detector.predict(load_image(path)).score for path in progress(files, "held-out goods")]
    threshold = set_threshold(scores, report.recipe.alpha)
    calibration = goods_logistic(scores, threshold)
    work.write_report(
        "calibration.json",
        {
            "threshold": threshold.model_dump(),
            "calibration": calibration.model_dump(),
            "holdout": dict(zip(report.holdout_images, scores, strict=True)),
        },
    )
    promise = (
        f"at most {threshold.bound:.1%} of good parts rejected" if threshold.bound else "an estimate, no guarantee"
    )
    print(
        f"calibrate: threshold {threshold.value:.4g} from {threshold.n} held-out goods ({threshold.method}: {promise})"
    )


def set_threshold(scores: Sequence[float], alpha: float) -> Threshold:
    """The score from which a part is NG, from n held-out good parts and the wanted false-reject share alpha.

    With n + 1 >= 1 / alpha: split conformal (Vovk 2005; Lei et al. 2018). A new good part exceeds the k-th smallest
    of n scores with probability at most 1 - k / (n + 1), whatever their distribution. With fewer parts nothing can
    be guaranteed, and the threshold is the normal quantile of the log scores around their median, with the spread of
    the upper half only: an unusually calm part must not raise the threshold. It is not widened for small n: what few
    parts leave in doubt is rejected.
    Raises CalibrateError with fewer than 4 scores, or when they are all equal or not positive.
    """
    values = np.sort(np.asarray(scores, dtype=np.float64))
    n = len(values)
    if n < MIN_HOLDOUT:
        raise CalibrateError(f"{n} held-out good images, at least {MIN_HOLDOUT} are needed; add good images")
    if not (np.isfinite(values).all() and values[0] > 0 and values[-1] > values[0]):
        raise CalibrateError("the held-out goods' scores are not usable (equal, zero or not finite); check the images")
    allowed = math.floor(alpha * (n + 1) + 1e-9)
    if allowed >= 1:
        rank = n + 1 - allowed
        above = float(np.nextafter(values[rank - 1], np.inf))
        return Threshold(value=above, method="conformal", n=n, alpha=alpha, bound=allowed / (n + 1))
    logs = np.log(values)
    centre = float(np.median(logs))
    upper = logs[logs >= centre] - centre
    spread = math.sqrt(float(np.mean(upper**2)))
    value = math.exp(centre + float(stats.norm.ppf(1.0 - alpha)) * spread)
    return Threshold(value=value, method="normal_limit", n=n, alpha=alpha, bound=None)


def goods_logistic(scores: Sequence[float], threshold: Threshold) -> Calibration:
    """A defect probability where no defect was ever seen: 0.5 at the threshold, 0.02 at the goods' median.

    It orders parts and agrees with the verdict; it is not a frequency, and docs/bundle.md says so.
    """
    spread = max(threshold.value - float(np.median(scores)), 1e-3 * threshold.value)
    scale = spread / math.log((1.0 - GOOD_MEDIAN_PROBABILITY) / GOOD_MEDIAN_PROBABILITY)
    return Calibration(method="goods_logistic", midpoint=threshold.value, scale=scale, n=len(scores))
