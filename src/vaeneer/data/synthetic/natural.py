"""Surfaces that grow or lie about: one function for each family, from a sheet to a material."""

from __future__ import annotations

import numpy as np

from vaeneer.data.synthetic.textures import (
    PALETTES,
    Material,
    Sheet,
    cells,
    each,
    grain,
    mixed,
    noise,
    palette,
    ramp,
    step,
    toned,
    turned,
    vein,
)


def wood(sheet: Sheet) -> Material:
    """One board: growth rings cut lengthways, knots, fibres and pores."""
    rng = sheet.rng
    x, y = sheet.axes()
    depth = y * int(rng.integers(1, 4)) + 0 * x
    depth = depth + rng.uniform(0.08, 0.3) * noise(sheet, 2, slope=2.6, stretch=5)
    knots = np.zeros_like(depth)
    for _ in range(int(rng.integers(0, 4))):
        dx, dy = (x - rng.random() + 0.5) % 1 - 0.5, (y - rng.random() + 0.5) % 1 - 0.5
        size = rng.uniform(0.02, 0.05)
        knot = np.exp(-np.sqrt((dx / 2.2) ** 2 + dy**2) / size)
        knots, depth = np.maximum(knots, knot), depth + rng.uniform(0.8, 1.6) * knot
    rings = depth * int(rng.integers(4, 10))
    ring = (rings - np.floor(rings)).astype(np.float32)
    late = ring**3 * (1 - step(ring, 0.92, 1))
    fibre = noise(sheet, 70, slope=1.1, stretch=22)
    pores = step(noise(sheet, 90, slope=1.6, stretch=14), 1.2, 2.2)
    tone = 0.2 + rng.uniform(0.4, 0.8) * late + 0.1 * fibre + 0.12 * noise(sheet, 2, stretch=3)
    tone = tone + 0.8 * step(knots.astype(np.float32), 0.35, 0.9)
    colour = toned(
        ramp(tone.astype(np.float32), palette(sheet, PALETTES["wood"], main=True)),
        0.04 * fibre - 0.2 * pores,
    )
    height = (0.0006 * late + 0.00025 * fibre - 0.0005 * pores).astype(np.float32)
    return turned(sheet, Material(colour, height, float(rng.uniform(0, 0.2))))


def bark(sheet: Sheet) -> Material:
    """Plates of bark with deep furrows between them, along the trunk."""
    rng = sheet.rng
    columns = int(rng.integers(7, 16))
    rows = max(2, columns // int(rng.integers(3, 7)))
    plates = cells(sheet, columns, rows, jitter=1, bend=0.035)
    rough = noise(sheet, 10, slope=1.4, stretch=float(rng.uniform(2, 5)), angle=np.pi / 2)
    body = plates.edge * columns + 0.06 * rough
    plate = step(body, -0.02, 0.32)
    height = plate * np.float32(0.16 / columns) + rough * np.float32(0.0028)
    height += noise(sheet, 50, slope=1.3, stretch=3, angle=np.pi / 2) * np.float32(0.0011)
    tone = 0.15 + 0.45 * plate + 0.13 * rough + each(sheet, plates, 0, 0.25)
    colour = toned(ramp(tone, palette(sheet, PALETTES["bark"], main=True)), 0.06 * grain(sheet))
    moss = step(noise(sheet, 4, slope=1.3), 0.5, 1.8) * plate * np.float32(rng.choice([0, 0, 0.7]))
    return Material(mixed(colour, np.array([0.34, 0.4, 0.18], np.float32), moss), height)


def leather(sheet: Sheet) -> Material:
    """Grained hide: small cushions between fine creases, larger folds, wear."""
    rng = sheet.rng
    columns = int(rng.integers(22, 60))
    hide = cells(sheet, columns, round(columns * rng.uniform(0.7, 1.4)), jitter=1, bend=0.02)
    cushion = step(hide.edge * columns, 0.0, rng.uniform(0.2, 0.45))
    folds = vein(sheet, 3, 0.04) * np.float32(rng.uniform(0, 1))
    wear = noise(sheet, 3, slope=1.8)
    height = cushion * np.float32(0.09 / columns) + each(sheet, hide, 0, 0.03 / columns)
    height += noise(sheet, 80, slope=1.2) * np.float32(0.00015) - folds * np.float32(0.002)
    tone = 0.42 + 0.11 * wear + 0.2 * cushion + 0.05 * grain(sheet) - 0.3 * folds
    colour = toned(
        ramp(tone, palette(sheet, PALETTES["hide"], main=True)), each(sheet, hide, -0.06, 0.06)
    )
    return Material(colour, height, float(rng.uniform(0.15, 0.6)))


def cork(sheet: Sheet) -> Material:
    """Pressed granules of cork, light and dark, with pits."""
    rng = sheet.rng
    columns = int(rng.integers(14, 70))
    lay = cells(sheet, columns, jitter=1, bend=0.4 / columns)
    rough = noise(sheet, 50, slope=1.3)
    dark = (each(sheet, lay) < rng.uniform(0.02, 0.25)).astype(np.float32)
    tone = each(sheet, lay, 0.35, 0.95) + 0.1 * rough - 0.4 * dark
    gap = 1 - step(lay.edge * columns, 0.0, 0.12)
    pits = step(noise(sheet, 35, slope=2.2), 1.9, 2.4)
    colour = toned(
        ramp(tone, palette(sheet, PALETTES["cork"], main=True)),
        -0.15 * gap - 0.45 * pits + 0.04 * rough,
    )
    height = each(sheet, lay, 0, 0.03 / columns) - gap * np.float32(0.0008)
    return Material(colour, height - pits * np.float32(0.004) + rough * np.float32(0.0004))


def marble(sheet: Sheet) -> Material:
    """Polished marble: clouds, broad and fine veins in one direction."""
    rng = sheet.rng
    colours = palette(sheet, PALETTES["veined"], main=True)
    drift, stretch = float(rng.uniform(0, np.pi)), float(rng.uniform(1, 3.5))
    clouds = noise(sheet, 2, slope=1.9, stretch=stretch, angle=drift)
    fold = noise(sheet, float(rng.uniform(1.2, 3)), slope=2.1, stretch=stretch, angle=drift)
    banded = 0.5 + 0.5 * np.sin(fold * np.float32(rng.uniform(1, 3)))
    amount = float(rng.choice([0.1, 0.3, 0.8]))
    tone = (0.2 * clouds + 0.25) * (1 - amount) + amount * banded
    colour = ramp(tone, colours[:3])
    for scale, width, strength in ((1.2, 0.05, 0.9), (1.2, 0.012, 0.8), (3, 0.03, 0.5)):
        angle = drift + float(rng.normal(0, 0.3))
        wander = noise(sheet, scale, slope=2.15, stretch=stretch, angle=angle)
        line = np.exp(-np.abs(wander) / width) * step(noise(sheet, 1.5), -0.8, 0.8)
        colour = mixed(colour, colours[3], (line * strength).astype(np.float32))
    colour = toned(colour, 0.012 * grain(sheet))
    return Material(colour, noise(sheet, 2) * np.float32(0.0006), float(rng.uniform(0, 0.35)))


def rock(sheet: Sheet) -> Material:
    """A broken rock face: tilted facets, ledges, roughness, now and then lichen."""
    rng = sheet.rng
    columns = int(rng.integers(3, 8))
    facets = cells(sheet, columns, int(rng.integers(3, 10)), jitter=1, bend=0.08)
    tilt = rng.uniform(0.1, 0.35)
    height = (
        each(sheet, facets, -tilt, tilt) * facets.x + each(sheet, facets, -tilt, tilt) * facets.y
    )
    height += each(sheet, facets, 0, 0.1 / columns)
    angle, stretch = float(rng.uniform(0, np.pi)), float(rng.uniform(1, 4))
    ledges = np.abs(noise(sheet, 4, slope=1.9, stretch=stretch, angle=angle))
    rough = noise(sheet, 12, slope=1.45, stretch=stretch**0.5, angle=angle)
    height += ledges * np.float32(0.012) + rough * np.float32(0.0035)
    tone = 0.3 + 0.2 * ledges + 0.12 * rough + each(sheet, facets, -0.1, 0.1)
    colour = toned(
        ramp(tone, palette(sheet, PALETTES["stone"], main=True)), 0.05 * grain(sheet) + 0.05 * rough
    )
    lichen = step(noise(sheet, 6, slope=1.3), 0.8, 1.6) * np.float32(rng.choice([0, 0, 0.7]))
    colour = mixed(colour, np.array([0.5, 0.5, 0.26], np.float32), lichen)
    return Material(colour, height.astype(np.float32))


def cobble(sheet: Sheet) -> Material:
    """Rounded stones set in earth, as paving or as a field-stone wall."""
    rng = sheet.rng
    columns = int(rng.integers(4, 11))
    lay = cells(sheet, columns, columns, jitter=float(rng.uniform(0.4, 0.9)), stagger=True)
    rough = noise(sheet, 20, slope=1.5)
    inside = lay.edge * columns + 0.02 * rough
    joint = rng.uniform(0.02, 0.1)
    face = step(inside, joint, joint + 0.05)
    dome = step(inside, joint - 0.02, joint + rng.uniform(0.15, 0.4))
    height = dome * np.float32(0.14 / columns) + each(sheet, lay, 0, 0.05 / columns)
    height += rough * np.float32(0.0012)
    tone = each(sheet, lay) * 0.9 + 0.12 * rough
    stone = ramp(tone, palette(sheet, PALETTES["stone"] + PALETTES["pebbles"], main=True))
    earth = ramp(
        0.5 + 0.2 * rough, palette(sheet, ("3a3128 5a4d3f", "6e675c 8f877a", "33381f 535a34"))
    )
    return Material(toned(mixed(earth, stone, face), 0.05 * grain(sheet)), height)


def gravel(sheet: Sheet) -> Material:
    """Loose pebbles in layers: large ones over small ones."""
    rng = sheet.rng
    colours = palette(sheet, PALETTES["pebbles"], main=True)
    largest, round_off = int(rng.integers(7, 20)), float(rng.uniform(0.46, 0.62))
    height = np.zeros((sheet.side, sheet.side), np.float32)
    dust = noise(sheet, 60, slope=1.2)
    colour = ramp(0.4 + 0.35 * dust, colours * 0.6)
    for columns, share in ((largest * 2, 1.0), (largest, float(rng.uniform(0.35, 0.8)))):
        lay = cells(sheet, columns, jitter=1, bend=0.2 / columns)
        there = each(sheet, lay) < share
        radius = np.hypot(lay.x, lay.y) * columns
        inside = np.minimum(lay.edge * columns, round_off - radius) - each(sheet, lay, 0, 0.05)
        stone = step(np.where(there, inside, -1), 0, 0.04)
        dome = np.sqrt(np.clip(inside / 0.5, 0, 1)) * np.float32(0.3 / columns)
        lean = each(sheet, lay, -0.25, 0.25) * lay.x + each(sheet, lay, -0.25, 0.25) * lay.y
        body = toned(ramp(each(sheet, lay), colours), each(sheet, lay, -0.1, 0.1) + 0.05 * dust)
        colour = mixed(colour, body, stone)
        height = np.where(stone > 0.5, 0.5 * height + dome + lean, height)
    height = height + dust * np.float32(0.0005)
    return Material(toned(colour, 0.03 * grain(sheet)), height.astype(np.float32))


def sand(sheet: Sheet) -> Material:
    """Wind ripples in sand, with grain and scattered dark bits."""
    rng = sheet.rng
    x, y = sheet.axes()
    waves = int(rng.integers(5, 22))
    cross = int(rng.integers(-waves // 2, waves // 2 + 1))
    drift = noise(sheet, 2, slope=3) * np.float32(rng.uniform(0.4, 2))
    phase = 2 * np.pi * (cross * x + waves * y) + drift
    if rng.random() < 0.5:
        phase = phase.T
    ripple = 0.5 + 0.5 * np.sin(phase + 0.5 * np.sin(phase))  # one flank steeper than the other
    calm = step(noise(sheet, 2), -1.5, 0.8)
    dune = noise(sheet, 2, slope=2.6)
    height = ripple * calm * rng.uniform(0.08, 0.2) / waves + 0.005 * dune
    height = height + grain(sheet) * 0.0004 + 0.0008 * noise(sheet, 40, slope=1.2)
    bits = step(grain(sheet), 2.6, 3.0)
    tone = 0.35 + 0.3 * ripple * calm + 0.1 * dune + 0.09 * grain(sheet)
    colour = toned(
        ramp(tone.astype(np.float32), palette(sheet, PALETTES["sands"], main=True)), -0.3 * bits
    )
    return Material(colour.astype(np.float32), height.astype(np.float32))


def grass(sheet: Sheet) -> Material:
    """Blades of grass or straw, each a curved stroke over the ones that were there before."""
    rng = sheet.rng
    side, blades, joints = sheet.side, int(rng.integers(1500, 4000)), 40
    length = rng.uniform(0.06, 0.18) * rng.uniform(0.6, 1.3, blades)
    heading = rng.uniform(0, 2 * np.pi) + rng.normal(0, rng.uniform(0.3, 2.5), blades)
    t = np.linspace(0, 1, joints)[None, :]
    bent = heading[:, None] + rng.normal(0, 0.6, blades)[:, None] * t
    reach = length[:, None] * t
    width = rng.uniform(0.0012, 0.0026)
    tone = (rng.uniform(0.25, 0.85, blades) + np.linspace(-0.2, 0.15, blades))[:, None]
    level = np.linspace(0, 0.02, blades)[:, None] + 0.012 * t
    x, y = (rng.random(blades)[:, None] + reach * f(bent) for f in (np.cos, np.sin))
    height = np.zeros((side, side), np.float32)
    tones = 0.12 * noise(sheet, 30, slope=1.3) + 0.08
    for beside in np.arange(-2, 3) * width:
        taper = beside * (1 - 0.7 * t)
        across = ((x - taper * np.sin(bent)) * side).astype(np.intp) % side
        down = ((y + taper * np.cos(bent)) * side).astype(np.intp) % side
        round_off = 0.0015 * (beside == 0)
        tones[down, across] = tone + 0.25 * t
        height[down, across] = level + round_off
    colours = palette(sheet, PALETTES["meadow"], main=True)
    dry = step(noise(sheet, 3, slope=1.6), 0.2, 1.8) * np.float32(rng.uniform(0, 0.6))
    colour = mixed(ramp(tones, colours), colours[-1], dry * np.float32(0.5))
    return Material(toned(colour, 0.04 * grain(sheet)), height)
