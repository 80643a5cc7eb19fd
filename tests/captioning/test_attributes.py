"""Attributes: categories of folders or annotations, dealt out evenly; said by tokens, by words, or not."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from transformers import AutoTokenizer

from helpers.captioning import attributes
from helpers.captioning.attributes import Attribute
from helpers.parameters import ParameterError
from tests.fakes.judged import start

CLIP = Path(__file__).parents[2] / "data" / "models" / "clip"
PLACE = Attribute("place", {"in a field": (Path("a.png"),), "on a street": (Path("b.png"), Path("c.png"))})


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(CLIP)


@pytest.fixture
def run(tmp_path):
    return start(tmp_path, 5)


def write_folders(folder, **categories):
    for name, count in categories.items():
        (folder / name).mkdir(parents=True)
        for k in range(count):
            Image.new("RGB", (8, 8)).save(folder / name / f"{k}.png")
    return folder


def marked(run, *categories):
    """The run with that field `place` of each scene; None: no such field."""
    for scene, category in zip(list(run.scenes), categories, strict=True):
        place = {} if category is None else {"place": category}
        run.scenes[run.scenes.index(scene)] = replace(scene, extra={"author": "me", "drawn": True, **place})
    return run


def test_categories_are_a_field_of_the_annotations(run):
    marked(run, "on_a_street", "in a field", "on a street", "in a field", "in a field")
    found = attributes.read(run, "place")
    assert list(found.photos) == ["in a field", "on a street"]  # sorted, as words
    assert found.photos["on a street"] == (run.scenes[0].path, run.scenes[2].path)
    assert found.tokens == {"in a field": "<place-0>", "on a street": "<place-1>"}


def test_categories_are_folders_of_photos(run, tmp_path):
    folder = write_folders(tmp_path / "my", Heavy_Rain=2, sun=1)
    found = attributes.read(run, "weather", folder)
    assert {category: len(files) for category, files in found.photos.items()} == {"heavy rain": 2, "sun": 1}


@pytest.mark.parametrize(
    ("name", "marks", "message"),
    [
        ("Place", [], "attribute = 'Place': use lower-case letters"),
        ("place", ["a", "b", None, "a", "a"], "scene 'photo-2' has None in that field"),
        ("place", ["a", "b", 3, "a", "a"], r"scene 'photo-2' has 3 in that field.*\(it has author\)"),
        ("place", ["a", " ", "b", "a", "a"], "scene 'photo-1' has ' '.*it has author, place"),
        ("place", ["a"] * 5, "two categories at least are needed, there is 'a'"),
    ],
)
def test_a_field_that_cannot_be_read_is_an_error(run, name, marks, message):
    if marks:
        marked(run, *marks)
    with pytest.raises(ParameterError, match=message):
        attributes.read(run, name)


def test_folders_that_cannot_be_read_are_an_error(run, tmp_path):
    with pytest.raises(ParameterError, match="no such folder; give one that holds a folder per category"):
        attributes.read(run, "weather", tmp_path / "nowhere")
    (tmp_path / "my" / "rain").mkdir(parents=True)
    with pytest.raises(ParameterError, match=r"no photos in .*rain"):
        attributes.read(run, "weather", tmp_path / "my")
    with pytest.raises(ParameterError, match="two categories at least are needed, there is 'dry'"):
        attributes.read(run, "weather", write_folders(tmp_path / "one", dry=1))


@pytest.mark.parametrize("count", [2, 3, 5])
def test_categories_are_dealt_out_evenly_whatever_the_order(count):
    names = [f"worksite-{k:02d}" for k in range(48)]
    dealt = attributes.assign(names, count)
    sizes = Counter(dealt.values())
    assert set(sizes) == set(range(count)) and max(sizes.values()) - min(sizes.values()) <= 1
    assert dealt == attributes.assign(reversed(names), count)
    assert [dealt[name] for name in names[:6]] != [k % count for k in range(6)]  # not the order of the names


def test_a_token_is_three_words_of_the_vocabulary(tokenizer):
    more = attributes.extended(tokenizer, PLACE)
    assert PLACE.placeholders["on a street"] == "<place-1> <place-1>_1 <place-1>_2"
    ids = more(f"a red cone {PLACE.placeholders['on a street']}, highly detailed")["input_ids"]
    first = len(tokenizer)
    assert [k for k in ids if k >= first] == [first + 3, first + 4, first + 5]
    assert ids[-1] == tokenizer.eos_token_id and len(more) == first + 6
    assert "<place-0>" not in tokenizer.get_vocab()  # the one that was given stays as it is


def test_three_templates_differ_in_what_they_say_of_the_category_alone(run, tokenizer):
    made = attributes.make(run, PLACE, tokenizer)
    assert tuple(made) == attributes.templates("place") == ("place_tokens", "place_words", "place_bare")
    tokens, words, bare = made.values()
    end = ", professional quality, highly detailed"
    for by_token, by_words, without in zip(tokens, words, bare, strict=True):
        category = by_token["category"]
        assert by_token["prompt"] == f"an orange cone, a crate {PLACE.placeholders[category]}{end}"
        assert by_words["prompt"] == f"an orange cone, a crate {category}{end}"
        assert without["prompt"] == f"an orange cone, a crate{end}"
        assert (by_words["category"], without["category"]) == (category, None)
        assert {row["attribute"] for row in (by_token, by_words, without)} == {"place"}
        assert by_token["tokens"] == without["tokens"] + 3 and not by_token["truncated"]
    assert attributes.rephrased(tokens, PLACE, "nowhere") == [
        f"an orange cone, a crate nowhere{end}" for _ in run.scenes
    ]
    sizes = Counter(row["category"] for row in tokens)
    assert sorted(sizes.values()) == [2, 3]


def test_captions_may_stand_in_the_text(run, tokenizer):
    rows = attributes.make(run, PLACE, tokenizer, "{category}: {generated_text}")["place_words"]
    assert rows[3]["prompt"] == f"{rows[3]['category']}: a cone and 3 crates"
    with pytest.raises(ParameterError, match=r"there is no \{category\} in it"):
        attributes.make(run, PLACE, tokenizer, "{phrases}")


def test_a_prompt_whose_token_is_cut_off_is_refused(run, tokenizer):
    run.scenes[1] = replace(run.scenes[1], phrases=("unknown words " * 9, "a crate"))
    with pytest.raises(ParameterError) as caught:
        attributes.make(run, PLACE, tokenizer)
    said = str(caught.value)
    assert "scene 'photo-1': '<place-" in said and "the text encoder reads 77" in said
    assert "photo-0" not in said
    rows = attributes.make(run, PLACE, tokenizer, "{category} {phrases}")["place_tokens"]
    assert rows[1]["truncated"] and "<place-" in rows[1]["prompt"]  # in front, they are read
