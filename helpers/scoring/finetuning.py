"""Any object detector of transformers, fine-tuned through accelerate on whatever device is there."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from PIL import Image

from helpers.scenes import boxes
from helpers.scoring.adherence import Detections
from helpers.scoring.training import LOWEST, MOST, Detect, Example

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
    model.eval()

    @torch.inference_mode()
    def detect(pictures: Sequence[Image.Image]) -> list[Detections]:
        found = []
        for start in range(0, len(pictures), 8):
            part = pictures[start : start + 8]
            inputs = processor(part, return_tensors="pt").to(accelerator.device)
            sizes = [(one.height, one.width) for one in part]
            rows = processor.post_process_object_detection(model(**inputs), LOWEST, target_sizes=sizes)
            found += [_detections(one, picture, labels) for one, picture in zip(rows, part, strict=True)]
        return found

    return detect


def _annotations(index: int, example: Example, labels: Sequence[str]) -> dict:
    """An example as the processor reads it: COCO, in pixels."""
    width, height = example.image.size
    rows = []
    for (x_min, y_min, x_max, y_max), label in zip(example.boxes.tolist(), example.labels, strict=True):
        box = [x_min * width, y_min * height, (x_max - x_min) * width, (y_max - y_min) * height]
        row = {"image_id": index, "category_id": labels.index(label), "bbox": box, "iscrowd": 0}
        rows.append(row | {"area": box[2] * box[3]})
    return {"image_id": index, "annotations": rows}


def _detections(row: dict, picture: Image.Image, labels: Sequence[str]) -> Detections:
    order = row["scores"].argsort(descending=True)[:MOST].cpu()
    corners = boxes.to_fractions(row["boxes"].float().cpu().numpy()[order], *picture.size)
    inside = np.flatnonzero(boxes.area(corners) > 0)
    which, scores = row["labels"].cpu().numpy()[order], row["scores"].float().cpu().numpy()[order]
    return Detections(corners[inside], tuple(labels[which[k]] for k in inside), scores[inside])
