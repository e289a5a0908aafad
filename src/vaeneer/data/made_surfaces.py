"""Surfaces woven, rolled or poured: one function for each family, from a sheet to a material."""

from __future__ import annotations

import numpy as np

from vaeneer.data.laid_surfaces import PAINT
from vaeneer.data.lighting import Material, turned
from vaeneer.data.patterns import (
    Sheet,
    cells,
    courses,
    cracks,
    each,
    grain,
    mixed,
    noise,
    palette,
    ramp,
    step,
    toned,
    vein,
)

YARN = (
    "2f3e5c 8793a8 d8d4c8",
    "7a2d32 c9b79c 3a3236",
    "3f5a48 a8b39a 20302a",
    "b9a78c d3c5ad 8f7d64",
    "4b4b50 8b8b90 c4c3c2",
    "a85d3a e0c9a0 4a3830",
    "5a4a72 b0a3c2 e2dcd4",
    "d9d2c4 ebe6dc c2b8a5",
)

METALS = (
    "8e9196 a9acb0 c3c6c9",
    "9c7a44 b8955a d0b27a",
    "94593f b07256 c98f72",
    "5a5d63 6d7177 858990",
    "b3b0a8 c9c6be dad8d2",
    "47525c 596672 6f7d89",
    "5c4a38 756049 927a5e",
)

CEMENT = (
    "8d8b87 a3a19c b7b5af",
    "6f706f 858685 9a9b99",
    "a39a8b b5ad9e c7c0b2",
    "b9b8b5 cac9c6 d9d8d5",
    "77726a 8c877e a19c92",
    "8a9093 9ea4a6 b3b8b9",
)

BITUMEN = ("3a3a3b 4c4c4c 616060", "4d4a47 605c58 76716b", "2c2d30 3a3c3f 4c4e51")


def fabric(sheet: Sheet) -> Material:
    """Woven cloth: plain, twill or basket weave, plain, striped or checked."""
    rng = sheet.rng
    threads = 8 * int(rng.integers(4, 13))
    x, y = sheet.axes()
    sway = noise(sheet, 4, slope=2.5) * np.float32(rng.uniform(0, 0.0025))
    u, v = (x + sway) * threads, (y + sway.T) * threads
    i, j = np.floor(u).astype(np.intp), np.floor(v).astype(np.intp)
    kind = sheet.turn % 3
    over = ((i + j) % 2, (i + j) % 4 // 2, (i // 2 + j // 2) % 2)[kind] == 0
    bulge_x = np.sqrt(np.clip(1 - (2 * (u - i) - 1) ** 2, 0, 1))
    bulge_y = np.sqrt(np.clip(1 - (2 * (v - j) - 1) ** 2, 0, 1))
    height = np.where(over, bulge_x * (0.4 + 0.6 * bulge_y), bulge_y * (0.4 + 0.6 * bulge_x))
    yarn = palette(sheet, YARN, main=True)
    period = int(rng.choice([threads // 2, threads // 4, threads]))
    contrast = float(rng.choice([0, 0.5, 1, 1]))
    bands = np.repeat(rng.random(period), rng.integers(1, max(2, period // 3), period))[:period]
    warp = bands[i % period] * contrast + rng.normal(0, 0.06, threads)[i % threads]
    weft = bands[j % period] * contrast if rng.random() < 0.6 else np.full(j.shape, rng.random())
    weft = weft + rng.normal(0, 0.06, threads)[j % threads]
    fuzz = noise(sheet, threads * 1.5, slope=1.2)
    colour = ramp(np.where(over, warp, weft) + 0.04 * fuzz, yarn)
    colour = toned(colour, 0.05 * grain(sheet) - 0.3 * (1 - height))
    relief = height / threads * rng.uniform(0.25, 0.45) + fuzz * 0.02 / threads
    return Material(colour, relief.astype(np.float32) + noise(sheet, 3) * np.float32(0.002))


def metal(sheet: Sheet) -> Material:
    """Brushed sheets: fine lines, soft reflections, scratches, sometimes riveted panels."""
    rng = sheet.rng
    brushed = noise(sheet, 150, slope=1.0, stretch=float(rng.uniform(60, 150)))
    sheen = noise(sheet, 1.5, slope=2.6, stretch=float(rng.uniform(0.1, 0.4)))
    scratch = vein(sheet, 4, 0.012, stretch=8) * step(noise(sheet, 4), 0.5, 1.5)
    patina = step(noise(sheet, 5, slope=1.5), 0.5, 2.5) * float(rng.choice([0, 0, 0.15]))
    tone = 0.45 + 0.09 * brushed + rng.uniform(0.08, 0.2) * sheen + 0.25 * scratch
    colour = toned(
        ramp(tone, palette(sheet, METALS, main=True)), 0.035 * brushed + 0.04 * sheen - patina
    )
    height = brushed * np.float32(0.00006) - scratch * np.float32(0.0004)
    height += noise(sheet, 2, slope=3) * np.float32(rng.uniform(0.0001, 0.0006))
    if sheet.turn % 2:
        across, down = rng.integers(1, 4, 2).tolist()
        panels = courses(sheet, [across] * down, np.zeros(down))
        pitch = 1 / 16
        seam = step(panels.edge, 0.002, 0.005)
        row = np.abs(panels.edge - np.float32(0.026))
        x, y = sheet.axes()
        beat_x, beat_y = (np.abs((a / pitch) % 1 - 0.5) * pitch for a in (x, y))
        near_side = 0.5 / across - np.abs(panels.x) < panels.edge + 1e-6
        rivet = 1 - step(np.hypot(row, np.where(near_side, beat_y, beat_x)), 0.004, 0.011)
        height += 0.003 * seam + 0.006 * rivet
        colour = toned(colour, -0.5 * (1 - seam) - 0.1 * step(rivet, 0, 0.3) + 0.1 * rivet)
    return turned(sheet, Material(colour, height, float(rng.uniform(0.1, 0.35))))


def rust(sheet: Sheet) -> Material:
    """Painted iron where the paint flakes off and the rust runs down."""
    rng = sheet.rng
    patch = noise(sheet, float(rng.uniform(2, 6)), slope=1.55)
    runs = noise(sheet, 6, slope=1.5, stretch=6, angle=np.pi / 2)
    bare = patch + np.float32(rng.uniform(0, 0.5)) * runs
    edge = float(rng.uniform(-1.0, 1.0))
    flaked = step(bare, edge, edge + 0.08)
    pits = noise(sheet, 40, slope=1.1)
    tone = 0.45 + 0.16 * noise(sheet, 8, slope=1.3) + 0.13 * pits
    iron = ramp(
        tone, palette(sheet, ("3a2119 6d3720 9a5227 b9713a", "2e1c18 5a2c1c 8a4521 a8602f"))
    )
    paint = ramp(0.5 + 0.15 * noise(sheet, 4, slope=1.6), palette(sheet, PAINT + METALS, main=True))
    stain = step(bare, edge - 1.2, edge) * 0.55
    paint = mixed(paint, np.array([0.5, 0.3, 0.17], np.float32), stain * step(runs, -1, 1.5))
    colour = toned(mixed(paint, iron, flaked), 0.04 * grain(sheet) - 0.05 * pits)
    height = -0.0022 * flaked + pits * np.where(flaked > 0.5, 0.0012, 0.0001).astype(np.float32)
    return Material(colour, height.astype(np.float32), float(rng.uniform(0, 0.2)))


def concrete(sheet: Sheet) -> Material:
    """Cast concrete: clouds, pores, stains, now and then cracks or the joints of the formwork."""
    rng = sheet.rng
    clouds = noise(sheet, float(rng.uniform(2, 6)), slope=1.7)
    rough = noise(sheet, 40, slope=1.2)
    pores = step(noise(sheet, 70, slope=2.5), rng.uniform(2.0, 2.6), 3.2)
    tone = 0.5 + rng.uniform(0.1, 0.22) * clouds + 0.06 * rough
    colour = toned(
        ramp(tone, palette(sheet, CEMENT, main=True)), 0.03 * grain(sheet) + 0.03 * rough
    )
    height = rough * np.float32(rng.uniform(0.0002, 0.0008)) - pores * np.float32(0.004)
    runs = step(noise(sheet, 5, slope=1.6, stretch=8, angle=np.pi / 2), 0.5, 2.5)
    colour = toned(colour, -0.3 * pores - runs * rng.uniform(0, 0.2))
    if rng.random() < 0.45:
        crack = cracks(sheet, int(rng.integers(2, 5)), 0.0016)
        colour, height = toned(colour, -0.65 * crack), height - crack * np.float32(0.003)
    if rng.random() < 0.45:
        rows = int(rng.choice([2, 3, 8, 10]))
        boards = courses(sheet, [2 if rows < 4 else 1] * rows, np.zeros(rows))
        seam = 1 - step(boards.edge, 0.0015, 0.005)
        colour = toned(colour, each(sheet, boards, -0.08, 0.08) - 0.35 * seam)
        height = height - seam * np.float32(0.003) + each(sheet, boards, 0, 0.001)
    return Material(colour, height)


def asphalt(sheet: Sheet) -> Material:
    """Small stones in bitumen, worn, patched and cracked; sometimes with road paint."""
    rng = sheet.rng
    binder = palette(sheet, BITUMEN, main=True)
    lay = cells(sheet, int(rng.integers(40, 90)), jitter=1)
    wear = noise(sheet, 4, slope=1.6)
    bare = each(sheet, lay) + 0.12 * wear
    stone = step(lay.edge * lay.count**0.5, 0.08, 0.25) * step(bare, 0.45, 0.6)
    tone = 0.3 + 0.15 * wear + 0.1 * grain(sheet)
    colour = mixed(ramp(tone, binder), ramp(each(sheet, lay), binder * 1.45), stone)
    height = stone * np.float32(0.0022) + noise(sheet, 60, slope=1.2) * np.float32(0.0006)
    if rng.random() < 0.6:
        crack = cracks(sheet, int(rng.integers(2, 6)), 0.0025)
        colour, height = toned(colour, -0.7 * crack), height - crack * np.float32(0.005)
    if sheet.turn % 5 == 2:
        x, _ = sheet.axes()
        band = np.float32(1) - step(np.abs(x - 0.5), 0.1, 0.104)
        band = band * step(0.8 * wear + noise(sheet, 50, slope=1.1), -2, -0.6)
        colour = mixed(colour, np.array([0.82, 0.8, 0.74], np.float32), band * np.float32(0.85))
    return turned(sheet, Material(colour, height))
