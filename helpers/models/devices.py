"""Where a model computes, and in which precision."""

import torch

CPU = torch.device("cpu")
Device = torch.device | str | None  # None: the best one
Dtype = torch.dtype | None  # None: the best one for device and model


def best_device() -> torch.device:
    """The first CUDA GPU, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def best_dtype(device: torch.device, family: str) -> torch.dtype:
    """bfloat16 on GPUs that compute in it, float16 on older ones, float32 on a CPU.

    family: "opt", "t5", "gligen", "clip", "detector" or "inception". The last three measure and stay in
    float32, so that scores agree between machines. T5 overflows in float16: float32 on older GPUs.
    """
    if device.type == "cpu" or family in ("clip", "detector", "inception"):
        return torch.float32
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    return torch.float32 if family == "t5" else torch.float16


def placed(device: Device, dtype: Dtype, family: str) -> tuple[torch.device, torch.dtype]:
    """Both as given, or the best ones."""
    device = torch.device(device) if device else best_device()
    return device, dtype or best_dtype(device, family)
