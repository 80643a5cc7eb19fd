"""`python -m data.training.measure_gans`: the demo AttnGAN and SSA-GAN against their bars.

Prompts are the reference captions of validation scenes; pictures and scores are made by the code that the
notebooks use.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from data.training.attention_targets import coverage
from data.training.caption_quality import parse_caption
from data.training.drawn_scenes import Scenes, load_scenes
from data.training.measure import DEMO, DISTANCE, Row, of, start
from helpers.captioning.captions import caption_all
from helpers.generation import draw as generation
from helpers.generation.methods import loader, sampler
from helpers.generation.methods.gans import Drawn
from helpers.models.loading import release
from helpers.runs.arms import Arm
from helpers.runs.run import Run
from helpers.scenes import images
from helpers.scoring import intervals, scores
from helpers.scoring.alignment import similarity
from helpers.scoring.features import image_features
from helpers.scoring.judges import Judges
from helpers.scoring.measurements import collect

TITLES = {"attngan": "AttnGAN", "ssagan": "SSA-GAN"}


def arms(method: str) -> list[str]:
    """Two seeds of a method."""
    return [Arm("caption", method, seed=seed).name for seed in (0, 1)]


def places_right(run: Run, arm: str) -> intervals.Estimate:
    """Share of pictures whose place, as the captioner says it, is that of their caption."""
    pictures = [images.load(run.picture(arm, scene)) for scene in run.scenes]
    said = [parse_caption(one.generated_text).place for one in caption_all(DEMO.captioners["opt"], pictures)]
    true = [parse_caption(scene.caption).place for scene in run.scenes]
    return intervals.mean(np.array([a == b for a, b in zip(said, true, strict=True)], float))


def variety_of_photos(run: Run, others: Scenes, judges: Judges) -> intervals.Estimate:
    """1 - cosine of two photos with the same caption, where the training scenes have such a one."""
    rows = {others.captions[row]: row for row in np.flatnonzero(others.crisp)}
    pairs = [(scene.photo(), rows[scene.caption]) for scene in run.scenes if scene.caption in rows]
    seen = image_features(judges.clip, [photo for photo, _ in pairs])
    same = image_features(judges.clip, [Image.fromarray(others.photos[row]) for _, row in pairs])
    return intervals.mean(1 - similarity(seen, same))


def made(run: Run, arm: str) -> Iterator[tuple[Drawn, list[str]]]:
    """Scene by scene what the generator makes, and the tokens of the prompt."""
    method, prompts = Arm.parse(arm).grounding, run.prompts("caption").set_index("scene").prompt
    parts = loader(method, DEMO, None)[1]()
    for scene in run.scenes:
        request = generation.request(scene, prompts[scene.name], Arm.parse(arm), run.card["protocol"])
        side = run.card["protocol"]["size"]
        drawn = sampler([request])(parts, 1, "", (side, side)).make([request])
        yield drawn, parts.tokenizer.tokenize(request.prompt)
    release(parts)


def attention_inside(run: Run, arm: str, judges: Judges) -> tuple[intervals.Estimate, intervals.Estimate]:
    """Share of the attention of a kind's word that lies inside the kind's detected box, and how much more
    that is than of the other words of the prompt, scene by scene."""
    found, own, more = collect(run, run.scenes, arm, judges).detections, [], []
    for detections, (drawn, tokens) in zip(found, made(run, arm), strict=True):
        attention = drawn.maps[-1][0].flatten(0, 1)
        inside = coverage(torch.from_numpy(detections.boxes)[None], drawn.maps[-1].shape[1])[0].T
        shares = (inside @ attention / attention.sum(0)).numpy()
        rows = []
        for label, share in zip(detections.labels, shares, strict=True):
            named = np.array([token.startswith(label) for token in tokens])
            if named.any():
                rows.append((share[named].mean(), share[~named].mean()))
        if rows:
            word, others = np.mean(rows, 0)
            own.append(word)
            more.append(word - others)
    return intervals.mean(np.array(own)), intervals.mean(np.array(more))


def mask_inside(run: Run, arm: str, judges: Judges) -> intervals.Estimate:
    """Mean of the last mask inside the detected boxes over its mean outside of them."""
    found, means = collect(run, run.scenes, arm, judges).detections, []
    for detections, (drawn, _) in zip(found, made(run, arm), strict=True):
        mask = drawn.maps[-1][0].flatten().numpy()
        if len(detections.boxes):
            inside = coverage(torch.from_numpy(detections.boxes)[None], drawn.maps[-1].shape[1])[0]
            inside = inside.amax(1).numpy()
            means.append((np.average(mask, weights=inside), np.average(mask, weights=1 - inside)))
    return intervals.jackknife(*intervals.ratio_left_out(*np.array(means).T))


def rows(run: Run, others: Scenes, judges: Judges) -> Iterator[Row]:
    """Every bar of both."""
    photos = variety_of_photos(run, others, judges)
    yield Row("photos", "variety, same caption", photos)
    for method, title in TITLES.items():
        first, second = arms(method)
        generation.draw(run, [first, second])
        table = scores.score(run, run.scenes, [first, second], judges)
        yield Row(title, "R-precision", of(table, first, "R-precision"), 0.25)
        yield Row(title, "place right", places_right(run, first), 0.9)
        yield Row(title, "variety of two seeds", of(table, second, "variety"), photos.value / 2)
        yield Row(title, DISTANCE, of(table, first, DISTANCE))
        if method == "attngan":
            own, more = attention_inside(run, first, judges)
            yield Row(title, "attention of a kind's word inside its box", own)
            yield Row(title, "that less other words'", more, 0)
        else:
            yield Row(title, "mask inside boxes / outside", mask_inside(run, first, judges), 1.3)


def main(arguments: list[str] | None = None) -> None:
    """Measure, and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=256, help="validation scenes")
    parser.add_argument("--others", type=int, default=24_000, help="training scenes, for equal captions")
    parser.add_argument("--work", type=Path, default=Path("runs/quality"), help="photos, scenes and run")
    given = parser.parse_args(arguments)
    judges = Judges(DEMO)
    run = start(given.work, given.scenes, judges)
    others = load_scenes("train", given.others, given.work / "scenes")
    print("| part | measure | bar | value | 95 % | n | held |\n|---|---|---|---|---|---|---|")
    for row in rows(run, others, judges):
        print(row, flush=True)


if __name__ == "__main__":
    main()
