"""The report in a real browser: it fetches nothing, complains of nothing, and everybody can use it."""

import shutil

import nbformat
import numpy as np
import pandas as pd
import pytest
from axe_playwright_python.sync_playwright import Axe
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image
from playwright.sync_api import expect, sync_playwright

from helpers.report import charts, gallery, tables
from helpers.report.comparisons import Comparison
from helpers.report.page import Visual, render
from helpers.report.tables import Answer
from helpers.runs import run as runs
from helpers.runs.arms import Arm
from helpers.runs.run import Run
from helpers.scenes import images
from helpers.scoring.extraction import Pictures
from tests.fakes.study import EVIL, write_scenes

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium on this machine: apt-get install chromium"
)
SCALES = (1.0, 7.5, 11.0)
MEASURES = {"FID": "lower is better", "found at IoU 0.5": "higher is better"}


def pieces(run):
    """Every kind of thing that the report shows."""
    arms = {kind: [Arm("suffix", kind, scale) for scale in SCALES] for kind in ("text", "image")}
    rows = [
        {
            "arm": arm.name,
            "grounding": kind,
            "guidance_scale": arm.guidance_scale,
            "metric": metric,
            "value": 3.0,
        }
        for kind, row in arms.items()
        for arm in row
        for metric in MEASURES
    ]
    scores = pd.DataFrame(rows).assign(standard_error=0.3, low=2.4, high=3.6, n=4)
    names = {arm.name: f"suffix, {kind}" for kind, row in arms.items() for arm in row[:1]} | {
        "photos": "photos"
    }
    compared = Comparison(names, MEASURES, "Scores", arms["text"][0].name)
    sweep = Comparison({arm.name: "" for row in arms.values() for arm in row}, {}, "", arms["text"][0].name)
    yield tables.piece("opening", "Pictures", "A lead.", {"photos": 4}, "A warning.")
    yield tables.piece("answers", [Answer("Which?", "This one.", (EVIL, "Because."), "Section")])
    yield gallery.compare(run, run.scenes, {arms["text"][0].name: "text"}, scored=True, sortable=True)
    yield gallery.folded(gallery.row(run.scenes, 4), "More")
    yield tables.score_table(scores, compared)
    yield charts.as_svg(charts.curves(scores, MEASURES, 11), "Curves")
    yield charts.as_svg(charts.intervals(scores, compared), "Intervals")
    yield gallery.slider(run, run.scenes[:2], sweep)
    yield gallery.captions(run, run.scenes, ["opt"])
    yield tables.table(pd.DataFrame({"scene": ["a"], "n": [0.5]}), "A table")
    yield tables.piece("card", "this run", {"protocol": {"steps": 20}, "device": "toaster"})


def bundle(piece):
    """What Jupyter keeps of a piece."""
    return piece._repr_mimebundle_() if isinstance(piece, Visual) else {"text/html": piece.data}


def write_run(folder, patch):
    """A run of noise with everything that `pieces` shows."""
    patch.setattr(runs, "machine", lambda: {"device": "toaster", "versions": {"python": "3"}})
    dataset = str(write_scenes(folder / "photos"))
    run = Run.open(folder / "run", dataset=dataset, models="demo", size=32, fit="squash")
    noise = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    for name in (Arm("suffix", kind, scale).name for kind in ("text", "image") for scale in SCALES):
        for scene in run.scenes:
            record = {"prompt": EVIL, "seed": "0", "steps": "20"}
            images.save(Image.fromarray(noise), run.picture(name, scene), record)
    seen = [np.array([[4 / 64, 6 / 64, 19.6 / 64, 40 / 64, 0.9, 1]])] * 4  # 0.6 of a cone, the second label
    patch.setattr(Pictures, "_extract", lambda self, name, shown, asked: seen[: len(shown)])
    found = {"found": True, "iou": 0.6, "crop_correct": True}
    for arm in ("photos", "suffix-text-g1"):
        rows = [
            {"scene": scene.name, "box": k, "label": "", **found} | ({"found": False} if k else {})
            for scene in run.scenes
            for k in range(2)
        ]
        run.write_jsonl(f"boxes/{arm}.jsonl", rows)
        Pictures(run, run.scenes, arm, object()).arrays("detector")
    caption = {"generated_text": EVIL, "flags": ["empty"], "seconds": 0.2}
    run.write_jsonl("captions/opt.jsonl", [{"scene": scene.name, **caption} for scene in run.scenes])
    return run


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:
        run = write_run(folder, patch)
    shown = [new_output("display_data", bundle(piece)) for piece in pieces(run)]
    cells = [new_code_cell("show()", outputs=[one]) for one in shown]
    cells.insert(1, new_markdown_cell("## Section\n\nText with a [link](#section) and `code`."))
    nbformat.write(new_notebook(cells=cells, metadata={"title": "A report"}), folder / "a.ipynb")
    render(folder / "a.ipynb", folder / "report.html")
    return (folder / "report.html").as_uri()


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture
def page(browser, address):
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    page.told, page.asked = [], []
    page.on("console", lambda message: page.told.append(message.text))
    page.on("pageerror", lambda error: page.told.append(str(error)))
    page.on("request", lambda request: page.asked.append(request.url))
    page.goto(address)
    yield page
    page.close()


def test_nothing_is_fetched_and_nothing_complains(page, address):
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    page.mouse.wheel(0, 20000)
    page.wait_for_load_state("networkidle")
    assert page.told == []
    assert [url for url in page.asked if url != address and not url.startswith("data:")] == []


def test_every_picture_decodes(page):
    sizes = page.evaluate(
        "Promise.all([...document.images].map(one => {one.loading = 'eager'; return one.decode().then("
        "() => one.naturalWidth)}))"
    )
    assert len(sizes) > 20 and min(sizes) > 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_accessible_in_light_and_dark(page, scheme):
    page.emulate_media(color_scheme=scheme)
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_light_and_dark_differ_and_both_have_ink(page):
    def colours():
        return page.evaluate(
            "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
        )

    page.emulate_media(color_scheme="light")
    light = colours()
    page.emulate_media(color_scheme="dark")
    assert len({*light, *colours()}) == 4


def test_boxes_and_labels_can_be_switched(page):
    box, label = page.locator(".frame svg").first, page.locator(".frame svg text").first
    assert box.is_visible() and not label.is_visible()
    page.get_by_label("their labels").check()
    assert label.is_visible()
    page.get_by_label("boxes asked for").uncheck()
    assert not box.is_visible() and page.locator(".frame img").first.is_visible()


def test_the_detectors_own_boxes_are_shown_on_demand(page):
    own = page.locator(".scene .detected").first
    assert not own.is_visible()
    page.locator("#show-found").check()
    assert own.is_visible() and own.get_attribute("aria-label") == "boxes of the detector: cone, IoU 0.60"
    frame, box = page.locator(".scene .frame").first.bounding_box(), own.locator("rect").bounding_box()
    assert box["width"] / frame["width"] == pytest.approx(15.6 / 64, abs=0.01)
    assert own.locator("text").is_visible() and Axe().run(page).violations_count == 0


def test_boxes_lie_on_the_picture_where_they_were_asked_for(page):
    frame = page.locator(".frame").first.bounding_box()
    box = page.locator(".frame").first.locator("rect[rx]:not([stroke-dasharray])").bounding_box()
    assert box["x"] - frame["x"] == pytest.approx(4 / 64 * frame["width"], abs=1.5)
    assert box["y"] - frame["y"] == pytest.approx(6 / 64 * frame["height"], abs=1.5)


def test_the_slider_shows_the_pictures_of_its_scale_and_scene(page):
    slider = page.locator(".slider")
    assert slider.locator("figure:visible").count() == 3
    slider.get_by_role("slider").press("End")
    expect(slider.locator("output")).to_have_text("11")
    expect(slider.locator("figure:visible").nth(1)).to_contain_text("guidance_scale 11")
    slider.get_by_role("combobox").select_option("photo-1")
    shown = slider.locator("figure:visible img").evaluate_all("all => all.map(one => one.alt)")
    assert len(shown) == 3 and all(alt.endswith("photo-1") for alt in shown)


def test_the_switch_of_the_boxes_stays_in_view(page):
    page.evaluate("window.scrollTo({top: document.body.scrollHeight, behavior: 'instant'})")
    assert page.get_by_label("boxes asked for").bounding_box()["y"] < 100


def test_contents_and_answers_lead_to_their_section(page):
    for link in (page.locator("nav a"), page.locator(".answers a")):
        link.first.click()
        page.wait_for_timeout(1000)  # the page scrolls smoothly
        assert 0 <= page.locator("#Section").bounding_box()["y"] < 120
        page.evaluate("window.scrollTo({top: 0, behavior: 'instant'})")


def test_scenes_can_be_sorted_and_filtered_by_keyboard(page):
    scenes = page.locator(".scenes > .scene:visible h3")
    expect(scenes).to_have_text(["photo-0", "photo-1", "photo-2", "photo-3"])
    page.get_by_label("order").focus()
    page.keyboard.press("ArrowDown")
    expect(scenes).to_have_text(["photo-3", "photo-2", "photo-1", "photo-0"])
    page.get_by_label("with label").select_option(EVIL)
    expect(scenes).to_have_text(["photo-0"])
    expect(page.locator(".scenes output")).to_have_text("1 of 4 scenes")
    page.get_by_label("with label").select_option("")
    page.get_by_label("box missed by").select_option("text")
    assert scenes.count() == 4


def test_two_pictures_stand_in_one_frame_with_a_divider(page):
    page.get_by_role("button", name="Two pictures of photo-1 in one frame").press("Enter")
    closer = page.get_by_role("dialog")
    assert closer.locator("select").evaluate_all("all => all.map(one => one.value)") == ["0", "1"]
    before = closer.locator(".divider").bounding_box()["x"]
    page.keyboard.press("ArrowRight")
    assert closer.locator(".divider").bounding_box()["x"] > before
    assert Axe().run(page).violations_count == 0
    page.keyboard.press("Escape")
    assert not closer.is_visible()
    page.locator(".scene .frame").nth(2).click()
    assert closer.is_visible()


def test_a_picture_that_stands_again_is_taken_from_the_first(page):
    assert page.locator("img[data-same]").count() > 4
    assert page.locator("img[data-same]").evaluate_all("all => all.every(one => one.src.startsWith('data:'))")


def test_on_paper_folds_are_open_and_four_pictures_stand_in_a_row(page):
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    columns = page.locator(".pictures").first.evaluate("one => getComputedStyle(one).gridTemplateColumns")
    assert len(columns.split()) == 4
    assert not page.locator(".toggle").is_visible() and not page.locator(".download").first.is_visible()


def test_it_fits_a_telephone(page):
    page.set_viewport_size({"width": 380, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 380


def test_without_javascript_every_picture_is_there(browser, address):
    page = browser.new_page(java_script_enabled=False)
    page.goto(address)
    assert page.locator(".slider figure:visible").count() == 2 * (1 + 6)
    sources = page.locator("img[src]").evaluate_all("all => all.map(one => one.src)")
    assert len(sources) == len(set(sources)) >= 4 + 1  # photos and the noise of every arm
    page.close()
