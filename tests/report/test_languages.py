"""The report in another language: nothing is left in English but names."""

import ast
import os
import re
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_notebook, new_output

from helpers.parameters import ParameterError
from helpers.report import languages, page, tables
from helpers.report.comparisons import LOWER, Comparison
from helpers.scoring import metrics, sentences
from tests.report.test_browser import bundle, pieces, write_run

ROOT = Path(__file__).resolve().parents[2]
OTHERS = [language for language in languages.known() if language != languages.ENGLISH]
SPOKEN = ("report/answers", "report/box_scores", "report/certainty", "report/claims", "report/comparisons")
SPOKEN += ("report/methods", "report/training_effect", "scoring/sentences", "scoring/significance")
UNSPOKEN = {
    "front",
    "_setting",
    "sweep",
    "seeds",
    "templates",
    "choose",
    "over_guidance",
    "curve",
    "METRICS",
    "dropped",
}
WORD = re.compile("[A-Za-z][A-Za-z-]+")
NAMES = (
    "AP AR BLIP- CAS CLIP CMMD CSV EfficientNet-Lite Flan-T FID Fr chet GLIGEN GPU Holm ID Inception IoU KID "
)
NAMES += "Kernel MODELS OPT OWLv R-precision ViT-L caption classifier-free demo distance grounded fraction "
NAMES += "grounding guidance scale make opt precision published px pytorch-fid study-detector suffix "
NAMES += (
    "text image one This Which Because lead warning More Scores Section Curves Intervals table photo- cone "
)
NAMES += "crate img src https example org RGB KL"  # of `pieces`


@pytest.fixture(params=OTHERS)
def language(request):
    return request.param


def fields(text):
    return sorted(set(re.findall(r"\{\w+\}", text)))


def test_a_translation_has_the_placeholders_of_its_sentence(language):
    table = languages.catalogue(language)
    differ = {key: text for key, text in table.items() if fields(key) != fields(text)}
    assert table and differ == {}


def test_a_language_that_is_not_there_is_an_error_with_the_nearest():
    languages.check("zh-TW")
    with pytest.raises(ParameterError, match="did you mean 'zh-TW'"):
        languages.check("zh_TW")


def test_a_page_keeps_its_language_until_another_is_given(tmp_path):
    notebook, report = tmp_path / "report.ipynb", tmp_path / "report.html"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("## Limits")]), notebook)
    for is_newer, asked, expected in (
        (1, "", "en"),
        (0, "zh-TW", "zh-TW"),
        (1, "", "zh-TW"),
        (0, "en", "en"),
    ):
        os.utime(notebook, (2e9, 2e9) if is_newer else (0, 0))
        before = report.stat().st_mtime_ns if report.exists() else 0
        page.refresh(notebook, report, asked)
        assert languages.of_page(report) == expected and report.stat().st_mtime_ns > before
        assert ("限制" in report.read_text(encoding="utf-8")) == (expected == "zh-TW")
    before = report.stat().st_mtime_ns
    page.refresh(notebook, report, "")
    assert report.stat().st_mtime_ns == before


def literal(text):
    """A text without what varies in it."""
    return re.sub(r"\s+", " ", re.sub(r"-?\d([\d.,]*\d)?( ?%)?|\{\w+\}", "#", text))


def fragments(node):
    """The parts of sentences in a module, without docstrings, errors, and what stands in no report."""
    name = getattr(node, "name", getattr(getattr(node, "targets", [None])[0], "id", ""))
    if isinstance(node, ast.Raise) or name in UNSPOKEN:
        return
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield from re.split(r"(?<=[.!?]) ", node.value)
    for below in ast.iter_child_nodes(node):
        if not (isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)):
            yield from fragments(below)


@pytest.mark.parametrize("module", SPOKEN)
def test_a_sentence_of_the_report_stands_in_the_catalogue(language, module):
    known = "\n".join(literal(key).lower() for key in languages.catalogue(language))
    tree = ast.parse((ROOT / "helpers" / f"{module}.py").read_text(encoding="utf-8"))
    said = {literal(text).strip(" .:;,#()") for text in fragments(tree)}
    said = {text for text in said if len(WORD.findall(text)) > 2 and "/" not in text}
    lacking = [text for text in said if text.lower() not in known]
    assert lacking == [], f"add them to template/languages/{language}.json, with what varies as placeholders"


def left(html):
    """Texts that a reader sees or hears, with their words of Latin letters that are no names."""
    soup = BeautifulSoup(html, "html.parser")
    for tag in soup.find_all(["script", "style"]) + soup.select('[translate="no"]:not(.glossary)'):
        tag.decompose()
    spoken = (tag[name] for name in ("alt", "aria-label", "title") for tag in soup.select(f"[{name}]"))
    words = {text: set(WORD.findall(text)) - set(NAMES.split()) for text in (*soup.stripped_strings, *spoken)}
    return {text: some for text, some in words.items() if some}


def verdicts():
    """Rows of a comparison in sentences, whatever they find."""
    row = {"arm": "text grounding", "other": "no grounding", "metric": "found at IoU 0.5", "n": 48}
    row |= {"difference": 0.2, "standard_error": 0.05, "low": 0.1, "high": 0.3, "p": 0.01, "comparisons": 3}
    for different, p, lower in (
        (True, 0.0002, True),
        (True, 0.03, False),
        (False, 0.2, True),
        (False, 0.03, True),
    ):
        yield sentences.difference(row | {"different": different, "p": p, "p_holm": p * 3}, lower)
    part = "a tenth of the gap between text grounding and no grounding"
    for holds, bound in ((True, -0.1), (True, 0.01), (False, 0.2)):
        yield sentences.not_worse(row | {"holds": holds, "bound": bound, "margin": 0.05}, 3, part)


def test_a_page_has_no_word_of_english_but_names(language, tmp_path, monkeypatch):
    run = write_run(tmp_path, monkeypatch)
    book = nbformat.read(ROOT / "notebooks" / "06_visual_comparison.ipynb", as_version=4)
    cells = [cell for cell in book.cells if cell.cell_type == "markdown"]
    shown = [*pieces(run), tables.piece("answers", [tables.Answer("Which?", "", (*verdicts(),))])]
    everything = {name: LOWER for inception in (True, False) for name in metrics.metrics(inception)}
    nothing = pd.DataFrame(columns=["arm", "metric", "n", "standard_error"])
    shown.append(tables.score_table(nothing, Comparison({}, everything, "Realism.")))
    cells += [new_code_cell("", outputs=[new_output("display_data", bundle(one))]) for one in shown]
    nbformat.write(
        new_notebook(cells=cells, metadata={"title": "Pictures that follow boxes"}), tmp_path / "a.ipynb"
    )
    page.render(tmp_path / "a.ipynb", tmp_path / "a.html", language=language)
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert f'<html lang="{language}">' in text and languages.of_page(tmp_path / "a.html") == language
    assert left(text) == {}
