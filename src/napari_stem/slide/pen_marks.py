"""Pen marks on a thumbnail, told by colours that haematoxylin and eosin cannot mix.

In optical density above the glass, haematoxylin absorbs red and green alike and blue half as much;
eosin absorbs green, a third of that in blue and hardly any red (Ruifrok and Johnston 2001). Every
mixture therefore absorbs green about as much as red or more, and blue clearly less than green. Blue
and green inks absorb red most, red ink absorbs blue nearly as much as green, black ink absorbs all
alike and much.

Where ink lies on tissue the densities add up: its colour is no longer plain, but its distance from
the plane of the slide's own two stains is what it is on glass. A mark that is plain somewhere, on glass
or pale tissue, is followed through this distance. What lies off the plane without touching such a mark
is left alone: melanin, haemosiderin and pooled blood do.

Measured with strokes drawn on the whole of HER2ST C2 to C5 and on CMU-1, at half, once and 1.6 times their
stain (ink that absorbs as Beer and Lambert have it): all of a red, black, blue or green stroke on tissue is
found, and at most 7 in 1000 tissue pixels beside it are taken (none on HER2ST); without strokes none are,
but for CMU-1's green margin dye (2.5 in 1000 when its stain is doubled). What is missed: violet, brown and
crimson ink, which have the colours of the stains; two in three strokes of a pinkish red; pale blue on the
densest tissue; a mark that touches neither glass nor pale tissue. A pool of blood as bright red as ink is taken
for ink: none of these slides has one.

In a crop without glass densities are above white. On two of C5 all of a blue, green or black stroke is found,
58 and 79% of a light blue one, and none of a red one. Above the palest tissue red and light blue would be
found, but so are dense nuclei: up to 6.5% of a crop without ink.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

SMOOTHING_PX = 1.0  # at half the thumbnail's resolution: nuclei and chromatic edges average out
STAINED = 0.15  # mean density above glass: paler pixels have no colour to speak of
# Plain and likely: differences of density relative to that of the channel that is absorbed most
COLD = (0.26, 0.17)  # red - green, of blue and green inks, at least
RED_LEAST = (-0.26, -0.3)  # blue - green, of red ink, at least
RED_MOST = (-0.58, -0.5)  # red - green, of red ink, at most
RED_DENSITY = 0.3  # paler red is eosin, on scanners that see it with much blue
BLACK_DENSITY = (0.65, 0.6)
BLACK_HUE = (0.12, 0.24)  # either difference, at most
NARROWEST_PX = 3  # half the width of the thinnest line that counts as plain ink, thumbnail px
REACH_PX = 40  # how far from plain ink likely ink is taken
GAP_PX = 6  # gaps in a mark narrower than twice this belong to it
RIM_PX = 3  # soft edge of a mark
CLEAR_PX = 12  # around marks, left out where the tissue's own stains are looked at
LEAST_TISSUE, MOST_TISSUE = 500, 4000  # pixels
ROUNDS = 8
MOST_MARKS = 20  # the largest ones are followed across tissue
INK_SHARE = 0.5  # of an ink's own distance from the stains' plane
TURN_DEG = 3
ALIKE = 1.5  # a plane with so many times the smallest spread may be the stains' as well
SPREADS = 4.0  # times the tissue's spread about the plane: below, the two are not told apart


def pen_marks(density: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Mark blue, green, red and black ink with its soft edge, (height, width) bool.

    ``density`` is the (height, width, 3) decadic optical density above the glass, or white where there is
    none, of a thumbnail of some micrometres per pixel.
    """
    from scipy import ndimage

    height, width = density.shape[:2]
    even = density[: height // 2 * 2, : width // 2 * 2]
    top, bottom = even[::2], even[1::2]
    half = (top[:, ::2] + top[:, 1::2] + bottom[:, ::2] + bottom[:, 1::2]) / np.float32(4)
    half = ndimage.gaussian_filter(half, (SMOOTHING_PX, SMOOTHING_PX, 0))
    plain, likely = _ink(half)
    plain = _opened(plain, NARROWEST_PX / 2)
    marks = np.zeros((height, width), dtype=bool)
    if plain.any():
        followed = _followed(plain, likely | plain)
        half_marks = dilated(followed | _across_tissue(half, followed), RIM_PX / 2)
        full = half_marks.repeat(2, axis=0).repeat(2, axis=1)
        marks[: full.shape[0], : full.shape[1]] = full
    return marks


def mean_of_channels(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Average three channels: (height, width, 3) -> (height, width).

    What numpy's own mean gives, which takes over ten times as long along so short an axis.
    """
    return np.asarray((image[..., 0] + image[..., 1] + image[..., 2]) / np.float32(3), np.float32)


def _ink(density: NDArray[np.float32]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Pixels of an ink's colour: plainly, and likely."""
    red, green, blue = np.moveaxis(density, -1, 0)
    mean = mean_of_channels(density)
    most = np.maximum(np.maximum(np.maximum(red, green), blue), 1e-3)
    red_green, blue_green = (red - green) / most, (blue - green) / most

    def coloured(strictness: int) -> NDArray[np.bool_]:
        cold = (red_green > COLD[strictness]) & (mean > STAINED)
        warm = (blue_green > RED_LEAST[strictness]) & (red_green < RED_MOST[strictness])
        grey = np.maximum(np.abs(red_green), np.abs(blue_green)) < BLACK_HUE[strictness]
        black = grey & (mean > BLACK_DENSITY[strictness])
        return np.asarray(cold | (warm & (mean > RED_DENSITY)) | black, dtype=bool)

    return coloured(0), coloured(1)


def _across_tissue(density: NDArray[np.float32], marks: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Follow each mark to where it lies on tissue.

    There densities add up: off the plane that the slide's own two stains span, the tissue is at
    about zero and the tissue under ink at what the ink has by itself, whatever the tissue. Only what
    hangs together with a mark is taken: pigment and blood lie off the plane too, but not on a stroke.
    """
    from scipy import ndimage

    found = np.zeros_like(marks)
    stained = mean_of_channels(density) > STAINED
    tissue = density[stained & ~dilated(marks, CLEAR_PX / 2)]
    if len(tissue) < LEAST_TISSUE:
        return found
    normals, spreads = _likely_planes(tissue[:: -(-len(tissue) // MOST_TISSUE)])
    pieces, _ = ndimage.label(marks)
    areas = np.bincount(pieces.ravel())[1:]
    for piece in 1 + np.argsort(-areas)[:MOST_MARKS]:
        mark = pieces == piece
        own = np.median(density[mark] @ normals.T, axis=0)
        plane = int(np.argmax(np.abs(own) / spreads))
        least = INK_SHARE * abs(float(own[plane]))
        if least > SPREADS * spreads[plane]:
            off = density @ normals[plane] * np.sign(own[plane])
            alike = mark | _opened(mark | (stained & (off > least)), NARROWEST_PX / 2)
            found |= ndimage.binary_propagation(mark, mask=alike)
    return found


def _likely_planes(
    tissue: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Give normals (k, 3) of planes that may be the stains', and the (n, 3) densities' spread about each.

    All hold the tissue's middle colour. A part of the tissue is under ink that was not found yet: the
    plane that fits best may be drawn to that ink, and one that fits about as well tells the two apart.
    """
    middle = np.median(tissue, axis=0).astype(np.float64)
    middle /= np.linalg.norm(middle)
    across = np.linalg.svd(middle[None])[2][1:]  # two directions, upright on it and each other
    turns = np.deg2rad(np.arange(0, 180, TURN_DEG))
    normals = np.stack([np.cos(turns), np.sin(turns)], axis=1) @ across
    normals = normals.astype(np.float32)
    spreads = 1.48 * np.median(np.abs(tissue @ normals.T), axis=0)
    likely = spreads <= ALIKE * spreads.min()
    best = _nearest_plane(tissue, normals[spreads.argmin()]).astype(np.float32)
    spread = 1.48 * np.median(np.abs(tissue @ best), keepdims=True)
    return np.vstack([normals[likely], best]), np.append(spreads[likely], spread)


def _nearest_plane(
    tissue: NDArray[np.float32], normal: NDArray[np.floating]
) -> NDArray[np.floating]:
    """Fit the normal of the plane through zero near which most of the (n, 3) densities lie: (3,).

    It begins with a ``normal`` close to it. A part of the densities is under ink that was not found yet, which
    least squares would follow: they are of the nearer half.
    """
    for _ in range(ROUNDS):
        distance = np.abs(tissue @ normal)
        near = tissue[distance <= np.median(distance)].astype(np.float64)
        normal = np.linalg.svd(near.T @ near)[0][:, -1]
    return normal


def _followed(plain: NDArray[np.bool_], likely: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Plain ink, likely ink that hangs together with it nearby, and the gaps between."""
    from scipy import ndimage

    near = dilated(plain, REACH_PX / 2)
    marks = ndimage.binary_propagation(plain, mask=likely & near)
    return eroded(dilated(marks, GAP_PX / 2), GAP_PX / 2)


def _opened(mask: NDArray[np.bool_], radius_px: float) -> NDArray[np.bool_]:
    """Drop what is thinner than twice the radius."""
    return np.asarray(mask & dilated(eroded(mask, radius_px), radius_px + 1), dtype=bool)


def dilated(mask: NDArray[np.bool_], radius_px: float) -> NDArray[np.bool_]:
    """Grow by the disc of pixels whose centres are not further than the radius.

    Row by row of the disc, which for discs of some pixels is ten times as fast as by distances.
    """
    reach = int(radius_px)
    grown = mask.copy()
    wide, width = mask, 0
    for rows in range(reach, -1, -1):  # the disc's rows from its narrow ends to its middle
        half = int(np.sqrt(radius_px**2 - rows**2))
        while width < half:
            wide, width = _widened(wide), width + 1
        if rows:
            grown[rows:] |= wide[:-rows]
            grown[:-rows] |= wide[rows:]
        else:
            grown |= wide
    return grown


def eroded(mask: NDArray[np.bool_], radius_px: float) -> NDArray[np.bool_]:
    """Shrink by a disc; the slide's border does not count as an edge."""
    return ~dilated(~mask, radius_px)


def _widened(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Grow by one pixel to the left and to the right."""
    wide = mask.copy()
    wide[:, 1:] |= mask[:, :-1]
    wide[:, :-1] |= mask[:, 1:]
    return wide
