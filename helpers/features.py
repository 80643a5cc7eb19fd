"""Pictures and texts -> features and detections, in batches, computed once per picture."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from helpers import boxes, images
from helpers.adherence import Detections
from helpers.files import beside
from helpers.models import Clip, Detector, Inception

QUERY = "a photo of a {}"  # what the detector is asked for, with the label in lower case
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
    """pytorch-fid's pool3 features, (n, 2048) float32, in the order given.

    Pictures may differ in size: those of one size share a batch. The network itself squashes each to 299 x
    299, bilinear without antialiasing, as pytorch-fid does; fit photos to the size of the pictures first.
    """
    features = np.empty((len(pictures), 2048), np.float32)
    order = sorted(range(len(pictures)), key=lambda i: pictures[i].size)
    for _, same in groupby(order, key=lambda i: pictures[i].size):
        for batch in _batches([*same], batch_size):
            pixels = images.to_tensor(images.to_array([pictures[i] for i in batch])).to(inception.device)
            features[batch] = inception.model((pixels + 1) / 2)[0].flatten(1).cpu().numpy()
    return features


@torch.inference_mode()
def detect(
    detector: Detector,
    pictures: Sequence[Image.Image],
    labels_per_picture: Sequence[Sequence[str]],
    threshold: float = 0.1,
    batch_size: int = 8,
) -> list[Detections]:
    """What OWLv2 finds of each picture's labels, best score first, at most MOST a picture.

    labels_per_picture: what to look for, for each picture; every distinct label is encoded once (as QUERY).
    threshold: least score in [0, 1]. Boxes are fractions of the picture, whatever its shape, clipped to it.
    """
    labels = sorted({label for asked in labels_per_picture for label in asked})
    if not labels:
        return [Detections(np.empty((0, 4), np.float32), (), np.empty(0, np.float32)) for _ in pictures]
    queries, model = _queries(detector, labels), detector.model
    wanted = torch.tensor([[label in asked for label in labels] for asked in labels_per_picture])
    found = []
    for batch in _batches(range(len(pictures)), batch_size):
        shown = [pictures[i] for i in batch]
        pixels = detector.processor.image_processor(shown, return_tensors="pt").pixel_values
        grid, _ = model.image_embedder(pixels.to(detector.device, detector.dtype))
        places = grid.flatten(1, 2)
        logits, _ = model.class_predictor(places, queries.expand(len(batch), -1, -1))
        corners = model.box_predictor(places, grid).float().cpu()
        scores = logits.float().sigmoid().cpu() * wanted[batch][:, None]
        parts = zip(shown, corners, scores, strict=True)
        found += [_detections(picture, box, score, labels, threshold) for picture, box, score in parts]
    return found


def cached(
    path: Path,
    keys: Sequence[str],
    contents: Sequence[str],
    compute: Callable[[list[int]], Sequence[np.ndarray]],
) -> list[np.ndarray]:
    """One array (k, d) a key, from the file where its content is the same, computed where it is not.

    contents: what each array depends on, such as `content(path)`: a picture that changed is computed again.
    compute: takes the indices that are wanted, returns their arrays in that order; d is the same for all of
    them. The file keeps keys that are not asked for, and is written whole or not at all.
    """
    known = _read(path)
    missing = [i for i, key in enumerate(keys) if known.get(key, (None,))[0] != contents[i]]
    if missing:
        computed = compute(missing)
        known |= {keys[i]: (contents[i], rows) for i, rows in zip(missing, computed, strict=True)}
        with beside(path) as partial, partial.open("wb") as file:
            np.savez(
                file,
                keys=np.array([*known]),
                contents=np.array([text for text, _ in known.values()]),
                counts=np.array([len(rows) for _, rows in known.values()]),
                rows=np.concatenate([rows for _, rows in known.values()]),
            )
    return [known[key][1] for key in keys]


def content(path: Path) -> str:
    """32 hexadecimal digits that change with the bytes of a file."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:32]


def digest(*parts: object) -> str:
    """32 hexadecimal digits that change with plain values: texts, bytes, numbers, tuples of them."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def _read(path: Path) -> dict[str, tuple[str, np.ndarray]]:
    if not path.is_file():
        return {}
    with np.load(path) as file:
        rows = np.split(file["rows"], np.cumsum(file["counts"])[:-1])
        entries = zip(file["keys"].tolist(), file["contents"].tolist(), rows, strict=True)
        return {key: (text, array) for key, text, array in entries}


def _queries(detector: Detector, labels: Sequence[str]) -> torch.Tensor:
    longest = detector.model.config.text_config.max_position_embeddings
    texts = [QUERY.format(label.lower()) for label in labels]
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
