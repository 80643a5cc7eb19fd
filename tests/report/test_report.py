"""The report's pieces as a browser gets them: escaped, complete, with nothing to fetch."""

import base64
import io
import json
import re

import nbformat
import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from helpers.report import charts, gallery, tables
from helpers.report.answers import Answer
from helpers.report.following import evenly
from helpers.runs import run as runs
from helpers.runs.arms import Arm
from helpers.runs.run import Run
from helpers.scenes import images
from helpers.scenes.scenes import read_scenes
from tests.fakes.study import EVIL, write_scenes

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
    "value, error, shown",
    [
        (113.4512, 1.7, "113.5"),
        (0.0312, 0.004, "0.0312"),
        (12345.6, 300, "12,346"),
        (7, 0, "7"),
        (5e-7, 0, "5e-07"),
    ],
)
def test_a_number_has_the_decimals_that_its_error_allows(value, error, shown):
    assert tables.number(value, error) == shown


def test_a_score_without_a_value_is_a_dash_and_not_nan():
    assert tables.number(float("nan"), float("nan")) == "–"
    empty = tables.cell(pd.Series(dict.fromkeys(SCORE, None)))
    assert empty == "–" and tables.cell(pd.Series(SCORE | {"low": 0.5, "high": 0.5})) == "113.5"


def test_the_score_table_has_every_number_with_interval_and_n_and_tells_controls_apart():
    scores = pd.DataFrame(
        [{"arm": "a-text-g7.5", "metric": "FID", **SCORE}, {"arm": "photos", "metric": "FID", **SCORE}]
    )
    names, controls = {"a-text-g7.5": "a & b"}, {"photos": "the photos"}
    page = soup(tables.score_table(scores, names, MEASURES, "1 < 2", "a-text-g7.5", controls))
    assert page.caption.text == "1 < 2"
    rows = page.tbody.find_all("tr")
    assert [row.th.text for row in rows] == ["a & b", "the photos"]
    assert [cell.text for cell in rows[0].find_all("td")] == ["48", "113.5110.0 to 116.8", "–"]
    assert "chosen" in rows[0].td["class"] and "control" in rows[1].td["class"]
    assert "found <at> 0.5" in page.thead.text and not page.find("at")


def test_a_table_escapes_what_comes_from_files():
    page = soup(tables.table(pd.DataFrame({"scene": [EVIL], EVIL: [EVIL], "n": [0.123]}), EVIL))
    assert not page.find("img") and [one.text for one in page.find_all("td")] == [EVIL, EVIL, "0.12"]


def test_text_of_the_opening_the_answers_and_the_card_is_escaped():
    opening = tables.opening(EVIL, EVIL, {"photos": EVIL}, warning=EVIL)
    for html in (
        opening,
        tables.answers([Answer(EVIL, EVIL, (EVIL,))]),
        tables.card({"a": EVIL, "b": {"c": EVIL}}),
    ):
        assert not soup(html).find("img") and EVIL in soup(html).text


def test_boxes_lie_where_they_were_asked_for_the_large_ones_below():
    boxes = np.float32([[0.25, 0.5, 0.5, 1], [0, 0, 1, 1]])
    page = soup(gallery.overlay(boxes, ["cone", EVIL], aspect=0.5))
    assert page.svg["viewbox"] == "0 0 100 50.00"
    whole, small = page.find_all("rect")
    assert [float(small[key]) for key in ("x", "y", "width", "height")] == [25, 25, 25, 25]
    assert float(whole["width"]) == 100 and page.title.text == EVIL and not page.find("img")
    assert whole["stroke"] != small["stroke"]


def test_a_figure_holds_the_picture_itself_with_a_text_for_those_who_cannot_see_it(tmp_path):
    scene = read_scenes(write_scenes(tmp_path))[0]
    page = soup(gallery.figure(Image.new("RGB", (64, 32), "red"), scene, "a & b", "<i>note</i>"))
    shown = picture_in(page.img)
    assert shown.size == (256, 128) and shown.getpixel((9, 9))[0] > 240
    assert page.img["alt"] == "a & b, scene photo-0" and page.img["loading"] == "lazy"
    assert page.b.text == "a & b" and page.i.text == "note"


def test_large_pictures_are_reduced_and_shapes_are_kept():
    data = gallery.as_data(Image.new("RGB", (2000, 1000)))
    assert Image.open(io.BytesIO(base64.b64decode(data.split(",")[1]))).size == (512, 256)


def test_scenes_stand_side_by_side_with_every_arm(run):
    names = {"suffix-text-g1": "one", "suffix-image-g1": "two"}
    page = soup(gallery.compare(run, run.scenes, names, {("suffix-text-g1", "photo-1"): "2 < 3"}))
    sections = page.find_all("section")
    assert [one.h3.text for one in sections] == [scene.name for scene in run.scenes]
    assert all([b.text for b in one.find_all("b")] == ["photo", "one", "two"] for one in sections)
    assert "2 < 3" in sections[1].text and "2 < 3" not in sections[0].text


def test_the_slider_has_every_picture_under_its_scale(run):
    arms = {
        "text": [Arm("suffix", "text", scale) for scale in (1, 7.5, 11)],
        "image": [Arm("suffix", "image", scale) for scale in (7.5, 11)],
    }
    page = soup(gallery.slider(run, run.scenes[:2], arms, start=7.5))
    scales = json.loads(page.div["data-steps"])
    assert scales == [1, 7.5, 11] and (page.input["max"], page.input["value"]) == ("2", "1")
    for tag in page.find_all("figure"):
        if tag["data-step"]:
            red = picture_in(tag.img).getpixel((5, 5))[0]
            assert abs(red - 20 * scales[int(tag["data-step"])]) < 8
    assert len(page.find_all("figure")) == 2 * (1 + 3 + 2)
    assert [one.text for one in page.find_all("option")] == ["photo-0", "photo-1"]


def test_captions_stand_under_their_photo(run):
    table = pd.DataFrame({"generated_text": [EVIL] * 4, "flags": [["repeats"]] + [[]] * 3, "seconds": 0.25})
    table.index = [scene.name for scene in run.scenes]
    page = soup(gallery.captions(run.scenes, {"opt": table}))
    assert len(page.find_all("img")) == 4 and [one.text for one in page.find_all("i")[:2]] == [
        "0.25 s, repeats",
        "0.25 s",
    ]
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
    curves = charts.as_svg(charts.curves(pd.DataFrame(rows), MEASURES, "guidance_scale", 11), "one & two")
    names = {row["arm"]: row["arm"] for row in rows} | {"nobody": "who has no score"}
    dots = charts.as_svg(charts.intervals(pd.DataFrame(rows), MEASURES, names), "three")
    assert "http" not in curves.data + dots.data and charts.INK not in curves.data
    assert "currentColor" in curves.data and soup(curves).svg["aria-label"] == "one & two"
    ids = [tag["id"] for one in (curves, dots) for tag in soup(one).find_all(["clippath", "path"], id=True)]
    assert ids and len(ids) == len(set(ids)) and "who has no score" not in soup(dots).text
    assert "11" in [text.text.strip() for text in soup(curves).find_all("text")]


def test_one_table_a_group_each_under_its_name():
    scores = pd.DataFrame([{"arm": "a", "metric": metric, **SCORE} for metric in ("FID", "found <at> 0.5")])
    groups = {name: {metric: good} for name, (metric, good) in zip("xy", MEASURES.items(), strict=True)}
    page = soup(tables.score_tables(scores, {"a": "first"}, groups))
    assert [one.caption.text for one in page.find_all("table")] == ["x", "y"]
    assert [one.find_all("td")[1].text for one in page.find_all("table")] == ["113.5110.0 to 116.8"] * 2


def test_a_curve_of_accuracy_for_each_arm():
    arms = {"suffix-text-g2": "text grounding", "photos": "photos"}
    rows = [
        {"arm": arm, "name": name, "threshold": x, "share": 1 - x}
        for arm, name in arms.items()
        for x in (0, 0.5, 1)
    ]
    page = charts.accuracy(pd.DataFrame(rows))
    lines = {line.get_label(): line.get_ydata().tolist() for line in page.axes[0].lines}
    assert lines == {"text grounding": [1, 0.5, 0], "photos": [1, 0.5, 0]}


def test_evenly_takes_both_ends():
    assert evenly(range(48), 4) == [0, 16, 31, 47] and evenly(range(3), 8) == [0, 1, 2]
    assert evenly(range(5), 1) == [0] and evenly([], 3) == []


@pytest.fixture
def page(tmp_path):
    shown = new_output("execute_result", {"text/html": "<p>shown</p>", "text/plain": "plain"})
    noise = new_output("stream", name="stderr", text="a warning")
    chart = new_output("display_data", {"image/png": base64.b64encode(b"png").decode()})
    cells = [
        new_markdown_cell("## Title\n\na *word*"),
        new_code_cell("secret_code = 1", outputs=[shown, noise, chart]),
        new_code_cell("finish()", outputs=[shown], metadata={"tags": ["remove-cell"]}),
    ]
    nbformat.write(new_notebook(cells=cells, metadata={"title": "A & B"}), tmp_path / "a.ipynb")
    tables.render(tmp_path / "a.ipynb", tmp_path / "a.html")
    return (tmp_path / "a.html").read_text()


def test_the_page_shows_results_and_no_code(page):
    assert page.count("shown") == 1 and "secret_code" not in page and "a warning" not in page
    assert soup(page).title.text == "A & B" and soup(page).h2.text == "Title"


def test_the_page_fetches_nothing_and_forbids_it(page):
    assert not re.findall(r"(?:https?:)?//[\w.-]+\.\w+", page)
    policy = soup(page).find("meta", {"http-equiv": "Content-Security-Policy"})["content"]
    assert "default-src 'none'" in policy and "http" not in policy
    assert not soup(page).find_all(["link", "iframe"]) and not soup(page).find_all("script", src=True)


def test_every_picture_of_the_page_has_a_text_for_it(page):
    assert all(tag.get("alt") for tag in soup(page).find_all("img"))
