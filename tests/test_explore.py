"""The interactive bench, turned by hand as a person would, on tiny random checkpoints."""

import io
from datetime import datetime

import numpy as np
import pytest
from PIL import Image

from helpers import explore
from helpers.explore import Bench
from helpers.parameters import ParameterError
from helpers.scenes.scenes import read_scenes
from tests.fakes.study import write_models, write_scenes


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GROUNDED_DATA", str(write_models(folder / "data")))
        bench = Bench(str(write_scenes(folder / "scenes")), "demo")
        bench.steps.value = 2
        bench.requests = []
        own = explore.generate
        patch.setattr(
            explore,
            "generate",
            lambda gligen, some, *rest, **options: (
                bench.requests.extend(some) or own(gligen, some, *rest, **options)
            ),
        )
        yield bench


def shown(bench):
    """The picture that a press on the button shows."""
    bench.button.click()
    assert not bench.button.disabled and bench.status.value == "", bench.status.value
    return bench.result.value


def test_the_prompt_follows_scene_and_template(bench):
    bench.template.value = "suffix"
    assert bench.prompt.value == "a cone and a crate, professional quality, highly detailed"
    bench.template.value = "caption"
    assert bench.prompt.value == "a cone and a crate"


def test_knobs_change_the_picture_and_the_last_ones_are_kept(bench):
    bench.grounding.value, bench.guidance.value = "text", 7.5
    first = shown(bench)
    assert first.count("<img") == 1 and "caption-text-g7.5" in first and "of 2 boxes found" in first
    assert shown(bench) == first
    assert bench.line.value.removesuffix("</code>").endswith(
        "TEMPLATE=caption GROUNDING=text GUIDANCE=7.5 FRACTION=1 SEED=0"
    )
    bench.guidance.value = 1
    assert shown(bench) != first.replace("g7.5", "g1")
    assert bench.steps_done.value == bench.steps_done.max > 1
    assert len(bench.strip.children) == 3
    show, pin = bench.strip.children[2].children[1].children
    pin.click()
    assert bench.pinned.value == first != bench.result.value
    show.click()
    assert bench.result.value == first
    for _ in range(8):
        shown(bench)
    assert len(bench.strip.children) == 8


def test_a_prompt_of_ones_own_is_kept_until_it_is_reset(bench):
    bench.prompt.value = "my own words " * 80
    assert "; cut after" in bench.tokens.value and "your own prompt is kept" in bench.tokens.value
    bench.template.value = "suffix"
    assert bench.prompt.value.startswith("my own words")
    bench.reset.click()
    assert bench.prompt.value == "a cone and a crate, professional quality, highly detailed"
    assert "own prompt" not in bench.tokens.value
    bench.template.value = "caption"
    assert bench.prompt.value == "a cone and a crate"


def test_boxes_are_drawn_named_and_put_back(bench):
    editor = bench.editor
    assert np.allclose(editor.edited().boxes, editor.scene.boxes, atol=2 / 448)
    assert editor.edited().labels == editor.scene.labels and editor.edited().phrases == editor.scene.phrases
    editor.canvas.bboxes = [{"x": 0, "y": 112, "width": 224, "height": 224, "label": "cone"}]
    editor.canvas.selected_index = 0
    editor.text.value = "a green <bicycle>"
    drawn = editor.edited()
    assert drawn.boxes.tolist() == [[0, 0.25, 0.5, 0.75]]
    assert drawn.labels == drawn.phrases == ("a green <bicycle>",)
    assert "a green &lt;bicycle&gt;" in shown(bench) and "of 1 boxes found" in bench.result.value
    assert "without what is your own" in bench.line.value
    editor.text.value = "a green Cone"
    assert (editor.edited().labels, editor.edited().phrases) == (("cone",), ("a green Cone",))
    photo = editor.canvas.image_bytes
    editor.blank.value = True
    assert editor.canvas.image_bytes != photo and len(editor.canvas.bboxes) == 1
    editor.blank.value = False
    editor.reset.click()
    assert editor.canvas.image_bytes == photo and len(editor.canvas.bboxes) == 2
    editor.canvas.bboxes = []
    assert editor.edited().boxes.shape == (0, 4)
    editor.reset.click()


def test_a_picture_is_painted_into_the_photo(bench):
    bench.grounding.value = "inpaint"
    assert "-inpaint-" in shown(bench) and "GROUNDING=inpaint" in bench.line.value
    assert bench.requests[-1].photo().size == bench.editor.scene.photo().size
    bench.editor.canvas.bboxes = []
    bench.button.click()
    assert "give the boxes to paint" in bench.status.value
    bench.grounding.value = "text"
    bench.editor.reset.click()


def test_a_box_looks_like_an_uploaded_picture(bench):
    editor = bench.editor
    file = io.BytesIO()
    Image.new("RGB", (20, 30), "red").save(file, "PNG")
    uploaded = {"name": "red.png", "type": "image/png", "size": 1, "last_modified": datetime.now()}
    broken = uploaded | {"name": "broken.png", "content": b"no picture"}
    editor.canvas.selected_index = 1
    editor.upload.value = [uploaded | {"content": file.getvalue()}, broken]
    assert "broken.png" in editor.note.value and list(editor.references) == ["red.png"]
    editor.reference.value = "red.png"
    editor.canvas.selected_index = 0
    assert editor.reference.value == "" and editor.canvas.bboxes[1]["reference"] == "red.png"
    bench.grounding.value = "image"
    shown(bench)
    own, red = bench.requests[-1].crops
    assert red.size == (20, 30) and own.size != red.size
    bench.grounding.value = "text"
    editor.reset.click()


def test_the_detectors_own_boxes_are_shown_on_demand(bench):
    shown(bench)
    assert explore.UNSEEN in bench.result._dom_classes
    bench.own_boxes.value = True
    assert explore.UNSEEN not in bench.result._dom_classes
    bench.own_boxes.value = False


def test_photo_and_boxes_become_a_scene_of_a_data_set(bench, tmp_path):
    bench.folder.value = str(tmp_path / "mine")
    for name in ("photo-0", "photo-1", "photo-0"):
        bench.scene.value = name
        bench.editor.canvas.bboxes = [{"x": 0, "y": 112, "width": 224, "height": 224, "label": "cone"}]
        bench.keep.click()
    assert bench.status.value.startswith("2 scenes in ") and "DATASET=" in bench.status.value
    scenes = {scene.name: scene for scene in read_scenes(tmp_path / "mine")}
    assert scenes.keys() == {"photo-0", "photo-1"} and scenes["photo-0"].extra["drawn"]
    assert scenes["photo-0"].boxes.tolist() == [[0, 0.25, 0.5, 0.75]]
    assert scenes["photo-0"].content == bench.editor.scene.content
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    for folder in (tmp_path / "other", bench.editor.scene.path.parent):
        bench.folder.value = str(folder)
        bench.keep.click()
        assert "name a" in bench.status.value
    bench.editor.blank.value = True
    bench.keep.click()
    assert "blank canvas" in bench.status.value
    bench.editor.blank.value = False
    bench.editor.reset.click()


def test_another_scene_shows_its_photo_and_boxes_at_once(bench):
    before, photo = shown(bench), bench.editor.canvas.image_bytes
    bench.scene.value = "photo-1"
    assert bench.editor.canvas.image_bytes != photo and len(bench.editor.canvas.bboxes) == 2
    assert before in bench.result.value and "opacity" in bench.result.value
    bench.scene.value = "photo-0"


def test_what_goes_wrong_is_said_below_the_button(bench, monkeypatch):
    def broken(*_, **__):
        raise MemoryError("out of memory <at> batch_size 1")

    monkeypatch.setattr("helpers.explore.generate", broken)
    bench.button.click()
    assert "out of memory &lt;at&gt; batch_size 1" in bench.status.value and not bench.button.disabled


def test_the_demo_models_warn_of_photos_that_they_do_not_know_and_judge_none(bench, tmp_path):
    assert bench.view.children[0].value == ""
    file = write_scenes(tmp_path / "photos") / "annotations.json"
    file.write_text(file.read_text().replace('"drawn": true', '"drawn": false'))
    other = Bench(str(tmp_path / "photos"), "demo")
    other.steps.value = 2
    assert "drawn worksites only" in other.view.children[0].value
    assert "<rect" in shown(other) and "boxes found" not in other.result.value


def test_one_checkpoint_is_in_memory(bench):
    bench.grounding.value = "image"
    assert "caption-image-g1" in shown(bench) and list(bench.loaded) == ["image"]
    bench.grounding.value = "none"
    assert "caption-none-g1" in shown(bench) and list(bench.loaded) == ["text"]


def test_a_folder_without_photos_is_refused(tmp_path):
    with pytest.raises(ParameterError, match="no photos"):
        Bench(str(tmp_path), "demo")
