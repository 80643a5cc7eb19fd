"""A whole study of prompts and boxes without photos: what is judged, and what the report says."""

import json

import pytest
from bs4 import BeautifulSoup

from helpers.__main__ import main
from helpers.parameters import ParameterError
from helpers.report.detector_study import study as study_detectors
from helpers.runs.run import Run
from helpers.scoring import scores
from helpers.sweeps import tasks
from tests.fakes import in_process
from tests.fakes.study import write_models

HEAD = "id,prompt,obj1,bbox1,obj2,bbox2,width,height,drawn\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Seven layouts, of which one has a box without area and is left out."""
    folder = tmp_path_factory.mktemp("layouts")
    (folder / "set").mkdir()
    rows = [f'{i},a cone and {i} crates,cone,"4,6,30,40",crate,"34,20,6{i},58",72,64,true' for i in range(6)]
    rows.append('flat,a table,table,"48,47,48,47",,,72,64,true')
    (folder / "set" / "layouts.csv").write_text(HEAD + "\n".join(rows) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GROUNDED_DATA", str(write_models(folder / "data")))
        patch.setattr(tasks, "execute", in_process.execute)
        command = ["report", "--dataset", str(folder / "set"), "--run", str(folder / "run")]
        assert main([*command, "--steps", "2", "--skip-bad"]) == 0
        yield folder


@pytest.fixture
def run(folder):
    return Run(folder / "run")


@pytest.fixture
def page(folder):
    return BeautifulSoup((folder / "run" / "report.html").read_text(), "html.parser")


def test_boxes_and_prompts_are_judged_and_realism_is_not(run):
    table = run.scores(["suffix-text-g2"]).set_index("metric")
    judged = ("found at IoU 0.5", "mean IoU", "AP", "crop accuracy", "CLIP score", "R-precision")
    assert table.value[list(judged)].notna().all()
    realism = table[table.group == "Realism"]
    assert len(realism) >= 3 and realism.value.isna().all()
    assert set(realism.reason) == {"not judged: no photos"}
    assert not {"photos", scores.ROUND_TRIP} & set(run.scores().arm)
    assert {
        scores.CHANCE,
        f"{scores.SHUFFLED}{run.read_json('choices/template.json')['template']}-text-g2",
    } <= set(run.scores().arm)


def test_prompts_are_the_captions_and_no_arm_has_image_grounding(run):
    assert run.captions("prompt").generated_text.tolist() == [f"a cone and {i} crates" for i in range(6)]
    assert run.read_json("choices/captioner.json")["captioner"] == "prompt"
    assert run.arms() and not [arm for arm in run.arms() if "-image-" in arm]
    assert run.card["protocol"]["photos"].startswith("none")
    assert "demo blip2-opt" not in run.card["protocol"]["checkpoints"]


def test_the_five_answers_say_what_there_is(page):
    texts = [
        item.get_text(" ", strip=True)
        for item in page.find("ol", class_="answers").find_all("li", recursive=False)
    ]
    captioners, templates, groundings, guidance, training = texts
    assert "There are no photos to caption: the data set brings its prompts." in captioners
    assert "These 6 prompts cannot tell, by found at" in templates and "KID" not in templates
    assert (
        "Layout score, the mean IoU: 0." in groundings and "Realism is not judged: no photos." in groundings
    )
    assert "With text grounding, 11 is" in guidance and "text + image" not in guidance
    assert "Those in which every box is found" in training and "photos" not in training
    captions = [table.caption.text for table in page.find_all("table") if table.caption]
    assert any(text.startswith("Boxes: found by the demo detector.") for text in captions)
    assert not any("CLIP score (no photos)" in text for text in captions if text.startswith("Boxes"))
    assert "Prompts and boxes of the folder set, which has no photos," in page.text


def test_scenes_that_were_left_out_stand_in_the_report_with_their_reason(page):
    (fold,) = [one for one in page.find_all("details") if "1 scenes with problems were left out" in one.text]
    assert "scene 'flat'" in fold.text and "leave [48, 47, 48, 47] empty" in fold.text


def test_what_takes_photos_is_refused(folder, run, capsys):
    command = ["--run", str(folder / "run")]
    for name in ("tune", "sweep"):
        more = ["--grounding", "image"] if name == "sweep" else []
        assert main([name, *command, *more]) == 2
        assert "has prompts and boxes alone; " in capsys.readouterr().err
    with pytest.raises(ParameterError, match="a study of detectors takes photos"):
        study_detectors(run, [], str(folder / "set"), [0.0, 1.0], 2, 1)


def test_another_run_of_the_same_command_finds_everything_done(folder, capsys):
    before = json.dumps(sorted(path.stat().st_mtime_ns for path in (folder / "run").rglob("*.png")))
    command = ["report", "--dataset", str(folder / "set"), "--run", str(folder / "run")]
    assert main([*command, "--steps", "2", "--skip-bad"]) == 0
    assert json.dumps(sorted(path.stat().st_mtime_ns for path in (folder / "run").rglob("*.png"))) == before
