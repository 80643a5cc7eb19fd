"""How far a report can be trusted: what realism leaves out, what a gap is worth, how many comparisons."""

from collections.abc import Iterator, Mapping

from helpers.report import comparisons
from helpers.report.claims import worded
from helpers.report.comparisons import CLIP_SCORE, FOUND, GROUNDING, NAMED, realism
from helpers.report.tables import Answer
from helpers.runs.run import Run
from helpers.scoring import scores, verdicts
from helpers.scoring.intervals import LEVEL
from helpers.scoring.metrics import OWN_PHOTOS
from helpers.scoring.significance import holm_over

ORIGINAL_GAP = 0.58 / 113.45  # between the original's first two arms, as a share of the distance


def own_photos(run: Run) -> Answer:
    """Why realism leaves the own photo out, with both numbers of each grounding side by side."""
    question = "Why is a picture not held against its own photo?"
    if not run.has_photos:
        return Answer(question, "There are no photos; realism is not judged.")
    values = run.scores().set_index(["metric", "arm"]).value
    own = next(name for name in scores.metrics_of(run) if name.endswith(OWN_PHOTOS))
    crossed = own.replace(OWN_PHOTOS, "crossed")
    rows = {**comparisons.groundings(run).names, scores.ROUND_TRIP: "photos through the autoencoder"}
    lines = [
        f"{name}: {values[own, arm]:.1f} to their own photos, {values[crossed, arm]:.1f} crossed"
        for arm, name in rows.items()
        if (own, arm) in values.index
    ]
    photos = values.get((crossed, scores.PHOTOS), float("nan"))
    return Answer(
        question,
        "It is made from that photo's caption and boxes and resembles it, so a distance to the own photos is "
        "the smaller the more a picture copies, however real it looks. KID therefore leaves each picture's "
        "own photo out, and the crossed distance holds the pictures of one half of the scenes against the "
        "photos of the other half.",
        (
            f"{own.removesuffix(OWN_PHOTOS).strip()}: {'; '.join(lines)}; photos against photos crossed: "
            f"{photos:.1f}, which is what pictures as real as photos would get.",
        ),
    )


def equal_arms(run: Run) -> Answer:
    """What the original's gap is worth: how often two arms that do not differ lie as far apart."""
    question = "How far apart do two arms lie that do not differ?"
    if not run.has_photos:
        return Answer(question, "There are no photos; distances to them are not judged.")
    first, second = comparisons.template_arms(run)[:2]
    values = run.scores().set_index(["metric", "arm"]).value
    gap = abs(float(values[realism(run), first])) * ORIGINAL_GAP
    chance = verdicts.equal_arms(run, first, second, gap)
    return Answer(
        question,
        f"Typically {chance['median']:.2g} in {chance['metric']}: two arms whose pictures are swapped at "
        f"random, {chance['draws']} times, N = {chance['n']}.",
        (
            "The original study took the better of 114.03 and 113.45, a gap of 0.58 or 0.5 %. The same share "
            f"of the distance is {gap:.2g} here; of the pairs of equal arms that were drawn, "
            f"{chance['share']:.0%} lie at least as far apart.",
        ),
    )


def comparisons_made(run: Run) -> Answer:
    """How many comparisons the report makes, and which of its claims hold when all are corrected as one."""
    number, made, claimed = as_one(run)
    lost = [claim for claim, holds in claimed if not holds]
    held = len(claimed) - len(lost)
    grounds = [
        "Each table is corrected for its own comparisons (Holm). Of 400 made-up reports in which no arm "
        "differs from another, with 33 comparisons on 48 photos each, 15 % claimed a difference somewhere, "
        "and 1 % with all comparisons corrected as one."
    ]
    if lost:
        grounds.append(f"Differences that do not hold as one: {'; '.join(lost)}.")
    return Answer(
        "How many comparisons does this report make?",
        f"{number}, in {made} tables. {len(claimed)} of the arms that are held against a table's best or "
        f"chosen arm differ from it; {held} still do when all {number} are corrected as one.",
        tuple(grounds),
    )


def as_one(run: Run) -> tuple[int, int, list[tuple[str, bool]]]:
    """Number of comparisons and of tables in the report, and its claims: each with whether it holds when all
    comparisons are corrected as one."""
    tables, claims = [], []
    for metric, names, base in families(run):
        try:
            tables.append((names, verdicts.compare(run, metric, list(names), base)))
        except ValueError:  # not judged, or too few photos: it claims nothing
            continue
    corrected = holm_over([table.attrs["p"] for _, table in tables])
    for (names, table), p in zip(tables, corrected, strict=True):
        rows = zip(table.to_dict("records"), p, strict=False)
        told = [(worded(run, row, names), bool(over < 1 - LEVEL)) for row, over in rows if row["different"]]
        claims += [(claim.split(":")[0], holds) for claim, holds in told]
    return sum(map(len, corrected)), len(tables), claims


def families(run: Run) -> Iterator[tuple[str, Mapping[str, str], str | None]]:
    """The families of comparisons, one per table that names a better arm: metric, arms with their names, and
    the arm that all are compared with (None: the best)."""
    captions, distance = comparisons.captioners(run).names, realism(run)
    yield from ((metric, captions, None) for metric in (CLIP_SCORE, NAMED) if len(captions) > 1)
    yield comparisons.quality(run), comparisons.templates(run, comparisons.template_arms(run)).names, None
    main = comparisons.main_arm(run)
    yield from ((metric, comparisons.groundings(run).names, main) for metric in (FOUND, distance))
    for kind in ("text", "image"):
        arms, name = comparisons.guidance_arms(run, kind), f"{GROUNDING[kind]} at guidance_scale"
        names = {arm.name: f"{name} {arm.guidance_scale:g}" for arm in arms}
        yield from ((metric, names, None) for metric in (distance, FOUND) if len(arms) > 1)
