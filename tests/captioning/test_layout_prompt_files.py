"""Layout prompts as files: one per scene, for generators elsewhere, and upsampled ones that come back."""

import json

import pytest

from helpers.__main__ import main
from helpers.captioning.layout_prompts import bring_upsampled, table, write
from helpers.parameters import ParameterError
from helpers.runs.layouts import arm_layouts
from helpers.runs.run import Run
from tests.fakes.study import write_scenes


@pytest.fixture
def run(tmp_path):
    dataset = str(write_scenes(tmp_path / "photos", 3))
    made = Run.open(tmp_path / "run", dataset=dataset, models="demo", size=64, fit="squash")
    rows = [{"scene": one.name, "prompt": "a cone, sharp", "truncated": False} for one in made.scenes]
    made.write_jsonl("prompts/suffix.jsonl", rows)
    made.write_json("choices/template.json", {"template": "suffix", "guidance_scale": 2})
    return made


def rows_of(folder) -> list[dict]:
    lines = (folder / "prompts.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_a_run_gives_a_prompt_per_scene_in_the_format_of_a_model(run, tmp_path, capsys):
    words = ["prompts", "--run", str(run.folder), "--to", str(tmp_path / "out")]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "3 prompts for flux3" in said and "EXTERNAL=" in said
    rows = rows_of(tmp_path / "out")
    assert [row["scene"] for row in rows] == [scene.name for scene in run.scenes]
    for row in rows:
        assert (tmp_path / "out" / f"{row['scene']}.txt").read_text(encoding="utf-8") == row["prompt"]
        assert row["prompt"].startswith("a cone <cone_1>, sharp, with ") and len(table(row["prompt"])) == 2
    assert main([*words, "--format", "moss", "--size", "512"]) == 0
    (first, *_) = [json.loads(row["prompt"]) for row in rows_of(tmp_path / "out")]
    assert first["items"][0]["bbox"] == [-208, -224, 64, -16]  # of 4, 6, 30, 40 in 64 pixels
    assert main([*words, "--format", "gligen", "--template", "suffix"]) == 0


def test_prompts_overwrite_nothing_else(run, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("x")
    for wrong, said in (
        (["--to", str(tmp_path / "out")], "it holds thesis.txt"),
        (["--to", str(tmp_path / "out" / "thesis.txt")], "this is a file"),
        (["--to", str(tmp_path / "new"), "--format", "flux"], "did you mean 'flux3'"),
        (["--to", str(tmp_path / "new"), "--size", "500"], "size = 500: give pixels"),
        (["--to", str(tmp_path / "new"), "--template", "night"], "night.jsonl: not there yet"),
        ([], "name the folder"),
    ):
        assert main(["prompts", "--run", str(run.folder), *wrong]) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def upsample(run, folder, change=lambda scene, prompt: prompt):
    write(run, str(folder))
    rows = [row | {"prompt": change(row["scene"], row["prompt"])} for row in rows_of(folder)]
    text = "".join(f"{json.dumps(row)}\n" for row in rows if row["prompt"])
    (folder / "prompts.jsonl").write_text(text, encoding="utf-8")
    return str(folder / "prompts.jsonl")


def test_upsampled_prompts_become_a_template_and_the_rows_that_they_add_are_listed(run, tmp_path):
    def change(scene, prompt):
        more = ', {"id": "tree_1", "bbox": [0, 0, 500, 200], "desc": "an oak"}]'
        return "A long caption. " + (prompt[:-1] + more if scene == "photo-1" else prompt)

    lines = bring_upsampled(run, upsample(run, tmp_path / "out", change))
    assert lines == ["3 prompts -> template 'upsampled'; rows were added in 1 scenes", "  photo-1: tree_1"]
    kept = run.prompts("upsampled").set_index("scene")
    assert [row["id"] for row in kept.added["photo-1"]] == ["tree_1"] and kept.added["photo-0"] == []
    assert kept.prompt["photo-2"].startswith("A long caption. a cone <cone_1>")
    assert len(arm_layouts(run, "upsampled-flux3_up", run.scenes)[1].boxes) == 2  # judged by the scene's own


def test_an_upsampler_may_change_no_box(run, tmp_path):
    def change(scene, prompt):
        changes = {"photo-0": prompt.replace("[94, 62", "[90, 62"), "photo-1": "", "photo-2": "a cone"}
        return changes[scene]

    file = upsample(run, tmp_path / "out", change)
    with pytest.raises(ParameterError) as error:
        bring_upsampled(run, file)
    lines = str(error.value).splitlines()
    assert len(lines) == 5 and "scene 'photo-1': no prompt" in lines
    assert "scene 'photo-0': bbox of 'cone_1' is [90, 62, 625, 469], it was [94, 62, 625, 469]" in lines
    assert lines[3] == "scene 'photo-2': no row 'cone_1' in the table that ends its prompt"
    for text in ("no JSON", '{"scene": "photo-0"}', "[1]"):
        (tmp_path / "wrong.jsonl").write_text(text)
        with pytest.raises(ParameterError, match="give JSON lines with scene and prompt"):
            bring_upsampled(run, str(tmp_path / "wrong.jsonl"))
    assert not run.has("prompts/upsampled.jsonl")
