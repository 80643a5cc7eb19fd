"""The one door for pixels: load, fit, save, convert.

At the edges PIL RGB; inside arrays uint8 (n, h, w, 3). No other module changes range or axis order.
"""

import io
import os
import re
import struct
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import ExifTags, Image, ImageCms, PngImagePlugin

from helpers.files import beside
from helpers.scenes import boxes as rectangles

if TYPE_CHECKING:
    import torch

MAX_PIXELS = 80_000_000  # 240 MB decoded; below Pillow's own limit, so that its warning never comes first
COMPRESSION = 4  # of PNGs: half the time of Pillow's 6 for files that are 2 % larger
SUFFIXES = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif"}
SUFFIXES |= {".ppm", ".pgm", ".pnm"}
# What Pillow raises on damaged or hostile files, found by cutting and flipping bytes
DAMAGED = (OSError, SyntaxError, ValueError, RuntimeError, IndexError, TypeError, EOFError, struct.error)
DAMAGED += (Image.DecompressionBombError, Image.DecompressionBombWarning)
# else texts and profiles over 1 MB are an error
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY
_TURN = Image.Transpose
TURNS = {2: _TURN.FLIP_LEFT_RIGHT, 3: _TURN.ROTATE_180, 4: _TURN.FLIP_TOP_BOTTOM, 5: _TURN.TRANSPOSE}
TURNS |= {6: _TURN.ROTATE_270, 7: _TURN.TRANSVERSE, 8: _TURN.ROTATE_90}  # EXIF orientation -> what undoes it
OTHERS = {  # how files begin that often stand in a picture's place -> what they are, and the way out
    rb"version https://git-lfs": "a Git LFS pointer and not the picture; run git lfs pull in its repository",
    rb".{0,99}/annex/objects/": "a git-annex pointer and not the picture; run git annex get",
    rb"....ftyp(hei|hev|mif1|msf1)": "a HEIC picture, which is not read here; convert it to JPEG or PNG",
    rb"....ftyp": "a video (MP4 or similar); export single pictures as JPEG or PNG",
    rb"(\xef\xbb\xbf)?\s*<(!doctype html|html|head|body)": "an HTML page; download the picture itself",
    rb"(\xef\xbb\xbf)?\s*<(svg|\?xml|!)": "an SVG drawing or other XML; export it as PNG",
    rb"%PDF": "a PDF document; export its pictures as PNG",
    rb"(\xef\xbb\xbf)?\s*[{[]": "JSON text; give the picture itself",
    rb"\Z": "an empty file; copy or download it again",
}


def load(path: str | Path) -> Image.Image:
    """A picture of any size, mode and orientation as upright RGB; of an animation the first frame.

    EXIF orientation is applied, colours are converted to sRGB from the file's profile, transparency goes
    over white, 16-bit grey is scaled to 8 bit. An EXIF block or a profile that cannot be read is ignored.
    Raises ValueError naming the file when it is missing, is no picture, is truncated, or has over MAX_PIXELS.
    """
    path = Path(path)
    if not os.path.isfile(path):  # unlike Path.is_file, False for a name too long to exist
        raise ValueError(f"{path}: there is no such file; add it or correct its name")
    try:
        with Image.open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                size = f"{image.width} x {image.height} pixels"
                raise ValueError(f"{size} are more than the {MAX_PIXELS:,} allowed; make it smaller")
            image.load()
            turn = TURNS.get(orientation(image))
            return _to_rgb(image if turn is None else image.transpose(turn))
    except Image.UnidentifiedImageError as error:
        raise ValueError(f"{path}: {_other(path)}") from error
    except DAMAGED as error:
        raise ValueError(f"{path}: cannot be read as a picture ({error}); replace the file") from error


def orientation(image: Image.Image) -> int:
    """EXIF orientation of an open picture, 1 (upright) to 8; 1 where its EXIF block cannot be read."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation)
        return value if value in TURNS else 1
    except DAMAGED:
        return 1


def _other(path: Path) -> str:
    with open(path, "rb") as file:
        start = file.read(256)
    for pattern, what in OTHERS.items():
        if re.match(pattern, start, re.DOTALL | re.IGNORECASE):
            return f"this is {what}"
    return "not a picture, or cut off in its first bytes; save it as JPEG or PNG"


def _to_rgb(image: Image.Image) -> Image.Image:
    key, profile = image.info.get("transparency"), image.info.get("icc_profile")
    if image.mode.startswith("I") or image.mode == "F":
        image = _to_eight_bit(image)
    elif key is not None or image.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    mode, transform = _to_srgb(profile) if profile else (None, None)
    if transform is not None and (mode == "CMYK") == (image.mode == "CMYK"):
        image = ImageCms.applyTransform(
            image.convert("RGB").convert(mode) if mode != "CMYK" else image, transform
        )
    image = image.convert("RGB")
    image.info = {}  # else a later save would carry over the photo's colour profile and orientation
    return image


@lru_cache(maxsize=16)
def _to_srgb(profile: bytes) -> tuple[str | None, ImageCms.ImageCmsTransform | None]:
    """The image mode that a colour profile is for, and its transform to sRGB; None where it is sRGB already,
    damaged, or for another kind of numbers."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}.get(source.profile.xcolor_space.strip())
        if mode is None or "srgb" in (source.profile.profile_description or "").lower():
            return mode, None
        return mode, ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (*DAMAGED, ImageCms.PyCMSError):
        return None, None


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


def fit(image: Image.Image, size: int | tuple[int, int], how: str = "squash") -> Image.Image:
    """A photo fitted to the model's size, a side or (width, height), in pixels.

    how: "squash" changes the aspect, "crop" cuts the middle; `scenes.fitted` does the same to boxes.
    """
    size = (size, size) if isinstance(size, int) else size
    low, high = window(image.size, size, how)
    box = (*(low * image.size), *(high * image.size))
    return image.resize(size, Image.Resampling.LANCZOS, box=box)


def window(photo: tuple[int, int], size: tuple[int, int], how: str) -> tuple[np.ndarray, np.ndarray]:
    """The part of a photo that `fit` shows, both sizes as (width, height): its left top and right bottom
    corner (2,) float64, as fractions of the photo."""
    if how not in ("squash", "crop"):
        raise ValueError(f"how is {how!r}; use 'squash' or 'crop'")
    scale = min(photo[0] / size[0], photo[1] / size[1])
    share = np.array(size) * scale / photo if how == "crop" else np.ones(2)
    return (1 - share) / 2, (1 + share) / 2


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
    arrays = [np.asarray(image.convert("RGB")) for image in images]
    return np.stack(arrays) if arrays else np.empty((0, 0, 0, 3), np.uint8)


def to_tensor(array: np.ndarray) -> "torch.Tensor":
    """uint8 (n, h, w, 3) as float32 (n, 3, h, w) in [-1, 1], what the autoencoder reads."""
    import torch  # here, because reading and checking photos should not wait seconds for it

    return torch.from_numpy(np.array(array)).permute(0, 3, 1, 2).contiguous().float() / 127.5 - 1


def to_images(tensor: "torch.Tensor") -> list[Image.Image]:
    """float (n, 3, h, w) in [-1, 1], clamped, as PIL RGB.

    Raises ValueError naming the first picture with NaN.
    """
    values = tensor.detach().float().cpu()
    if broken := values.isnan().flatten(1).any(1).nonzero().flatten().tolist():
        raise ValueError(
            f"picture {broken[0]} has NaN pixels; the autoencoder ran in a dtype too small for it"
        )
    pixels = ((values + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
    return [Image.fromarray(picture) for picture in pixels]
