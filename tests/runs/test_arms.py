"""The model sets, the names of arms, and the checks of notebook parameters."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub.utils import filter_repo_objects
from hypothesis import given
from hypothesis import strategies as st

from helpers.models.checkpoints import Missing
from helpers.models.sets import MODEL_SETS, data_folder, model_set
from helpers.parameters import ParameterError
from helpers.runs.arms import Arm, check


@pytest.mark.parametrize("name", MODEL_SETS)
def test_a_model_set_names_every_model(name):
    models = model_set(name)
    assert models.name == name
    assert set(models.captioners) == {"opt", "t5"} and set(models.gligen) == {"text", "image"}
    assert models.inception == (name == "published")


def test_the_demo_set_lies_in_the_data_folder(monkeypatch):
    assert model_set("demo").clip.source == str(
        Path(__file__).resolve().parents[2] / "data" / "models" / "clip"
    )
    monkeypatch.setenv("GROUNDED_DATA", "/elsewhere")
    assert data_folder() == Path("/elsewhere")
    assert model_set("demo").gligen["image"].source == str(Path("/elsewhere/models/gligen-text-image"))


def test_every_published_checkpoint_is_pinned():
    for checkpoint in model_set("published").checkpoints(safety=True):
        assert re.fullmatch("[0-9a-f]{40}", checkpoint.revision), checkpoint


def test_both_groundings_share_one_safety_checker_that_no_other_run_downloads():
    models = model_set("published")
    assert models.safety in models.checkpoints(safety=True) and models.safety not in models.checkpoints()
    assert models.safety.source == models.gligen["text"].source
    assert "--exclude 'safety_checker/*'" in Missing(models.gligen["text"], "", "").command
    assert "--include 'safety_checker/*.fp16*.bin'" in Missing(models.safety, "", "").command


def test_a_download_takes_one_format_of_weights():
    files = [
        "config.json",
        "merges.txt",
        "spiece.model",
        "model-00001-of-00002.safetensors",
        "pytorch_model.bin",
        "unet/diffusion_pytorch_model.bin",
        "unet/diffusion_pytorch_model.fp16.bin",
        "safety_checker/pytorch_model.bin",
        "safety_checker/pytorch_model.fp16.bin",
        "v1.ckpt",
    ]
    models = model_set("published")

    def taken(checkpoint):
        named = filter_repo_objects(
            files, allow_patterns=checkpoint.files, ignore_patterns=checkpoint.other_files
        )
        return set(named)

    common = {"config.json", "merges.txt", "spiece.model"}
    assert taken(models.clip) == common | {"model-00001-of-00002.safetensors"}
    assert taken(models.gligen["text"]) == common | {"unet/diffusion_pytorch_model.fp16.bin"}
    assert taken(models.gligen["image"]) == common | {"pytorch_model.bin", "unet/diffusion_pytorch_model.bin"}
    assert taken(models.safety) == {"safety_checker/pytorch_model.fp16.bin"}
    command = Missing(models.clip, "", "").command
    assert "--include '*.safetensors'" in command and f"--revision {models.clip.revision}" in command


def test_an_arm_is_named_after_what_is_not_default():
    assert Arm("suffix", "text", 7.5).name == "suffix-text-g7.5"
    assert Arm("caption", "none", 11).name == "caption-none-g11"
    assert Arm("own_2", "image", 1, 0.3, 12).name == "own_2-image-g1-f0.3-s12"


arms = st.builds(
    Arm,
    template=st.from_regex("[a-z][a-z0-9_]{0,12}", fullmatch=True),
    grounding=st.sampled_from(["none", "text", "image"]),
    guidance_scale=st.floats(0, 1e6) | st.integers(0, 100),
    grounded_fraction=st.floats(0, 1) | st.integers(0, 1),
    seed=st.integers(0, 2**63 - 1),
)


@given(arms, arms)
def test_an_arm_and_its_name_are_the_same_thing(one, other):
    assert Arm.parse(one.name) == one
    assert (one.name == other.name) == (one == other)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "photos",
        "suffix-text",
        "suffix-words-g7.5",
        "suffix-text-g-1",
        "a/b-text-g7",
        "suffix-text-g7.5-f1.5",
        "suffix-text-g1.2.3",
        "suffix-text-g7.5-s1-f0.3",
    ],
)
def test_what_is_no_arm_has_no_arm(name):
    with pytest.raises(ParameterError):
        Arm.parse(name)


def test_an_arm_cannot_be_wrong():
    with pytest.raises(ParameterError, match="template = 'a b'"):
        Arm("a b", "text", 7.5)
    with pytest.raises(ParameterError, match="guidance_scale = nan"):
        Arm("suffix", "text", float("nan"))


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"models": "publshed"}, "models = 'publshed'.*did you mean 'published'"),
        ({"grounding": "images"}, "grounding = 'images'.*'none', 'text', 'image'.*did you mean 'image'"),
        ({"template": "sufix"}, "template = 'sufix'.*did you mean 'suffix'"),
        ({"captioner": "blip"}, "captioner = 'blip'.*choose one of 'opt', 't5'"),
        ({"guidance_scale": -1}, "guidance_scale = -1: give a finite number >= 0"),
        ({"guidance_scale": float("nan")}, "guidance_scale = nan"),
        ({"guidance_scale": float("inf")}, "guidance_scale = inf"),
        ({"guidance_scale": "7.5"}, "guidance_scale = '7.5'"),
        ({"guidance_scale": True}, "guidance_scale = True"),
        ({"guidance_scales": [1, -2, 3]}, "guidance_scales = -2"),
        ({"guidance_scales": []}, r"guidance_scales = \[\]: give a list"),
        ({"groundings": "text"}, "groundings = 'text': give a list"),
        ({"grounded_fraction": 1.1}, "grounded_fraction = 1.1.*from 0 to 1"),
        ({"steps": 0}, "steps = 0: give a whole number from 1 to 999"),
        ({"steps": 20.0}, r"steps = 20.0"),
        ({"steps": 1000, "scheduler": "pndm"}, "steps = 1000: give a whole number from 1 to 999"),
        ({"steps": 999, "scheduler": "unipc"}, "steps = 999: scheduler 'unipc' makes 998 at most"),
        ({"seed": -1}, "seed = -1"),
        ({"batch_size": 0}, "batch_size = 0"),
        ({"guidence_scale": 7.5}, "guidence_scale = 7.5: no such parameter.*did you mean 'guidance_scale'"),
    ],
)
def test_a_wrong_parameter_is_named_with_its_value_and_the_way_out(parameters, said):
    with pytest.raises(ParameterError, match=said):
        check(["label", "suffix"], **parameters)


def test_right_parameters_pass():
    check(
        ["caption", "label"],
        models="demo",
        captioner="t5",
        templates=["caption", "label"],
        groundings=("none", "image"),
        steps=1,
        seed=0,
    )
    check(guidance_scale=0, guidance_scales=[1, 7.5], grounded_fraction=0, grounded_fractions=[0.3, 1])
    check(["night"], template="night")


def test_all_problems_are_listed_at_once():
    with pytest.raises(ParameterError) as error:
        check(steps=0, seed=-1, grounded_fraction=0.5)
    assert str(error.value).count("\n") == 1 and "steps" in str(error.value) and "seed" in str(error.value)


def test_a_dataset_is_a_folder_with_something_in_it(tmp_path):
    def refused(path, said):
        with pytest.raises(ParameterError, match=said):
            check(dataset=path)

    refused(str(tmp_path / "nowhere"), "nowhere'.*no such folder")
    refused("", "dataset = '': no such folder")
    (tmp_path / ".DS_Store").touch()
    refused(str(tmp_path), "no photos in this folder")
    (tmp_path / "annotations.json").write_text("[]")
    check(dataset=str(tmp_path))
    check(dataset=tmp_path)


def test_parameters_are_checked_without_waiting_for_torch():
    code = "import sys, helpers.runs.arms; sys.exit('torch' in sys.modules or 'pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2]).returncode == 0


def test_steps_scheduler_and_guidance_interval_of_an_arm_stand_at_the_end_of_its_name():
    plain = Arm("suffix", "text", 2, 0.3, 1)
    assert plain.name == "suffix-text-g2-f0.3-s1" and plain.is_plain
    named = Arm("suffix", "text", 2, 0.3, 1, 8, "dpm++2m", 0.6)
    assert named.name == "suffix-text-g2-f0.3-s1-n8-dpm++2m-i0.6" and not named.is_plain
    for arm in (plain, named, Arm("a", "none", 1, steps=6), Arm("a", "image", 1, guidance_share=0.25)):
        assert Arm.parse(arm.name) == arm
    for wrong in ({"steps": 1000}, {"steps": 999, "scheduler": "unipc"}, {"scheduler": "dpm"}):
        with pytest.raises(ParameterError):
            Arm("suffix", "text", 2, **wrong)
    with pytest.raises(ParameterError, match=r"guidance_share = 1\.5"):
        Arm("suffix", "text", 2, guidance_share=1.5)
