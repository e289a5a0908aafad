"""What procedural surfaces are made of: noise, layouts of pieces, colours.

Every surface is a torus: what leaves the square on the right comes back on the left, so that all
of them tile. Lengths are in tile sides: 1.0 is the width of the image, whatever its pixels.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft, ndimage

Field = NDArray[np.float32]
"""(side, side) float32: one number for each pixel."""

Numbers = NDArray[np.floating[Any]]
"""Like a Field, before it is rounded to float32."""

Colours = NDArray[np.float32]
"""(..., 3) float32: sRGB, 0 to 1."""

Labels = NDArray[np.intp]
"""(side, side): the number of the piece that each pixel belongs to."""

PALETTES: dict[str, list[str]] = tomllib.loads(
    (files("vaeneer.data") / "palettes.toml").read_text(encoding="utf-8")
)
"""Name -> choices of a `palette`."""
_BELOW_ONE = np.nextafter(np.float32(1), np.float32(0))  # -1e-9 % 1 is 1.0 in float32


@dataclass(frozen=True)
class Sheet:
    """The square on which one surface is made: `side` pixels, and its own random numbers."""

    side: int
    rng: np.random.Generator
    turn: int
    """Counts the surfaces of a family: neighbours take different palettes and layouts."""

    def axes(self) -> tuple[Field, Field]:
        """x, (1, side), and y, (side, 1): centres of the pixels, 0 to 1, right and down."""
        line = (np.arange(self.side, dtype=np.float32) + np.float32(0.5)) / np.float32(self.side)
        return line[None, :], line[:, None]


@dataclass(frozen=True)
class Pieces:
    """A surface divided into pieces: bricks, boards, cells.

    label: 0 to count - 1. edge: distance to the nearest border of the piece, tile sides.
    x, y: place in the piece, from its centre, tile sides.
    """

    label: Labels
    count: int
    edge: Field
    x: Field
    y: Field


def noise(
    sheet: Sheet, scale: float, *, slope: float = 2.0, stretch: float = 1.0, angle: float = 0.0
) -> Field:
    """Periodic Gaussian noise, mean 0, standard deviation 1.

    scale: cycles per tile below which all waves are equally strong; above it they fall with
    frequency ** -slope (1.5 is rugged, 3 is smooth). stretch: how many times longer than wide its
    features are, along `angle` (radians, 0 is along x).
    """
    side, rng = sheet.side, sheet.rng
    across = fft.rfftfreq(side, 1 / side).astype(np.float32)[None, :]
    down = fft.fftfreq(side, 1 / side).astype(np.float32)[:, None]
    cosine, sine = math.cos(angle), math.sin(angle)
    along = (across * cosine + down * sine) * (stretch / scale)
    beside = (down * cosine - across * sine) / scale
    amplitude = (1 + along * along + beside * beside) ** (-slope / 2)
    amplitude[0, 0] = 0
    waves = rng.standard_normal((2, *amplitude.shape), dtype=np.float32)
    spectrum = np.empty(amplitude.shape, np.complex64)
    np.multiply(waves[0], amplitude, out=spectrum.real)
    np.multiply(waves[1], amplitude, out=spectrum.imag)
    field: Field = fft.irfft2(spectrum, (side, side), overwrite_x=True)
    field /= field.std()
    return field


def grain(sheet: Sheet) -> Field:
    """White noise: each pixel for itself, mean 0, standard deviation 1."""
    return sheet.rng.standard_normal((sheet.side, sheet.side), dtype=np.float32)


def step(values: Numbers, low: float, high: float) -> Field:
    """0 up to `low`, 1 from `high` on, smooth between (low > high falls instead)."""
    t = np.clip((values - np.float32(low)) / np.float32(high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def vein(sheet: Sheet, scale: float, width: float, *, stretch: float = 1.0) -> Field:
    """Thin wandering lines, 1 in their middle: where a rugged noise crosses zero."""
    angle = float(sheet.rng.uniform(0, np.pi))
    field = noise(sheet, scale, slope=2.6, stretch=stretch, angle=angle)
    return np.asarray(np.exp(-np.abs(field) / np.float32(width)), np.float32)


def cracks(sheet: Sheet, columns: int, width: float) -> Field:
    """A few broken lines, 1 in their middle: borders of bent cells, mostly grown together again."""
    borders = cells(sheet, columns, bend=0.06).edge
    some = step(noise(sheet, 2), 0.1, 0.9)
    return np.asarray(np.exp(-borders / np.float32(width)) * some, np.float32)


def _bent(sheet: Sheet, bend: float) -> tuple[Field, Field]:
    x, y = sheet.axes()
    if bend:
        return (
            x + np.float32(bend / 3) * noise(sheet, 3, slope=2.4),
            y + np.float32(bend / 3) * noise(sheet, 3, slope=2.4),
        )
    return np.broadcast_to(x, (sheet.side,) * 2), np.broadcast_to(y, (sheet.side,) * 2)


def cells(
    sheet: Sheet,
    columns: int,
    rows: int = 0,
    *,
    jitter: float = 0.9,
    stagger: bool = False,
    bend: float = 0.0,
) -> Pieces:
    """Voronoi cells (Worley 1996) around points on a shaken lattice of columns x rows.

    jitter: 0 is the lattice, 1 is about random. stagger: every second row is moved by half a cell
    (with jitter 0 and even rows: hexagons). bend: how far borders wander, tile sides.
    """
    rows = rows or columns
    x, y = (np.minimum(axis % 1, _BELOW_ONE) for axis in _bent(sheet, bend))
    shake = sheet.rng.uniform(-jitter / 2, jitter / 2, (2, rows, columns))
    shake[0, 1::2] += 0.5 if stagger else 0.0
    # The lattice gets a rim of its own far side, so that no neighbour needs wrapping.
    row, column = np.mgrid[-1 : rows + 1, -1 : columns + 1]
    points_x, points_y = (
        ((place + 0.5 + np.pad(moved, 1, mode="wrap")) / many).astype(np.float32).ravel()
        for place, moved, many in ((column, shake[0], columns), (row, shake[1], rows))
    )
    labels = (row % rows * columns + column % columns).ravel()
    wide = columns + 2
    home = (y * rows).astype(np.intp) * wide + (x * columns).astype(np.intp)  # upper left of the 9
    around = np.array([r * wide + c for r in range(3) for c in range(3)])
    near = np.full((2, *home.shape), np.inf, np.float32)  # squared: nearest point, second
    which = np.zeros((2, *home.shape), np.uint8)  # of the 9
    for square, offset in enumerate(around):
        dx, dy = x - points_x.take(home + offset), y - points_y.take(home + offset)
        distance = dx * dx + dy * dy
        first, second = distance < near[0], distance < near[1]
        np.copyto(which[1], square, where=second)
        np.copyto(which[1], which[0], where=first)
        np.copyto(which[0], square, where=first)
        np.minimum(near[1], np.maximum(distance, near[0]), out=near[1])
        np.minimum(near[0], distance, out=near[0])
    points = [home + around[index] for index in which]
    place_x = [x - points_x[point] for point in points]
    place_y = [y - points_y[point] for point in points]
    apart = np.hypot(place_x[0] - place_x[1], place_y[0] - place_y[1]) + np.float32(1e-9)
    edge = np.asarray((near[1] - near[0]) / (2 * apart), np.float32)
    return Pieces(labels[points[0]], rows * columns, edge, place_x[0], place_y[0])


def courses(
    sheet: Sheet, columns: Sequence[int], shifts: ArrayLike, *, bend: float = 0.0
) -> Pieces:
    """Rows of equal pieces: `columns[i]` of them in row i, moved right by `shifts[i]` pieces."""
    rows = len(columns)
    counts, moved = np.asarray(columns), np.asarray(shifts, np.float32)
    x, y = _bent(sheet, bend)
    row = np.floor(y * rows).astype(np.intp)
    within_y = y * rows - row - np.float32(0.5)
    row %= rows
    across = counts.astype(np.float32)[row]
    u = x * across + moved[row]
    column = np.floor(u).astype(np.intp)
    within_x = u - column - np.float32(0.5)
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])
    label = first[row] + column % counts[row]
    place_x, place_y = within_x / across, within_y / np.float32(rows)
    edge = np.minimum(np.float32(0.5) / across - np.abs(place_x), 0.5 / rows - np.abs(place_y))
    return Pieces(label, int(counts.sum()), np.asarray(edge, np.float32), place_x, place_y)


def herringbone(sheet: Sheet, cells_across: int, length: int) -> tuple[Pieces, NDArray[np.bool_]]:
    """Blocks of 1 x `length` cells laid as a herringbone, and which of them lie along x.

    `cells_across` must be a multiple of 2 * length. x of a piece runs along it, y across it.
    """
    x, y = sheet.axes()
    u, v = np.broadcast_arrays(x * cells_across, y * cells_across)
    i, j = np.floor(u).astype(np.intp), np.floor(v).astype(np.intp)
    turn = (i - j) % (2 * length)
    lying = turn < length
    start = np.where(lying, i - turn, j - (2 * length - 1 - turn))
    place_x = np.where(lying, u, v) - start - np.float32(length / 2)
    place_y = np.where(lying, v - j, u - i) - np.float32(0.5)
    block = start % cells_across * cells_across + np.where(lying, j, i)
    label = block * 2 + lying
    edge = np.minimum(length / 2 - np.abs(place_x), 0.5 - np.abs(place_y)) / cells_across
    scale = np.float32(1 / cells_across)
    return Pieces(
        label,
        2 * cells_across**2,
        edge.astype(np.float32),
        np.asarray(place_x * scale, np.float32),
        np.asarray(place_y * scale, np.float32),
    ), lying


def basket(sheet: Sheet, squares: int, strips: int) -> tuple[Pieces, NDArray[np.bool_]]:
    """`squares` x `squares` squares of `strips` strips, in turn along x and along y (even number).

    Returns the pieces and which of them lie along x. x of a piece runs along it, y across it.
    """
    x, y = sheet.axes()
    u, v = np.broadcast_arrays(x * squares, y * squares)
    i, j = np.floor(u).astype(np.intp), np.floor(v).astype(np.intp)
    lying = (i + j) % 2 == 0
    along, across = np.where(lying, u - i, v - j), np.where(lying, v - j, u - i) * strips
    strip = np.floor(across).astype(np.intp)
    place_x = (along - np.float32(0.5)) / squares
    place_y = (across - strip - np.float32(0.5)) / (squares * strips)
    edge = np.minimum(0.5 / squares - np.abs(place_x), 0.5 / (squares * strips) - np.abs(place_y))
    label = (j * squares + i) * strips + strip
    places = (field.astype(np.float32) for field in (edge, place_x, place_y))
    return Pieces(label, squares * squares * strips, *places), lying


def scattered(sheet: Sheet, field: Field, pieces: Pieces) -> Field:
    """`field` cut up: each piece shows another part of it, as boards show other parts of a tree."""
    side = sheet.side
    down, across = sheet.rng.integers(0, side, (2, pieces.count))
    rows, columns = np.ogrid[:side, :side]
    cut: Field = field[(rows + down[pieces.label]) % side, (columns + across[pieces.label]) % side]
    return cut


def each(sheet: Sheet, pieces: Pieces, low: float = 0.0, high: float = 1.0) -> Field:
    """A random number for each piece, low to high, at all of its pixels."""
    table = sheet.rng.uniform(low, high, pieces.count).astype(np.float32)
    values: Field = table.take(pieces.label)
    return values


def palette(sheet: Sheet, choices: Sequence[str], *, main: bool = False) -> Colours:
    """One of `choices` ("rrggbb rrggbb ..."), a little brighter, paler or warmer: (k, 3).

    The main colours of a surface are taken by turns, all others by chance.
    """
    rng = sheet.rng
    index = sheet.turn if main else int(rng.integers(len(choices)))
    words = choices[index % len(choices)].split()
    colours = np.array([list(bytes.fromhex(word)) for word in words], np.float32) / 255
    grey = colours.mean(axis=1, keepdims=True)
    warmth = rng.uniform(-0.04, 0.04)
    colours = (grey + (colours - grey) * rng.uniform(0.75, 1.1)) * rng.uniform(0.85, 1.06)
    warmed = np.clip(colours * [1 + warmth, 1, 1 - warmth], 0, 1)
    return np.asarray(warmed, np.float32)


def ramp(values: Numbers, colours: Colours) -> Colours:
    """The colour at each value: 0 is the first of `colours` (k, 3), 1 the last, blended between."""
    places = np.linspace(0, 1, len(colours))
    table = np.stack(
        [np.interp(np.linspace(0, 1, 1024), places, channel) for channel in colours.T], axis=-1
    ).astype(np.float32)
    picked: Colours = table.take((values * 1023).astype(np.intp), axis=0, mode="clip")
    return picked


def toned(colours: Colours, tone: Numbers) -> Colours:
    """`colours` made brighter (tone above 0) or darker (below), by that share."""
    return np.asarray(colours * (1 + tone)[..., None], np.float32)


def mixed(under: Colours, over: Colours, cover: Field) -> Colours:
    """`over` laid on `under` where `cover` is 1; either may be one colour."""
    return np.asarray(under + (over - under) * cover[..., None], np.float32)


@dataclass(frozen=True)
class Material:
    """A surface before light falls on it.

    colour: (side, side, 3), sRGB, about 0 to 1. height: tile sides. gloss: 0 (chalk) to 1 (glaze).
    """

    colour: Colours
    height: Field
    gloss: float = 0.0


def turned(sheet: Sheet, material: Material) -> Material:
    """The material as it is or, half the time, turned by a quarter."""
    if sheet.rng.random() < 0.5:
        return material
    colour = np.ascontiguousarray(material.colour.transpose(1, 0, 2))
    return Material(colour, np.ascontiguousarray(material.height.T), material.gloss)


def render(material: Material, *, azimuth: float, elevation: float) -> Colours:
    """Light a material: Lambert, cast shadows, ambient occlusion and a highlight if it is glossy.

    azimuth: where the light comes from, radians, 0 is right and pi / 2 is up. elevation: above the
    surface, radians. A flat matte surface keeps its colours. Returns (side, side, 3), sRGB, 0 to 1.
    """
    height = material.height
    side = height.shape[0]
    light = np.array(
        [np.cos(azimuth) * np.cos(elevation), -np.sin(azimuth) * np.cos(elevation)], np.float32
    )
    nx, ny, nz = normals(height)
    facing = nx * light[0] + ny * light[1] + nz * np.float32(np.sin(elevation))
    direct = np.clip(facing, 0, None) / np.float32(np.sin(elevation))
    direct *= 1 - _shadow(height, light, float(np.tan(elevation)))
    wide = height
    for _ in range(2):  # twice a box is nearly a Gaussian, and cheap
        wide = ndimage.uniform_filter(wide, 2 * (side // 40) + 1, mode="wrap")
    open_sky = 1 / (1 + 110 * np.clip(wide - height, 0, None))
    shade = 0.62 * direct + 0.38 * open_sky
    # With a plain gamma of 2.2, light multiplies sRGB by its 2.2th root.
    lit = material.colour * (shade ** np.float32(1 / 2.2))[..., None]
    if material.gloss:
        half = np.array([*light, np.sin(elevation) + 1], np.float32)
        half /= np.linalg.norm(half)
        shine = np.clip(nx * half[0] + ny * half[1] + nz * half[2], 0, 1) ** np.float32(40)
        lit = lit + np.float32(0.55 * material.gloss) * (shine * direct)[..., None]
    return np.asarray(np.clip(lit, 0, 1), np.float32)


def normals(height: Field) -> NDArray[np.float32]:
    """Unit normals (3, side, side) of a periodic height field: x right, y down, z to the eye."""
    side = height.shape[0]
    slope_x = (np.roll(height, -1, 1) - np.roll(height, 1, 1)) * np.float32(side / 2)
    slope_y = (np.roll(height, -1, 0) - np.roll(height, 1, 0)) * np.float32(side / 2)
    length = np.sqrt(1 + slope_x * slope_x + slope_y * slope_y)
    return np.stack([-slope_x / length, -slope_y / length, 1 / length])


def _shadow(height: Field, light: NDArray[np.float32], rise: float) -> Field:
    """0 in the light to 0.8 in the shadow of what stands between a pixel and the light."""
    side = height.shape[0]
    hidden = np.zeros_like(height)
    direction = light / np.linalg.norm(light)
    for pixels in np.array([1.5, 3, 4.5, 6.5, 9]) * side / 384:
        across, down = np.round(direction * pixels).astype(int)
        blocker = np.roll(height, (-down, -across), (0, 1)) - np.float32(rise * pixels / side)
        np.maximum(hidden, blocker - height, out=hidden)
    return np.asarray(0.8 * (1 - np.exp(-hidden * 400)), np.float32)
