"""Training of GANs: a duel goes on where it was stopped, and each loss is what its equation says."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from data.training import attngan, ssagan, training_loop
from data.training.damsm import SURE, WHICH, WORDS, Captioned, Damsm, matching_loss
from data.training.duel import duel, settle
from data.training.training_loop import Recipe
from helpers.generation.methods.gans import Text
from tests.fakes import gans as fakes

WIDTH = 128


@pytest.fixture
def data():
    text = fakes.text([3, 5, 4, 2, 6, 3], WIDTH)
    latents = torch.randn(6, 8, 16, 16, generator=torch.Generator().manual_seed(0))
    return Captioned(latents, Text(text.words.half(), text.real, text.sentence.half()))


def small_duel(folder, steps: int = 12, stop: int | None = None) -> nn.Module:
    """A generator of single numbers; `stop`: the step at which the process dies."""
    torch.manual_seed(0)
    model, discriminator = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)), nn.Linear(1, 1)

    def judge(made: torch.Tensor, step: int) -> dict[str, torch.Tensor]:
        if step == stop:
            raise KeyboardInterrupt
        right, wrong = discriminator(torch.randn(8, 1) + 3), discriminator(made.detach())
        return {"judge": (F.softplus(-right) + F.softplus(wrong)).mean().float()}

    def please(made: torch.Tensor, step: int) -> dict[str, torch.Tensor]:
        assert not any(one.requires_grad for one in discriminator.parameters())
        return {"fool": F.softplus(-discriminator(made)).mean().float()}

    recipe = Recipe(steps, 8, 0.05, warmup=1, average=0.5)
    made = duel(
        "duel", model, discriminator, lambda rng: model(torch.randn(8, 2)), judge, please, recipe, 0.1, folder
    )
    assert all(one.requires_grad for one in discriminator.parameters()) and not made.training
    return made


def test_a_duel_that_was_killed_goes_on_as_if_it_had_not_been(tmp_path, monkeypatch):
    monkeypatch.setattr(training_loop, "SAVE_EVERY_SECONDS", -1)
    with pytest.raises(KeyboardInterrupt):
        small_duel(tmp_path / "killed", stop=7)
    resumed, whole = small_duel(tmp_path / "killed"), small_duel(tmp_path / "whole")
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, msg=name)
    start = small_duel(tmp_path / "start", steps=1)
    assert (whole[0].weight - start[0].weight).abs().max() > 0.01


def test_norms_are_settled_on_batches_of_the_averaged_weights():
    model, batches = nn.Sequential(nn.BatchNorm1d(2)), []

    def draw(rng) -> torch.Tensor:
        batches.append(torch.randn(16, 2) * 3 + 5)
        return model(batches[-1])

    settle(model, draw, batches=4)
    torch.testing.assert_close(model[0].running_mean, torch.stack(batches).mean((0, 1)))
    assert model[0].momentum == 0.1 and not model.training


def test_rows_come_without_the_padding_that_none_of_them_needs(data):
    latents, text = data[[0, 3]]
    assert text.words.shape == (2, 3, WIDTH) and text.words.dtype == text.sentence.dtype == torch.float32
    assert text.real.tolist() == [[True] * 3, [True, True, False]]
    assert torch.equal(latents[1], data.latents[3])


def test_the_similarity_of_words_and_regions_is_that_of_the_paper(data):
    """Equations 7 to 10, caption by caption, and the losses 11 and 12."""
    torch.manual_seed(0)
    model = Damsm().eval().requires_grad_(False)
    latents, text = data[[0, 1, 2]]
    by_word, by_sentence = model(latents, text)
    regions = model.regions(model.see(latents)).flatten(2)
    for caption in range(3):
        words = model.words(text.words[caption][text.real[caption]])
        for picture in range(3):
            scores = (words @ regions[picture] / WIDTH**0.5).softmax(0)
            contexts = (WORDS * scores).softmax(1) @ regions[picture].T
            fits = (WHICH * F.cosine_similarity(contexts, words, dim=1)).exp().sum().log()
            torch.testing.assert_close(by_word[caption, picture], SURE * fits, rtol=1e-4, atol=1e-3)
    assert by_sentence.abs().max() <= SURE + 1e-4
    losses = matching_loss(model, latents, text)
    expected = -(by_word.log_softmax(1).diag() + by_word.log_softmax(0).diag()).mean()
    torch.testing.assert_close(losses["words"], expected, rtol=1e-4, atol=1e-4)
    assert losses.keys() == {"words", "sentence"}


def test_a_penalty_is_the_sixth_power_of_the_gradient_by_picture_and_sentence():
    class Linear(nn.Module):
        """3 times the sum of the picture, 4 times that of the sentence."""

        def see(self, latents):
            return 3 * latents.flatten(1).sum(1)

        def forward(self, seen, sentence):
            return seen + 4 * sentence.sum(1)

    value = ssagan.penalty(Linear(), torch.randn(5, 1, 1, 1), torch.randn(5, 1))
    torch.testing.assert_close(value, torch.tensor(ssagan.EVERY * 2.0 * 5**6))


def test_discriminators_see_how_far_a_batch_is_spread():
    seen = torch.randn(4, 3, 4, 4)
    (same, spread) = (attngan.spread(one)[:, 3] for one in (seen[:1].repeat(4, 1, 1, 1), seen))
    assert same.abs().max() < 1e-3 and (spread > 0.5).all()


@pytest.mark.parametrize("fit", [attngan.fit_attngan, ssagan.fit_ssagan])
def test_a_step_of_each_training(fit, data, tmp_path, monkeypatch):
    monkeypatch.setattr("data.training.duel.SETTLING", 1)
    module = attngan if fit is attngan.fit_attngan else ssagan
    start = module.build()
    before = {name: value.clone() for name, value in start.named_parameters()}
    model = fit(
        data, Damsm().requires_grad_(False), tmp_path, replace(module.RECIPE, steps=1, batch_size=4), start
    )
    moved = [name for name, value in model.named_parameters() if not torch.equal(value, before[name])]
    assert model is start and moved
    assert "likeness" in next(tmp_path.glob("*.jsonl")).read_text()
