"""The interactive bench, turned by hand as a person would, on tiny random checkpoints."""

import pytest

from helpers.explore import Bench
from helpers.parameters import ParameterError
from tests.fakes.study import write_models, write_scenes


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GROUNDED_DATA", str(write_models(folder / "data")))
        bench = Bench(str(write_scenes(folder / "scenes")), "demo")
        bench.steps.value = 2
        yield bench


def shown(bench, monkeypatch):
    """What the last draw displayed: an output widget keeps it only under a running kernel."""
    seen = []
    monkeypatch.setattr("helpers.explore.display", seen.append)
    bench.draw()
    return seen[0].data


def test_the_prompt_follows_scene_and_template(bench):
    bench.template.value = "suffix"
    assert bench.prompt.value == "a cone and a crate, professional quality, highly detailed"
    bench.template.value = "caption"
    assert bench.prompt.value == "a cone and a crate"


def test_photo_and_picture_stand_side_by_side_and_knobs_change_the_picture(bench, monkeypatch):
    bench.grounding.value, bench.guidance.value = "text", 7.5
    first = shown(bench, monkeypatch)
    assert first.count("<img") == 2 and "caption-text-g7.5" in first
    assert shown(bench, monkeypatch) == first
    bench.guidance.value = 1
    assert shown(bench, monkeypatch) != first.replace("g7.5", "g1")
    assert not bench.button.disabled


def test_what_goes_wrong_is_said_below_the_button(bench, monkeypatch):
    def broken(*_, **__):
        raise MemoryError("out of memory <at> batch_size 1")

    monkeypatch.setattr("helpers.explore.generate", broken)
    bench.button.click()
    assert "out of memory &lt;at&gt; batch_size 1" in bench.status.value and not bench.button.disabled


def test_the_demo_models_warn_of_photos_that_they_do_not_know(bench):
    assert "drawn worksites only" in bench.view.children[0].value


def test_one_checkpoint_is_in_memory(bench, monkeypatch):
    bench.grounding.value = "image"
    assert "caption-image-g1" in shown(bench, monkeypatch) and list(bench.loaded) == ["image"]
    bench.grounding.value = "none"
    assert "caption-none-g1" in shown(bench, monkeypatch) and list(bench.loaded) == ["text"]


def test_a_folder_without_photos_is_refused(tmp_path):
    with pytest.raises(ParameterError, match="no photos"):
        Bench(str(tmp_path), "demo")
