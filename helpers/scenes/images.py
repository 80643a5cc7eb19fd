"""The one door for pixels: load, fit, save, convert.

At the edges PIL RGB; inside arrays uint8 (n, h, w, 3). No other module changes range or axis order.
"""

import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps, PngImagePlugin

from helpers.files import beside
from helpers.scenes import boxes as rectangles

if TYPE_CHECKING:
    import torch

MAX_PIXELS = 80_000_000  # 240 MB decoded; below Pillow's own limit, so that its warning never comes first
COMPRESSION = 4  # of PNGs: half the time of Pillow's 6 for files that are 2 % larger
SMALLEST_SHARE = 0.01  # of the area: boxes that a crop leaves smaller are dropped, as in GLIGEN's training
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif", ".ppm", ".pgm"}
# What Pillow raises on damaged or hostile files, found by cutting and flipping bytes
DAMAGED = (OSError, SyntaxError, ValueError, RuntimeError, IndexError, TypeError, EOFError, struct.error)
DAMAGED += (Image.DecompressionBombError, Image.DecompressionBombWarning)


def load(path: str | Path) -> Image.Image:
    """A picture of any size, mode and orientation as upright RGB; of an animation the first frame.

    EXIF orientation is applied, transparency goes over white, 16-bit grey is scaled to 8 bit.
    Raises ValueError naming the file when it is missing, is no picture, is truncated, or has over MAX_PIXELS.
    """
    path = Path(path)
    if not os.path.isfile(path):  # unlike Path.is_file, False for a name too long to exist
        raise ValueError(f"{path}: there is no such file; add it or correct its name")
    try:
        with Image.open(path) as image:
            _refuse_oversized(image.size)
            image.load()
            return _to_rgb(ImageOps.exif_transpose(image))
    except Image.UnidentifiedImageError as error:
        raise ValueError(
            f"{path}: not a picture, or cut off in its first bytes; save it as JPEG or PNG"
        ) from error
    except DAMAGED as error:
        raise ValueError(f"{path}: cannot be read as a picture ({error}); replace the file") from error


def _refuse_oversized(size: tuple[int, int]) -> None:
    if size[0] * size[1] > MAX_PIXELS:
        raise ValueError(
            f"{size[0]} x {size[1]} pixels are more than the {MAX_PIXELS:,} allowed; make it smaller"
        )


def _to_rgb(image: Image.Image) -> Image.Image:
    key = image.info.get("transparency")
    if image.mode.startswith("I") or image.mode == "F":
        image = _to_eight_bit(image)
    elif key is not None or image.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("RGB")
    image.info = {}  # else a later save would carry over the photo's colour profile and orientation
    return image


def _to_eight_bit(image: Image.Image) -> Image.Image:
    """Pillow would clip 16-bit greys at 255; they are scaled instead, a transparent grey becoming white."""
    values, key = np.asarray(image).astype(np.float64), image.info.get("transparency")
    if image.mode == "F" or values.min() < 0 or values.max() > 65535:
        raise ValueError(
            f"pixels of mode {image.mode} from {values.min():g} to {values.max():g} have no known "
            "white; save it with 8 or 16 bits"
        )
    scaled = np.rint(values / 257)
    if isinstance(key, int):
        scaled[values == key] = 255
    return Image.fromarray(scaled.astype(np.uint8))


def fit(
    image: Image.Image, boxes: np.ndarray, size: int | tuple[int, int], how: str = "squash"
) -> tuple[Image.Image, np.ndarray, np.ndarray]:
    """A photo and its boxes fitted to the model's size, a side or (width, height), in pixels.

    how "squash" changes the aspect and keeps every box; "crop" cuts the middle, re-projects and clips the
    boxes, and drops those with under 1 % of the area.
    Returns the picture, boxes (k, 4) float32, and their indices (k,) among the boxes given.
    """
    width, height = (size, size) if isinstance(size, int) else size
    boxes = rectangles.clip(boxes)
    if how == "squash":
        return image.resize((width, height), Image.Resampling.LANCZOS), boxes, np.arange(len(boxes))
    if how != "crop":
        raise ValueError(f"how is {how!r}; use 'squash' or 'crop'")
    scale = min(image.width / width, image.height / height)
    share = np.array([width * scale / image.width, height * scale / image.height])
    window = np.concatenate([(1 - share) / 2, (1 + share) / 2])
    pixels = window * [image.width, image.height, image.width, image.height]
    boxes = rectangles.reproject(boxes, window)
    kept = np.flatnonzero(rectangles.area(boxes) >= SMALLEST_SHARE)
    return image.resize((width, height), Image.Resampling.LANCZOS, box=tuple(pixels)), boxes[kept], kept


def crop(image: Image.Image, box: np.ndarray) -> Image.Image:
    """The part of a picture inside one box (4,), one pixel or more. Raises ValueError when it has no area."""
    return image.crop(rectangles.to_pixels(box, *image.size)[0].tolist())


def save(image: Image.Image, path: str | Path, text: dict[str, str] | None = None) -> None:
    """Write a PNG whole or not at all (beside, then renamed), with text chunks that read_text gives back."""
    chunks = PngImagePlugin.PngInfo()
    for key, value in (text or {}).items():
        chunks.add_itxt(key, value)
    with beside(path) as partial:
        image.save(partial, format="PNG", pnginfo=chunks, compress_level=COMPRESSION)


def read_text(path: str | Path) -> dict[str, str]:
    """What save wrote into a PNG beside the pixels. Raises ValueError naming a file that is no picture."""
    try:
        with Image.open(path) as image:
            return {key: str(value) for key, value in image.info.items() if isinstance(value, str)}
    except DAMAGED as error:
        raise ValueError(f"{path}: cannot be read as a picture ({error})") from error


def is_whole(path: str | Path) -> bool:
    """Whether a file is there, has the checksums that it should have, and decodes to its last pixel."""
    try:
        with Image.open(path) as image:
            image.verify()
        with Image.open(path) as image:
            image.load()
    except DAMAGED:
        return False
    return True


def to_array(images: Sequence[Image.Image]) -> np.ndarray:
    """RGB pictures of one size as uint8 (n, h, w, 3). Raises ValueError naming the first of another size."""
    for index, image in enumerate(images):
        if image.size != images[0].size:
            raise ValueError(
                f"picture {index} is {image.size[0]} x {image.size[1]}, picture 0 is "
                f"{images[0].size[0]} x {images[0].size[1]}; fit them to one size first"
            )
    return (
        np.stack([np.asarray(image.convert("RGB")) for image in images])
        if images
        else np.empty((0, 0, 0, 3), "u1")
    )


def to_tensor(array: np.ndarray) -> "torch.Tensor":
    """uint8 (n, h, w, 3) as float32 (n, 3, h, w) in [-1, 1], what the autoencoder reads."""
    import torch  # here, because reading and checking photos should not wait seconds for it

    return torch.from_numpy(np.array(array)).permute(0, 3, 1, 2).contiguous().float() / 127.5 - 1


def to_images(tensor: "torch.Tensor") -> list[Image.Image]:
    """float (n, 3, h, w) in [-1, 1], clamped, as PIL RGB.

    Raises ValueError naming the first picture with NaN.
    """
    values = tensor.detach().float().cpu()
    for index in range(len(values)):
        if values[index].isnan().any():
            raise ValueError(
                f"picture {index} has NaN pixels; the autoencoder ran in a dtype too small for it"
            )
    pixels = ((values + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
    return [Image.fromarray(picture) for picture in pixels]
