"""The training loop of every part: resumable, seeded, cosine schedule, averaged weights, time left."""

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel

SAVE_EVERY_SECONDS = 120
Losses = Callable[[np.random.Generator, int], dict[str, torch.Tensor]]


@dataclass(frozen=True)
class Recipe:
    """Hyperparameters of one training. steps, warmup: optimizer steps. decay: AdamW's weight decay."""

    steps: int
    batch_size: int
    learning_rate: float
    warmup: int = 100
    decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.98)
    average: float = 0.999
    seed: int = 0


def train(
    name: str,
    model: torch.nn.Module,
    loss_of: Losses,
    recipe: Recipe,
    folder: Path,
    watch: Callable[[int], dict[str, float]] | None = None,
    watch_every: int = 0,
) -> torch.nn.Module:
    """Train `model` and return it with its averaged weights, in eval mode, on the accelerator's device.

    loss_of(rng, step): the losses of one batch by name; their sum is minimised. `rng` depends on the recipe's
    seed and the step alone, so a run that was killed goes on exactly where its last state was saved.
    watch(step): measurements, called every `watch_every` steps with the averaged weights in place.
    folder: holds `<name>.pt` (state) and `<name>.jsonl` (the loss curve). Raises FloatingPointError on a loss
    that is not finite.
    """
    training = Training(name, model, recipe, folder)
    training.run(lambda step: training.step(loss_of, step), watch, watch_every)
    training.average.copy_to(training.model.parameters())
    return training.accelerator.unwrap_model(training.model).eval()


def _rate(step: int, recipe: Recipe) -> float:
    if step < recipe.warmup:
        return (step + 1) / recipe.warmup
    return 0.02 + 0.98 * (1 + math.cos(math.pi * min(step / recipe.steps, 1))) / 2


class Training:
    """A training with its state on disk: written beside and renamed, so that it is always whole."""

    def __init__(self, name: str, model: torch.nn.Module, recipe: Recipe, folder: Path):
        self.accelerator = Accelerator(mixed_precision="bf16" if torch.cuda.is_available() else "no")
        weights, rates = [p for p in model.parameters() if p.requires_grad], recipe.learning_rate
        optimizer = torch.optim.AdamW(weights, rates, recipe.betas, weight_decay=recipe.decay)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, recipe))
        self.model, self.optimizer = self.accelerator.prepare(model, optimizer)
        ema = EMAModel(self.model.parameters(), decay=recipe.average, use_ema_warmup=True, power=0.75)
        ema.to(self.accelerator.device)
        self.name, self.recipe, self.average = name, recipe, ema
        folder.mkdir(parents=True, exist_ok=True)
        self.path, self.curve = folder / f"{name}.pt", folder / f"{name}.jsonl"
        self.parts = {"model": self.model, "optimizer": self.optimizer, "schedule": self.schedule}
        self.parts |= {"average": ema}

    def run(
        self,
        step_of: Callable[[int], dict[str, torch.Tensor]],
        watch: Callable[[int], dict[str, float]] | None = None,
        watch_every: int = 0,
    ) -> None:
        """All steps that are left. step_of(step) makes one and returns its losses."""
        first = step = self.load()
        started = last_saved = time.monotonic()
        self.model.train()
        while step < self.recipe.steps:
            losses = step_of(step)
            step += 1
            if step % 50 == 0 or step == self.recipe.steps:
                seconds = time.monotonic() - started
                self.log(step, seconds, seconds / (step - first) * (self.recipe.steps - step), losses)
            if watch and watch_every and step % watch_every == 0:
                self.measure(step, watch)
            if time.monotonic() - last_saved > SAVE_EVERY_SECONDS or step == self.recipe.steps:
                self.save(step)
                last_saved = time.monotonic()
        facts = asdict(self.recipe) | {"pictures": self.recipe.steps * self.recipe.batch_size}
        self.curve.with_suffix(".json").write_text(json.dumps(facts))

    def random(self, step: int) -> np.random.Generator:
        """The step's own randomness; PyTorch's is seeded by it as well."""
        rng = np.random.default_rng([self.recipe.seed, step])
        torch.manual_seed(int(rng.integers(2**31)))
        return rng

    def step(self, loss_of: Losses, step: int) -> dict[str, torch.Tensor]:
        """One optimizer step; returns its losses."""
        rng = self.random(step)
        with self.accelerator.autocast():
            losses = loss_of(rng, step)
        return self.update(losses, step)

    def update(self, losses: dict[str, torch.Tensor], step: int) -> dict[str, torch.Tensor]:
        """Minimise the sum of losses a little; returns them."""
        loss = sum(losses.values())
        if not torch.isfinite(loss):
            raise FloatingPointError(f"{self.name}: the loss is {loss.item()} at step {step}")
        self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()
        self.average.step(self.model.parameters())
        return losses

    def measure(self, step: int, watch: Callable[[int], dict[str, float]]) -> None:
        """Write what `watch` says of the averaged weights."""
        self.average.store(self.model.parameters())
        self.average.copy_to(self.model.parameters())
        self.model.eval()
        with torch.no_grad():
            self.write({"step": step} | watch(step))
        self.average.restore(self.model.parameters())
        self.model.train()

    def load(self) -> int:
        """Put the saved state back, if there is one; the number of steps done."""
        if not self.path.exists():
            return 0
        saved = torch.load(self.path, map_location="cpu", weights_only=True)
        for name, part in self.parts.items():
            part.load_state_dict(saved[name])
        return saved["step"]

    def save(self, step: int) -> None:
        """Write model, optimizer, schedule, average and step."""
        beside = self.path.with_suffix(".partial")
        torch.save({name: part.state_dict() for name, part in self.parts.items()} | {"step": step}, beside)
        beside.replace(self.path)

    def log(self, step: int, seconds: float, left: float, losses: dict[str, torch.Tensor]) -> None:
        """One line of the loss curve."""
        values = {key: round(value.item(), 5) for key, value in losses.items()}
        self.write({"step": step, "seconds": round(seconds), "minutes_left": round(left / 60, 1)} | values)

    def write(self, row: dict) -> None:
        """A row to the curve's file and to the terminal."""
        print(self.name, *(f"{key} {value:g}" for key, value in row.items()), flush=True)
        with self.curve.open("a") as file:
            file.write(json.dumps(row) + "\n")
