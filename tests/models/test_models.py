"""The loaders, on small repositories in every layout that is published, and on damaged ones."""

import json
import pickle
import shutil
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from urllib.error import URLError

import diffusers
import pytest
import torch
from huggingface_hub import constants
from PIL import Image
from safetensors.torch import load_file, save_file

from helpers.models import checkpoints, extractors, loading
from helpers.models.checkpoints import CheckpointMissing
from helpers.models.devices import best_dtype
from helpers.models.extractors import load_inception
from helpers.models.loading import (
    load_captioner,
    load_clip,
    load_detector,
    load_gligen,
    release,
)
from helpers.models.sets import SAFETY, Checkpoint, model_set
from tests.fakes.blip2 import write_blip2
from tests.fakes.clip import write_clip
from tests.fakes.gligen import write_gligen
from tests.fakes.inception import write_inception
from tests.fakes.owlv2 import write_owlv2
from tests.fakes.published import as_text_image_repository, as_text_repository, edit, to_bin, untie_t5


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Repositories written once: copy one before changing it."""
    folder = tmp_path_factory.mktemp("repositories")
    return SimpleNamespace(
        text=write_gligen(folder / "text"),
        image=write_gligen(folder / "image", image=True),
        safe=write_gligen(folder / "safe", safety=True),
        clip=write_clip(folder / "clip"),
        blip2=write_blip2(folder / "blip2", shard_size="20KB"),
        t5=write_blip2(folder / "t5", "t5"),
        owlv2=write_owlv2(folder / "owlv2"),
    )


@pytest.fixture
def copy(saved, tmp_path):
    return lambda name: Path(shutil.copytree(getattr(saved, name), tmp_path / name))


def local(folder: Path, **options) -> Checkpoint:
    return Checkpoint("tiny", str(folder), **options)


def same(one: torch.nn.Module, other: torch.nn.Module, tolerance: float = 0.0) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(
        torch.allclose(weight, theirs[name], rtol=0, atol=tolerance) for name, weight in ours.items()
    )


def modules(loaded) -> list[torch.nn.Module]:
    return [value for value in vars(loaded).values() if isinstance(value, torch.nn.Module)]


@pytest.mark.parametrize("grounding", ["text", "image"])
def test_gligen_is_loaded_part_by_part(saved, grounding):
    gligen = load_gligen(local(getattr(saved, grounding)), grounding, device="cpu")
    assert gligen.unet.config.attention_type == ("gated" if grounding == "text" else "gated-text-image")
    assert (gligen.image_project is None) == (gligen.processor is None) == (grounding == "text")
    assert isinstance(gligen.scheduler, diffusers.PNDMScheduler) and gligen.tokenizer.model_max_length == 77
    assert gligen.safety_checker is None and gligen.commit is None
    for module in modules(gligen):
        assert not module.training and not any(weight.requires_grad for weight in module.parameters())
        assert {weight.dtype for weight in module.parameters()} == {torch.float32}


def test_one_safety_checker_serves_both_groundings(saved, copy):
    """The text + image repository has none: it comes from another checkpoint."""
    checker = local(saved.safe, parts=SAFETY)
    without = load_gligen(local(saved.image))
    assert without.safety_checker is None and without.feature_extractor is None
    for folder in (saved.image, saved.safe):
        gligen = load_gligen(local(folder), safety=checker)
        assert gligen.safety_checker is not None and gligen.feature_extractor is not None
    broken = copy("safe")
    shutil.rmtree(broken / "safety_checker")
    load_gligen(local(broken))
    with pytest.raises(CheckpointMissing, match="lacks safety_checker/"):
        load_gligen(local(saved.image), safety=local(broken, parts=SAFETY))


def test_bin_weights_are_the_same_weights(saved, copy):
    folder = to_bin(copy("safe"))
    ours = load_gligen(
        local(folder, safetensors=False), safety=local(folder, parts=SAFETY, safetensors=False)
    )
    theirs = load_gligen(local(saved.safe), safety=local(saved.safe, parts=SAFETY))
    assert all(same(*pair) for pair in zip(modules(ours), modules(theirs), strict=True))


def test_a_repository_may_mix_the_formats(saved, copy):
    folder = copy("image")
    to_bin(folder / "image_project")
    ours, theirs = load_gligen(local(folder, safetensors=None)), load_gligen(local(saved.image))
    assert not [*(folder / "image_project").glob("*.safetensors")]
    assert same(ours.image_project, theirs.image_project) and same(ours.unet, theirs.unet)


def test_the_text_image_repository_is_read_as_it_is_published(saved, copy):
    """Its twins in half precision are damaged here, its image encoder is the whole of CLIP."""
    folder = as_text_image_repository(copy("image"))
    ours = load_gligen(local(folder, safetensors=False), "image")
    theirs = load_gligen(local(saved.image), "image")
    assert all(same(*pair) for pair in zip(modules(ours), modules(theirs), strict=True))
    crop = Image.new("RGB", (50, 30), "orange")
    pixels = [one.processor(images=[crop], return_tensors="pt").pixel_values for one in (ours, theirs)]
    assert torch.equal(*pixels)


def test_a_weight_without_a_place_in_the_model_is_never_silent(copy):
    file = copy("text") / "vae" / "diffusion_pytorch_model.safetensors"
    save_file(load_file(file) | {"adapter.weight": torch.zeros(2)}, file, {"format": "pt"})
    with pytest.raises(CheckpointMissing, match=r"a place for adapter\.weight \(1 in all\)"):
        load_gligen(local(file.parents[1]))


def test_a_weight_of_another_size_is_named(copy):
    file = copy("clip") / "model.safetensors"
    state = load_file(file)
    save_file(state | {"visual_projection.weight": torch.zeros(3, 3)}, file, {"format": "pt"})
    with pytest.raises(CheckpointMissing, match=r"another size for visual_projection\.weight \(1 in all\)"):
        load_clip(local(file.parent))


@pytest.mark.parametrize("half", [None, "language"])
def test_a_t5_head_of_its_own_is_not_tied(copy, half):
    model = load_captioner(local(untie_t5(copy("t5"))), half=half).model.language_model
    assert not torch.equal(model.lm_head.weight, model.shared.weight)
    assert torch.equal(model.encoder.embed_tokens.weight, model.shared.weight)


def test_loading_is_quiet(copy, capfd):
    image, t5 = as_text_image_repository(copy("image")), untie_t5(copy("t5"))
    capfd.readouterr()
    load_gligen(local(image, safetensors=False), "image")
    load_captioner(local(t5))
    told = capfd.readouterr()
    assert told.out == "" and told.err == ""


def test_small_parts_are_read_before_gigabytes(copy, monkeypatch):
    folder = copy("text")
    (folder / "tokenizer" / "vocab.json").unlink()
    monkeypatch.setattr(loading, "network", lambda *_, **__: pytest.fail("weights were read first"))
    with pytest.raises(CheckpointMissing, match="tokenizer"):
        load_gligen(local(folder))


def test_the_fp16_variant_is_read_into_float32(saved, copy):
    checkpoint = local(as_text_repository(copy("text")), variant="fp16", safetensors=False)
    gligen, exact = load_gligen(checkpoint, dtype=torch.float32), load_gligen(local(saved.text))
    for part in ("unet", "vae", "text_encoder"):
        assert same(getattr(gligen, part), getattr(exact, part), tolerance=2e-3)
        assert not same(getattr(gligen, part), getattr(exact, part)), "the half precision files were not read"
        assert {weight.dtype for weight in getattr(gligen, part).parameters()} == {torch.float32}


def test_demo_checkpoints_are_half_precision_on_disk_and_full_in_memory(copy):
    folder = copy("text")
    for file in folder.rglob("*.safetensors"):
        save_file({name: weight.half() for name, weight in load_file(file).items()}, file, {"format": "pt"})
    gligen = load_gligen(local(folder), device="cpu")
    assert {weight.dtype for part in modules(gligen) for weight in part.parameters()} == {torch.float32}


def test_a_dtype_can_be_chosen(saved):
    gligen = load_gligen(local(saved.text), dtype=torch.bfloat16)
    assert gligen.dtype == gligen.unet.dtype == gligen.text_encoder.dtype == torch.bfloat16


def test_a_unet_without_fusers_is_refused_before_its_weights_are_read(copy, monkeypatch):
    folder = copy("text")
    edit(folder / "unet" / "config.json", attention_type="default")
    monkeypatch.setattr(loading, "network", lambda *_, **__: pytest.fail("weights were read"))
    with pytest.raises(ValueError, match=r"'tiny'.*'default'.*no grounding layers"):
        load_gligen(local(folder))


def test_a_text_checkpoint_is_refused_where_crops_ground(saved):
    with pytest.raises(ValueError, match=r"'tiny'.*text only.*anhnct/Gligen_Text_Image"):
        load_gligen(local(saved.text), "image")


def test_the_flag_of_old_gligen_repositories_is_understood(copy):
    folder = copy("text")
    config = json.loads((folder / "unet" / "config.json").read_text())
    del config["attention_type"]
    (folder / "unet" / "config.json").write_text(json.dumps(config | {"use_gated_attention": True}))
    gligen = load_gligen(local(folder), "text")
    assert gligen.unet.config.attention_type == "gated" and hasattr(gligen.unet, "position_net")


def remove(path: str):
    return lambda folder: (
        shutil.rmtree(folder / path) if (folder / path).is_dir() else (folder / path).unlink()
    )


def forget(name: str):
    def damage(folder: Path) -> None:
        file = folder / "unet" / "diffusion_pytorch_model.safetensors"
        kept = {key: weight for key, weight in load_file(file).items() if name not in key}
        save_file(kept, file, {"format": "pt"})

    return damage


def truncate(path: str):
    def damage(folder: Path) -> None:
        content = (folder / path).read_bytes()
        (folder / path).write_bytes(content[: len(content) // 2])

    return damage


@pytest.mark.parametrize(
    ("name", "damage", "said"),
    [
        ("text", shutil.rmtree, "no such folder"),
        ("text", remove("model_index.json"), "lacks config.json or model_index.json"),
        ("text", remove("tokenizer"), "lacks tokenizer/"),
        ("text", remove("vae/diffusion_pytorch_model.safetensors"), "lacks the weights of vae"),
        ("text", forget("fuser"), "no weights for .*fuser"),
        (
            "text",
            truncate("vae/diffusion_pytorch_model.safetensors"),
            "damaged: vae/diffusion_pytorch_model.safe",
        ),
        ("text", truncate("model_index.json"), "damaged: model_index.json"),
        ("text", truncate("unet/config.json"), "damaged: unet/config.json"),
        ("text", remove("unet/config.json"), "lacks unet/config.json"),
        ("text", remove("scheduler/scheduler_config.json"), "lacks scheduler/scheduler_config.json"),
        ("text", remove("tokenizer/tokenizer_config.json"), "lacks tokenizer/tokenizer_config.json"),
        ("blip2", truncate("model.safetensors.index.json"), "damaged: model.safetensors.index.json"),
        ("t5", remove("tokenizer.json"), "no vocabulary"),
        ("blip2", remove("model-00002-of-00006.safetensors"), "lacks model-00002-of-00006"),
        ("blip2", remove("config.json"), "lacks config.json"),
        ("blip2", remove("tokenizer.json"), "no vocabulary"),
        ("clip", truncate("model.safetensors"), "damaged: model.safetensors"),
        ("clip", remove("preprocessor_config.json"), "cannot be read"),
    ],
)
def test_what_is_missing_is_named(copy, name, damage, said):
    folder = copy(name)
    damage(folder)
    load = {"text": load_gligen, "clip": load_clip}.get(name, load_captioner)
    with pytest.raises(CheckpointMissing, match=said) as error:
        load(local(folder))
    assert "'tiny'" in str(error.value) and str(folder) in str(error.value)
    assert "GROUNDED_DATA" in str(error.value)


@pytest.mark.parametrize("safetensors", [True, False])
def test_clip_is_loaded_from_both_formats(tmp_path, safetensors):
    clip = load_clip(local(write_clip(tmp_path / "clip", safetensors)), device="cpu")
    texts = clip.processor(text=["a worker", "a red cone"], padding=True, return_tensors="pt")
    assert clip.model.get_text_features(**texts).pooler_output.shape == (2, 16)
    assert not clip.model.training and clip.dtype == torch.float32


def test_the_detector_is_loaded(saved):
    detector = load_detector(local(saved.owlv2), device="cpu")
    words = detector.processor(text=[["a worker", "a cone"]], return_tensors="pt")
    found = detector.model(**words, pixel_values=torch.zeros(1, 3, 32, 32))
    assert found.logits.shape == (1, 16, 2) and found.pred_boxes.shape == (1, 16, 4)


class Attack:
    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("part", ["vae/diffusion_pytorch_model", "text_encoder/pytorch_model"])
def test_a_bin_file_runs_no_code(copy, tmp_path, part):
    folder, mark = to_bin(copy("text")), tmp_path / "code-ran"
    torch.save({"weight": Attack(mark)}, folder / f"{part}.bin")
    with pytest.raises((CheckpointMissing, pickle.UnpicklingError)):
        load_gligen(local(folder, safetensors=False))
    assert not mark.exists()


def test_code_in_a_repository_is_not_run(copy, tmp_path):
    folder, mark = copy("clip"), tmp_path / "code-ran"
    (folder / "evil.py").write_text(f"open({str(mark)!r}, 'w')\nfrom transformers import CLIPModel as Model")
    edit(folder / "config.json", auto_map={"AutoModel": "evil.Model", "AutoConfig": "evil.Model"})
    load_clip(local(folder))
    assert not mark.exists()


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """An empty hub cache and no network."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    there = partial(checkpoints.snapshot_download, cache_dir=tmp_path / "hub")
    monkeypatch.setattr(checkpoints, "snapshot_download", there)
    return tmp_path / "hub"


def cached(hub: Path, folder: Path, commit: str) -> Checkpoint:
    """Put a repository into the hub's cache as `owner/tiny`, with "main" at that commit."""
    place = hub / "models--owner--tiny"
    shutil.copytree(folder, place / "snapshots" / commit)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(commit)
    return Checkpoint("tiny", "owner/tiny", "main")


def test_a_published_checkpoint_that_is_not_here_names_the_two_ways_out(offline):
    checkpoint = model_set("published").captioners["opt"]
    with pytest.raises(CheckpointMissing) as error:
        load_captioner(checkpoint)
    for said in ("'blip2-opt-2.7b'", str(offline), "MODELS=demo",
                 f"hf download Salesforce/blip2-opt-2.7b --revision {checkpoint.revision}"):  # fmt: skip
        assert said in str(error.value)


def test_a_whole_copy_in_the_cache_needs_no_network_and_tells_its_commit(offline, saved, monkeypatch):
    checkpoint = cached(offline, saved.clip, commit := "c0ffee" * 6 + "c0de")
    cache_only = checkpoints.snapshot_download

    def no_network(*names, local_files_only=False, **options):
        assert local_files_only, "the network was asked although all is here"
        return cache_only(*names, local_files_only=True, **options)

    monkeypatch.setattr(checkpoints, "snapshot_download", no_network)
    assert load_clip(checkpoint).commit == commit


def test_an_interrupted_download_is_not_taken_for_a_checkpoint(offline, copy):
    (folder := copy("blip2")).joinpath("model-00003-of-00006.safetensors").unlink()
    with pytest.raises(CheckpointMissing, match="model-00003-of-00006") as error:
        load_captioner(cached(offline, folder, "c0ffee" * 6 + "c0de"))
    assert "hf download owner/tiny --revision main" in str(error.value)


@pytest.fixture(scope="module")
def inception_state(tmp_path_factory):
    """Random weights for pytorch-fid's network, in its own file format."""
    return write_inception(tmp_path_factory.mktemp("inception") / "weights.pth")


def test_inception_is_read_from_its_file(inception_state, monkeypatch):
    monkeypatch.setattr(extractors, "find", lambda _: (inception_state, None))
    inception = load_inception(device="cpu")
    assert not inception.model.training and inception.dtype == torch.float32 and len(inception.commit) == 8
    ours = inception.model.blocks[0][0].conv.weight
    assert torch.equal(ours, torch.load(inception_state, weights_only=True)["Conv2d_1a_3x3.conv.weight"])
    assert not any(weight.requires_grad for weight in inception.model.parameters())


def test_inception_weights_that_are_absent_or_damaged(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def no_network(*_, **__):
        raise URLError("no route")

    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    with pytest.raises(
        CheckpointMissing,
        match=r"(?s)no route.*curl -L --create-dirs -o \S+6726825d.pth https://.*6726825d.pth.*MODELS=demo",
    ):
        load_inception()
    file = tmp_path / "hub" / "checkpoints" / "pt_inception-2015-12-05-6726825d.pth"
    file.write_bytes(b"half a download")
    with pytest.raises(CheckpointMissing, match="damaged, its SHA-256 starts with"):
        load_inception()


FULL, BRAIN, HALF = torch.float32, torch.bfloat16, torch.float16


@pytest.mark.parametrize(
    ("device", "has_bf16", "expected"),
    [
        ("cpu", False, {"opt": FULL, "t5": FULL, "gligen": FULL, "clip": FULL, "inception": FULL}),
        ("cuda", True, {"opt": BRAIN, "t5": BRAIN, "gligen": BRAIN, "clip": FULL, "inception": FULL}),
        ("cuda", False, {"opt": HALF, "t5": FULL, "gligen": HALF, "detector": FULL}),
    ],
)
def test_the_best_dtype_of_a_device(monkeypatch, device, has_bf16, expected):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_bf16)
    assert {family: best_dtype(torch.device(device), family) for family in expected} == expected


def test_released_models_hold_no_memory(saved):
    gligen, clip = load_gligen(local(saved.text)), load_clip(local(saved.clip))
    release(gligen, clip)
    weights = [weight for part in modules(gligen) + modules(clip) for weight in part.parameters()]
    assert len(weights) > 100 and all(weight.is_meta for weight in weights)


def test_every_loader_says_when_a_checkpoint_is_missing(tmp_path):
    for load in (load_captioner, load_gligen, load_clip, load_detector):
        with pytest.raises(CheckpointMissing, match="no such folder"):
            load(local(tmp_path / "nowhere"))
    assert issubclass(CheckpointMissing, OSError)
