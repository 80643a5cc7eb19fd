"""What the study of detectors says: its intervals, its verdict, and what it would take."""

import numpy as np
import pytest

from helpers.report import answers, training_effect
from helpers.report.training_effect import FILE, effect
from helpers.runs.run import Run


class Stored(Run):
    """A run of which only training.json matters."""

    def __init__(self, folder):
        self.folder, self.saved, self.card = folder, [], {}


def write(run, shift, photos=40, seeds=3, noise=0.02, shares=(0.0, 0.5, 1.0)):
    """Trainings whose AP is a mean over photos, with `shift` per share of pictures."""
    rng, rows = np.random.default_rng(0), []
    hard = rng.normal(0.5, 0.1, photos)
    for share in shares:
        for seed in range(seeds):
            scores = hard + shift * share + rng.normal(0, noise, photos)
            left_out = (scores.sum() - scores) / (photos - 1)
            rows.append({"share": share, "seed": seed, **dict.fromkeys(("AP", "AP50", "CAS"), scores.mean())})
            rows[-1]["left_out"] = dict.fromkeys(("AP", "AP50", "CAS"), left_out)
    run.write_json(FILE, {"settings": {"seeds": [*range(seeds)], "test_photos": photos}, "trainings": rows})
    return run


def test_an_interval_covers_as_often_as_it_says():
    rng, covered = np.random.default_rng(0), 0
    for _ in range(400):
        photos, seeds = rng.normal(0, 1, 30), rng.normal(0, 0.3, 3)
        scores = photos + seeds[:, None]
        left_out = (scores.sum(1, keepdims=True) - scores) / 29
        whole, _ = effect(scores.mean(1), left_out)
        covered += whole.low <= 0 <= whole.high
    assert 0.92 <= covered / 400 <= 0.98


def test_seeds_alone_widen_the_interval():
    left_out = np.zeros((3, 20))
    whole, photos = effect(np.array([0.1, 0.2, 0.3]), left_out)
    assert photos.standard_error == 0 and whole.standard_error == pytest.approx(0.1 / np.sqrt(3))
    assert whole.high - whole.value == pytest.approx(4.3027 * whole.standard_error, rel=1e-4)


@pytest.mark.parametrize(("shift", "word"), [(0.2, "better than"), (-0.2, "worse than"), (0.0, "not shown")])
def test_the_verdict_follows_the_interval(tmp_path, shift, word):
    run = write(Stored(tmp_path), shift)
    both, alone = training_effect.sentences(run)
    assert "half photos, half pictures" in both and "pictures alone" in alone
    assert word in both and word in alone and "40 test photos, 3 seeds" in alone
    assert ("it takes about" in alone) == (shift == 0)


def test_no_interval_of_a_share_leaves_0_to_1(tmp_path):
    run = write(Stored(tmp_path), 0.35, photos=8, noise=0.3)
    shown = training_effect.score(run, 1.0, "CAS")
    assert 0 <= shown.low <= shown.value <= shown.high <= 1
    assert effect(*training_effect._arrays(run, 1.0, "CAS"))[0].high > 1


def test_smaller_gaps_take_more_photos(tmp_path):
    run = write(Stored(tmp_path), 0.1)
    counts = [training_effect.needed(run, gap) for gap in (0.05, 0.0146)]
    few, many = (int(text.split("about ")[1].split(" test")[0].replace(",", "")) for text in counts)
    assert few < many and "0.0146" in counts[1] and "seeds" in counts[1]


def test_the_table_has_a_row_for_every_share_and_no_difference_of_the_first(tmp_path):
    table = training_effect.table(write(Stored(tmp_path), 0.1, shares=(0.0, 0.25, 1.0)))
    assert list(table["trained on"]) == ["photos alone", "25% pictures, the rest photos", "pictures alone"]
    assert table["difference in AP"][0] == "" and table["difference in AP"][2].startswith("+0.097")
    assert len(training_effect.curve(Stored(tmp_path)).axes) == 1


def test_without_a_study_the_report_says_how_to_get_it(tmp_path):
    assert "make study-detector" in training_effect.sentences(Stored(tmp_path))[0]
    assert "training" in answers.QUESTIONS
