"""Pictures and texts -> features and detections, in batches."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from helpers.models.detectors import match_labels
from helpers.models.extractors import EfficientNet, Inception
from helpers.models.loading import Clip, Detector
from helpers.scenes import boxes, images
from helpers.scenes.scenes import words
from helpers.scoring.adherence import Detections

QUERY = "a photo of a {}"  # what the detector is asked for, with the label as words
MOST = 100  # detections kept per picture: as many as COCO counts


@torch.inference_mode()
def image_features(clip: Clip, pictures: Sequence[Image.Image], batch_size: int = 32) -> np.ndarray:
    """CLIP features of pictures or crops of any size, (n, d) float32 of length 1.

    Each picture is squashed to CLIP's square, so that nothing of a tall crop is cut off; CLIP's own processor
    would cut the middle out of it.
    """
    side = clip.model.config.vision_config.image_size
    square = {"height": side, "width": side}
    rows = [torch.empty(0, clip.model.config.projection_dim)]
    for batch in _batches(pictures, batch_size):
        options = {"size": square, "do_center_crop": False, "return_tensors": "pt"}
        pixels = clip.processor.image_processor([*batch], **options).pixel_values.to(clip.device, clip.dtype)
        rows.append(clip.model.get_image_features(pixels).pooler_output.float().cpu())
    return F.normalize(torch.cat(rows), dim=-1).numpy()


@torch.inference_mode()
def text_features(clip: Clip, texts: Sequence[str], batch_size: int = 64) -> np.ndarray:
    """CLIP features of texts, (n, d) float32 of length 1; what is over CLIP's 77 tokens is cut off."""
    rows = [torch.empty(0, clip.model.config.projection_dim)]
    longest = clip.model.config.text_config.max_position_embeddings
    for batch in _batches(texts, batch_size):
        tokens = clip.processor.tokenizer(
            [*batch], padding=True, truncation=True, max_length=longest, return_tensors="pt"
        )
        rows.append(clip.model.get_text_features(**tokens.to(clip.device)).pooler_output.float().cpu())
    return F.normalize(torch.cat(rows), dim=-1).numpy()


@torch.inference_mode()
def inception_features(
    inception: Inception, pictures: Sequence[Image.Image], batch_size: int = 32
) -> np.ndarray:
    """pytorch-fid's pool3 features of pictures of one size, (n, 2048) float32.

    The network itself squashes each to 299 x 299, bilinear without antialiasing, as pytorch-fid does; fit
    photos to the size of the pictures first.
    """
    rows = [np.empty((0, 2048), np.float32)]
    for batch in _batches(pictures, batch_size):
        pixels = images.to_tensor(images.to_array([*batch])).to(inception.device)
        rows.append(inception.model((pixels + 1) / 2)[0].flatten(1).cpu().numpy())
    return np.concatenate(rows)


@torch.inference_mode()
def efficientnet_features(
    efficientnet: EfficientNet, pictures: Sequence[Image.Image], batch_size: int = 16
) -> np.ndarray:
    """EfficientNet-Lite0's pooled features, (n, 1280) float32; each is squashed to 224 x 224 (bicubic)."""
    rows = [np.empty((0, 1280), np.float32)]
    for batch in _batches(pictures, batch_size):
        shown = [picture.convert("RGB").resize((224, 224), Image.Resampling.BICUBIC) for picture in batch]
        pixels = torch.from_numpy(np.stack(shown)).permute(0, 3, 1, 2).float().to(efficientnet.device)
        features = efficientnet.model.extract_features((pixels - 127) / 128)
        rows.append(features.mean((2, 3)).cpu().numpy())
    return np.concatenate(rows)


@torch.inference_mode()
def detect(
    detector: Detector,
    pictures: Sequence[Image.Image],
    labels: Sequence[str],
    threshold: float = 0.1,
    batch_size: int = 8,
) -> list[Detections]:
    """What the detector finds of the labels in each picture, best score first, at most MOST per picture.

    OWLv2 is asked for each distinct label once (as QUERY); a detector with classes of its own finds those
    that its `labels` or their names match. threshold: least score in [0, 1]. Boxes are fractions of the
    picture, whatever its shape, clipped to it.
    """
    labels = sorted(set(labels))
    if not labels:
        return [Detections(np.empty((0, 4), np.float32), (), np.empty(0, np.float32)) for _ in pictures]
    if not hasattr(detector.model, "owlv2"):
        return _of_classes(detector, pictures, labels, threshold, batch_size)
    queries, model, found = _queries(detector, labels), detector.model, []
    for shown in _batches(pictures, batch_size):
        pixels = detector.processor.image_processor([*shown], return_tensors="pt").pixel_values
        grid, _ = model.image_embedder(pixels.to(detector.device, detector.dtype))
        places = grid.flatten(1, 2)
        logits, _ = model.class_predictor(places, queries.expand(len(shown), -1, -1))
        corners = model.box_predictor(places, grid).float().cpu()
        parts = zip(shown, corners, logits.float().sigmoid().cpu(), strict=True)
        found += [_detections(picture, box, score, labels, threshold) for picture, box, score in parts]
    return found


def _of_classes(
    detector: Detector,
    pictures: Sequence[Image.Image],
    labels: Sequence[str],
    threshold: float,
    batch_size: int,
) -> list[Detections]:
    names, found = detector.model.config.id2label, []
    asked = match_labels(labels, names.values(), {k: detector.labels.get(k) for k in labels})
    for batch in _batches(pictures, batch_size):
        shown = [picture.convert("RGB") for picture in batch]
        inputs = detector.processor(images=shown, return_tensors="pt").to(detector.device)
        options = {"threshold": threshold, "target_sizes": [(one.height, one.width) for one in shown]}
        results = detector.processor.post_process_object_detection(detector.model(**inputs), **options)
        for picture, result in zip(shown, results, strict=True):
            corners = boxes.to_fractions(result["boxes"].float().cpu().numpy(), *picture.size)
            scores, kinds = (result[key].cpu().numpy() for key in ("scores", "labels"))
            areas = boxes.area(corners)
            order = [k for k in np.argsort(-scores, kind="stable") if areas[k] > 0]
            pairs = [(k, one) for k in order for one in labels if asked[one] == names[int(kinds[k])]][:MOST]
            kept = [k for k, _ in pairs]
            found.append(Detections(corners[kept], tuple(label for _, label in pairs), scores[kept]))
    return found


def _queries(detector: Detector, labels: Sequence[str]) -> torch.Tensor:
    longest = detector.model.config.text_config.max_position_embeddings
    texts = [QUERY.format(detector.labels.get(label) or words(label)) for label in labels]
    tokens = detector.processor.tokenizer(
        texts, padding="max_length", truncation=True, max_length=longest, return_tensors="pt"
    )
    inputs = {name: tokens[name].to(detector.device) for name in ("input_ids", "attention_mask")}
    return detector.model.owlv2.get_text_features(**inputs).pooler_output[None]


def _detections(
    picture: Image.Image, box: torch.Tensor, scores: torch.Tensor, labels: Sequence[str], threshold: float
) -> Detections:
    """box: (p, 4) centre and size, fractions of the square that OWLv2 pads to; scores: (p, l)."""
    best, label = scores.max(1)
    order = best.argsort(descending=True, stable=True)[:MOST]
    order = order[best[order] > threshold]
    centre, size = box[order].numpy()[:, :2], box[order].numpy()[:, 2:]
    square = max(picture.size) / np.array(picture.size * 2)
    corners = boxes.clip(np.concatenate([centre - size / 2, centre + size / 2], axis=1) * square)
    inside = boxes.area(corners) > 0
    named = tuple(labels[k] for k in label[order].numpy()[inside])
    return Detections(corners[inside], named, best[order].numpy()[inside])


def _batches(items: Sequence, size: int) -> Iterator[Sequence]:
    return (items[start : start + size] for start in range(0, len(items), size))
