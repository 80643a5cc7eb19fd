"""Languages of the report's page: one file of sentences per language, English -> translation.

A key holds for every text that it fits. In a key, {text} stands for any text without a semicolon, itself
translated; {texts} for one with them, too; {Name} for a name, which stays as it is; {NUMBER} for a number. A
text is read sentence by sentence; what no key fits is read as a list, then as a text and what stands behind
it in brackets, and else stays as it is.
Texts inside an element with translate="no" are left alone.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from html import escape, unescape
from pathlib import Path

from helpers.parameters import ParameterError, nearest

FOLDER = Path(__file__).with_name("template") / "languages"
ENGLISH = "en"
TAG = re.compile(r"<(/?)(\w+)")
FIELD = re.compile(r"\\{(\w+)\\}")  # of a key, after re.escape
NUMBER = r"[-−]?[\d.,]*\d ?%?"
SENTENCES = re.compile(r"(?<=[.!?]) (?=[A-Z“\d])")
GAP = re.compile(
    r"(?<=[\u4e00-\u9fff])(?=[A-Za-z0-9])|(?<=[A-Za-z0-9%])(?=[\u4e00-\u9fff])"
)  # Chinese and Latin
COMMA, AND = re.compile(r", (?!of the )(?![^()]*\))"), re.compile(" and ")  # between items, not inside one
BRACKETS = re.compile(r"([^()]+) \(([^()]+)\)")
SAID = re.compile(r""" (alt|aria-label|title|data-count)=(?:"([^"]*)"|'([^']*)')""")


def known() -> list[str]:
    """The languages that a page can be in."""
    return [ENGLISH, *sorted(path.stem for path in FOLDER.glob("*.json"))]


def check(language: str) -> None:
    """Raises ParameterError for a language that there is not, with the nearest one."""
    if language not in known():
        raise ParameterError(f"language = {language!r}: {nearest(language, known())}")


def of_page(page: Path) -> str:
    """The language of a page that is there; English where there is none."""
    if not page.is_file():
        return ENGLISH
    with page.open(encoding="utf-8") as file:
        return re.search(r'<html lang="([\w-]+)"', file.read(500))[1]


def catalogue(language: str) -> dict[str, str]:
    """English -> translation."""
    path = FOLDER / f"{language}.json"
    return json.loads(path.read_text(encoding="utf-8")) if language != ENGLISH else {}


def translate_page(html: str, language: str) -> str:
    """The page with its texts, and those of its attributes, in that language."""
    if language == ENGLISH:
        return html
    parts, translate = re.split(r"(<[^>]*>)", html), translator(language)

    def said(found: re.Match) -> str:
        return f' {found[1]}="{escape(translate(unescape(found[2] or found[3] or "")))}"'

    for place in outside(parts, lambda tag, name: name in ("style", "script") or 'translate="no"' in tag):
        part = parts[place]
        if part.startswith("<"):
            parts[place] = SAID.sub(said, part)
        elif text := part.strip():
            parts[place] = part.replace(
                text, escape(translate(" ".join(unescape(text).split())), quote=False)
            )
    return "".join(parts).replace('<html lang="en">', f'<html lang="{language}">', 1)


def outside(parts: Sequence[str], apart: Callable[[str, str], bool]) -> Iterator[int]:
    """Places of the tags and texts of a page that lie in no element set apart. parts: tags and texts in turn;
    apart: whether an opening tag, given with its element's name, begins such an element."""
    name, depth = "", 0
    for place, part in enumerate(parts):
        tag = TAG.match(part)
        if tag and (tag[2] == name if depth else not tag[1] and apart(part, tag[2])):
            name, depth = tag[2], depth + (-1 if tag[1] else 1)
        elif not depth:
            yield place


def translator(language: str) -> Callable[[str], str]:
    """A function from an English text to what it is in that language."""
    if not (table := catalogue(language)):
        return str
    keys = sorted((key for key in table if "{" in key), key=_literal, reverse=True)
    patterns = [(_pattern(key), key) for key in keys]

    def fitted(text: str) -> str | None:
        """The translation of a text that a key fits, whether its first letter is a capital or not."""
        forms = [text, *({text[:1].lower() + text[1:], text[:1].upper() + text[1:]} - {text})]
        if there := [table[form] for form in forms if form in table]:
            return there[0]
        for pattern, key in patterns:
            if found := next(filter(None, map(pattern.fullmatch, forms)), None):
                parts = found.groupdict().items()
                said = {name: part if name[0].isupper() else translate(part) for name, part in parts}
                return table[key].format_map(said)
        return None

    @cache
    def translate(text: str) -> str:
        if text in table:
            return table[text]
        if len(sentences := SENTENCES.split(text)) > 1:
            said = [translate(one) for one in sentences]
            return "".join(said) if said != sentences else text
        whole, end = (text[:-1], table["."]) if text.endswith(".") else (text, "")
        if (said := fitted(whole)) is not None:
            return GAP.sub(" ", said + end)
        for separator in (COMMA, AND):
            items = separator.split(whole)
            if len(items) > 1 and all(map(is_known, items)):
                return table[", "].join(map(translate, items)) + end
        if (found := BRACKETS.fullmatch(whole)) and is_known(found[2]):
            before, inside = map(translate, found.groups())
            return GAP.sub(" ", before + table[" ({text})"].format(text=inside) + end)
        return text

    def is_known(text: str) -> bool:
        """Whether a key fits the text, even one that leaves it as it is, or all items of a list."""
        return translate(text) != text or fitted(text) is not None

    return translate


def _literal(key: str) -> tuple[int, int]:
    """Letters of a key before its first placeholder, and of all its text: the more, the closer it fits."""
    return key.index("{"), len(re.sub(r"\{\w+\}", "", key))


def _pattern(key: str) -> re.Pattern:
    """A placeholder stands for the same text wherever it is, and between brackets for none with brackets."""
    seen = set()

    def group(found: re.Match) -> str:
        name, before = found[1], found.string[: found.start()]
        if name in seen:
            return f"(?P={name})"
        seen.add(name)
        without = "" if ";" in key or name.endswith("s") else ";"
        without = ";," if name[0].isupper() else without
        without += "()" * (before.count("(") > before.count(")"))
        texts = f"[^{without}]+?" if without else ".+?"
        return f"(?P<{name}>{NUMBER if name.isupper() else texts})"

    return re.compile(FIELD.sub(group, re.escape(key)))
