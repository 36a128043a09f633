"""Colours and transparency: whatever a file stores, the slide shows the picture that was put in, on white."""

from __future__ import annotations

import io
import struct

import imagecodecs
import numpy as np
import pytest
import tifffile
import zarr
from patch_reference import spots_at
from PIL import Image, ImageCms, ImageFilter
from skimage.color import rgb2lab

from napari_stem.errors import SlideError
from napari_stem.geometry import Mpp, PatchSpec
from napari_stem.slide import describe
from napari_stem.slide.patches import PatchReader

LIMIT = 1.0  # mean error, of 255; a wrong colour space is out by 40 and more
HEIGHT_PX, WIDTH_PX, TILE_PX = 300, 330, 128
APERIO = "Aperio Image Library v11\r\n330x300 (128x128) J2K|AppMag = 20|MPP = 0.5"
KR, KB = 0.299, 0.114


@pytest.fixture(scope="module")
def rgb(pixels):
    """Smoothed, so that lossy compressions and halved colours change it little."""
    crop = Image.fromarray(pixels[900 : 900 + HEIGHT_PX, 600 : 600 + WIDTH_PX])
    return np.asarray(crop.filter(ImageFilter.GaussianBlur(3)))


@pytest.fixture(scope="module")
def alpha():
    """From hidden to opaque, in both directions."""
    ramp = np.linspace(-60, 320, WIDTH_PX)[np.newaxis] + np.zeros((HEIGHT_PX, 1))
    ramp[HEIGHT_PX // 2 :] = ramp[HEIGHT_PX // 2 :, ::-1]
    return np.clip(ramp, 0, 255).astype(np.uint8)


def bytes_of(values):
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def ycbcr(rgb, kr=KR, kb=KB):
    """Full range, by the definition of luma."""
    red, green, blue = np.moveaxis(rgb.astype(float), 2, 0)
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    both = (blue - luma) / (2 - 2 * kb) + 128, (red - luma) / (2 - 2 * kr) + 128
    return bytes_of(np.stack([luma, *both], axis=2))


def video(rgb):
    """16 to 235 and 240."""
    return bytes_of(
        (ycbcr(rgb) - [0.0, 128, 128]) * np.array([219, 224, 224]) / 255 + [16, 128, 128]
    )


def cielab(rgb, offset=0):
    lab = np.rint(rgb2lab(rgb) * [2.55, 1, 1]).astype(int)
    return ((lab + np.array([0, offset, offset])) % 256).astype(np.uint8)


def planes(pixels):
    return np.ascontiguousarray(np.moveaxis(pixels, 2, 0))


def grey(rgb):
    return np.asarray(Image.fromarray(rgb).convert("L"))


def tiles_of(pixels):
    for top in range(0, HEIGHT_PX, TILE_PX):
        for left in range(0, WIDTH_PX, TILE_PX):
            part = pixels[top : top + TILE_PX, left : left + TILE_PX]
            rest = [(0, TILE_PX - n) for n in part.shape[:2]] + [(0, 0)] * (pixels.ndim - 2)
            yield np.pad(part, rest, mode="edge")


def halved(tile, across, down):
    """Pack as TIFF 6.0 (section 21) does: across x down of Y, then one Cb and one Cr."""
    n = TILE_PX // down, down, TILE_PX // across, across
    units = tile.reshape(*n, 3).transpose(0, 2, 1, 3, 4)
    luma = units[..., 0].reshape(*units.shape[:2], -1)
    return np.concatenate([luma, bytes_of(units[..., 1:].mean(axis=(2, 3)))], axis=2).tobytes()


def jpeg_2000(*, mct):
    return lambda tile: imagecodecs.jpeg2k_encode(tile, level=0, codecformat="j2k", mct=mct)


def jpeg(tile, **options):
    out = io.BytesIO()
    Image.fromarray(tile).save(out, "JPEG", quality=95, **options)
    return out.getvalue()


def write(path, pixels, photometric="rgb", compression=None, **options):
    how = {"tile": (TILE_PX, TILE_PX), "metadata": None} | options
    if photometric == "ycbcr":
        how |= {"subsampling": (1, 1)}
    tifffile.imwrite(path, pixels, photometric=photometric, compression=compression, **how)


def write_tiles(path, pixels, encode, compression, *, description=None, **tags):
    """Write ready-made tiles, and tags as a scanner does rather than as tifffile would."""
    data = iter([encode(tile) for tile in tiles_of(pixels)])
    kind = "rgb" if pixels.ndim == 3 else "minisblack"
    how = {"shape": pixels.shape, "dtype": np.uint8, "description": description}
    how |= {"extratags": [(530, 3, 2, tags.pop("halving"), True)]} if "halving" in tags else {}
    write(path, data, kind, "jpeg2000", **how)
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        for name, value in {"Compression": compression, **tags}.items():
            tiff.pages.first.tags[name].overwrite(value)


def write_reversed(path, rgb):
    """Bits from right to left: tag 266, written as its neighbour, which tifffile leaves to us."""
    bits = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))
    data = iter([imagecodecs.lzw_encode(t.tobytes()).translate(bits) for t in tiles_of(rgb)])
    how = {"shape": rgb.shape, "dtype": np.uint8, "extratags": [(265, 3, 1, 2, True)]}
    write(path, data, "rgb", "lzw", **how)
    wrong, right = (struct.pack("<HHI", tag, 3, 1) for tag in (265, 266))
    path.write_bytes(path.read_bytes().replace(wrong, right))


RATIONALS = {
    "reference": (532, "2I", 6, (16, 1, 235, 1, 128, 1, 240, 1, 128, 1, 240, 1), True),
    "coefficients": (529, "2I", 3, (2126, 10_000, 7152, 10_000, 722, 10_000), True),
}
YCBCR = 6  # photometric
LOSSLESS = [None, "lzw", "deflate", "packbits", "lzma", "zstd"]
TIFFS = {
    **{f"rgb {c}": lambda p, x, c=c: write(p, x, "rgb", c) for c in [*LOSSLESS, "png", "jpeg2000"]},
    **{f"ycbcr {c}": lambda p, x, c=c: write(p, ycbcr(x), "ycbcr", c) for c in LOSSLESS},
    **{f"cielab {c}": lambda p, x, c=c: write(p, cielab(x), "cielab", c) for c in LOSSLESS},
    "webp": lambda p, x: write(p, x, "rgb", "webp", compressionargs={"lossless": True}),
    "jpegxl": lambda p, x: write(p, x, "rgb", "jpegxl"),
    "predictor, big-endian": lambda p, x: write(p, x, "rgb", "lzw", predictor=True, byteorder=">"),
    "bits from right to left": write_reversed,
    "bigtiff": lambda p, x: write(p, ycbcr(x), "ycbcr", "lzw", bigtiff=True),
    "strips": lambda p, x: write(p, ycbcr(x), "ycbcr", "lzw", tile=None, rowsperstrip=17),
    "planes": lambda p, x: write(p, planes(ycbcr(x)), "ycbcr", "lzw", planarconfig="separate"),
    "lab planes": lambda p, x: write(p, planes(cielab(x)), "cielab", planarconfig="separate"),
    "pages": lambda p, x: write(p, planes(x), "minisblack", metadata={"axes": "CYX"}),
    "pages, white is 0": lambda p, x: write(
        p, planes(255 - x), "miniswhite", metadata={"axes": "CYX"}
    ),
    "icclab": lambda p, x: write(p, cielab(x, 128), "icclab", "deflate"),
    "lab of Pillow": lambda p, x: pillow_lab(x).save(p),
    "video": lambda p, x: write(p, video(x), "ycbcr", extratags=[RATIONALS["reference"]]),
    "rec. 709": lambda p, x: write(
        p, ycbcr(x, 0.2126, 0.0722), "ycbcr", extratags=[RATIONALS["coefficients"]]
    ),
    "halved 2 x 2": lambda p, x: write_tiles(
        p, ycbcr(x), lambda t: halved(t, 2, 2), 1, PhotometricInterpretation=YCBCR, halving=(2, 2)
    ),
    "halved 2 x 1": lambda p, x: write_tiles(
        p, ycbcr(x), lambda t: halved(t, 2, 1), 1, PhotometricInterpretation=YCBCR, halving=(2, 1)
    ),
    "jpeg": lambda p, x: write(p, x, "rgb", "jpeg", compressionargs={"level": 95}),
    "jpeg of RGB": lambda p, x: write(
        p, x, "rgb", "jpeg", compressionargs={"level": 95, "outcolorspace": "rgb"}
    ),
    "jpeg of RGB said YCbCr": lambda p, x: write_tiles(
        p, x, lambda t: jpeg(t, keep_rgb=True), 7, PhotometricInterpretation=YCBCR
    ),
    "jpeg of YCbCr said RGB": lambda p, x: write_tiles(p, x, jpeg, 7),
    "jpeg 2000 of YCbCr": lambda p, x: write(p, ycbcr(x), "ycbcr", "jpeg2000"),
    **{
        f"aperio {c} {'said YCbCr ' * (tag == YCBCR)}mct {mct}": lambda p, x, c=c, mct=mct, tag=tag: (
            write_tiles(
                p,
                ycbcr(x) if c == 33003 else x,
                jpeg_2000(mct=mct),
                c,
                description=APERIO,
                PhotometricInterpretation=tag,
            )
        )
        for c in (33003, 33004, 33005)
        for mct in (False, True)
        for tag in (2, YCBCR)
    },
    **{
        f"jpeg 2000 as {c} mct {mct}": lambda p, x, c=c, mct=mct: write_tiles(
            p, x, jpeg_2000(mct=mct), c
        )
        for c in (33003, 33005, 34712)
        for mct in (False, True)
    },
}


def pillow_lab(rgb):
    to = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    return ImageCms.profileToProfile(Image.fromarray(rgb), *to, outputMode="LAB")


def shown(opened, path):
    """Level 0, and that patches and display are made of it."""
    slide = opened(path, Mpp.square(0.5))
    whole = slide.read_region(0, 0, 0, slide.size)
    np.testing.assert_array_equal(slide.levels[0].pixels.compute(), whole)
    patch = PatchReader(slide, PatchSpec((50.0,), 100)).read(spots_at([150], [150]))[0, 0]
    assert np.abs(patch.astype(float) - whole[100:200, 100:200]).mean() < LIMIT
    return whole.astype(float)


@pytest.mark.parametrize("form", TIFFS)
def test_a_tiff_shows_what_was_put_in(form, rgb, tmp_path, cache, opened):
    path = tmp_path / "slide.tif"
    TIFFS[form](path, rgb)
    assert np.abs(shown(opened, path) - rgb).mean() < LIMIT


@pytest.mark.parametrize(("photometric", "white"), [("minisblack", 0), ("miniswhite", 255)])
@pytest.mark.parametrize("compression", ["lzw", "jpeg"])
def test_grey_is_bright_where_it_should_be(
    photometric, white, compression, rgb, tmp_path, cache, opened
):
    path = tmp_path / "grey.tif"
    stored = grey(rgb) ^ np.uint8(white)
    tifffile.imwrite(
        path, stored, tile=(128, 128), photometric=photometric, compression=compression
    )
    assert np.abs(shown(opened, path) - grey(rgb)[..., np.newaxis]).mean() < LIMIT


def test_tags_on_ycbcr_count_where_pixels_are_that(rgb, tmp_path, cache, opened):
    """Grey has one black and one white in the tag that has three of each beside YCbCr."""
    path = tmp_path / "grey.tif"
    told = [(532, "2I", 2, (0, 1, 255, 1), True)]
    tifffile.imwrite(path, grey(rgb), tile=(128, 128), compression="lzw", extratags=told)
    assert np.abs(shown(opened, path) - grey(rgb)[..., np.newaxis]).mean() < LIMIT


def test_real_scanners_halve_colours_in_jpeg_2000_which_openslide_reads(rgb, tmp_path, opened):
    def encode(tile):
        data = bytearray(jpeg_2000(mct=False)(tile))
        data[data.index(b"\xff\x51") + 44] = 2  # XRsiz of the second component
        return bytes(data)

    path = tmp_path / "slide.svs"
    write_tiles(path, ycbcr(rgb), encode, 33003, description=APERIO)
    assert opened(path).reader == "openslide"
    with pytest.raises(SlideError, match=r"slide\.svs is compressed .*33003.*half the size"):
        describe(path, reader="tiff")


def straight(rgb, alpha):
    return np.dstack([rgb, alpha])


def premultiplied(rgb, alpha):
    return np.dstack([bytes_of(rgb * (alpha[..., np.newaxis] / 255)), alpha])


def write_jpeg_with_alpha(path, pixels):
    data = iter(
        [
            imagecodecs.jpeg8_encode(t, 95, colorspace="cmyk", outcolorspace="cmyk")
            for t in tiles_of(pixels)
        ]
    )
    write(path, data, "rgb", "jpeg2000", shape=pixels.shape, dtype=np.uint8, **STRAIGHT)
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        tiff.pages.first.tags["Compression"].overwrite(7)


def write_zarr(path, pixels):
    group = zarr.open_group(path, mode="w", zarr_format=2)
    group.create_array("0", data=planes(pixels), chunks=(4, 128, 128))
    group.attrs["multiscales"] = [{"axes": list("cyx"), "datasets": [{"path": "0"}]}]


def deep(pixels):
    return pixels.astype(np.uint16) * 257


STRAIGHT = {"extrasamples": ["unassalpha"]}
PREMULTIPLIED = {"extrasamples": ["assocalpha"]}
SEE_THROUGH = {
    **{
        f"tiff {c}": lambda p, x, a, c=c: write(p, straight(x, a), "rgb", c, **STRAIGHT)
        for c in [*LOSSLESS, "png", "jpeg2000"]
    },
    **{
        f"tiff {c}, premultiplied": lambda p, x, a, c=c: write(
            p, premultiplied(x, a), "rgb", c, **PREMULTIPLIED
        )
        for c in [*LOSSLESS, "jpeg2000"]
    },
    "tiff webp": lambda p, x, a: write(
        p, straight(x, a), "rgb", "webp", compressionargs={"lossless": True}, **STRAIGHT
    ),
    "tiff, not said of which kind": lambda p, x, a: write(
        p, straight(x, a), extrasamples=["unspecified"]
    ),
    "tiff, planes": lambda p, x, a: write(
        p, planes(straight(x, a)), "rgb", "lzw", planarconfig="separate", **STRAIGHT
    ),
    "tiff, strips": lambda p, x, a: write(
        p, premultiplied(x, a), "rgb", "lzw", tile=None, rowsperstrip=17, **PREMULTIPLIED
    ),
    "tiff, JPEG": lambda p, x, a: write_jpeg_with_alpha(p, straight(x, a)),
    "tiff, YCbCr": lambda p, x, a: write(p, straight(ycbcr(x), a), "ycbcr", "lzw", **STRAIGHT),
    "png": lambda p, x, a: Image.fromarray(straight(x, a)).save(p, "PNG"),
    "png, 16 bit": lambda p, x, a: p.write_bytes(imagecodecs.png_encode(deep(straight(x, a)))),
    "webp": lambda p, x, a: Image.fromarray(straight(x, a)).save(p, "WEBP", lossless=True),
    "jpeg 2000": lambda p, x, a: Image.fromarray(straight(x, a)).save(p, "JPEG2000"),
    "ome-zarr": lambda p, x, a: write_zarr(p, straight(x, a)),
}


@pytest.mark.parametrize("form", SEE_THROUGH)
def test_what_is_see_through_lies_on_white(form, rgb, alpha, tmp_path, cache, opened):
    path = tmp_path / "slide"
    SEE_THROUGH[form](path, rgb, alpha)
    on_white = rgb * (alpha[..., np.newaxis] / 255) + 255.0 - alpha[..., np.newaxis]
    assert np.abs(shown(opened, path) - on_white).mean() < LIMIT


def test_grey_palettes_and_colour_keys_can_be_see_through_too(rgb, alpha, tmp_path, cache, opened):
    weight = alpha[..., np.newaxis] / 255
    expected = grey(rgb)[..., np.newaxis] * weight + 255 * (1 - weight)
    path = tmp_path / "slide.tif"
    write(path, np.dstack([grey(rgb), alpha]), "minisblack", "lzw", **STRAIGHT)
    assert np.abs(shown(opened, path) - expected).mean() < LIMIT
    path = tmp_path / "slide.png"
    Image.fromarray(np.dstack([grey(rgb), alpha])).save(path)
    assert np.abs(shown(opened, path) - expected).mean() < LIMIT

    hidden = np.array(rgb)
    hidden[50:120, 40:200] = (1, 2, 3)
    expected = np.array(rgb)
    expected[50:120, 40:200] = 255
    Image.fromarray(hidden).save(path, transparency=(1, 2, 3))
    np.testing.assert_array_equal(shown(opened, path), expected)

    palette = Image.fromarray(hidden).quantize(256)
    palette.save(path, transparency=palette.getpixel((100, 60)))
    assert (shown(opened, path)[50:120, 40:200] == 255).all()


def jp2(path, rgb, box):
    """Write a JPEG 2000 file whose colour specification is as given."""
    out = io.BytesIO()
    Image.fromarray(rgb).save(out, "JPEG2000", mct=0)
    data = out.getvalue()
    colour, header = data.index(b"colr") - 4, data.index(b"jp2h") - 4
    n_old, n_header = (struct.unpack_from(">I", data, at)[0] for at in (colour, header))
    data = data[:colour] + struct.pack(">I4s", 8 + len(box), b"colr") + box + data[colour + n_old :]
    new = n_header + 8 + len(box) - n_old
    path.write_bytes(data[:header] + struct.pack(">I", new) + data[header + 4 :])


def test_jpeg_2000_files_say_their_colours(rgb, tmp_path, cache, opened):
    path = tmp_path / "slide.jp2"
    jp2(path, ycbcr(rgb), struct.pack(">BBBI", 1, 0, 0, 18))  # sYCC
    assert np.abs(shown(opened, path) - rgb).mean() < LIMIT
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = profile.replace(b"rXYZ", b"tmp0").replace(b"gXYZ", b"rXYZ").replace(b"tmp0", b"gXYZ")
    jp2(path, rgb, bytes([2, 0, 0]) + swapped.replace(b"s\0R\0G\0B", b"t\0e\0s\0t"))
    assert "applied, to sRGB" in describe(path)["properties"]["colour"]
    assert np.abs(shown(opened, path) - rgb[..., [1, 0, 2]]).mean() < 2
    jp2(path, rgb, struct.pack(">BBBI", 1, 0, 0, 14))  # CIE L*a*b*
    with pytest.raises(SlideError, match=r"slide\.jp2 stores colours .*14; export it as 8-bit RGB"):
        describe(path)


def test_a_profile_counts_beside_transparency(rgb, alpha, tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    path = tmp_path / "slide.png"
    Image.fromarray(straight(rgb, alpha)).save(path, icc_profile=profile)
    assert "is not for RGB" in describe(path)["properties"]["colour"]


def four_bit(path, rgb):
    tifffile.imwrite(path, grey(rgb), tile=(128, 128), photometric="minisblack")
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        tiff.pages.first.tags["BitsPerSample"].overwrite(4)


def retagged(path, rgb, **tags):
    write(path, rgb, "rgb", "lzw", predictor=True)
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        for name, value in tags.items():
            tiff.pages.first.tags[name].overwrite(value)


REFUSED = {
    "16 bit": (lambda p, x: write(p, deep(x)), "uint16 pixels"),
    "4 bit": (four_bit, "4-bit pixels"),
    "bilevel": (lambda p, x: Image.fromarray(x).convert("1").save(p), "bool pixels"),
    "palette": (lambda p, x: Image.fromarray(x).quantize(99).save(p), "palette colours"),
    "inks": (lambda p, x: Image.fromarray(x).convert("CMYK").save(p), "separated colours"),
    "jpeg of inks": (
        lambda p, x: Image.fromarray(x).convert("CMYK").save(p, "JPEG"),
        "CMYK pixels",
    ),
    "ITU Lab": (lambda p, x: retagged(p, x, PhotometricInterpretation=10), "itulab colours"),
    "log Luv": (lambda p, x: retagged(p, x, PhotometricInterpretation=32845), "logluv colours"),
    "Lab in JPEG": (
        lambda p, x: write_tiles(p, x, jpeg, 7, PhotometricInterpretation=8),
        "cielab colours in JPEG",
    ),
    "unknown": (lambda p, x: retagged(p, x, Compression=65001), "65001"),
    "unknown predictor": (lambda p, x: retagged(p, x, Predictor=77), "77"),
    "no JPEG": (lambda p, x: write_tiles(p, x, bytes, 7), "7, JPEG without JPEG in it"),
    "YUYV": (
        lambda p, x: write_tiles(p, ycbcr(x), lambda t: halved(t, 2, 1), 33007, description=APERIO),
        "33007, ALT_JPEG without JPEG in it",
    ),
    "no JPEG 2000": (lambda p, x: write_tiles(p, x, bytes, 33005), "without JPEG 2000 in it"),
}


@pytest.mark.parametrize("form", REFUSED)
def test_what_cannot_be_told_or_decoded_is_named_before_anything_is_read(form, rgb, tmp_path):
    write_it, words = REFUSED[form]
    path = tmp_path / "slide.tif"
    write_it(path, rgb)
    with pytest.raises(SlideError, match=rf"^slide\.tif .*{words}.*export it "):
        describe(path)
