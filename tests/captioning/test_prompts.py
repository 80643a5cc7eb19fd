import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from helpers.captioning import prompts as templates
from helpers.captioning.prompts import TEMPLATES, fill

LABELS = ("Person", "Face-mask-medical", "Person", "Head", "Head")


@pytest.fixture(scope="module")
def tokenizer():
    """One token a word, between begin and end, with room for 8: a small CLIP."""
    words = {"<begin>": 0, "<end>": 1, "?": 2, "a": 3, "man": 4, ",": 5}
    core = Tokenizer(models.WordLevel(words, unk_token="?"))
    core.normalizer = normalizers.Lowercase()
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.post_processor = processors.TemplateProcessing(
        single="<begin> $A <end>", special_tokens=[("<begin>", 0), ("<end>", 1)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=core, model_max_length=8)


def test_the_originals_are_verbatim():
    assert fill(TEMPLATES["caption"], "a man", LABELS) == "a man"
    assert fill(TEMPLATES["suffix"], "a man", LABELS) == "a man, professional quality, highly detailed"
    assert fill(TEMPLATES["label"], "a man", LABELS) == (
        "a man,focus on on Person, Face-mask-medical, Head,focus on bboxes, high resolution, highly detailed"
    )


@given(st.text(), st.lists(st.text()))
def test_captions_and_labels_are_only_text(caption, labels):
    prompt = fill("<{labels}|{generated_text}>", caption, labels)
    assert prompt == "<" + ", ".join(dict.fromkeys(labels)) + "|" + caption + ">"


def test_own_templates_join_the_originals():
    own = {"night_shot": "{generated_text} at night, {{sharp}}", "only_labels": "{labels}"}
    assert templates.add(own) == TEMPLATES | own
    assert fill(own["night_shot"], "a man", ()) == "a man at night, {sharp}"
    assert templates.add({}) == TEMPLATES and "night_shot" not in TEMPLATES
    assert templates.add(dict(TEMPLATES)) == TEMPLATES


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a-b", "{labels}", "template 'a-b': the name must be lower-case"),
        ("", "{labels}", "the name must be"),
        ("suffix", "{labels}", "template 'suffix': the name is taken"),
        (
            "mine",
            "{label}",
            "unknown field {label}; choose one of 'generated_text', 'labels', 'phrases'; did you mean",
        ),
        ("mine", "{caption} {labels}", "unknown field {caption}; choose one of"),
        ("mine", "{labels.__class__}", "unknown field {labels.__class__}"),
        ("mine", "{0}", "unknown field {0}"),
        ("mine", "{labels:>9}", "unknown field {labels:>9}; choose one of"),
        ("mine", "{labels!r}", "unknown field {labels!r}; choose one of"),
        ("mine", "{labels", "template 'mine': '{labels': "),
        ("mine", "a photo", "'a photo' gives all photos one prompt"),
        ("mine", 3, "3 is not a text"),
    ],
)
def test_a_bad_template_is_told_with_its_name_and_text(name, text, told):
    with pytest.raises(ValueError) as caught:
        templates.add({"good": "{labels}", name: text})
    assert told in str(caught.value) and "good" not in str(caught.value)


def test_all_bad_templates_are_told_at_once():
    with pytest.raises(ValueError) as caught:
        templates.add({"one": "", "TWO": "{labels}"})
    assert len(str(caught.value).splitlines()) == 2


def test_a_prompt_with_room_stays_whole(tokenizer):
    assert templates.truncate("A man, a MAN a", tokenizer) == (8, "A man, a MAN a", False)


def test_what_is_kept_of_a_prompt_is_its_own_letters(tokenizer):
    tokens, kept, truncated = templates.truncate("A man,  a MAN a man a", tokenizer)
    assert (tokens, kept, truncated) == (10, "A man,  a MAN a", True)
    assert tokenizer(kept)["input_ids"] == tokenizer("A man,  a MAN a man a", truncation=True)["input_ids"]
