"""Attributes: what pictures are to show evenly, such as the place, in categories that reference photos show.

A prompt says a category by inclusive tokens (see `generation.tokens`), by words, or not at all: three
templates per attribute, whose arms are compared.
"""

import copy
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.captioning.prompts import TEMPLATES, fill, truncate
from helpers.parameters import ParameterError
from helpers.runs.protocol import at
from helpers.runs.run import Run
from helpers.scenes import images
from helpers.scenes.entries import words

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

TEXT = TEMPLATES["suffix"].replace("{generated_text}", "{phrases} {category}")
VECTORS = 3  # token embeddings per category


@dataclass(frozen=True)
class Attribute:
    """An attribute and its reference photos: category, in words -> files, at least two categories."""

    name: str
    photos: Mapping[str, tuple[Path, ...]]

    @property
    def tokens(self) -> dict[str, str]:
        """Category -> its token: "<place-0>", "<place-1>" and so on."""
        return {category: f"<{self.name}-{k}>" for k, category in enumerate(self.photos)}

    @property
    def placeholders(self) -> dict[str, str]:
        """Category -> what stands for it in a prompt, a word per vector, as diffusers names them."""
        rest = range(1, VECTORS)
        return {
            category: " ".join([token, *(f"{token}_{i}" for i in rest)])
            for category, token in self.tokens.items()
        }


def read(run: Run, name: str, folder: str | Path = "") -> Attribute:
    """An attribute with its categories, sorted.

    folder: with a folder of photos per category, named by its words; "" for the photos of the run, whose
    categories are the field `name` of annotations.json. Raises ParameterError for what cannot be right.
    """
    if not re.fullmatch("[a-z][a-z0-9_]*", name):
        raise ParameterError(f"attribute = {name!r}: use lower-case letters, digits and '_' only")
    photos: dict[str, list[Path]] = {}
    if folder:
        given = f"photos = {str(folder)!r}"
        if not at(folder).is_dir():
            raise ParameterError(f"{given}: no such folder; give one that holds a folder per category")
        for path in sorted(at(folder).glob("*/")):
            files = sorted(file for file in path.iterdir() if file.suffix.lower() in images.SUFFIXES)
            if not files:
                raise ParameterError(f"{given}: no photos in {path}")
            photos.setdefault(words(path.name), []).extend(files)
    else:
        run.require_photos(f"attribute {name!r}, which is learnt from photos,")
        for scene in run.scenes:
            category = scene.extra.get(name)
            if not isinstance(category, str) or not category.strip():
                fields = sorted(key for key, said in scene.extra.items() if isinstance(said, str))
                found = f"it has {', '.join(fields) or 'none with a text'}"
                raise ParameterError(
                    f"attribute = {name!r}: scene {scene.name!r} has {category!r} in that field of "
                    f"annotations.json; give each photo its category there ({found}), or give photos in a "
                    "folder per category"
                )
            photos.setdefault(words(category), []).append(scene.path)
    if len(photos) < 2:
        said = ", ".join(map(repr, photos)) or "none"
        raise ParameterError(f"attribute = {name!r}: two categories at least are needed, there is {said}")
    return Attribute(name, {category: tuple(photos[category]) for category in sorted(photos)})


def templates(name: str) -> tuple[str, str, str]:
    """Names of the three templates of an attribute, which say a category by tokens, by words, not at all."""
    return f"{name}_tokens", f"{name}_words", f"{name}_bare"


def assign(scenes: Iterable[str], count: int) -> dict[str, int]:
    """Scene name -> index of its category, by the rank of the name's hash: categories differ by one scene at
    most."""
    ranked = sorted(scenes, key=lambda name: hashlib.sha256(name.encode()).digest())
    return {name: rank % count for rank, name in enumerate(ranked)}


def extended(tokenizer: "PreTrainedTokenizerFast", attribute: Attribute) -> "PreTrainedTokenizerFast":
    """A copy of a tokenizer whose last words are those of the tokens, category by category."""
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.add_tokens(" ".join(attribute.placeholders.values()).split())
    return tokenizer


def rephrased(rows: Iterable[Mapping], attribute: Attribute, said: str) -> list[str]:
    """Prompts of the template with tokens, in which something else is said in their place."""
    return [row["prompt"].replace(attribute.placeholders[row["category"]], said) for row in rows]


def make(
    run: Run, attribute: Attribute, tokenizer: "PreTrainedTokenizerFast", text: str = TEXT
) -> dict[str, list[dict]]:
    """Rows like those of `prompts.make`, with attribute and category, by the names of its three `templates`.

    text: of all three, with fields of `prompts.FIELDS` and {category}; a field {generated_text} takes the
    prompts of the template "caption". Raises ParameterError naming each scene whose prompt would lose its
    category where the text encoder cuts it.
    """
    if "{category}" not in text:
        raise ParameterError(f"text = {text!r}: there is no {{category}} in it")
    tokenizer, categories = extended(tokenizer, attribute), [*attribute.photos]
    captions = run.prompts("caption").set_index("scene").prompt if "{generated_text}" in text else {}
    asked = assign((scene.name for scene in run.scenes), len(categories))
    ways = attribute.placeholders, {one: one for one in categories}, dict.fromkeys(categories, "")
    bare, made, lost = re.sub(r" ?\{category\}", "", text).strip(), {}, []
    for template, way in zip(templates(attribute.name), ways, strict=True):
        rows = made[template] = []
        for scene in run.scenes:
            category = categories[asked[scene.name]]
            said, given = way[category], (captions.get(scene.name, ""), scene.labels, scene.phrases)
            prompt = fill(text if said else bare, *given, said)
            tokens, kept, truncated = truncate(prompt, tokenizer)
            if said not in kept:
                lost.append(f"scene {scene.name!r}: {said!r} is cut off its prompt of {tokens} tokens")
            row = {"scene": scene.name, "prompt": prompt, "tokens": tokens, "truncated": truncated}
            rows.append(row | {"attribute": attribute.name, "category": category if said else None})
    if lost:
        most = f"the text encoder reads {tokenizer.model_max_length}"
        advice = "shorten the phrases, or give a text with {category} in front"
        raise ParameterError("\n".join([f"attribute = {attribute.name!r}: {most}; {advice}", *lost]))
    return made
