"""What a report says in words: where judges know the photos, where they do not, and where photos are few."""

import os
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup

from helpers.report import answers, box_scores, certainty, comparisons, gallery, tables
from helpers.runs import protocol
from helpers.runs.arms import Arm
from helpers.scoring import scores, verdicts
from tests.benchmarks import bench_claims
from tests.fakes.judged import draw, load_small_judges, start

ARMS = [Arm("suffix", grounding, 2).name for grounding in ("none", "text", "image")]
MORE = [Arm("caption", "text", 2).name, Arm("label", "text", 2).name, Arm("suffix", "text", 11).name]
KID = "KID × 1000 (EfficientNet-Lite0)"
REASON = "not judged: nobody knows these photos"


def scored(folder, judges, count=8, withheld=False, blind=False):
    """Six arms of noise with everything that the report's questions ask for. The random detector finds no box
    in the photos: as if it found half of them, unless blind."""
    run = start(folder, count)
    for template in ("suffix", "label"):
        run.write_jsonl(f"prompts/{template}.jsonl", run.read_jsonl("prompts/caption.jsonl"))
    run.write_jsonl("captions/t5.jsonl", run.read_jsonl("captions/opt.jsonl"))
    run.write_json("choices/captioner.json", {"captioner": "opt"})
    compared = ["caption", "label", "suffix"]
    run.write_json("choices/template.json", {"template": "suffix", "guidance_scale": 2, "compared": compared})
    for seed, arm in enumerate([*ARMS, *MORE]):
        draw(run, arm, seed)
    with pytest.MonkeyPatch.context() as patch:
        if withheld:
            fields = dict.fromkeys(("clip", "detector"), REASON)
            patch.setattr("helpers.scoring.measurements.reasons_to_withhold", lambda run: fields)
        scores.score(run, run.scenes, [*ARMS, *MORE], judges)
        scores.score_controls(run, run.scenes, ARMS[1], judges)
        scores.score_captions(run, run.scenes, ["opt", "t5"], judges)
    if not (withheld or blind):
        rows = run.read_json("scores/photos.json")
        half = [row | ({"value": 0.5} if row["metric"] == comparisons.FOUND else {}) for row in rows]
        run.write_json("scores/photos.json", half)
    return run


@pytest.fixture(scope="module")
def judges(tmp_path_factory):
    return load_small_judges(tmp_path_factory.mktemp("judges"))


@pytest.fixture(scope="module")
def run(tmp_path_factory, judges):
    return scored(tmp_path_factory.mktemp("study"), judges)


@pytest.fixture(scope="module")
def silent(tmp_path_factory, judges):
    """The same, but neither CLIP nor the detector knows the photos."""
    return scored(tmp_path_factory.mktemp("silent"), judges, withheld=True)


def test_five_questions_are_answered_in_words_where_only_realism_and_counts_are_left(silent):
    names = ("captioners", "templates", "groundings", "guidance", "training")
    told = dict(zip(names, answers.all_of(silent, 11), strict=True))
    assert told["captioners"].short.startswith(f"CLIP score is {REASON}.")
    assert told["groundings"].short.startswith(f"Boxes found are {REASON}. {KID}: ")
    assert told["training"].short == f"N{REASON[1:]}." and not told["training"].grounds
    assert "With text grounding, 11 is" in told["guidance"].short
    assert answers.front(silent).short == f"Boxes found are {REASON}."
    lines = [line for one in told.values() for line in one.grounds]
    assert any(KID in line for line in lines)
    assert not [line for line in lines for metric in ("found at", "CLIP score", "crop") if metric in line]


def test_a_detector_that_finds_nothing_in_the_photos_either_judges_no_picture(tmp_path, judges):
    run = scored(tmp_path, judges, blind=True)
    assert run.scores([scores.PHOTOS]).set_index("metric").value[comparisons.FOUND] == 0
    lines = [line for one in answers.all_of(run, 11) for line in (one.short, *one.grounds)]
    lines += [answers.front(run).short, comparisons.groundings(run).caption]
    assert not [line for line in lines if "0%" in line or f"in {comparisons.FOUND}" in line]
    why = "the detector finds none of the boxes in the photos either"
    assert sum(why in line for line in lines) == 4  # groundings, training, front, and below the table
    assert certainty.as_one(run)[1] == 5  # tables by CLIP and by realism alone


def test_what_is_not_judged_says_so_in_the_tables_and_why_below(silent):
    page = BeautifulSoup(tables.score_table(silent.scores(), comparisons.main(silent)).data, "html.parser")
    assert "not judged" in page.tbody.text
    assert (
        "Not judged: mean IoU, found at IoU 0.5, crop accuracy, CLIP score (nobody knows" in page.caption.text
    )
    groups = comparisons.everything(silent)
    assert "Not judged" not in groups[0].caption and "AP75" in groups[1].caption
    for frame in (
        box_scores.by_iou(silent),
        box_scores.by_group(silent, "label"),
        box_scores.qualifying(silent),
    ):
        assert (frame.iloc[:, 2] == "not judged").all() and len(frame)
    shown = gallery.compare(silent, silent.scenes[:1], {ARMS[1]: "text"}, scored=True)
    assert "boxes not judged" in shown.data and "missed" not in shown.data
    assert [one.name for one in box_scores.ranked(silent)] == [one.name for one in silent.scenes]


def test_both_distances_stand_beside_what_verdicts_rest_on(run):
    columns = list(comparisons.main(run).metrics)
    names = [f"Fréchet distance (EfficientNet-Lite0) {of}" for of in ("to their own photos", "crossed")]
    assert columns[:4] == [KID, "found at IoU 0.5", *names] == [comparisons.realism(run), *columns[1:4]]
    answer = certainty.own_photos(run)
    values = run.scores().set_index(["metric", "arm"]).value
    for arm in ARMS:
        pair = [f"{values[name, arm]:.1f}" for name in names]
        assert f"{pair[0]} to their own photos, {pair[1]} crossed" in answer.grounds[0]
    assert f"crossed: {values[names[1], scores.PHOTOS]:.1f}" in answer.grounds[0]


def test_the_report_counts_its_comparisons(run):
    number, made, claimed = certainty.as_one(run)
    asked = [(metric, list(names), base) for metric, names, base in certainty.families(run)]
    sizes = [len(verdicts.compare(run, *one).attrs["p"]) for one in asked]
    assert made == len(asked) == 7 and number == sum(sizes) == 1 + 1 + 3 + 2 + 2 + 1 + 1
    different = sum(int(verdicts.compare(run, *one).different.sum()) for one in asked)
    assert len(claimed) == different and sum(holds for _, holds in claimed) <= different
    answer = answers.QUESTIONS["comparisons"](run)
    assert answer.short.startswith(f"{number}, in 7 tables. {different} of the arms")


def test_an_arm_that_is_not_worse_is_said_beside_the_differences(run):
    lines = answers.groundings(run).grounds
    margins = [line for line in lines if "worse than" in line]
    assert margins and all(line.startswith("Text + image grounding") for line in margins)


def test_too_few_photos_are_said_in_words(tmp_path, judges):
    few = scored(tmp_path, judges, count=5)
    lines = answers.templates(few)
    assert lines.short.startswith("There are too few photos to say.")
    assert lines.grounds == (
        f"No verdict on {KID}: a verdict needs at least 6 photos, got 5: photos that all agree would give "
        "p = 0.062.",
    )
    assert certainty.as_one(few)[0] == 0


def test_what_a_report_says_of_false_claims_was_simulated(run):
    """Sixty of the 400 made-up reports whose shares the report names: no arm of theirs differs."""
    number, claims = bench_claims.simulated(60)
    by_table, as_one = (claims > 0).mean(0)
    assert number == 33 and 0.03 <= by_table <= 0.3 and as_one <= 0.06
    assert (
        "33 comparisons on 48 photos each, 15 % claimed" in answers.QUESTIONS["comparisons"](run).grounds[0]
    )


def test_opening_the_report_again_hashes_no_picture(run, monkeypatch):
    """All cells of notebook 06, twice, after the time of every picture changed."""
    card, choice = run.read_json("run.json"), run.read_json("choices/template.json")
    run.write_json("run.json", card | {"protocol": card["protocol"] | {"steps": 2}})
    run.write_json("choices/template.json", choice | {"texts": {"suffix": "{generated_text}"}})
    for name in ("opt", "t5"):
        rows = run.read_jsonl(f"captions/{name}.jsonl")
        run.write_jsonl(f"captions/{name}.jsonl", [row | {"seconds": 1.0} for row in rows])
    for picture in run.folder.glob("pictures/*/*.png"):
        os.utime(picture, (1, 1))
    book = nbformat.read(protocol.ROOT / "notebooks" / "06_visual_comparison.ipynb", as_version=4)
    real, hashed = Path.read_bytes, []

    def read_bytes(path: Path) -> bytes:
        hashed.extend([path] * (path.suffix == ".png"))
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    counts = []
    for _ in range(2):
        names = {}
        for cell in (one for one in book.cells if one.cell_type == "code"):
            exec(cell.source, names)
            if "parameters" in cell.metadata.get("tags", ()):
                names["run_folder"] = run.folder
        counts.append(len(hashed))
    assert counts[0] > 0 and counts[1] == counts[0]
