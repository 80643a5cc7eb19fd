"""Which pictures of an arm may enter a score, and how many were left out, by reason."""

from collections.abc import Sequence

from helpers.runs.arms import own_arm
from helpers.runs.run import Run
from helpers.scenes.scenes import Scene
from helpers.scoring.extraction import PHOTOS, Pictures

CONSTANT = 1.0  # standard deviation of pixels, of 255, under which a picture shows nothing


def usable(run: Run, scenes: Sequence[Scene], arm: str) -> tuple[list[Scene], dict[str, int]]:
    """The scenes whose picture may enter a score, and how many pictures were left out or cut, and why."""
    if arm == PHOTOS:
        return list(scenes), {}
    there = [scene for scene in scenes if run.picture(arm, scene).is_file()]
    facts = Pictures(run, there, arm, None).facts()
    flagged, damaged = facts["flagged"] > 0, facts["damaged"] > 0
    constant = (facts["spread"] < CONSTANT) & ~flagged & ~damaged
    kept = [scene for scene, bad in zip(there, flagged | damaged | constant, strict=True) if not bad]
    counts = {
        "missing pictures": len(scenes) - len(there) + int(damaged.sum()),
        "flagged pictures": int(flagged.sum()),
        "constant pictures": int(constant.sum()),
        "dropped boxes": int(facts["dropped"].sum()),
    }
    if not kept:
        raise ValueError(f"arm {arm!r}: none of {len(scenes)} scenes has a usable picture ({counts})")
    return kept, counts | _truncated(run, kept, arm)


def _truncated(run: Run, scenes: Sequence[Scene], arm: str) -> dict[str, int]:
    """How many prompts were cut; nothing for pictures that did not come from a prompt of this run."""
    template = parsed.template if (parsed := own_arm(arm)) else ""
    if not (run.edits(template) or run.has(f"prompts/{template}.jsonl")):
        return {}
    prompts = run.prompts(template).set_index("scene")
    return {"truncated prompts": int(prompts.truncated[[scene.name for scene in scenes]].sum())}
