"""Writers that follow vendors' TIFF dialects closely enough for OpenSlide to read them, from real pixels.

What each has of a scanner's file beyond ``writing``: NDPI its 64-bit directories and one JPEG per level cut by
restart markers; SCN a macro image and several regions; BIF joints with overlaps and several areas; Philips
padded levels, tiles that are not stored, and label and macro inside the XML.
"""

from __future__ import annotations

import base64
import io
import re
import struct

import numpy as np
import tifffile
from PIL import Image

NDPI_TYPES = {"H": 3, "I": 4, "i": 9, "f": 11}
LOSSLESS = {"photometric": "rgb", "compression": "deflate", "metadata": None}
SOF = re.compile(rb"\xff\xc0.{3}", re.DOTALL)
RESTART = re.compile(rb"\xff[\xd0-\xd7]")
MCU_PX = (8, 16)  # height, width with 4:2:2


def jpeg_in_segments(pixels, segment_px):
    """Encode one JPEG with a restart marker after each segment: header, entropy-coded segments."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(
        out,
        "JPEG",
        quality=90,
        subsampling="4:2:2",
        restart_marker_blocks=segment_px // MCU_PX[1],
    )
    data = out.getvalue()
    start = data.index(b"\xff\xda")
    start += 2 + struct.unpack(">H", data[start + 2 : start + 4])[0]
    return data[:start], RESTART.split(data[start:-2])


def joined(header, segments):
    """Put segments behind a header; returns the JPEG and where each segment starts in it."""
    data, starts = bytearray(header), []
    for number, segment in enumerate(segments):
        starts.append(len(data))
        data += segment
        if number + 1 < len(segments):
            data += bytes((0xFF, 0xD0 + number % 8))
    return bytes(data) + b"\xff\xd9", starts


def ndpi_jpeg(pixels, segment_px):
    """JPEG of a level; wider than a JPEG can be, it states no size, as Hamamatsu's scanners write it."""
    width_px = pixels.shape[1]
    if width_px <= 65_500:
        return joined(*jpeg_in_segments(pixels, segment_px))
    half_px = width_px // 2
    (header, left), (_, right) = (
        jpeg_in_segments(np.ascontiguousarray(part), segment_px)
        for part in (pixels[:, :half_px], pixels[:, half_px:])
    )
    across = half_px // segment_px
    rows = range(0, len(left), across)
    segments = [each for at in rows for side in (left, right) for each in side[at : at + across]]
    header = bytearray(header)
    at = SOF.search(header).end()
    header[at : at + 4] = bytes(4)
    return joined(header, segments)


def write_ndpi(
    path, levels, macro, *, segment_px=640, mpp_um=0.4417, marks_segments=True, focus_nm=(0,)
):
    """Classic TIFF header, but directories with 64-bit links and the high halves of all values behind them."""
    directories, data = [], bytearray(b"II*\0" + bytes(8))
    pages = [(level, 20.0 / 2**n, plane) for n, level in enumerate(levels) for plane in focus_nm]
    for pixels, lens, plane in [*pages, (macro, -1.0, 0), (macro[..., 0], -2.0, 0)]:
        if lens > 0:
            jpeg, starts = ndpi_jpeg(pixels, segment_px)
        else:
            out = io.BytesIO()
            Image.fromarray(pixels).save(out, "JPEG", quality=90)
            jpeg, starts = out.getvalue(), []
        height_px, width_px = pixels.shape[:2]
        per_cm = 1e4 / (mpp_um * max(1.0, 20.0 / lens))
        n_colours = 3 if pixels.ndim == 3 else 1
        tags = [
            (256, "I", [width_px]),
            (257, "I", [height_px]),
            (258, "H", [8] * n_colours),
            (259, "H", [7]),
            (262, "H", [6 if n_colours == 3 else 1]),
            (271, "s", b"Hamamatsu\0"),
            (272, "s", b"NanoZoomer\0"),
            (273, "I", [len(data)]),
            (277, "H", [n_colours]),
            (278, "I", [height_px]),
            (279, "I", [len(jpeg)]),
            (282, "r", [round(per_cm * 1000), 1000]),
            (283, "r", [round(per_cm * 1000), 1000]),
            (284, "H", [1]),
            (296, "H", [3]),
            (530, "H", [2, 1]),
            (65420, "I", [1]),
            (65421, "f", [lens]),
            (65422, "i", [-1_234_567]),
            (65423, "i", [2_345_678]),
            (65424, "i", [plane]),
        ]
        if starts and marks_segments:
            tags += [(65426, "I", starts), (65432, "I", [0] * len(starts))]
        data += jpeg + bytes(len(jpeg) % 2)
        directories.append(tags)
    _add_ndpi_directories(data, directories)
    path.write_bytes(data)


def _add_ndpi_directories(data, directories):
    link = 4
    for tags in directories:
        entries = []
        for code, kind, values in sorted(tags):
            packed, code_of_type, count = _packed(kind, values)
            if len(packed) > 4:
                place = len(data)
                data += packed + bytes(len(packed) % 2)
                packed = struct.pack("<I", place)
            entries.append(struct.pack("<HHI", code, code_of_type, count) + packed.ljust(4, b"\0"))
        data[link : link + 8] = struct.pack("<Q", len(data))
        data += struct.pack("<H", len(entries)) + b"".join(entries)
        link = len(data)
        data += bytes(8) + bytes(4 * len(entries))


def _packed(kind, values):
    if kind == "s":
        return values, 2, len(values)
    if kind == "r":
        return struct.pack("<II", *values), 5, 1
    return struct.pack(f"<{len(values)}{kind}", *values), NDPI_TYPES[kind], len(values)


SCN_NAME = "http://www.leica-microsystems.com/scn/2010/10/01"
SCN_GLASS_NM = (750_000, 500_000)  # width, height


def write_scn(path, regions, macro, *, nm_per_px=250, channels=1):
    """One collection: the whole glass, then regions, each (pixels, x nm, y nm)."""
    across, down = SCN_GLASS_NM
    pages, images = [macro], [_scn_image("macro", [macro], 0, (across, down, 0, 0))]
    for number, (pixels, x_nm, y_nm) in enumerate(regions):
        levels = [pixels, np.ascontiguousarray(pixels[::4, ::4])]
        height, width = pixels.shape[:2]
        view = (width * nm_per_px, height * nm_per_px, x_nm, y_nm)
        images.append(_scn_image(f"region {number}", levels, len(pages), view, channels))
        pages += [level for level in levels for _ in range(channels)]
    xml = (
        f'<?xml version="1.0"?><scn xmlns="{SCN_NAME}"><collection name="c" sizeX="{across}" '
        f'sizeY="{down}">{"".join(images)}</collection></scn>'
    )
    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        for number, page in enumerate(pages):
            kind = {"photometric": "rgb" if page.ndim == 3 else "minisblack"}
            writer.write(
                page, description="" if number else xml, tile=(256, 256), **LOSSLESS | kind
            )


def _scn_image(name, levels, first, view, channels=1):
    height, width = levels[0].shape[:2]
    dimensions = "".join(
        f'<dimension sizeX="{level.shape[1]}" sizeY="{level.shape[0]}" r="{n}" c="{c}" '
        f'ifd="{first + n * channels + c}" />'
        for n, level in enumerate(levels)
        for c in range(channels)
    )
    light = "brightfield" if channels == 1 else "fluorescence"
    across, down, left, top = view
    return (
        f'<image name="{name}"><pixels sizeX="{width}" sizeY="{height}">{dimensions}</pixels>'
        f'<view sizeX="{across}" sizeY="{down}" offsetX="{left}" offsetY="{top}" />'
        f"<scanSettings><objectiveSettings><objective>40</objective></objectiveSettings>"
        f"<illuminationSettings><illuminationSource>{light}</illuminationSource>"
        f"</illuminationSettings></scanSettings></image>"
    )


BIF_TILE_PX = 256


def write_bif(path, pixels, areas, *, overlap_px=0):
    """Tiles cut from a picture so that neighbours share columns and rows.

    Parameters
    ----------
    pixels
        What the stitched slide shows.
    areas
        (row, column, rows, columns, y, x) of each scanned area: its tiles among those stored, and where it
        lies in the picture, px.
    overlap_px
        Shared by neighbours, in both directions.
    """
    step = BIF_TILE_PX - overlap_px
    stored = {}
    for top, left, down, right, y, x in areas:
        for r, c in np.ndindex(down, right):
            part = pixels[y + r * step :, x + c * step :][:BIF_TILE_PX, :BIF_TILE_PX]
            stored[top + r, left + c] = np.ascontiguousarray(part)
    n_rows, n_columns = (max(each) + 1 for each in zip(*stored, strict=True))
    tiles = (stored.get((r, c)) for r in range(n_rows) for c in range(n_columns))
    scan = b'<iScan Magnification="40" ScanRes="0.232000" Z-layers="1" />'
    encoding = _bif_encoding(areas, overlap_px, pixels.shape[0]).encode()
    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        writer.write(
            pixels[:90, :60],
            description="Label Image",
            software="ScanOutputManager 1.1.0.15854",
            extratags=[(700, "B", len(scan), scan, True)],
            rowsperstrip=90,
            **LOSSLESS,
        )
        writer.write(
            tiles,
            shape=(n_rows * BIF_TILE_PX, n_columns * BIF_TILE_PX, 3),
            dtype=np.uint8,
            tile=(BIF_TILE_PX, BIF_TILE_PX),
            description="level=0 mag=40 quality=90",
            extratags=[(700, "B", len(encoding), encoding, True)],
            **LOSSLESS,
        )


def _bif_encoding(areas, overlap_px, bottom_px):
    infos, origins = [], []
    for number, (top, left, down, right, y, x) in enumerate(areas):
        joints = "".join(_bif_joints(down, right, overlap_px))
        height_px = down * (BIF_TILE_PX - overlap_px) + overlap_px
        infos.append(
            f'<ImageInfo AOIScanned="1" AOIIndex="{number}" Width="{BIF_TILE_PX}" '
            f'Height="{BIF_TILE_PX}" NumRows="{down}" NumCols="{right}" Pos-X="{x}" '
            f'Pos-Y="{bottom_px - y - height_px}">{joints}</ImageInfo>'
        )
        origins.append(
            f'<AOI{number} OriginX="{left * BIF_TILE_PX}" OriginY="{top * BIF_TILE_PX}" />'
        )
    return (
        f'<EncodeInfo Ver="2"><SlideStitchInfo>{"".join(infos)}</SlideStitchInfo><AoiOrigin>'
        f"{''.join(origins)}</AoiOrigin></EncodeInfo>"
    )


def _bif_joints(n_rows, n_columns, overlap_px):
    """Neighbours; tiles are numbered from the bottom, every second row from right to left."""

    def number(row, column):
        up = n_rows - 1 - row
        return up * n_columns + (n_columns - 1 - column if up % 2 else column) + 1

    for row in range(n_rows):
        for column in range(n_columns):
            if column + 1 < n_columns:
                yield _bif_joint(
                    "RIGHT", number(row, column), number(row, column + 1), overlap_px, 0
                )
            if row:
                yield _bif_joint("UP", number(row, column), number(row - 1, column), 0, overlap_px)


def _bif_joint(direction, one, other, x_px, y_px):
    return (
        f'<TileJointInfo FlagJoined="1" Confidence="95" Direction="{direction}" Tile1="{one}" '
        f'Tile2="{other}" OverlapX="{x_px}" OverlapY="{y_px}" />'
    )


def write_philips(path, pixels, *, missing=(), tile_px=256, mm_per_px=0.000226):
    """Levels padded to whole tiles; label and macro as JPEG in the XML."""
    levels = [pixels[:: 2**n, :: 2**n] for n in range(3)]
    spacings = "".join(
        '<DataObject ObjectType="PixelDataRepresentation"><Attribute Name="DICOM_PIXEL_SPACING" '
        'Group="0x0028" Element="0x0030" PMSVR="IDoubleArray">'
        f'"{mm_per_px * 2**n:.9f}" "{mm_per_px * 2**n:.9f}"</Attribute></DataObject>'
        for n in range(3)
    )
    xml = (
        '<?xml version="1.0" encoding="UTF-8" ?><DataObject ObjectType="DPUfsImport">'
        '<Attribute Name="PIM_DP_SCANNED_IMAGES"><Array><DataObject ObjectType="DPScannedImage">'
        '<Attribute Name="PIM_DP_IMAGE_TYPE">WSI</Attribute><Attribute Name="DICOM_PIXEL_SPACING">'
        f'"{mm_per_px:.9f}" "{mm_per_px:.9f}"</Attribute>'
        '<Attribute Name="PIIM_PIXEL_DATA_REPRESENTATION_SEQUENCE"><Array>'
        f"{spacings}</Array></Attribute></DataObject>{_philips_image('LABELIMAGE', pixels[:60, :90])}"
        f"{_philips_image('MACROIMAGE', pixels[:90, :120])}</Array></Attribute></DataObject>"
    )
    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        for number, level in enumerate(levels):
            down, right = (-(-n // tile_px) for n in level.shape[:2])
            padded = np.full((down * tile_px, right * tile_px, 3), 255, np.uint8)
            padded[: level.shape[0], : level.shape[1]] = level
            tiles = (
                None
                if number == 0 and (r, c) in missing
                else padded[r * tile_px :, c * tile_px :][:tile_px, :tile_px]
                for r in range(down)
                for c in range(right)
            )
            writer.write(
                tiles,
                shape=padded.shape,
                dtype=np.uint8,
                tile=(tile_px, tile_px),
                subfiletype=int(number > 0),
                description="" if number else xml,
                software=None if number else "Philips DP v1.0",
                **LOSSLESS,
            )


def _philips_image(kind, pixels):
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(out, "JPEG", quality=95)
    text = base64.b64encode(out.getvalue()).decode()
    return (
        f'<DataObject ObjectType="DPScannedImage"><Attribute Name="PIM_DP_IMAGE_TYPE">{kind}'
        f'</Attribute><Attribute Name="PIM_DP_IMAGE_DATA">{text}</Attribute></DataObject>'
    )


def write_qptiff_fluorescence(path, pixels, n_channels):
    """Each channel a grey page of its own, 8 bits, then the thumbnail."""
    software = "PerkinElmer-QPI"
    with tifffile.TiffWriter(path) as writer:
        for number in range(n_channels):
            xml = (
                "<?xml version='1.0' encoding='utf-16'?><PerkinElmer-QPI-ImageDescription>"
                f"<ImageType>FullResolution</ImageType><Name>Channel {number}</Name>"
                "</PerkinElmer-QPI-ImageDescription>"
            )
            writer.write(
                pixels[..., number % 3],
                description=xml,
                software=software,
                tile=(256, 256),
                **LOSSLESS | {"photometric": "minisblack"},
            )
        writer.write(pixels[::8, ::8], description="", software=software, **LOSSLESS)


def write_vms(path, pixels):
    """Hamamatsu's VMS of 0.5 um/px: an index that names a JPEG of the slide and a small one, both beside it."""
    height_px, width_px = pixels.shape[:2]
    for name, shown in (("pixels.jpg", pixels), ("map.jpg", pixels[::4, ::4])):
        image = Image.fromarray(np.ascontiguousarray(shown))
        n_blocks = -(-image.width // 8)
        image.save(path.with_name(name), subsampling="4:4:4", restart_marker_blocks=n_blocks)
    about = {
        **dict.fromkeys(("NoLayers", "NoJpegColumns", "NoJpegRows"), 1),
        "ImageFile": "pixels.jpg",
        "MapFile": "map.jpg",
        "SourceLens": 20,
        "PhysicalWidth": 500 * width_px,
        "PhysicalHeight": 500 * height_px,
    }
    lines = ("[Virtual Microscope Specimen]", *(f"{key}={value}" for key, value in about.items()))
    path.write_text("\n".join(lines) + "\n")
