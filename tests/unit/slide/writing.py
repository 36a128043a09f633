"""Writers of slides in the forms of scanners, from real pixels. The vendors' TIFFs are imitations:

pixels and layout are plain TIFF; tags and XML follow the published descriptions closely enough that
the format is recognised and its pixel size is read.
"""

from __future__ import annotations

import tifffile

RGB = {"tile": (256, 256), "photometric": "rgb", "compression": "deflate", "metadata": None}


def halves(pixels, n_levels=3):
    return [pixels[:: 2**n, :: 2**n] for n in range(n_levels)]


def write_generic_pyramid(path, pixels, *, bigtiff=False, byteorder="<"):
    with tifffile.TiffWriter(path, bigtiff=bigtiff, byteorder=byteorder) as writer:
        base, *rest = halves(pixels)
        writer.write(base, subifds=len(rest), resolution=(20_000, 20_000), resolutionunit=3, **RGB)
        for level in rest:
            writer.write(level, subfiletype=1, **RGB)


def write_svs(path, pixels, *, compression="jpeg", mpp="0.4990"):
    text = f"Aperio Image Library v11.2.1 \r\n2220x2967 test|AppMag = 20|MPP = {mpp}"
    args = {"lossless": False} if compression == "jpeg" else {"level": 0}
    options = {**RGB, "compression": compression, "compressionargs": args}
    if compression == "jpeg":
        options["compressionargs"] = {"level": 95}
    with tifffile.TiffWriter(path) as writer:
        base, *rest = halves(pixels)
        writer.write(base, description=text, **options)
        writer.write(pixels[::8, ::8], rowsperstrip=16, photometric="rgb", metadata=None)
        for level in rest:
            writer.write(level, description=text, **options)
        for name in ("label", "macro"):
            writer.write(
                pixels[:90, :60],
                rowsperstrip=16,
                photometric="rgb",
                metadata=None,
                subfiletype=1 if name == "label" else 9,
                description=f"Aperio Image Library v11.2.1 \r\n{name} 60x90",
            )


def write_ndpi(path, pixels):
    """Resolution in the tags, in centimetres; objective in tag 65421, format in 65420."""
    with tifffile.TiffWriter(path) as writer:
        for number, level in enumerate(halves(pixels)):
            per_cm = 1e4 / (0.4560 * 2**number)
            extratags = [
                (271, "s", 0, "Hamamatsu", True),
                (65420, "I", 1, 1, True),
                (65421, "f", 1, 20.0 / 2**number, True),
            ]
            writer.write(
                level, resolution=(per_cm, per_cm), resolutionunit=3, extratags=extratags, **RGB
            )
        macro = [(271, "s", 0, "Hamamatsu", True), (65420, "I", 1, 1, True)]
        macro.append((65421, "f", 1, -1.0, True))
        options = RGB | {"tile": (64, 64)}
        writer.write(pixels[:90, :60], extratags=macro, **options)


def write_scn(path, pixels):
    levels = halves(pixels)
    height, width = pixels.shape[:2]
    dimensions = "".join(
        f'<dimension sizeX="{level.shape[1]}" sizeY="{level.shape[0]}" r="{n}" ifd="{n}" />'
        for n, level in enumerate(levels)
    )
    # nanometres of the view: 0.25 um per pixel
    xml = (
        '<?xml version="1.0"?><scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01">'
        f'<collection name="c" sizeX="{width}" sizeY="{height}"><image name="image_0">'
        f'<pixels sizeX="{width}" sizeY="{height}">{dimensions}</pixels>'
        f'<view sizeX="{width * 250}" sizeY="{height * 250}" offsetX="0" offsetY="0" />'
        "<scanSettings><objectiveSettings><objective>40</objective></objectiveSettings>"
        "</scanSettings></image></collection></scn>"
    )
    with tifffile.TiffWriter(path) as writer:
        for number, level in enumerate(levels):
            writer.write(level, description=xml if number == 0 else None, **RGB)


def write_philips(path, pixels):
    levels = halves(pixels)
    data = "".join(
        '<DataObject ObjectType="PixelDataRepresentation">'
        '<Attribute Name="DICOM_PIXEL_SPACING" Group="0x0028" Element="0x0030" PMSVR="IDoubleArray">'
        f'"{0.000226 * 2**n:.9f}" "{0.000227 * 2**n:.9f}"</Attribute></DataObject>'
        for n in range(len(levels))
    )
    xml = (
        '<?xml version="1.0" encoding="UTF-8" ?><DataObject ObjectType="DPUfsImport">'
        '<Attribute Name="PIM_DP_SCANNED_IMAGES"><Array><DataObject ObjectType="DPScannedImage">'
        f'<Attribute Name="PIIM_PIXEL_DATA_REPRESENTATION_SEQUENCE"><Array>{data}</Array></Attribute>'
        "</DataObject></Array></Attribute></DataObject>"
    )
    with tifffile.TiffWriter(path) as writer:
        for number, level in enumerate(levels):
            writer.write(
                level,
                description=xml if number == 0 else None,
                software="Philips DP v1.0" if number == 0 else None,
                **RGB,
            )
        for name in ("Macro", "Label"):
            writer.write(
                pixels[:90, :60],
                rowsperstrip=90,
                photometric="rgb",
                description=name,
                metadata=None,
            )


def write_bif(path, pixels, *, overlap=0):
    xmp = (
        '<?xml version="1.0"?><Metadata><iScan Magnification="40" ScanRes="0.232000" /></Metadata>'
        f'<EncodeInfo><TileJointInfo FlagJoined="1" Direction="LEFT" OverlapX="{overlap}" '
        'OverlapY="0" /></EncodeInfo>'
    ).encode()
    tag = [(700, "B", len(xmp), xmp, True)]
    software = "ScanOutputManager 1.1.0.15854"
    with tifffile.TiffWriter(path) as writer:
        writer.write(
            pixels[:90, :60],
            rowsperstrip=90,
            photometric="rgb",
            description="Label Image",
            software=software,
            extratags=tag,
            metadata=None,
        )
        for number, level in enumerate(halves(pixels)):
            writer.write(
                level, description=f"level={number} mag=40 quality=90", extratags=tag, **RGB
            )


def write_qptiff(path, pixels):
    levels = halves(pixels)
    xml = (
        "<?xml version='1.0' encoding='utf-16'?><PerkinElmer-QPI-ImageDescription>"
        "<ImageType>FullResolution</ImageType><ObjectiveName>20x</ObjectiveName><ScanProfile>"
        "<root><ScanResolution><Magnification>20</Magnification>"
        "<PixelSizeMicrons>0.4985</PixelSizeMicrons></ScanResolution></root></ScanProfile>"
        "</PerkinElmer-QPI-ImageDescription>"
    )
    per_cm = 1e4 / 0.4985
    with tifffile.TiffWriter(path) as writer:
        for number, level in enumerate(
            [levels[0], pixels[::8, ::8], *levels[1:], pixels[:90, :60]]
        ):
            options = (
                dict(RGB) if number not in {1, 4} else {"photometric": "rgb", "metadata": None}
            )
            writer.write(
                level,
                description=xml,
                software="PerkinElmer-QPI",
                resolution=(per_cm, per_cm),
                resolutionunit=3,
                **options,
            )
