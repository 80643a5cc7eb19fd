"""The training chain: every part after a step or two, saved as published and loaded like the published."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionInstructPix2PixPipeline, UNet2DConditionModel
from PIL import Image
from transformers import CLIPModel, CLIPTokenizer

from data.training import clip, duel, gligen, instruct_pix2pix, saving
from data.training.attention_targets import attention_loss, coverage
from data.training.autoencoder import encode, pieces
from data.training.drawn_scenes import load_scenes
from data.training.train import main
from data.training.training_loop import Recipe, train
from helpers.generation.methods import attngan, layoutdiffusion, ssagan
from helpers.generation.requests import Request
from helpers.models.loading import load_clip, load_gligen, load_stable_diffusion
from helpers.models.sets import Checkpoint, model_set

PARTS = [
    "clip",
    "gligen-text",
    "gligen-text-image",
    "instruct-pix2pix",
    "layoutdiffusion",
    "attngan",
    "ssagan",
]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    options = ["--scenes", "70", "--latents", "30", "--share", "0.0001"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duel, "SETTLING", 1)
        main([*PARTS, "--work", str(folder / "work"), "--models", str(folder / "models"), *options])
    return folder


@pytest.mark.parametrize("part", PARTS[1:3])
def test_a_trained_gligen_is_laid_out_as_the_published_one(made, part):
    folder = made / "models" / part
    parts = {name for name, (library, _) in _components(folder).items() if library}
    assert {"scheduler", "text_encoder", "tokenizer", "unet", "vae"} <= parts
    assert ({"image_encoder", "image_project", "processor"} <= parts) == (part == "gligen-text-image")
    assert (folder / "unet" / "diffusion_pytorch_model.safetensors").is_file()
    loaded = load_gligen(Checkpoint(part, str(folder), None), "image" if part.endswith("image") else "text")
    assert (
        loaded.unet.dtype == torch.float32
        and loaded.unet.config.in_channels == loaded.vae.config.latent_channels
    )


def test_fp16_on_disk(made):
    from safetensors import safe_open

    with safe_open(made / "models/gligen-text/unet/diffusion_pytorch_model.safetensors", "pt") as file:
        assert {file.get_slice(name).get_dtype() for name in file.keys()} == {"F16"}  # noqa: SIM118


def test_the_text_encoder_is_the_text_half_of_clip(made):
    clip = load_clip(Checkpoint("clip", str(made / "models" / "clip"), None))
    gligen_text = load_gligen(Checkpoint("gligen-text", str(made / "models" / "gligen-text"), None), "text")
    tokens = gligen_text.tokenizer(["a worker in a red vest"], return_tensors="pt")
    with torch.no_grad():
        ours, theirs = gligen_text.text_encoder(**tokens), clip.model.text_model(**tokens)
    assert torch.equal(ours.last_hidden_state, theirs.last_hidden_state)


def test_the_image_unet_begins_as_the_text_unet():
    torch.manual_seed(0)
    text = gligen.build().eval()
    both = gligen.from_text(text, norm=10.0).eval()
    boxes, masks = torch.rand(1, gligen.TOKENS, 4), torch.ones(1, gligen.TOKENS)
    phrases = torch.randn(1, gligen.TOKENS, gligen.WIDTH)
    with torch.no_grad():
        told = text.position_net(boxes, masks, phrases)
        crops = phrases * gligen.CROP_NORM / 10.0
        shown = both.position_net(boxes, masks, None, masks, masks, phrases, crops)
    torch.testing.assert_close(shown, torch.cat([told, told], 1), rtol=1e-3, atol=1e-4)
    latents, states = torch.randn(1, text.config.in_channels, 16, 16), torch.randn(1, 77, gligen.WIDTH)
    with torch.no_grad():
        assert torch.equal(text(latents, 500, states).sample, both(latents, 500, states).sample)


def test_a_trained_layoutdiffusion_is_loaded_with_the_autoencoder_of_gligen(made):
    own = {"layoutdiffusion": Checkpoint("own", str(made / "models" / "layoutdiffusion"))}
    parts = layoutdiffusion.load(replace(model_set("demo"), methods=own))
    vae = saving.read(AutoencoderKL, made / "models/gligen-text/vae")
    assert torch.equal(parts.vae.decoder.conv_in.weight, vae.decoder.conv_in.weight)
    assert parts.unet.config.in_channels == vae.config.latent_channels
    files = sorted(path.name for path in (made / "models/layoutdiffusion").rglob("*") if path.is_file())
    assert files == [
        *("config.json",) * 2,
        *("diffusion_pytorch_model.safetensors",) * 2,
        *("model_index.json", "scheduler_config.json"),
    ]
    linked = made / "models/layoutdiffusion/vae/diffusion_pytorch_model.safetensors"
    assert linked.is_symlink() and linked.samefile(made / "models/gligen-text/vae" / linked.name)


def changed_by(part, made, folder, share):
    """Train one part of a copy of the checkpoints, folder/models. Returns the folders of the weights that
    changed."""
    models = folder / "models"
    shutil.copytree(made / "models", models, symlinks=True)
    before = {path: path.read_bytes() for path in models.rglob("*.safetensors")}
    options = ["--scenes", "70", "--latents", "30", "--share", str(share)]
    main([part, "--work", str(folder / "work"), "--models", str(models), *options])
    return {
        path.parent.relative_to(models).as_posix() for path in before if path.read_bytes() != before[path]
    }


def test_a_named_part_is_trained_on_from_its_checkpoint_and_no_other_changes(made, tmp_path):
    models = tmp_path / "models"
    assert changed_by("gligen-text", made, tmp_path, 0.0001) == {"gligen-text/unet"}
    old, new = (
        saving.read(UNet2DConditionModel, one / "gligen-text/unet") for one in (made / "models", models)
    )
    steps = [(a - b).abs().max() for a, b in zip(old.parameters(), new.parameters(), strict=True)]
    assert max(steps) < 0.01  # one step of it, not a beginning
    assert not [path for path in models.rglob("*.json") if str(tmp_path) in path.read_text()]


def test_the_decoder_is_fine_tuned_for_every_unet_and_latents_stay(made, tmp_path):
    models, sharing = tmp_path / "models", PARTS[1:]
    assert changed_by("decoder", made, tmp_path, 0.001) == {f"{one}/vae" for one in sharing}
    photos = np.zeros((1, 128, 128, 3), np.uint8)
    old, new = (
        encode(saving.read(AutoencoderKL, one / "gligen-text/vae"), photos)
        for one in (made / "models", models)
    )
    torch.testing.assert_close(old, new)


def test_diffusers_own_pipeline_runs_the_trained_editor(made):
    folder = made / "models" / "instruct-pix2pix"
    pipe = StableDiffusionInstructPix2PixPipeline.from_pretrained(folder, dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    photo = Image.fromarray(np.full((128, 128, 3), 99, np.uint8))
    edited = pipe("make it red", image=photo, num_inference_steps=1, output_type="np").images
    assert edited.shape == (1, 128, 128, 3) and np.isfinite(edited).all()
    shared = folder / "vae" / "diffusion_pytorch_model.safetensors"
    assert shared.resolve() == made / "models/gligen-text/vae/diffusion_pytorch_model.safetensors"
    loaded = load_stable_diffusion(Checkpoint("editor", str(folder)))
    assert loaded.unet.config.in_channels == 2 * loaded.vae.config.latent_channels


@pytest.mark.parametrize(("part", "method"), [("attngan", attngan), ("ssagan", ssagan)])
def test_a_trained_gan_draws_with_the_text_encoder_and_the_autoencoder_of_gligen(made, part, method):
    folder = made / "models" / part
    for shared in ("text_encoder/model.safetensors", "vae/config.json", "tokenizer/tokenizer.json"):
        assert (folder / shared).resolve() == made / "models/gligen-text" / shared
    parts = method.load(replace(model_set("demo"), methods={part: Checkpoint(part, str(folder))}))
    request = Request("a", "a red cone in a field", grounding=part, guidance_scale=1)
    (picture,) = method.Sampler(parts, 1, "", (128, 128)).draw([request])
    assert picture.size == (128, 128) and not parts.generator.training


def test_the_editor_begins_as_the_text_unet_that_ignores_the_photo():
    torch.manual_seed(0)
    text = gligen.build().eval()
    editor = instruct_pix2pix.widened(text).eval()
    latents, photo = torch.randn(2, 1, text.config.in_channels, 16, 16)
    states = torch.randn(1, 77, gligen.WIDTH)
    with torch.no_grad():
        ours = editor(torch.cat([latents, photo], 1), 500, states).sample
        torch.testing.assert_close(ours, text(latents, 500, states).sample, rtol=1e-4, atol=1e-5)


def test_fresh_begins_from_nothing(made, tmp_path):
    models = tmp_path / "models"
    shutil.copytree(made / "models", models, symlinks=True)
    options = ["--scenes", "70", "--latents", "30", "--share", "0.0001", "--fresh"]
    main(["clip", "--work", str(tmp_path / "work"), "--models", str(models), *options])
    torch.manual_seed(clip.RECIPE.seed)
    known, start = (
        saving.read(CLIPModel, models / "clip"),
        clip.build(CLIPTokenizer.from_pretrained(models / "clip")),
    )
    steps = [(a - b).abs().max() for a, b in zip(known.parameters(), start.parameters(), strict=True)]
    assert max(steps) < 0.01


def test_pieces_are_mostly_of_crisp_photos_and_often_around_objects(tmp_path):
    scenes = load_scenes("validation", 40, tmp_path)
    marked = np.zeros((40, 128, 128, 3), np.uint8)
    marked[scenes.crisp] += 255
    batch = pieces(np.random.default_rng(0), replace(scenes, photos=marked), 400, 64)
    assert 0.85 < (batch.mean((1, 2, 3)) > 0).float().mean() < 1


def test_an_unknown_part_is_named(capsys):
    with pytest.raises(SystemExit):
        main(["gligen-txt"])
    assert "gligen-txt" in capsys.readouterr().err


def test_a_killed_training_goes_on_as_if_it_had_not_been(tmp_path):
    def fit(folder, steps):
        torch.manual_seed(0)
        model = torch.nn.Linear(3, 1)

        def loss_of(rng, step):
            x = torch.from_numpy(rng.normal(size=(8, 3))).float()
            return {"square": (model(x) - x.sum(1, keepdim=True)).square().mean()}

        return train("line", model, loss_of, Recipe(steps, 8, 0.05, warmup=1, seed=3), folder)

    class Killed(Exception):
        pass

    def killed(folder):
        torch.manual_seed(0)
        model = torch.nn.Linear(3, 1)

        def loss_of(rng, step):
            if step == 20:
                raise Killed
            x = torch.from_numpy(rng.normal(size=(8, 3))).float()
            return {"square": (model(x) - x.sum(1, keepdim=True)).square().mean()}

        with pytest.raises(Killed):
            train("line", model, loss_of, Recipe(40, 8, 0.05, warmup=1, seed=3), folder)

    whole = fit(tmp_path / "whole", 40)
    from data.training import training_loop

    before, training_loop.SAVE_EVERY_SECONDS = training_loop.SAVE_EVERY_SECONDS, -1
    try:
        killed(tmp_path / "killed")
    finally:
        training_loop.SAVE_EVERY_SECONDS = before
    resumed = fit(tmp_path / "killed", 40)
    assert torch.equal(whole.weight, resumed.weight)
    assert json.loads((tmp_path / "killed" / "line.json").read_text())["steps"] == 40


def test_a_loss_that_is_not_finite_stops_the_training(tmp_path):
    model = torch.nn.Linear(1, 1)
    with pytest.raises(FloatingPointError, match="step 0"):
        train(
            "x", model, lambda rng, step: {"l": model.weight.sum() * torch.inf}, Recipe(3, 1, 0.1), tmp_path
        )


def test_coverage_is_each_box_share_of_each_cell():
    shares = coverage(torch.tensor([[[0.0, 0.0, 0.5, 0.25]]]), 2)
    assert shares[0, :, 0].tolist() == [0.5, 0.0, 0.0, 0.0]


def test_attention_to_the_own_box_costs_less_than_to_another():
    boxes = torch.tensor([[[0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 1.0, 1.0]]])
    own = coverage(boxes, 4)[:, None] * 0.9
    assert attention_loss(own, boxes) < attention_loss(own.flip(-1), boxes)


def test_pieces_lie_on_the_grid_of_the_latents(tmp_path):
    scenes = load_scenes("validation", 4, tmp_path)
    place = np.mgrid[:128, :128].transpose(1, 2, 0).astype(np.uint8)
    places = np.broadcast_to(np.concatenate([place, place[..., :1]], -1), scenes.photos.shape)
    batch = pieces(np.random.default_rng(0), replace(scenes, photos=places), 30, 64)
    assert batch.shape == (30, 3, 64, 64) and batch.min() >= -1 and batch.max() <= 1
    corners = ((batch.amin((2, 3))[:, :2] + 1) * 127.5).round().int()
    assert (corners % 8 == 0).all() and corners.unique().numel() > 3


def _components(folder):
    config = json.loads((folder / "model_index.json").read_text())
    return {name: part for name, part in config.items() if isinstance(part, list)}
