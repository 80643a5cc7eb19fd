"""The report's pieces as a browser gets them: escaped, complete, with nothing to fetch."""

import base64
import io
import json
import re
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from helpers.report import answers, charts, figures, gallery, qualification, tables
from helpers.report import page as page_of
from helpers.report.comparisons import Comparison
from helpers.report.tables import Answer
from helpers.runs import run as runs
from helpers.runs.arms import Arm
from helpers.runs.run import Run
from helpers.scenes import images
from helpers.scenes.scenes import read_scenes
from tests.fakes.study import EVIL, write_scenes

ROOT = Path(__file__).resolve().parents[2]
SCORE = {"value": 113.4512, "standard_error": 1.7, "low": 110.0, "high": 116.8, "n": 48}
MEASURES = {"FID": "lower is better", "found <at> 0.5": "higher is better"}


def soup(html):
    return BeautifulSoup(getattr(html, "data", html), "html.parser")


def picture_in(tag):
    return Image.open(io.BytesIO(base64.b64decode(tag["src"].split(",", 1)[1])))


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "machine", lambda: {"device": "toaster", "versions": {"python": "3"}})
    dataset = write_scenes(tmp_path / "photos")
    run = Run.open(tmp_path / "run", dataset=str(dataset), models="demo", size=16, fit="squash")
    for grounding in ("text", "image"):
        for scale in (1, 7.5, 11):
            for scene in run.scenes:
                picture = Image.new("RGB", (16, 16), (int(20 * scale), 0, 0))
                images.save(picture, run.picture(Arm("suffix", grounding, scale).name, scene))
    return run


@pytest.mark.parametrize(
    "errors, decimals", [([1.7], 1), ([0.004, 0.3], 2), ([300], 0), ([1e-7], 4), ([0], None)]
)
def test_a_column_has_the_decimals_that_its_errors_allow(errors, decimals):
    assert tables.decimals(pd.DataFrame({"standard_error": errors})) == decimals


def test_a_column_is_read_down_and_what_has_no_error_or_value_says_so():
    rows = [{"arm": "a", "metric": "FID", **SCORE}]
    rows += [{"arm": "b", "metric": "FID", **SCORE, "value": 7, "low": 7, "high": 7, "standard_error": 0}]
    rows += [{"arm": "c", "metric": "FID", "n": 48} | dict.fromkeys(("value", "low", "high"), float("nan"))]
    rows += [
        {"arm": "a", "metric": "counted", "value": 12345, "standard_error": 0, "low": 12345, "high": 12345}
    ]
    comparison = Comparison({name: name for name in "abcd"}, {"FID": "", "counted": ""}, "x")
    shown = tables.score_table(pd.DataFrame(rows), comparison)
    values = [[one.text for one in row.find_all("td")] for row in soup(shown).tbody.find_all("tr")]
    assert [row[1] for row in values] == ["113.5110.0 to 116.8", "7.0", "–", "–"]
    assert [row[2] for row in values] == ["12,345", "–", "–", "–"]


def test_the_score_table_has_every_number_with_interval_and_n_and_tells_controls_apart():
    scores = pd.DataFrame(
        [{"arm": "a-text-g7.5", "metric": "FID", **SCORE}, {"arm": "photos", "metric": "FID", **SCORE}]
    )
    names, controls = {"a-text-g7.5": "a & b"}, {"photos": "the photos"}
    comparison = Comparison(names, MEASURES, "1 < 2", "a-text-g7.5", controls)
    page = soup(tables.score_table(scores, comparison))
    assert page.caption.text == "1 < 2"
    rows = page.tbody.find_all("tr")
    assert [row.th.text for row in rows] == ["a & b", "the photos"]
    assert [cell.text for cell in rows[0].find_all("td")] == ["48", "113.5110.0 to 116.8", "–"]
    assert [row["class"] for row in rows] == [["chosen"], ["control"]]
    assert "found <at> 0.5" in page.thead.text and not page.find("at")


def test_a_table_escapes_what_comes_from_files():
    page = soup(tables.table(pd.DataFrame({"scene": [EVIL], EVIL: [EVIL], "n": [0.123]}), EVIL))
    assert not page.find("img") and [one.text for one in page.find_all("td")] == [EVIL, EVIL, "0.12"]


def test_text_of_the_opening_the_answers_and_the_card_is_escaped():
    opening = tables.piece("opening", EVIL, EVIL, {"photos": EVIL}, EVIL)
    for html in (
        opening,
        tables.piece("answers", [Answer(EVIL, EVIL, (EVIL,))]),
        tables.piece("card", "this run", {"a": EVIL, "b": {"c": EVIL}}),
    ):
        assert not soup(html).find("img") and EVIL in soup(html).text


def test_a_figure_holds_the_picture_itself_with_a_text_for_those_who_cannot_see_it(tmp_path):
    scene = read_scenes(write_scenes(tmp_path))[0]
    figure = figures.Figure(Image.new("RGB", (64, 32), "red"), scene, "a & b", ["<i>line</i>"])
    page = soup(tables.piece("figure", figure))
    shown = picture_in(page.img)
    assert shown.size == (256, 128) and shown.getpixel((9, 9))[0] > 240
    assert page.img["alt"] == "a & b, scene photo-0" and page.img["loading"] == "lazy"
    assert page.b.text == "a & b" and "<i>line</i>" in page.figcaption.text and not page.i


def test_large_pictures_are_reduced_and_shapes_are_kept():
    data = figures.as_data(Image.new("RGB", (2000, 1000)))
    assert Image.open(io.BytesIO(base64.b64decode(data.split(",")[1]))).size == (512, 256)
    data = figures.as_data(Image.new("RGB", (2000, 1000)), most=256)
    assert Image.open(io.BytesIO(base64.b64decode(data.split(",")[1]))).size == (256, 128)


def test_scenes_stand_side_by_side_with_every_arm(run):
    names = {"suffix-text-g1": "one", "suffix-image-g1": "two"}
    page = soup(gallery.compare(run, run.scenes, names))
    sections = page.find_all("section")
    assert [one.h3.text for one in sections] == [scene.name for scene in run.scenes]
    assert all([b.text for b in one.find_all("b")] == ["photo", "one", "two"] for one in sections)
    assert EVIL in page.text and not page.find("img", src=re.compile("example"))


def test_a_label_has_one_colour_in_all_scenes(run):
    page = soup(gallery.compare(run, run.scenes, {}))
    colours = {}
    for one in page.find_all("g"):
        colours.setdefault(one.title.text, set()).add(one.rect["stroke"])
    assert all(len(one) == 1 for one in colours.values()) and len(set.union(*colours.values())) == 3


def sweep_of(scales):
    arms = [Arm("suffix", kind, scale) for kind, row in scales.items() for scale in row]
    return Comparison({arm.name: arm.name for arm in arms}, MEASURES, "", "suffix-text-g7.5")


def test_the_slider_has_every_picture_under_its_scale(run):
    sweep = sweep_of({"text": (1, 7.5, 11), "image": (7.5, 11)})
    page = soup(gallery.slider(run, run.scenes[:2], sweep))
    scales = json.loads(page.div["data-steps"])
    assert scales == [1, 7.5, 11] and (page.input["max"], page.input["value"]) == ("2", "1")
    for tag in page.find_all("figure"):
        if tag["data-step"]:
            red = picture_in(tag.img).getpixel((5, 5))[0]
            assert abs(red - 20 * scales[int(tag["data-step"])]) < 8
    assert len(page.find_all("figure")) == 2 * (1 + 3 + 2)
    assert [one.text for one in page.find_all("option")] == ["photo-0", "photo-1"]


def test_a_grounding_with_one_scale_has_no_place_under_the_slider(run):
    page = soup(gallery.slider(run, run.scenes[:1], sweep_of({"text": (1, 7.5, 11), "image": (11,)})))
    assert len(page.find_all("figure")) == 1 + 3


def test_captions_stand_under_their_photo(run):
    flags = [["repeats"], [], [], []]
    rows = [
        {"scene": scene.name, "generated_text": EVIL, "flags": one, "seconds": 0.25}
        for scene, one in zip(run.scenes, flags, strict=True)
    ]
    run.write_jsonl("captions/opt.jsonl", rows)
    page = soup(gallery.captions(run, run.scenes, ["opt"]))
    assert len(page.find_all("img")) == 4
    assert [one.text for one in page.find_all("i")[:2]] == ["0.25 s, repeats", "0.25 s"]
    assert EVIL in page.figcaption.text


def test_charts_take_the_ink_of_the_page_and_name_nothing_outside():
    rows = [
        {
            "arm": f"suffix-{kind}-g{scale}",
            "grounding": kind,
            "guidance_scale": scale,
            "metric": metric,
            **SCORE,
        }
        for kind in ("text", "image")
        for scale in (1, 11)
        for metric in MEASURES
    ]
    curves = charts.as_svg(charts.curves(pd.DataFrame(rows), MEASURES, 11), "one & two")
    names = {row["arm"]: row["arm"] for row in rows} | {"nobody": "who has no score"}
    dots = charts.as_svg(charts.intervals(pd.DataFrame(rows), Comparison(names, MEASURES, "")), "three")
    assert "http" not in curves.data + dots.data and charts.INK not in curves.data
    assert "currentColor" in curves.data and soup(curves).svg["aria-label"] == "one & two"
    ids = [tag["id"] for one in (curves, dots) for tag in soup(one).find_all(["clippath", "path"], id=True)]
    assert ids and len(ids) == len(set(ids)) and "who has no score" not in soup(dots).text
    assert "11" in [text.text.strip() for text in soup(curves).find_all("text")]


def test_a_control_stands_below_the_arms_and_who_has_no_score_nowhere():
    rows = [{"arm": arm, "metric": metric, **SCORE} for arm in ("a-text-g1", "photos") for metric in MEASURES]
    names, controls = {"b-text-g1": "b", "a-text-g1": "a"}, {"photos": "photos"}
    page = charts.intervals(pd.DataFrame(rows), Comparison(names, MEASURES, "", controls=controls))
    assert [len(axes.containers) for axes in page.axes] == [2, 2]
    assert [text.get_text() for text in page.axes[0].get_yticklabels()] == ["a", "photos"]


def test_a_single_point_of_a_curve_has_its_interval_and_a_marker_of_its_own():
    rows = [
        {"arm": kind, "grounding": kind, "guidance_scale": 2, "metric": metric, **SCORE}
        for kind in ("none", "text", "image")
        for metric in MEASURES
    ]
    page = charts.curves(pd.DataFrame(rows), MEASURES)
    bars = page.axes[0].containers
    assert {bar.lines[0].get_marker() for bar in bars} == {"s", "o", "^"}
    low, high = bars[0].lines[2][0].get_segments()[0][:, 1]
    assert (low, high) == pytest.approx((110.0, 116.8))
    names = [text.get_text() for text in page.legends[0].get_texts()]
    assert names == ["no grounding", "text grounding", "text + image grounding"]


def test_one_table_per_comparison_each_under_its_name():
    scores = pd.DataFrame([{"arm": "a", "metric": metric, **SCORE} for metric in ("FID", "found <at> 0.5")])
    groups = [
        Comparison({"a": "first"}, {metric: good}, name)
        for name, (metric, good) in zip("xy", MEASURES.items(), strict=True)
    ]
    page = soup(tables.score_table(scores, *groups))
    assert [one.caption.text for one in page.find_all("table")] == ["x", "y"]
    assert [one.find_all("td")[1].text for one in page.find_all("table")] == ["113.5110.0 to 116.8"] * 2


def test_the_protocol_card_shows_what_is_nested_as_cards_of_their_own():
    page = soup(
        tables.piece(
            "card",
            "this run",
            {"protocol": {"steps": 20, "checkpoints": {"clip": "abc"}}, "device": "toaster"},
        )
    )
    assert [one.text for one in page.find_all("h3")] == ["this run", "protocol", "checkpoints"]
    assert [one.text for one in page.find_all("dd")] == ["toaster", "20", "abc"]


@pytest.fixture
def page(tmp_path):
    shown = new_output("execute_result", {"text/html": "<p>shown</p>", "text/plain": "plain"})
    noise = new_output("stream", name="stderr", text="a warning")
    chart = new_output("display_data", {"image/png": base64.b64encode(b"png").decode()})
    cells = [
        new_markdown_cell("## Title of it\n\na *word*"),
        new_code_cell("secret_code = 1", outputs=[shown, noise, chart]),
        new_code_cell("finish()", outputs=[shown], metadata={"tags": ["remove-cell"]}),
    ]
    nbformat.write(new_notebook(cells=cells, metadata={"title": "A & B"}), tmp_path / "a.ipynb")
    page_of.render(tmp_path / "a.ipynb", tmp_path / "a.html")
    return (tmp_path / "a.html").read_text()


def test_the_page_shows_results_and_no_code(page):
    assert page.count("<p>shown</p>") == 1 and "secret_code" not in page and "a warning" not in page
    assert soup(page).title.text == "A & B" and soup(page).h2.text == "Title of it"


def test_the_page_fetches_nothing_and_forbids_it(page):
    assert not re.findall(r"(?:https?:)?//[\w.-]+\.\w+", page)
    policy = soup(page).find("meta", {"http-equiv": "Content-Security-Policy"})["content"]
    assert "default-src 'none'" in policy and "http" not in policy
    assert not soup(page).find_all(["link", "iframe"]) and not soup(page).find_all("script", src=True)


def test_every_picture_of_the_page_has_a_text_for_it(page):
    assert all(tag.get("alt") for tag in soup(page).find_all("img"))


def test_every_section_is_in_the_contents_and_can_be_linked(page):
    link, glossary = soup(page).nav.find_all("a")
    assert glossary["href"] == "#glossary" and soup(page).find(id="glossary").dl
    assert link.text == "Title of it"
    assert soup(page).find(id=link["href"].removeprefix("#")).h2.text == "Title of it"


def test_a_picture_that_stands_twice_is_in_the_page_once():
    one, other = (f'<img src="data:image/avif;base64,{data}" alt="x">' for data in ("AAAA", "BBBB"))
    text = page_of.once(one + other + one)
    assert text.count("AAAA") == text.count("BBBB") == 1
    assert [tag.get("data-picture") or tag.get("data-same") for tag in soup(text).find_all("img")] == [
        "0",
        "1",
        "0",
    ]


def test_pictures_of_a_page_that_is_too_large_lie_beside_it(tmp_path, monkeypatch):
    picture = figures.as_data(Image.new("RGB", (64, 64), "red"))
    shown = new_output(
        "display_data", {page_of.PAGE_ONLY: f'<img src="{picture}" alt="x">', "text/plain": "x"}
    )
    nbformat.write(new_notebook(cells=[new_code_cell("show()", outputs=[shown])]), tmp_path / "a.ipynb")
    assert page_of.render(tmp_path / "a.ipynb", tmp_path / "one.html") is None
    monkeypatch.setattr(page_of, "LARGEST", 100)
    folder = page_of.render(tmp_path / "a.ipynb", tmp_path / "two.html")
    text = (tmp_path / "two.html").read_text()
    assert "data:image" not in text and "two_pictures beside it" in text
    assert images.load(tmp_path / soup(text).img["src"]).size == (256, 256) and folder.is_dir()


def test_a_term_is_explained_where_it_is_first_used():
    terms = {"IoU": "shared <area>", "N": "photos", "unused": "nothing"}
    text = page_of.link_terms(
        "<h2>IoU</h2><p>At IoU 0.5, N 4. IoU again.</p><svg><text>N</text></svg>", terms
    )
    links = soup(text).find_all("a")
    assert [(link.text, link["href"], link["title"]) for link in links] == [
        ("IoU", "#term-IoU", "shared <area>"),
        ("N", "#term-N", "photos"),
    ]
    assert not soup(text).h2.a and not soup(text).svg.a


def test_a_notebook_gets_a_picture_of_what_the_page_shows_as_svg(run):
    compared = gallery.compare(run, run.scenes, {"suffix-text-g1": "one"})._repr_mimebundle_()
    shown = Image.open(io.BytesIO(base64.b64decode(compared["image/jpeg"])))
    assert shown.format == "JPEG" and shown.width > 300 and "text/html" not in compared
    rows = [{"arm": "a-text-g1", "metric": metric, **SCORE} for metric in MEASURES]
    comparison = Comparison({"a-text-g1": "a"}, MEASURES, "")
    chart = charts.as_svg(charts.intervals(pd.DataFrame(rows), comparison), "three")
    bundle = chart._repr_mimebundle_()
    assert Image.open(io.BytesIO(base64.b64decode(bundle["image/png"]))).format == "PNG"
    assert bundle["text/plain"] == "three" and "<svg" in bundle[page_of.PAGE_ONLY]
    assert "image/jpeg" not in gallery.folded(gallery.row(run.scenes, 2), "More")._repr_mimebundle_()


def test_a_table_can_be_taken_as_csv():
    frame = pd.DataFrame({"scene": ["a,b"], "n": [0.123]})
    link = soup(tables.table(frame, "A: table")).find("a", download="A_table.csv")
    text = unquote(link["href"].removeprefix("data:text/csv;charset=utf-8,"))
    assert pd.read_csv(io.StringIO(text)).equals(frame)
    scores = pd.DataFrame([{"arm": "a", "metric": metric, **SCORE} for metric in MEASURES])
    link = soup(tables.score_table(scores, Comparison({"a": "first & best"}, MEASURES, "x"))).a
    rows = pd.read_csv(io.StringIO(unquote(link["href"].split(",", 1)[1])))
    assert rows.arm.unique() == ["first & best"] and [*rows.value] == [SCORE["value"]] * 2


def test_pictures_that_qualify_are_named(run, monkeypatch):
    names = {"suffix-text-g7.5": "suffix, text grounding", "mine": "mine", "other": "not judged"}
    rows = [("suffix-text-g7.5", "photo-1", True), ("suffix-text-g7.5", "photo-2", False)]
    table = pd.DataFrame([*rows, ("mine", "photo-1", False)], columns=["arm", "scene", "qualifies"])
    monkeypatch.setattr("helpers.report.comparisons.main", lambda run: Comparison(names, {}, ""))
    monkeypatch.setattr("helpers.report.qualification.unjudged", lambda run, arm: arm * (arm == "other"))
    monkeypatch.setattr("helpers.report.qualification.qualifying", lambda run, arms: table)
    lists = soup(gallery.qualifying(run))
    texts = [one.text for one in lists.find_all("details")]
    assert texts == ["suffix, text grounding: 1 picturesphoto-1", "mine: 0 picturesnone"]
    assert lists.a["href"] == "#scene-photo-1"
    assert run.read_json(qualification.FILE)["arms"] == {"suffix-text-g7.5": ["photo-1"], "mine": []}


def test_an_answer_links_to_a_section_of_the_report_notebook():
    book = nbformat.read(ROOT / "notebooks" / "06_visual_comparison.ipynb", as_version=4)
    headings = {cell.source.splitlines()[0].removeprefix("## ") for cell in book.cells if cell.source}
    source = (ROOT / "helpers" / "report" / "answers.py").read_text()
    sections = {one for one in headings if f'"{one}"' in source}
    assert len(sections) == 4 and answers.TRAINING in sections
    html = soup(
        tables.piece("answers", [Answer("Which?", "This.", ("So.",), "a b", "No", "IoU", (("c", "1"),))])
    )
    assert html.a["href"] == "#a-b" and html.find(class_="verdict").text == "No"
    assert html.details.li.text == "So." and html.dl.text == "c1"
