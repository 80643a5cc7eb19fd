"""Writing a trained model as those on the hub: configuration, fp16 safetensors, processor."""

from copy import deepcopy
from pathlib import Path

from transformers import PreTrainedModel, ProcessorMixin


def save(model: PreTrainedModel, processor: ProcessorMixin, folder: Path) -> None:
    """Save to `folder` in half precision; the model itself stays as it is."""
    deepcopy(model).half().save_pretrained(folder)
    processor.save_pretrained(folder)
