"""The decoder's fine-tuning: what it changes, what its losses ask for, resuming."""

import pytest
import torch
import torch.nn.functional as F

from data.training import autoencoder, decoder, training_loop
from data.training.drawn_scenes import load_scenes
from data.training.training_loop import Recipe

TINY = Recipe(steps=3, batch_size=2, learning_rate=1e-3, warmup=1, average=0.5)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return load_scenes("validation", 8, tmp_path_factory.mktemp("scenes"))


@pytest.fixture(scope="module")
def latents():
    return torch.randn(8, autoencoder.LATENT_CHANNELS, 16, 16, generator=torch.Generator().manual_seed(0))


def fit(scenes, latents, folder):
    torch.manual_seed(0)
    model = autoencoder.build()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    decoder.fit_decoder(scenes, latents, latents[:5] + 0.1, folder, model, TINY)
    return before, model.state_dict()


def test_only_the_decoder_changes(scenes, latents, tmp_path):
    before, after = fit(scenes, latents, tmp_path)
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"decoder", "post_quant_conv"}


def test_a_killed_fine_tuning_goes_on_as_if_it_had_not_been(scenes, latents, tmp_path, monkeypatch):
    monkeypatch.setattr(training_loop, "SAVE_EVERY_SECONDS", -1)
    _, whole = fit(scenes, latents, tmp_path / "whole")
    losses, calls = decoder.losses, []

    def killed(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return losses(*arguments)

    monkeypatch.setattr(decoder, "losses", killed)
    with pytest.raises(KeyboardInterrupt):
        fit(scenes, latents, tmp_path / "killed")
    monkeypatch.setattr(decoder, "losses", losses)
    _, resumed = fit(scenes, latents, tmp_path / "killed")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_no_loss_for_the_photo_itself(scenes):
    photos = torch.from_numpy(scenes.photos[:2].copy()).permute(0, 3, 1, 2).float() / 127.5 - 1
    assert all(loss == 0 for loss in decoder.losses(photos, photos).values())


def test_contrast_asks_for_steep_edges_and_leaves_their_places_to_the_other_losses():
    columns = torch.arange(64).expand(1, 3, 64, 64)
    photo, shifted = ((((columns + by) // 8) % 2) * 2.0 - 1 for by in (0, 1))
    blurred = F.avg_pool2d(photo, (1, 5), 1, (0, 2), count_include_pad=False)
    moved, soft = (decoder.losses(one, photo) for one in (shifted, blurred))
    assert moved["l1"] > soft["l1"] - 0.1 and moved["contrast"] < 0.8 * soft["contrast"]
