"""Copies of one surface are found in any orientation; different surfaces are never merged."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from vaeneer.data.perceptual_hash import Fingerprint, fingerprint, near_duplicate_groups

BITS = 6
SURFACES = Path(__file__).parents[2] / "shared" / "data" / "surfaces"


def surface(seed: int, side_px: int = 192) -> Image.Image:
    """Smooth seeded noise in several scales, coloured."""
    random = np.random.default_rng(seed)
    layers = [
        np.asarray(
            Image.fromarray(random.integers(0, 256, (n, n, 3), np.uint8)).resize(
                (side_px, side_px), Image.Resampling.BICUBIC
            ),
            float,
        )
        for n in (5, 11, 40)
    ]
    return Image.fromarray(np.clip(np.average(layers, 0, [0.5, 0.3, 0.2]), 0, 255).astype(np.uint8))


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(stream).convert("RGB")


def scaled(image: Image.Image, factor: float) -> Image.Image:
    return image.resize((round(image.width * factor), round(image.height * factor)))


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "jpeg": lambda image: jpeg(image, 60),
    "half": lambda image: scaled(image, 0.5),
    "double": lambda image: scaled(image, 2),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.08),
    "turned, small and recompressed": lambda image: jpeg(
        scaled(image.transpose(Image.Transpose.ROTATE_90), 0.5), 80
    ),
}
CHANGES |= {
    turn.name: lambda image, turn=turn: jpeg(image.transpose(turn), 85) for turn in Image.Transpose
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_copy_is_found_among_others(change: str) -> None:
    originals = [surface(seed) for seed in range(12)]
    prints = [fingerprint(image) for image in originals]
    copies = [fingerprint(CHANGES[change](image)) for image in originals]
    groups = near_duplicate_groups(prints + copies, BITS)
    assert all(group[1] - group[0] == 12 and len(group) == 2 for group in groups)  # never others
    assert len(groups) >= 11


def test_different_surfaces_are_not_merged() -> None:
    assert near_duplicate_groups([fingerprint(surface(seed)) for seed in range(200)], BITS) == []


def test_a_recoloured_copy_is_the_same_surface() -> None:
    image = surface(1)
    grey = ImageOps.autocontrast(image.convert("L"))
    copies = [grey.convert("RGB"), ImageOps.colorize(grey, (30, 0, 0), (200, 160, 150))]
    prints = [fingerprint(one) for one in (image, *copies, surface(2))]
    assert near_duplicate_groups(prints, BITS) == [[0, 1, 2]]


def test_the_same_colours_in_another_pattern_are_another_surface() -> None:
    image = surface(1)
    shuffled = np.random.default_rng(0).permutation(np.asarray(image).reshape(-1, 48, 3))
    other = Image.fromarray(shuffled.reshape(image.height, image.width, 3))
    assert near_duplicate_groups([fingerprint(image), fingerprint(other)], BITS) == []


def test_stripes_of_other_colours_and_no_thumbnail_structure_stay_apart() -> None:
    stripes = (np.arange(256) // 4 % 2)[:, None, None] * np.ones((1, 256, 3))
    red, blue = (
        Image.fromarray((stripes * c).astype(np.uint8)) for c in ([200, 0, 0], [0, 0, 200])
    )
    assert near_duplicate_groups([fingerprint(red), fingerprint(blue)], BITS) == []


def test_flat_pictures_are_told_by_their_colour() -> None:
    colours = [(100, 100, 100), (100, 100, 100), (101, 100, 100), (130, 100, 100), (108,) * 3]
    prints = [fingerprint(Image.new("RGB", (70, 70), colour)) for colour in colours]
    assert near_duplicate_groups(prints, BITS) == [[0, 1, 2]]


def test_a_copy_of_a_copy_belongs() -> None:
    image = surface(3)
    chain = [image, jpeg(image, 70), scaled(jpeg(image, 70), 0.5)]
    prints = [fingerprint(surface(4)), *map(fingerprint, chain)]
    assert near_duplicate_groups(prints, BITS) == [[1, 2, 3]]


def test_thousands_of_equal_pictures_cost_nothing() -> None:
    flat = fingerprint(Image.new("RGB", (64, 64), (9, 9, 9)))
    groups = near_duplicate_groups([flat] * 5000 + [fingerprint(surface(0))], BITS)
    assert [len(group) for group in groups] == [5000]


def test_none_and_one() -> None:
    assert near_duplicate_groups([], BITS) == []
    assert near_duplicate_groups([fingerprint(surface(0))], BITS) == []


def test_the_answer_does_not_depend_on_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    prints = [fingerprint(surface(seed % 7)) for seed in range(20)]
    whole = near_duplicate_groups(prints, BITS)
    monkeypatch.setattr("vaeneer.data.perceptual_hash._CHUNK_PAIRS", 1)
    assert near_duplicate_groups(prints, BITS) == whole
    assert len(whole) == 7


def test_more_bits_never_find_less() -> None:
    random = np.random.default_rng(0)
    thumb = bytes(192)
    hashes = random.integers(0, 4, (60, 64), np.uint8)  # most bits zero, so that many are near
    prints = [Fingerprint(row.tobytes(), thumb) for row in hashes]
    found = [sum(map(len, near_duplicate_groups(prints, bits))) for bits in (0, 4, 8, 12, 16)]
    assert found == sorted(found)
    assert found[-1] > 0


def test_turned_thumbnails_follow_turned_pictures() -> None:
    image = surface(5, 64)
    for turn in Image.Transpose:
        turned = fingerprint(image.transpose(turn))
        assert near_duplicate_groups([fingerprint(image), turned], 2) == [[0, 1]]


@pytest.mark.skipif(not SURFACES.is_dir(), reason="the real surfaces are not here")
def test_real_surfaces() -> None:
    """Of a sample, only the two groups that an eye confirms: one scan regraded, turned."""
    names = ["plaster_grecuglystuco1_004", "plaster_roman_column_beams1_005"]
    names += ["plaster_uglystucco1_007", "plaster_stuccoroof_006", "roof_wataroof_006"]
    files = [next(SURFACES.glob(f"*/{name}.jpg")) for name in names]
    files += [file for file in sorted(SURFACES.glob("*/*.jpg"))[::5] if file not in files]
    prints = []
    for file in files:
        with Image.open(file) as image:
            image.draft("RGB", (256, 256))
            prints.append(fingerprint(image.convert("RGB")))
    assert near_duplicate_groups(prints, BITS) == [[0, 1, 2], [3, 4]]
