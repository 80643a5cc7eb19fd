"""One metric of an arm: what it needs, how it is computed, whether it applies, and its interval."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from helpers.scenes.boxes import PLACES
from helpers.scoring import intervals
from helpers.scoring.intervals import Estimate, Measured
from helpers.scoring.measurements import Measurements
from helpers.scoring.shares import share_interval

REALISM, BOXES, PROMPT = "Realism", "Following the boxes", "Following the prompt"
CAPTIONS, SEEDS, EDITS, ATTRIBUTES = "Captions", "Two seeds", "Edits", "Attributes"
NOT_JUDGED = "not judged"  # what the reason of a withheld score starts with


@dataclass(frozen=True)
class Metric:
    """A score of an arm: how it is computed, from what, and how people read it.

    needs: the fields of Measurements without which there is no such score. group: the heading of its table.
    digits: decimals that people read. limits: what it never leaves, where an interval ends. share: whether it
    is a share of boxes or photos, sums of counts. fewest: scenes that leave enough when one is left out.
    no_verdict: why no arm is called better by it. halves: what two random halves of the photos get, photos
    (n, d) and number of splits -> (splits,). crowded: only where a scene has more than PLACES boxes.
    """

    measure: Callable[[Measurements], Measured]
    needs: tuple[str, ...]
    group: str
    lower_is_better: bool = False
    digits: int = 3
    limits: tuple[float, float] = (-np.inf, np.inf)
    share: bool = False
    fewest: int = 3
    no_verdict: str = ""
    halves: Callable[[np.ndarray, int], np.ndarray] | None = None
    crowded: bool = False


def withheld(metric: Metric, measurements: Measurements) -> str:
    """Why the metric is not judged; "" where it is, or where it does not apply."""
    reasons = (measurements.withheld.get(field, "") for field in metric.needs)
    return next(filter(None, reasons), "")


def applies(metric: Metric, measurements: Measurements) -> bool:
    """Whether the arm has what the metric looks at: the fields, a box where it looks at boxes, a phrase that
    names a colour where it looks at colours."""
    if any(getattr(measurements, field) is None for field in metric.needs):
        return False
    if metric.needs in (("colours",), ("rgb",)):
        return any(np.isfinite(rows).any() for rows in getattr(measurements, *metric.needs))
    least = PLACES + 1 if metric.crowded else 1
    return "layouts" not in metric.needs or any(len(one.boxes) >= least for one in measurements.layouts)


def measure(metric: Metric, measurements: Measurements) -> Measured:
    """Raises TooFew where leaving one scene out leaves nothing to measure."""
    if (n := len(measurements.scenes)) < metric.fewest:
        raise intervals.TooFew(f"{n} scenes, at least {metric.fewest} are needed")
    return metric.measure(measurements)


def interval(metric: Metric, measured: Measured) -> Estimate:
    """The value with its interval: of shares one that is never without width, of means over pairs one that
    holds 0 as often as it says, of others the jackknife's."""
    if measured.pair_variance is not None:
        facts = measured.left_out, measured.pair_variance, measured.bias or 0
        return intervals.quadratic(measured.value, *facts).within(*metric.limits)
    estimate = intervals.jackknife(measured.value, measured.left_out).within(*metric.limits)
    if not metric.share:
        return estimate
    share = replace(share_interval(measured.sums, measured.counts), n=estimate.n)
    given = metric.group == REALISM and share.standard_error < estimate.standard_error
    return estimate if given else share  # an interval that takes the manifolds as given may be too narrow
