"""The report in another language: nothing is left in English but names."""

import ast
import os
import re
from itertools import combinations
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_notebook, new_output

from helpers.models.checkpoints import Missing, find
from helpers.models.sets import MODEL_SETS, Checkpoint
from helpers.parameters import ParameterError
from helpers.report import comparisons, edits, languages, methods, page, tables
from helpers.report.comparisons import ELSEWHERE, GROUNDING, LOWER, Comparison
from helpers.runs import arms as arm_limits
from helpers.runs.arms import Arm, own_checkpoints_of
from helpers.runs.methods import KNOBS, METHODS
from helpers.scoring import measurements, metrics, sentences, significance
from helpers.scoring.intervals import TooFew
from helpers.scoring.metrics import NOT_JUDGED
from helpers.scoring.verdicts import BLIND
from tests.report.test_browser import bundle, pieces, write_run

ROOT = Path(__file__).resolve().parents[2]
OTHERS = [language for language in languages.known() if language != languages.ENGLISH]
SPOKEN = ("report/answers", "report/box_scores", "report/certainty", "report/claims", "report/comparisons")
SPOKEN += ("report/edits", "report/methods", "report/training_effect")
SPOKEN += ("scoring/sentences", "scoring/significance")
UNSPOKEN = {
    "front",
    "_setting",
    "sweep",
    "seeds",
    "templates",
    "choose",
    "over_guidance",
    "curve",
    "done_over_kept",
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
NAMES += "crate img src https example org RGB KL "  # of `pieces`
NAMES += "AttnGAN FLUX Image Klein InstructPix Pix LayoutDiffusion LPIPS Rich Text SDEdit SSA-GAN TurboEdit "
NAMES += "ddim json config index unet models gone README LICENSE md Kommunity License black-forest-labs "
NAMES += "flux- image-klein "
NAMES += " ".join(name.replace("_", " ") for name in (*KNOBS, "guidance_share"))  # as they are given


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
    return english((*soup.stripped_strings, *spoken))


def english(texts):
    """Those texts that have words of Latin letters that are no names, with these words."""
    words = {text: set(WORD.findall(text)) - set(NAMES.split()) for text in texts}
    return {text: some for text, some in words.items() if some}


def untranslated(language, texts):
    """What is still English of those texts in that language."""
    translate = languages.translator(language)
    return english(translate(text.strip()) for text in texts)


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


def settings(grounding):
    """Arms of a method: one as it is, and one for each thing that a name can say of it."""
    method = METHODS[grounding]
    own = {name: 1024 if name == "size" else knob.default / 2 + 0.1 for name, knob in KNOBS.items()}
    knobs = {name: value for name, value in own.items() if name in method.knobs}
    given = {"steps": 6, "scheduler": "ddim", "guidance_share": 0.5, "grounded_fraction": 0.3}
    more = [{"seed": 1}, *({name: value} for name, value in given.items() if name in method.knobs)]
    more += [{"layout": name} for name in arm_limits.LAYOUTS if not method.needs_photo]
    more += [{"knobs": knobs}, *({"knobs": {name: value}} for name, value in knobs.items())]
    return [Arm("suffix", grounding), *(Arm("suffix", grounding, **one) for one in more)]


@pytest.mark.parametrize("grounding", METHODS)
def test_what_is_said_of_a_method_is_translated(language, grounding):
    method, arms = METHODS[grounding], settings(grounding)
    own = [own_checkpoints_of([arms[0].name], models) for models in MODEL_SETS]
    licences = [(title, one.licence) for some in own for title, one in some.items() if one.licence]
    texts = [method.title, method.group, method.note, ", ".join(method.reads)]
    texts += [comparisons.given(arms), *(arm.title for arm in arms)]
    texts += [f"{arm.template}, {arm.title}" for arm in arms]
    texts += [f"{arm.title} is best, by KID; from SDEdit these photos cannot tell it." for arm in arms]
    texts += [
        f"Read before you train: pictures of {title} are under {licence}." for title, licence in licences
    ]
    assert untranslated(language, texts) == {}


def reasons():
    """Why something has no value, or is not judged."""
    yield from (measurements.EDITED, BLIND, *measurements.PHOTOLESS.values())
    for judge in ("CLIP", "detector"):
        yield f"{NOT_JUDGED}: the demo {judge} knows drawn worksites only"
    yield f"{NOT_JUDGED}: CLIP names the caption of 0.90 of the reference photos rightly, fewer than 0.98"
    for metric in metrics.metrics(inception=True).values():
        yield f"5 scenes, at least {metric.fewest} are needed"
    with pytest.raises(TooFew) as error:
        significance.require_enough(5)
    yield str(error.value)


def test_why_something_is_not_judged_is_translated(language):
    known = metrics.metrics(inception=True)
    texts = [*known, *(f"{one.group}." for one in known.values() if one.group not in ELSEWHERE)]
    texts += [f"Not judged: {', '.join(known)} (no photos)."]
    texts += [", ".join(pair) for pair in combinations(GROUNDING.values(), 2)]  # arms with one prompt
    for reason in reasons():
        texts += [reason, f"{reason[:1].upper()}{reason[1:]}."]
        texts += [f"Not judged: mean IoU, CLIP score ({reason.removeprefix(NOT_JUDGED).lstrip(': ')})."]
        if reason.startswith(NOT_JUDGED):
            texts += [f"Boxes found are {reason}.", f"CLIP score is {reason}."]
        else:
            few = f"no verdict: {reason}."
            texts += [f"N{few[1:]}", f"Text grounding: {few}", few.replace("photos", "prompts")]
            texts += [f"No verdict on mean IoU: {reason}."]
    assert untranslated(language, texts) == {}


def test_why_a_method_does_not_draw_here_is_translated(language, tmp_path):
    """Whatever `methods.lacking` says, with each problem that a checkpoint can have."""
    (tmp_path / "unet").mkdir()
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "config.json").write_text("{")
    (tmp_path / "model_index.json").write_text('{"unet": ["diffusers", "UNet2DConditionModel"]}')
    texts = [*(f"no weights of it in the {name} models" for name in MODEL_SETS), *edits.CONTROLS.values()]
    texts += ["needs photos", "by sweeps alone", "see the edits", "yes", *methods.QUESTIONS.values()]
    texts += [f"{methods.NOTES[group]}{methods.SEEDS}" for group in methods.MEASURES]
    folders = [(str(folder), None) for folder in (tmp_path, tmp_path / "gone", tmp_path / "cut")]
    for source in (*folders, ("gone/models", "abc")):
        missing = find(Checkpoint("gone", *source))[1]
        assert isinstance(missing, Missing)
        texts.append(f"{missing.problem}: models/gone")
    assert untranslated(language, texts) == {}


def test_what_the_report_notebook_says_is_in_the_catalogue(language):
    book = nbformat.read(ROOT / "notebooks" / "06_visual_comparison.ipynb", as_version=4)
    sources = [cell.source for cell in book.cells if cell.cell_type == "code"]
    said = {literal(text).strip(" .:;,#()") for source in sources for text in fragments(ast.parse(source))}
    said = {text for text in said if "/" not in text}
    known = "\n".join(literal(key).lower() for key in languages.catalogue(language))
    assert [text for text in said if len(WORD.findall(text)) > 2 and text.lower() not in known] == []
