"""What the run folder keeps of pictures, photos and texts, and when it is computed again."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from helpers.scoring import extraction, features, scores
from helpers.scoring.extraction import PHOTOS, Pictures, cached
from tests.fakes.judged import draw, load_small_judges, start

ARM = "caption-text-g7.5"


@pytest.fixture(scope="module")
def small_judges(tmp_path_factory):
    return load_small_judges(tmp_path_factory.mktemp("judges"))


def test_only_what_changed_is_computed_again(tmp_path):
    path, asked = tmp_path / "new" / "x.npz", []

    def compute(wanted: list[int]) -> list[np.ndarray]:
        asked.append(wanted)
        return [np.full((i, 2), 10 * i, np.float32) for i in wanted]

    first = cached(path, ["a", "b", "c"], ["1", "2", "3"], compute)
    assert [rows.shape for rows in first] == [(0, 2), (1, 2), (2, 2)]
    again = cached(path, ["c", "a"], ["3", "1"], compute)
    assert [rows.tolist() for rows in again] == [first[2].tolist(), []]
    changed = cached(path, ["a", "b", "c"], ["1", "2 changed", "3"], compute)
    assert asked == [[0, 1, 2], [1]]
    assert changed[1].tolist() == [[10, 10]]
    assert [file.name for file in path.parent.iterdir()] == ["x.npz"]


def test_a_file_is_hashed_again_only_when_its_size_or_time_changed(tmp_path, monkeypatch):
    run, hashed = start(tmp_path), []
    real, scenes = Path.read_bytes, run.scenes
    monkeypatch.setattr(Path, "read_bytes", lambda path: hashed.append(path.name) or real(path))
    photos = Pictures(run, scenes, PHOTOS, None)
    assert len(hashed) == len(scenes)
    assert photos.digests[0] == hashlib.sha256(real(scenes[0].path)).hexdigest()[:32]
    assert Pictures(run, scenes, PHOTOS, None).digests == photos.digests and len(hashed) == 6
    path = scenes[2].path
    path.write_bytes(real(path) + b"more")
    changed = Pictures(run, scenes, PHOTOS, None).digests
    assert [i for i in range(6) if changed[i] != photos.digests[i]] == [2] and len(hashed) == 7
    data = bytearray(real(path))
    data[-1] ^= 1  # as many bytes as before, later
    path.write_bytes(data)
    later = path.stat().st_mtime_ns + 10**9
    os.utime(path, ns=(later, later))
    assert Pictures(run, scenes, PHOTOS, None).digests[2] != changed[2]


def test_a_picture_is_decoded_once_for_all_that_is_measured_of_it(tmp_path, small_judges, monkeypatch):
    run, decoded = start(tmp_path), []
    draw(run, ARM)
    real = Pictures.load
    monkeypatch.setattr(Pictures, "load", lambda self, i: decoded.append((self.arm, i)) or real(self, i))
    scores.score(run, run.scenes, [ARM], small_judges)
    assert sorted(decoded) == sorted((name, i) for name in (ARM, PHOTOS) for i in range(6))
    scores.score(run, run.scenes, [ARM], small_judges)
    assert len(decoded) == 12


def test_texts_are_encoded_once_for_all_arms(tmp_path, small_judges, monkeypatch):
    run, texts = start(tmp_path), []
    for arm in (ARM, "label-text-g7.5"):
        draw(run, arm)
    real = features.text_features
    monkeypatch.setattr(features, "text_features", lambda clip, said: texts.extend(said) or real(clip, said))
    scores.score(run, run.scenes, [ARM, "label-text-g7.5"], small_judges)
    assert sorted(set(texts)) == sorted(texts)


def test_few_pictures_are_in_memory_at_a_time(tmp_path, small_judges, monkeypatch):
    run, batches = start(tmp_path), []
    draw(run, ARM)
    real = Pictures._extract

    def extract(self, name: str, pictures: list, layouts: list) -> object:
        batches.append(len(pictures))
        return real(self, name, pictures, layouts)

    monkeypatch.setattr(extraction, "CHUNK", 2)
    monkeypatch.setattr(Pictures, "_extract", extract)
    scores.score(run, run.scenes, [ARM], small_judges)
    assert set(batches) == {2}
