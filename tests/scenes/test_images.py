import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, PngImagePlugin

from helpers.scenes import boxes, images
from helpers.scenes.scenes import Scene, fitted

RED, WHITE = (255, 0, 0), (255, 255, 255)


@pytest.fixture
def stored(tmp_path):
    """Save a picture under a name and load it again through the one door."""

    def store(image, name="a.png", **options):
        image.save(tmp_path / name, **options)
        return images.load(tmp_path / name)

    return store


@pytest.fixture
def upright():
    """A 6 x 4 picture in which every pixel is different."""
    values = np.arange(24).reshape(4, 6) * 10
    return Image.fromarray(np.stack([values, values[::-1], values[:, ::-1]], axis=2).astype(np.uint8))


def png(path, width, height, depth, colour, rows, chunks=b""):
    """A PNG of a kind that Pillow itself does not write."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunks + body + chunk(b"IEND", b""))
    return images.load(path)


# EXIF says where the stored picture's first row and first column belong: 6 is (right, top)
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a[:, ::-1].swapaxes(0, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a[::-1].swapaxes(0, 1),
}


@pytest.mark.parametrize("orientation", STORED)
def test_every_exif_orientation_is_turned_upright(stored, upright, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = Image.fromarray(np.ascontiguousarray(STORED[orientation](np.asarray(upright))))
    loaded = stored(turned, exif=exif)
    assert np.array_equal(loaded, upright) and not loaded.info and not loaded.getexif()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_laid_over_white(stored, mode):
    image = Image.new("RGBA", (2, 1), RED)
    image.putpixel((1, 0), (0, 0, 255, 0))
    image = image.quantize() if mode == "P" else image.convert(mode)
    loaded = stored(image)
    assert loaded.mode == "RGB" and loaded.getpixel((1, 0)) == WHITE and loaded.getpixel((0, 0)) != WHITE


def test_half_transparent_red_is_pink(stored):
    assert stored(Image.new("RGBA", (1, 1), (255, 0, 0, 127))).getpixel((0, 0)) == (255, 128, 128)


@pytest.mark.parametrize(("mode", "key", "value"), [("L", 7, 7), ("RGB", (1, 2, 3), (1, 2, 3)), ("P", 1, 1)])
def test_a_transparent_colour_becomes_white(stored, mode, key, value):
    image = Image.new(mode, (2, 1))
    if mode == "P":
        image.putpalette([9, 9, 9, 200, 0, 0])
    image.putpixel((1, 0), value)
    loaded = stored(image, transparency=key)
    assert loaded.getpixel((1, 0)) == WHITE and loaded.getpixel((0, 0)) != WHITE


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_grey_is_scaled_not_clipped(stored, suffix):
    values = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    loaded = stored(Image.fromarray(values), "a" + suffix)
    assert np.asarray(loaded)[0].tolist() == [[v] * 3 for v in (0, 1, 128, 255)]


def test_16_bit_colour_grey_with_alpha_and_keyed_grey(tmp_path):
    row = struct.pack(">6H", 65535, 32896, 0, 257, 257, 257)
    assert np.asarray(png(tmp_path / "rgb.png", 2, 1, 16, 2, [row])).tolist() == [[[255, 128, 0], [1, 1, 1]]]
    row = struct.pack(">4H", 32896, 65535, 0, 0)
    assert np.asarray(png(tmp_path / "la.png", 2, 1, 16, 4, [row])).tolist() == [[[128] * 3, [255] * 3]]
    key = b"tRNS" + struct.pack(">H", 514)
    key = struct.pack(">I", 2) + key + struct.pack(">I", zlib.crc32(key))
    row = struct.pack(">2H", 514, 515)
    assert np.asarray(png(tmp_path / "key.png", 2, 1, 16, 0, [row], key)).tolist() == [[[255] * 3, [2] * 3]]


@pytest.mark.parametrize("name", ["a.jpg", "a.JPG", "a.tif"])
def test_cmyk_is_not_inverted(stored, name):
    ink = Image.new("CMYK", (16, 16), (0, 255, 255, 0))  # no cyan, all magenta and yellow: red
    assert np.abs(np.asarray(stored(ink, name)).astype(int) - RED).max() < 8


def test_adobe_stores_cmyk_inverted_and_says_so(tmp_path, stored):
    loaded = stored(Image.new("CMYK", (16, 16), (0, 0, 0, 255)), "a.jpg")
    with Image.open(tmp_path / "a.jpg") as image:
        assert "adobe" in image.info
    assert max(loaded.getpixel((8, 8))) < 8


@pytest.mark.parametrize("mode", ["1", "L", "P", "YCbCr"])
def test_other_modes_become_rgb(stored, mode):
    name = "a.jpg" if mode == "YCbCr" else "a.png"
    loaded = stored(Image.new("RGB", (8, 8), WHITE).convert(mode), name)
    assert loaded.mode == "RGB" and loaded.getpixel((3, 3)) == WHITE


def test_numbers_without_a_white_are_refused(tmp_path):
    Image.fromarray(np.array([[0.0, 3.5]], dtype=np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=r"a\.tif: .*mode F from 0 to 3\.5"):
        images.load(tmp_path / "a.tif")
    Image.fromarray(np.array([[0, 70000]], dtype=np.int32)).save(tmp_path / "b.tif")
    with pytest.raises(ValueError, match=r"b\.tif: .*mode I from 0 to 70000"):
        images.load(tmp_path / "b.tif")


def test_of_an_animation_the_first_frame_is_read(stored):
    frames = [Image.new("RGB", (4, 4), colour) for colour in (RED, "blue")]
    assert stored(frames[0], "a.gif", save_all=True, append_images=frames[1:]).getpixel((0, 0)) == RED


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    for path in (tmp_path / "none.png", tmp_path):
        with pytest.raises(ValueError, match=f"{path.name}: there is no such file"):
            images.load(path)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.gif", "a.tif", "a.bmp"])
@pytest.mark.parametrize("share", [0, 0.1, 0.6, 0.95])
def test_a_truncated_file_is_named(tmp_path, name, share):
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / name)
    assert images.is_whole(tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: int(share * len(whole))])
    assert not images.is_whole(tmp_path / name)
    if name != "a.tif":  # its directory stands at the end, and Pillow only warns of its absence
        with pytest.raises(ValueError, match=name):
            images.load(tmp_path / name)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # Pillow's word on it
@pytest.mark.parametrize("block", [b"garbage", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b""])
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp"])
def test_an_exif_block_that_cannot_be_read_does_not_matter(stored, upright, block, name):
    assert stored(upright, name, exif=block).size == (6, 4)


def test_an_orientation_that_does_not_exist_does_not_matter(stored, upright):
    for value in (0, 9, 65535):
        exif = Image.Exif()
        exif[0x0112] = value
        assert np.array_equal(stored(upright, exif=exif), upright)


def test_long_texts_and_odd_profiles_in_a_png_do_not_matter(stored, upright):
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("workflow", "x" * 3_000_000, zip=True)
    assert np.array_equal(stored(upright, pnginfo=chunks), upright)
    for profile in (b"garbage", b"", wide_gamut()[:200], wide_gamut() + b"x" * 2_000_000):
        assert stored(upright, icc_profile=profile).size == upright.size


def wide_gamut(gamma=1.8):
    """The colour profile of a wide RGB space with the primaries of ProPhoto."""

    def fixed(*values):
        return b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, int(gamma * 256)) + b"\0\0"
    text = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"wide\0" + b"\0" * 78
    tags = {b"desc": text + b"\0" * (-len(text) % 4), b"cprt": b"text\0\0\0\0none\0\0\0\0"}
    points = {b"wtpt": (0.9642, 1, 0.8249), b"rXYZ": (0.7977, 0.2880, 0)}
    points |= {b"gXYZ": (0.1352, 0.7119, 0), b"bXYZ": (0.0313, 0.0001, 0.8249)}
    tags |= {key: b"XYZ \0\0\0\0" + fixed(*value) for key, value in points.items()}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    table, body, start = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for key, value in tags.items():
        table += key + struct.pack(">II", start + len(body), len(value))
        body += value + b"\0" * (-len(value) % 4)
    head = struct.pack(">I", 128 + len(table) + len(body)) + b"none" + struct.pack(">I", 0x02400000)
    head += b"mntrRGB XYZ " + struct.pack(">6H", 2024, 1, 1, 0, 0, 0) + b"acsp" + b"\0" * 28
    head += fixed(0.9642, 1, 0.8249)
    return head + b"\0" * (128 - len(head)) + table + body


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_colours_of_another_profile_are_those_that_a_viewer_shows(stored, mode):
    seen = Image.new("RGB", (32, 32), (230, 30, 30))
    wide = ImageCms.ImageCmsProfile(io.BytesIO(wide_gamut()))
    numbers = ImageCms.profileToProfile(seen, ImageCms.createProfile("sRGB"), wide)
    assert np.abs(np.array(numbers.getpixel((3, 3))) - (230, 30, 30)).max() > 30, "the profile matters"
    numbers = numbers.quantize() if mode == "P" else numbers.convert(mode)
    loaded = stored(numbers, icc_profile=wide_gamut())
    assert np.abs(np.array(loaded.getpixel((3, 3))) - (230, 30, 30)).max() < 12
    assert loaded.mode == "RGB" and not loaded.info


def test_the_profile_srgb_changes_nothing_and_one_for_other_numbers_neither(stored, upright):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    for profile in (srgb, lab):
        assert np.array_equal(stored(upright, icc_profile=profile), upright)
    ink = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    assert np.abs(np.asarray(stored(ink, "a.tif", icc_profile=wide_gamut())).astype(int) - RED).max() < 8


OTHERS = {
    "Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:0000\nsize 90405\n",
    "git-annex": b"/annex/objects/SHA256E-s90405--0000.jpg\n",
    "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99),
    "video": b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(99),
    "HTML": b"\n <!DOCTYPE html><html><body>404</body></html>",
    "SVG": b"\xef\xbb\xbf<?xml version='1.0'?><svg/>",
    "PDF": b"%PDF-1.7\n",
    "JSON": b'{"error": "not found"}',
    "empty file": b"",
    "not a picture": bytes(range(256)),
}


@pytest.mark.parametrize("what", OTHERS)
def test_what_stands_in_a_pictures_place_is_named(tmp_path, what):
    (tmp_path / "a.jpg").write_bytes(OTHERS[what])
    with pytest.raises(ValueError, match=rf"a\.jpg: .*{what}.*; \w+"):
        images.load(tmp_path / "a.jpg")


def test_no_file_is_not_whole(tmp_path):
    assert not images.is_whole(tmp_path / "none.png")


def test_a_flipped_byte_is_not_whole(tmp_path):
    images.save(Image.effect_noise((64, 64), 90).convert("RGB"), tmp_path / "a.png")
    data = bytearray((tmp_path / "a.png").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "a.png").write_bytes(data)
    assert not images.is_whole(tmp_path / "a.png")


@pytest.mark.parametrize("side", [9_200, 11_000, 20_000])  # over ours, over Pillow's warning, its error
def test_an_oversized_picture_is_refused_before_it_is_decoded(tmp_path, side):
    with pytest.raises(ValueError, match=r"a\.png: .*(more than the 80,000,000|decompression bomb)"):
        png(tmp_path / "a.png", side, side, 8, 2, [b""])


def scene_of(size, rows):
    labels = ("x",) * len(rows)
    return Scene("a", None, *size, labels, labels, boxes.clip(rows))


def test_squash_keeps_every_box_as_it_is(upright):
    rows = np.array([[0, 0, 0.01, 0.01], [0.5, 0.5, 1, 1]])
    made = fitted(scene_of(upright.size, rows), {"size": 32, "fit": "squash"})
    assert images.fit(upright, 32).size == (32, 32) and made.numbers == (0, 1)
    assert np.array_equal(made.boxes, boxes.clip(rows))


def test_squash_takes_width_and_height(upright):
    assert images.fit(upright, (16, 8)).size == (16, 8)


@pytest.mark.parametrize("size", [(200, 100), (100, 200)])
def test_crop_moves_boxes_with_their_pixels(size):
    """A red object stays where its box says; what is cut off or shrinks away is dropped."""
    width, height = size
    image = Image.new("RGB", size, "white")
    rows = boxes.to_fractions([[60, 40, 100, 90], [0, 0, 4, 4], [90, 50, 94, 54]], width, height)
    image.paste(RED, (60, 40, 100, 90))
    cut, made = images.fit(image, 64, "crop"), fitted(scene_of(size, rows), {"size": 64, "fit": "crop"})
    assert made.numbers == (0,) and made.boxes.dtype == np.float32
    red = np.argwhere(np.asarray(cut)[..., 1] < 128)
    x_min, y_min, x_max, y_max = boxes.to_pixels(made.boxes, 64, 64)[0]
    assert np.abs(red.min(axis=0) - [y_min, x_min]).max() <= 1
    assert np.abs(red.max(axis=0) + 1 - [y_max, x_max]).max() <= 1


def test_an_unknown_way_to_fit_is_named(upright):
    with pytest.raises(ValueError, match="'stretch'"):
        images.fit(upright, 32, "stretch")


def test_crop_of_a_box_holds_its_pixels(upright):
    part = images.crop(upright, np.array([1 / 6, 0.25, 0.5, 0.75]))
    assert np.array_equal(part, np.asarray(upright)[1:3, 1:3])


def test_text_is_given_back(tmp_path, upright):
    text = {"arm": "suffix-text-g7.5", "settings": '{"ü": "安全帽"}', "empty": ""}
    images.save(upright, tmp_path / "new" / "a.png", text)
    assert images.read_text(tmp_path / "new" / "a.png") == text
    assert np.array_equal(images.load(tmp_path / "new" / "a.png"), upright)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.png"]


def test_text_of_no_picture_is_refused_by_name(tmp_path):
    (tmp_path / "a.png").write_text("hello")
    with pytest.raises(ValueError, match=r"a\.png"):
        images.read_text(tmp_path / "a.png")


def test_arrays_tensors_and_pictures_are_one(upright):
    array = images.to_array([upright, upright.transpose(Image.Transpose.ROTATE_180)])
    assert array.shape == (2, 4, 6, 3) and array.dtype == np.uint8
    tensor = images.to_tensor(array)
    assert tensor.shape == (2, 3, 4, 6) and tensor.dtype == torch.float32
    assert tensor[0, 1, 0, 0] == pytest.approx(array[0, 0, 0, 1] / 127.5 - 1)
    assert np.array_equal(images.to_array(images.to_images(tensor)), array)


def test_the_range_of_tensors_is_minus_1_to_1():
    assert images.to_tensor(np.array([[[[0, 255, 255]]]], dtype=np.uint8)).flatten().tolist() == [-1, 1, 1]
    (image,) = images.to_images(torch.tensor([-3.0, 3.0, 0.0]).reshape(1, 3, 1, 1))
    assert image.getpixel((0, 0)) == (0, 255, 128)


def test_no_pictures_make_an_empty_array():
    assert images.to_array([]).shape == (0, 0, 0, 3)


def test_pictures_of_two_sizes_are_no_array(upright):
    with pytest.raises(ValueError, match="picture 1 is 3 x 4, picture 0 is 6 x 4"):
        images.to_array([upright, upright.crop((0, 0, 3, 4))])


def test_nan_pixels_are_no_picture():
    tensor = torch.zeros(2, 3, 4, 4)
    tensor[1, 2, 3, 3] = float("nan")
    with pytest.raises(ValueError, match="picture 1 has NaN"):
        images.to_images(tensor)
