"""All notebooks with tiny random checkpoints, from photos to the report, twice; each first in a kernel of its
own, and where it runs again in this process."""

import base64
import io
import json
import re

import nbformat
import numpy as np
import papermill
import pytest
from bs4 import BeautifulSoup
from PIL import Image

from helpers.__main__ import main
from helpers.report.comparisons import guidance_arms, template_arms
from helpers.runs.run import Run
from helpers.scenes import images
from helpers.sweeps import notebooks, plan, tasks
from helpers.sweeps.tasks import NOTEBOOKS
from tests.fakes import in_process
from tests.fakes.study import EVIL, write_models, write_scenes

ARMS = 3 + 2 + 2 * 3 + 3 + 1  # templates, groundings, other scales, another seed, Rich Text with boxes


def make(folder, *options):
    return main(["report", "--dataset", str(folder / "scenes"), "--run", str(folder / "run"), *options])


def add_photos(scenes):
    """Two pictures that nobody drew for the demo models, one with more boxes than GLIGEN takes."""
    path, rng = scenes / "annotations.json", np.random.default_rng(0)
    entries = json.loads(path.read_text())
    for name, count in (("crowd", 33), ("few", 2)):
        image = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        image.resize((512, 384), Image.Resampling.BICUBIC).save(scenes / f"{name}.png")
        corners = np.concatenate([rng.integers(0, 200, (count, 2)), rng.integers(220, 380, (count, 2))], 1)
        own = {"labels": ["Person", "Shoes"] * (count // 2) + ["Person"] * (count % 2)}
        own |= {"image": f"{name}.png", "width": 512, "height": 384, "bboxes": corners.tolist()}
        entries.append(own | {"caption": f"{count} people in an airport"})
    path.write_text(json.dumps(entries))


def once_in_a_kernel(execute):
    """What runs a notebook: the first time that, in a kernel of its own, and again in this process."""
    seen = set()

    def executed(path, *rest):
        run = in_process.execute if path in seen else execute
        seen.add(path)
        return run(path, *rest)

    return executed


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GROUNDED_DATA", str(write_models(folder / "data")))
        patch.setattr(tasks, "execute", once_in_a_kernel(tasks.execute))
        add_photos(write_scenes(folder / "scenes", 2))
        assert make(folder, "--steps", "3") == 0
        yield folder


@pytest.fixture
def page(study):
    return BeautifulSoup((study / "run" / "report.html").read_text(), "html.parser")


def test_every_arm_has_every_picture_and_every_score(study):
    run = Run(study / "run")
    ours = [arm for arm in run.arms() if "-g" in arm]
    assert len(ours) == ARMS and not any(run.missing(arm, run.scenes) for arm in ours)
    scored = set(run.scores().dropna(subset="value").arm)
    assert {*ours, "photos", "round-trip", "captioner-opt", "captioner-t5"} <= scored


def test_the_files_of_the_study_go_back_to_the_original_format(study):
    entries = json.loads((study / "run" / "annotations.json").read_text())
    assert len(entries) == len(Run(study / "run").scenes)
    assert all({"generated_text", "prompt_w_label", "prompt_w_suffix"} <= entry.keys() for entry in entries)


def test_a_picture_explains_itself(study):
    run = Run(study / "run")
    name = template_arms(run)[0]
    told = images.read_text(run.picture(name, run.scenes[0]))
    assert told["arm"] == name and json.loads(told["steps"]) == 3
    assert len(json.loads(told["boxes"])) == 2 and float(told["seconds"]) > 0


def test_the_report_answers_five_questions(page):
    items = page.find("ol", class_="answers").find_all("li", recursive=False)
    assert len(items) == 5 and all(item.h3.text.endswith("?") for item in items)
    assert all(re.search(r"\d|[Nn]ot judged", item.text) for item in items)  # these photos are not drawn
    assert page.h2.text == "Five questions"


def test_the_report_says_that_demo_models_do_not_know_such_photos(page):
    assert "do not know real photos" in page.find(class_="banner").text


def test_every_picture_of_the_report_is_there_and_decodes(study, page):
    sources = [tag["src"] for tag in page.find_all("img", src=True)]
    assert len(sources) == len(set(sources)) > 2 * len(Run(study / "run").scenes)
    assert {tag["data-same"] for tag in page.find_all("img", src=False)} <= {
        tag["data-picture"] for tag in page.find_all("img", src=True) if tag.has_attr("data-picture")
    }
    for source in sources:
        head, data = source.split(",", 1)
        assert head == "data:image/avif;base64"
        Image.open(io.BytesIO(base64.b64decode(data))).load()


def test_the_report_names_no_address_and_escapes_labels(page):
    assert EVIL in page.text
    fetched = [tag[key] for tag in page.find_all(True) for key in ("src", "href", "srcset") if tag.get(key)]
    assert {address.split(":")[0].split("#")[0] for address in fetched} <= {"data", ""}
    styles = " ".join(tag.text for tag in page.find_all("style"))
    assert "url(" not in styles and "@import" not in styles


def test_controls_stand_in_the_table(page):
    rows = [row.th.text for row in page.find_all("tr", class_="control") if row.th]
    assert any("photos" in row for row in rows) and any("autoencoder" in row for row in rows)
    assert any("other scenes" in row for row in rows)


def test_executed_notebooks_are_kept_without_bars(study):
    kept = sorted((study / "run" / "notebooks").glob("*.ipynb"))
    assert [path.stem for path in kept if path.stem != plan.TUNE] == sorted(plan.TITLES)
    for path in kept:
        for cell in nbformat.read(path, as_version=4).cells:
            assert not [one for one in cell.get("outputs", []) if one.get("name") == "stderr"], cell.outputs


def test_the_bench_opens(study, tmp_path):
    parameters = {"dataset": str(study / "scenes")}
    options = {"kernel_name": "python3", "progress_bar": False, "config": notebooks.ENCRYPTED}
    path = NOTEBOOKS / "explore.ipynb"
    notebooks.check_parameters(path, parameters)
    book = papermill.execute_notebook(str(path), str(tmp_path / "explore.ipynb"), parameters, **options)
    shown = [output.data for cell in book.cells for output in cell.get("outputs", [])]
    assert "application/vnd.jupyter.widget-view+json" in shown[-1]


def test_a_second_run_finds_everything_done(study, capsys):
    page = study / "run" / "report.html"
    before = page.stat().st_mtime_ns
    assert make(study, "--steps", "3") == 0
    shown = capsys.readouterr().out
    assert shown.count("done before") == 9 and page.stat().st_mtime_ns == before
    *_, address, _, _, _, _, last = shown.splitlines()
    assert address == f"report: {page.as_uri()}" and re.search(r"\?.*(\d|[Nn]ot judged)", last)


def test_a_lost_picture_is_made_again_and_pictures_from_elsewhere_join_as_an_arm(study, tmp_path, capsys):
    run = Run(study / "run")
    made = run.count_pictures()
    lost = run.picture(guidance_arms(run, "text")[-1].name, run.scenes[1])
    content = lost.read_bytes()
    lost.write_bytes(content[: len(content) // 2])  # as a crash may leave it
    for scene in run.scenes[:-1]:
        Image.new("RGB", (40, 40), "olive").save(tmp_path / f"{scene.name}.png")
    (tmp_path / "stranger.png").write_bytes(b"no picture")
    assert make(study, "--steps", "3", "--external", f"mine={tmp_path}") == 0
    again, before = (np.asarray(Image.open(one), float) for one in (lost, io.BytesIO(content)))
    assert np.abs(again - before).max() <= 2
    assert run.count_pictures() == made + len(run.scenes) - 1
    assert "done before" in capsys.readouterr().out
    page = BeautifulSoup((study / "run" / "report.html").read_text(), "html.parser")
    assert "mine (from outside)" in page.text
    executed = (study / "run" / "notebooks" / "04_fid.ipynb").read_text()
    assert "stranger" in executed and "no picture" in executed


def test_another_protocol_in_the_same_run_is_refused(study, capsys):
    assert make(study, "--steps", "4") == 2
    assert capsys.readouterr().err.splitlines()[0].startswith("error: steps = 4")


def test_the_cheapest_setting_is_looked_for_in_a_folder_of_its_own(study, capsys):
    """On so few scenes nothing is shown, so every series ends with its first setting."""
    before = sorted(path.name for path in (study / "run" / "pictures").iterdir())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GROUNDED_DATA", str(study / "data"))
        assert main(["tune", "--run", str(study / "run"), "--scenes", "3"]) == 0
    assert (
        "No cheaper setting was shown to be not worse than dpm++2m, 3 steps, N = 3" in capsys.readouterr().out
    )
    assert sorted(path.name for path in (study / "run" / "pictures").iterdir()) == before
    part = Run(study / "run" / "09_cost" / "3")
    assert len(part.scenes) == 3 and len(part.arms()) == 2 + 4 + 1
    assert part.read_json("cost.json")["lines"] == []


def test_edits_are_drawn_scored_and_reported(study):
    assert main(["edit", "--run", str(study / "run"), "--edits", "night", "--yes", "1"]) == 0
    run = Run(study / "run")
    names = [
        "night-turboedit",
        "night-turboedit_text-w1",
        "night-ip2p-g2",
        "night-ip2p-g2-k2.2",
        "night-sdedit-g2",
        "night-text-g2",
    ]
    assert set(names) < set(run.arms()) and not any(run.missing(name, run.scenes) for name in names)
    rows = run.edits("night")
    assert all(row["prompt"] == f"{row['source_prompt']}, at night" for row in rows.values())
    known = run.scores(names).dropna(subset="value")
    assert not known.metric.str.startswith("KID").any()  # who changes nothing would win
    page = BeautifulSoup((study / "run" / "report.html").read_text(), "html.parser")
    assert "Which edit changes what was asked and nothing else?" in page.text


def test_methods_compare_with_those_that_are_given_the_same(study):
    run = Run(study / "run")
    assert main(["methods", "--run", str(run.folder), "--yes", "1"]) == 0
    executed = (run.folder / "notebooks" / "08_methods.ipynb").read_text(encoding="utf-8")
    assert "Given the layout, which method draws it best?" in executed and "CAS" in executed
