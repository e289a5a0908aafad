"""From a material, colours over a height field, to the picture of it under one light."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vaeneer.data.patterns import Colours, Field, Sheet


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
