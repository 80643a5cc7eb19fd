"""The device, its precision, and how much of its memory each stage of a study takes."""

import os
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from helpers.models.checkpoints import INCEPTION
from helpers.models.sets import Checkpoint, ModelSet

CPU = torch.device("cpu")
Device = torch.device | str | None  # None: the best one
Dtype = torch.dtype | None  # None: the best one for device and model
ROOM = 1.25  # memory that a stage takes at least, in weights: the published 7.9 GB in bfloat16 want 10 GB
VISION_HALF = 1.095e9  # parameters of BLIP-2's vision encoder and Q-Former, where the whole has over 2e9
TERA = 118  # 10^12 operations of a published picture with guidance: 512 x 512 pixels, 50 steps (computed)
CORE = 0.1  # 10^12 operations a second of a processor core, give or take a factor of two


@dataclass(frozen=True)
class Need:
    """The memory that one stage of a study takes on this machine.

    memory: bytes at least, weights and work; free: bytes of the device in all; how: precision and halves.
    """

    stage: str
    memory: int
    free: int
    how: str

    @property
    def fits(self) -> bool:
        """Whether the device has that much memory. On a CPU weights stay files, and anything runs slowly."""
        return self.memory <= self.free

    def __str__(self) -> str:
        elsewhere = "does not fit: run this notebook on another machine, in the same run folder"
        fits = "fits" if self.fits else elsewhere
        return f"{self.stage}: {self.memory / 1e9:.1f} GB of {self.free / 1e9:.1f} ({self.how}), {fits}"


def best_device() -> torch.device:
    """The first CUDA GPU, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def best_dtype(device: torch.device, family: str) -> torch.dtype:
    """bfloat16 on GPUs that compute in it, float16 on older ones, float32 on a CPU.

    family: "opt", "t5", "gligen", "flux3", "clip", "detector", "inception" or "efficientnet". The last four
    measure and stay in float32, so that scores agree between machines. T5 overflows in float16, and of FLUX 3
    it is not known: float32 on older GPUs.
    """
    if device.type == "cpu" or family in ("clip", "detector", "inception", "efficientnet"):
        return torch.float32
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    return torch.float32 if family in ("t5", "flux3") else torch.float16


def placed(device: Device, dtype: Dtype, family: str) -> tuple[torch.device, torch.dtype]:
    """Both as given, or the best ones."""
    device = torch.device(device) if device else best_device()
    return device, dtype or best_dtype(device, family)


def memory(device: torch.device) -> int:
    """Bytes of memory of a device, free or not."""
    return torch.cuda.mem_get_info(device)[1] if device.type == "cuda" else psutil.virtual_memory().total


def needs(models: ModelSet, safety: bool = False) -> list[Need]:
    """The memory that each stage of a study with this model set takes on this machine, stage by stage."""
    device, judges = best_device(), [models.clip, models.detector, *([INCEPTION] if models.inception else [])]
    checker = parameters(models.safety) if safety and models.safety else 0
    gligen = {name: parameters(one) for name, one in models.gligen.items()}
    own = {name: parameters(one) for name, one in models.own.items()}
    stages = [(f"captions by {name}", name, parameters(one)) for name, one in models.captioners.items()]
    stages += [(f"pictures grounded by {name}", "gligen", one + checker) for name, one in gligen.items()]
    # what is smaller fits where GLIGEN fits
    stages += [(f"pictures by {name}", name, one) for name, one in own.items() if one > max(gligen.values())]
    stages += [("scores", "clip", sum(map(parameters, judges)))]
    found, free = [], memory(device)
    for stage, family, count in stages:
        dtype = best_dtype(device, family)
        how, each = f"{device.type}, {str(dtype).removeprefix('torch.')}", ROOM * dtype.itemsize
        need = Need(stage, int(each * count), free, how)
        if stage.startswith("captions") and device.type != "cpu" and not need.fits:
            need = Need(stage, int(each * (count - VISION_HALF)), free, f"{how}, half by half")
        found.append(need)
    return found


def parameters(checkpoint: Checkpoint) -> int:
    """Numbers in the weights of a checkpoint: as it says itself, else from its files in half precision."""
    files = [] if checkpoint.parameters else Path(checkpoint.source).rglob("*.safetensors")
    return checkpoint.parameters or sum(file.stat().st_size for file in files) // 2


def slowness(models: ModelSet, pictures: int, steps: int) -> str | None:
    """A warning with the computed time for published models on a CPU; None where the device suits the set."""
    if best_device().type != "cpu" or models.size < 512:
        return None
    cores = os.cpu_count() or 1
    days = pictures * TERA * steps / 50 / (CORE * cores) / 86400
    usual = models.gligen["text"].parameters
    larger = [name for name, one in models.own.items() if one.parameters > 2 * usual]
    longer = "".join(f", several times that with {name}" for name in larger)
    return (
        f"no GPU: {pictures} pictures of {models.size} x {models.size} pixels and {steps} steps take some "
        f"{days:.1f} days on {cores} cores{longer} (computed, not measured); take a GPU, fewer steps, or "
        "MODELS=demo"
    )
