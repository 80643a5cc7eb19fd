"""Attributes of pictures as CLIP sees them: how even their categories are, and whether each picture shows the
one that was asked for."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from helpers.runs.arms import own_arm
from helpers.runs.run import Run
from helpers.scoring.extraction import text_embeds
from helpers.scoring.intervals import Measured
from helpers.scoring.judges import Judges

RIGHT = 0.98  # share of the reference photos that CLIP has to name rightly, else pictures are not judged


@dataclass(frozen=True, eq=False)
class Categories:
    """seen: (n,) indices of the categories that n pictures show; count: how many categories there are."""

    seen: np.ndarray
    count: int


def record_name(attribute: str) -> str:
    """The file of a run that says what is known of an attribute: see `generation.tokens.learn`."""
    return f"tokens/{attribute}.json"


def classify(images: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """Index (n,) of the category that each image is nearest to.

    images: (n, d) CLIP features; texts: (k, m, d), of m texts per category, whose mean stands for it, as in
    CLIP's own zero-shot classification (Radford et al. 2021, section 3.1.4).
    """
    return (images @ texts.mean(1).T).argmax(1)


def kl_to_uniform(counts: np.ndarray) -> float:
    """Kullback-Leibler divergence, in nats, of the shares of k categories to the uniform distribution.

    counts: (k,). 0 where all are equal, ln k where all is in one. Of n pictures drawn by chance from an even
    distribution it is (k - 1) / (2 n) on average: see `chance`.
    """
    shares = counts / counts.sum()
    shares = shares[shares > 0]
    return float((shares * np.log(shares * len(counts))).sum())


def chance(count: int, n: int) -> float:
    """The divergence that n pictures of so many categories show on average where all are equally likely."""
    return (count - 1) / (2 * n)


def divergence(shown: Categories) -> Measured:
    """`kl_to_uniform` of pictures, with what its interval is made of.

    Of n pictures where the truth is even, 2 n times the value is chi-squared with count - 1 degrees of
    freedom; the variance of pairs is what gives that variance. In simulations (2 to 5 categories, 24 to 200
    pictures) the interval holds a true 0 in 92 to 96 %, and in 100 % where pictures are asked for evenly.
    """
    seen, count = shown.seen, shown.count
    counts = np.bincount(seen, minlength=count)
    left_out = np.array([kl_to_uniform(counts - np.eye(count)[category]) for category in seen])
    facts = {"pair_variance": (count - 1) / 4, "bias": chance(count, len(seen))}
    return Measured(kl_to_uniform(counts), left_out, **facts)


def collect_categories(
    run: Run, arm: str, scenes: Sequence[str], embeds: np.ndarray | None, judges: Judges | None, why: str
) -> tuple[dict, dict[str, str]]:
    """Fields `categories` and, where the arm asks for them, `hits` of its Measurements, or the reasons where
    CLIP does not judge them; both are empty for an arm without an attribute.

    embeds: (n, d) CLIP features of the pictures; why: CLIP is not asked at all, "" where it is.
    """
    name = f"prompts/{parsed.template}.jsonl" if (parsed := own_arm(arm)) else ""
    known = run.read_jsonl(name) if name and run.has(name) else []
    if not (rows := {row["scene"]: row for row in known if "attribute" in row}):
        return {}, {}
    about = run.read_json(record_name(rows[scenes[0]]["attribute"]))
    wanted = [rows[scene]["category"] for scene in scenes]
    if about["right"] < RIGHT:
        share = f"{about['right']:.2f} of the reference photos rightly, fewer than {RIGHT}"
        why = why or f"not judged: CLIP names the {about['attribute']} of {share}"
    if why:
        return {}, {"categories": why} | ({"hits": why} if all(wanted) else {})
    texts = [text for several in about["texts"].values() for text in several]
    features = text_embeds(run, texts, "attributes", arm, judges)
    seen = classify(embeds, features.reshape(len(about["texts"]), -1, features.shape[1]))
    found = {"categories": Categories(seen, len(about["texts"]))}
    if all(wanted):
        order = [about["categories"].index(category) for category in wanted]
        found["hits"] = (seen == np.array(order)).astype(float)
    return found, {}
