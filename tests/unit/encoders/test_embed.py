"""The cache of embeddings: a spot is looked at once, and a cache never changes a number."""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_stem.caches import entries, remove
from napari_stem.diffusion.noise import LOCATION_STEPS_PER_PX
from napari_stem.encoders.embed import KEYS_PER_PX, Embedder, EmbeddingCache, rounded, turned
from napari_stem.geometry import Mpp, PatchSpec, lattice
from napari_stem.slide import open_slide
from napari_stem.slide.patches import PatchReader

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from napari_stem.geometry import Spots
    from napari_stem.slide import Slide

CROP = Path(__file__).parents[2] / "data" / "slides" / "C5-crop.jpg"
MPP = 0.6907


def test_spots_are_told_apart_as_the_noise_tells_them_apart() -> None:
    assert KEYS_PER_PX == LOCATION_STEPS_PER_PX


class Corner:
    """A small encoder that sees which way up a patch is: the colour of its first corner."""

    name, version = "corner", "1"
    patch = PatchSpec(fields_of_view_um=(50.0, 100.0), side_px=16)
    width = 6
    spots_at_once = 8

    def __init__(self) -> None:
        self.n_seen = 0

    def encode(self, patches: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.n_seen += len(patches)
        return patches[:, :, :4, :8].mean((2, 3)).reshape(len(patches), -1).astype(np.float32)


class Colours:
    """A small encoder that counts what it is shown: mean and standard deviation of each channel."""

    name = "colours"
    patch = PatchSpec(fields_of_view_um=(50.0, 100.0), side_px=16)
    width = 12
    spots_at_once = 8

    def __init__(self, version: str = "1") -> None:
        self.version = version
        self.n_seen = 0

    def encode(self, patches: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.n_seen += len(patches)
        values = patches.reshape(len(patches), 2, -1, 3).astype(np.float32)
        return np.concatenate([values.mean(2), values.std(2)], 2).reshape(len(patches), -1)


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache folder for this test alone."""
    monkeypatch.setenv("NAPARI_STEM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def slide(cache) -> Iterator[Slide]:
    opened = open_slide(CROP, Mpp.square(MPP))
    yield opened
    opened.close()


def spots_of(slide: Slide) -> Spots:
    return lattice(slide.size, slide.require_mpp(), 200)  # 4 x 5


def seen_directly(slide: Slide, spots: Spots) -> NDArray[np.float32]:
    """Embeddings without a cache."""
    patches = PatchReader(slide, Colours.patch).read(spots)
    return Colours().encode(patches)


def test_a_second_call_returns_the_same_numbers_and_looks_at_nothing(slide) -> None:
    spots = spots_of(slide)
    first, second = Colours(), Colours()
    embedding = Embedder(slide, first).embed(spots)
    again = Embedder(slide, second).embed(spots)
    assert (first.n_seen, second.n_seen) == (len(spots), 0)
    np.testing.assert_array_equal(again, embedding)
    assert embedding.dtype == np.float32
    assert embedding.std(0).min() > 0  # not one number everywhere


def test_an_overlapping_choice_looks_at_new_spots_only(slide) -> None:
    spots, encoder = spots_of(slide), Colours()
    first = spots.take(np.arange(3, 9))
    Embedder(slide, encoder).embed(first)
    embedding = Embedder(slide, encoder).embed(spots)
    assert encoder.n_seen == len(spots)
    rows = [list(spots.names).index(name) for name in first.names]
    np.testing.assert_array_equal(Embedder(slide, encoder).embed(first), embedding[rows])


def test_rounding_costs_no_more_than_float16(slide) -> None:
    spots = spots_of(slide)
    exact = seen_directly(slide, spots)
    np.testing.assert_allclose(Embedder(slide, Colours()).embed(spots), exact, rtol=2**-11)
    np.testing.assert_array_equal(rounded(rounded(exact)), rounded(exact))


@pytest.mark.parametrize(("mpp", "version"), [(0.7, "1"), (MPP, "2")])
def test_another_pixel_size_or_version_is_another_key(slide, mpp, version) -> None:
    spots = spots_of(slide)
    Embedder(slide, Colours()).embed(spots)
    encoder = Colours(version)
    other = open_slide(CROP, Mpp.square(mpp))
    Embedder(other, encoder).embed(spots)
    other.close()
    assert encoder.n_seen == len(spots)


def test_steps_are_told_and_may_cancel_with_the_work_kept(slide) -> None:
    spots, encoder, told = spots_of(slide), Colours(), []

    class Stop(Exception):
        pass

    def step(n_done: int) -> None:
        told.append(n_done)
        if n_done >= 8:
            raise Stop

    with pytest.raises(Stop):
        Embedder(slide, encoder).embed(spots, step)
    assert told == [8]
    Embedder(slide, encoder).embed(spots, told.append)
    assert encoder.n_seen == len(spots)
    assert told[-1] == len(spots)
    assert told == sorted(told)


def _folder_is_a_file(cache: Path) -> None:
    cache.mkdir(exist_ok=True)
    (cache / "embeddings").write_text("in the way")


def _no_database(cache: Path) -> None:
    (file,) = (cache / "embeddings").glob("*.sqlite")
    file.write_bytes(b"not a database, but long enough to be looked at " * 40)


@pytest.mark.parametrize("spoil", [_folder_is_a_file, _no_database])
def test_an_unusable_cache_warns_and_changes_no_number(cache, slide, caplog, spoil) -> None:
    spots = spots_of(slide)
    if spoil is _no_database:
        EmbeddingCache(slide, Colours())
    spoil(cache)
    encoder = Colours()
    with caplog.at_level(logging.WARNING, logger="napari_stem"):
        embedding = Embedder(slide, encoder).embed(spots)
    assert "Embeddings are not kept" in caplog.text
    assert len(caplog.records) == 1
    assert encoder.n_seen == len(spots)
    np.testing.assert_array_equal(embedding, rounded(seen_directly(slide, spots)))


def test_a_cache_that_breaks_on_the_way_is_given_up(cache, slide, caplog) -> None:
    spots, encoder = spots_of(slide), Colours()
    embedder = Embedder(slide, encoder)
    _no_database(cache)
    embedding = embedder.embed(spots)
    assert np.isfinite(embedding).all()
    assert "Embeddings are not kept" in caplog.text


def test_a_cache_that_is_cleared_on_the_way_is_filled_again(cache, slide, caplog) -> None:
    spots, encoder = spots_of(slide), Colours()
    embedder = Embedder(slide, encoder)
    before = embedder.embed(spots)
    (entry,) = entries(["embeddings"])
    assert entry.may_be_open  # 'napari-stem cache clear' leaves it, unless forced
    assert remove(entry)
    np.testing.assert_array_equal(embedder.embed(spots), before)
    Embedder(slide, encoder).embed(spots)
    assert encoder.n_seen == 2 * len(spots)
    assert caplog.text == ""


def test_a_cut_vector_is_made_again(cache, slide) -> None:
    spots, encoder = spots_of(slide), Colours()
    whole = Embedder(slide, encoder).embed(spots)
    (file,) = (cache / "embeddings").glob("*.sqlite")
    connection = sqlite3.connect(file)
    with connection:
        connection.execute("UPDATE embedded SET v = x'0000' WHERE rowid = 1")
    connection.close()
    np.testing.assert_array_equal(Embedder(slide, encoder).embed(spots), whole)
    assert encoder.n_seen == len(spots) + 1


# patches that spots share


class Sharing(Colours):
    """As `Colours`, one field of view at a time, wide patches on a lattice."""

    patch = PatchSpec(fields_of_view_um=(50.0, 100.0), side_px=16, steps_um=(0.0, 150.0))

    def encode(self, patches: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.n_seen += len(patches)
        values = patches.reshape(len(patches), -1, 3).astype(np.float32)
        return np.concatenate([values.mean(1), values.std(1)], 1)


def dense_spots(slide: Slide) -> Spots:
    return lattice(slide.size, slide.require_mpp(), 50).take(np.arange(200))  # 10 rows of 20


def test_a_patch_that_spots_share_is_looked_at_once(slide) -> None:
    spots, encoder = dense_spots(slide), Sharing()
    embedding = Embedder(slide, encoder).embed(spots)
    wide = {of_spot[1] for of_spot in PatchReader(slide, Sharing.patch).looks(spots)}
    assert encoder.n_seen == len(spots) + len(wide) < 1.25 * len(spots)
    patches = PatchReader(slide, Sharing.patch).read(spots)
    directly = [Sharing().encode(patches[:, field : field + 1]) for field in range(2)]
    np.testing.assert_array_equal(embedding, rounded(np.concatenate(directly, 1)))


def test_the_next_call_knows_the_patches_of_the_last(slide, monkeypatch) -> None:
    spots, encoder = dense_spots(slide), Sharing()
    whole = Embedder(slide, Sharing("2")).embed(spots)
    embedder = Embedder(slide, encoder)
    parts = [spots.take(slice(start, start + 7)) for start in range(0, len(spots), 7)]
    np.testing.assert_array_equal(np.concatenate([embedder.embed(p) for p in parts]), whole)
    wide = {of_spot[1] for of_spot in PatchReader(slide, Sharing.patch).looks(spots)}
    assert encoder.n_seen == len(spots) + len(wide)
    turns = embedder.embed_turned(spots)  # the untouched ones are known
    assert encoder.n_seen == 8 * (len(spots) + len(wide))
    np.testing.assert_array_equal(turns[:, 0], whole.astype(np.float16))
    monkeypatch.setattr("napari_stem.encoders.embed._N_KEPT", 1)  # forgotten, and looked at again
    forgetful = Embedder(slide, Sharing("3"))
    np.testing.assert_array_equal(np.concatenate([forgetful.embed(p) for p in parts]), whole)


# turned patches


def test_the_eight_turns_are_those_of_a_square() -> None:
    rng = np.random.default_rng(0)
    patch = rng.integers(0, 256, (1, 2, 5, 5, 3)).astype(np.uint8)
    turns = [turned(patch, transform) for transform in range(8)]
    np.testing.assert_array_equal(turns[0], patch)
    np.testing.assert_array_equal(turns[4], patch[:, :, :, ::-1])
    np.testing.assert_array_equal(turns[1][0, 1, :, 0], patch[0, 1, 0, ::-1])  # top becomes left
    assert len({turn.tobytes() for turn in turns}) == 8
    closed = {turned(turned(patch, a), b).tobytes() for a in range(8) for b in range(8)}
    assert closed == {turn.tobytes() for turn in turns}


def test_turned_embeddings_are_those_of_turned_patches(slide) -> None:
    spots = spots_of(slide)
    patches = PatchReader(slide, Corner.patch).read(spots)
    turns = Embedder(slide, Corner()).embed_turned(spots)
    assert (turns.shape, turns.dtype) == ((len(spots), 8, 6), np.float16)
    for transform in range(8):
        expected = Corner().encode(turned(patches, transform))
        np.testing.assert_allclose(turns[:, transform], expected, rtol=2**-10)
    assert np.ptp(turns.astype(np.float32), axis=1).max(1).min() > 0  # each spot looks different


def test_turns_are_cached_beside_what_was_there(slide, monkeypatch) -> None:
    """What the untouched patch gave is used, and each patch is read once."""
    spots, encoder = spots_of(slide), Corner()
    first = Embedder(slide, encoder).embed(spots)
    assert encoder.n_seen == len(spots)
    read, n_read = PatchReader.read_looks, []
    monkeypatch.setattr(
        PatchReader,
        "read_looks",
        lambda self, looks: n_read.append(len(looks)) or read(self, looks),
    )
    told: list[int] = []
    turns = Embedder(slide, encoder).embed_turned(spots, told.append)
    assert encoder.n_seen == 8 * len(spots)
    assert sum(n_read) == told[-1] == len(spots)
    np.testing.assert_array_equal(turns[:, 0], first)
    np.testing.assert_array_equal(Embedder(slide, encoder).embed_turned(spots), turns)
    assert encoder.n_seen == 8 * len(spots)
