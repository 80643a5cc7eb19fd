"""Any object detector of transformers, fine-tuned through accelerate on whatever device is there."""

from collections.abc import Iterator, Sequence
from functools import partial

import torch

from helpers.models.loading import Detector
from helpers.scoring import features
from helpers.scoring.training import LOWEST, Detect, Example

RATE, WARMUP = 5e-5, 0.1  # AdamW's largest learning rate, and the share of steps until then


def finetune(
    checkpoint: str, batches: Iterator[list[Example]], labels: Sequence[str], steps: int, seed: int
) -> Detect:
    """A checkpoint of `AutoModelForObjectDetection` after those batches, its classes replaced by the labels.

    checkpoint: a hub repository or a local folder, with its image processor.
    """
    from accelerate import Accelerator
    from transformers import AutoImageProcessor, AutoModelForObjectDetection

    torch.manual_seed(seed)
    processor = AutoImageProcessor.from_pretrained(checkpoint)
    classes = {"id2label": dict(enumerate(labels)), "label2id": {one: k for k, one in enumerate(labels)}}
    model = AutoModelForObjectDetection.from_pretrained(checkpoint, **classes, ignore_mismatched_sizes=True)
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps + 1, pct_start=WARMUP)
    accelerator = Accelerator()
    model, optimizer, schedule = accelerator.prepare(model, optimizer, schedule)
    model.train()
    for batch in batches:
        asked = [_annotations(index, one, labels) for index, one in enumerate(batch)]
        inputs = processor([one.image for one in batch], annotations=asked, return_tensors="pt")
        inputs["labels"] = [{k: v.to(accelerator.device) for k, v in one.items()} for one in inputs["labels"]]
        tensors = {k: v.to(accelerator.device) if torch.is_tensor(v) else v for k, v in inputs.items()}
        optimizer.zero_grad()
        accelerator.backward(model(**tensors).loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)  # as DETR is trained
        optimizer.step()
        schedule.step()
    detector = Detector(accelerator.unwrap_model(model).eval(), processor, accelerator.device)
    return partial(features.detect, detector, labels=labels, threshold=LOWEST)


def _annotations(index: int, example: Example, labels: Sequence[str]) -> dict:
    """An example as the processor reads it: COCO, in pixels."""
    width, height = example.image.size
    rows = []
    for (x_min, y_min, x_max, y_max), label in zip(example.boxes.tolist(), example.labels, strict=True):
        box = [x_min * width, y_min * height, (x_max - x_min) * width, (y_max - y_min) * height]
        row = {"image_id": index, "category_id": labels.index(label), "bbox": box, "iscrowd": 0}
        rows.append(row | {"area": box[2] * box[3]})
    return {"image_id": index, "annotations": rows}
