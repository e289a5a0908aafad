"""Surfaces laid, woven, rolled or poured: a function for each family, sheet to material."""

from __future__ import annotations

import numpy as np

from vaeneer.data.synthetic.textures import (
    PALETTES,
    Field,
    Material,
    Pieces,
    Sheet,
    basket,
    cells,
    courses,
    cracks,
    each,
    grain,
    herringbone,
    mixed,
    noise,
    palette,
    ramp,
    scattered,
    step,
    toned,
    turned,
    vein,
)


def brick(sheet: Sheet) -> Material:
    """Fired bricks in a bond, in sunken mortar."""
    rng = sheet.rng
    rows = 2 * int(rng.integers(3, 8))
    columns = max(2, round(rows / rng.uniform(1.8, 3.4)))
    lap = float(rng.choice([0.5, 0.5, 0.33, 0.25]))
    shifts = lap * (np.arange(rows) % 2) + rng.normal(0, rng.choice([0.0, 0.04]), rows)
    wall = courses(sheet, [columns] * rows, shifts, bend=float(rng.uniform(0, 0.006)))
    joint = rng.uniform(0.035, 0.08) / rows
    rough = noise(sheet, 24, slope=1.6)
    edge = wall.edge + rough * np.float32(joint * rng.uniform(0.1, 0.35))
    face = step(edge, joint, joint * 1.7)
    relief = rng.uniform(0.004, 0.009)
    height = face * (relief + each(sheet, wall, -0.2, 0.2) * relief)
    height += rough * np.float32(rng.uniform(0.0003, 0.0011))
    height += grain(sheet) * np.float32(0.00025)
    tone = each(sheet, wall) * 0.75 + 0.12 * noise(sheet, 9, slope=1.5) + 0.12
    colour = toned(
        ramp(tone, palette(sheet, PALETTES["masonry"], main=True)),
        0.05 * grain(sheet) + 0.06 * rough,
    )
    mortar = ramp(0.5 + 0.2 * rough + 0.15 * grain(sheet), palette(sheet, PALETTES["grout"]))
    colour = mixed(mortar, colour, face)
    soot = step(noise(sheet, 3, slope=1.8), 0.2, 2.4) * rng.uniform(0, 0.35)
    return Material(toned(colour, -soot), height)


def tile(sheet: Sheet) -> Material:
    """Glazed ceramic tiles: squares, bars or hexagons, plain, mixed or chequered."""
    rng = sheet.rng
    across = 2 * int(rng.integers(2, 6))
    kind = sheet.turn % 3
    if kind == 0:
        wall = courses(sheet, [across] * across, np.zeros(across))
    elif kind == 1:
        wall = courses(sheet, [across // 2] * across, 0.5 * (np.arange(across) % 2))
    else:
        wall = cells(sheet, across, 2 * round(across * 0.577), jitter=0, stagger=True)
    joint = rng.uniform(0.02, 0.045) / across
    face = step(wall.edge, joint, joint * 1.5)
    height = 0.004 * step(wall.edge, joint, joint * 3.5)
    height += each(sheet, wall, -1, 1) * np.float32(0.004) * wall.x
    height += each(sheet, wall, -1, 1) * np.float32(0.004) * wall.y
    height += noise(sheet, 8, slope=2.5) * np.float32(0.00025)
    glaze = palette(sheet, PALETTES["ceramic"], main=True)
    tone = each(sheet, wall) * rng.uniform(0.2, 1) + 0.1 * noise(sheet, 6, slope=1.6)
    colour = ramp(tone, glaze)
    if rng.random() < 0.5:
        other = rng.random(wall.count) < 0.35
        if kind == 0:
            other = np.add.outer(np.arange(across), np.arange(across)).ravel() % 2 == 1
        second = ramp(tone, palette(sheet, PALETTES["ceramic"]))
        colour = mixed(colour, second, other[wall.label].astype(np.float32))
    colour = toned(colour, 0.015 * grain(sheet) - 0.12 * (1 - step(wall.edge, 0, joint * 5)))
    grout = ramp(0.5 + 0.2 * grain(sheet), palette(sheet, PALETTES["grout"]))
    return Material(mixed(grout, colour, face), height, float(rng.uniform(0.3, 0.9)))


def terrazzo(sheet: Sheet) -> Material:
    """Chips of stone in cement, ground flat and polished."""
    rng = sheet.rng
    chips = palette(sheet, PALETTES["chips"], main=True)
    base = chips[int(rng.integers(len(chips)))]
    colour = np.broadcast_to(base, (sheet.side, sheet.side, 3)).astype(np.float32)
    colour = toned(colour, 0.025 * grain(sheet) + 0.02 * noise(sheet, 20, slope=1.2))
    largest = int(rng.integers(8, 20))
    for columns, share in ((largest * 3, 0.55), (largest, float(rng.uniform(0.3, 0.75)))):
        lay = cells(sheet, columns, jitter=1, bend=0.3 / columns)
        inset = each(sheet, lay, 0.04, 0.22) / columns
        inset = np.where(each(sheet, lay) < share, inset, 1)
        chip = step(lay.edge - inset, 0, 1.2 / sheet.side)
        stone = toned(ramp(each(sheet, lay), chips), 0.05 * noise(sheet, 30, slope=1.4))
        colour = mixed(colour, stone, chip)
    return Material(colour, noise(sheet, 3) * np.float32(0.0004), float(rng.uniform(0, 0.3)))


def _shingles(
    sheet: Sheet, rows: int, columns: int, *, shift: float, depth: float, ragged: float
) -> Pieces:
    """Rows that overlap the next one below by `depth` (round) and up to `ragged` (straight).

    y of a piece runs from 0 at the top of its own row to 2 at the bottom of the next, in rows.
    """
    wall = courses(sheet, [columns] * rows, shift * (np.arange(rows) % 2))
    x, y = np.broadcast_arrays(*sheet.axes())
    row = np.floor(y * rows).astype(np.intp)
    above = (row - 1) % rows
    u = x * columns + np.float32(shift) * (above % 2)
    column = np.floor(u).astype(np.intp)
    within = (u - column - np.float32(0.5)) / columns
    label = above * columns + column % columns
    reach = sheet.rng.uniform(0, ragged, rows * columns).astype(np.float32)[label]
    reach += np.float32(depth) * np.sqrt(np.clip(1 - (2 * within * columns) ** 2, 0, 1))
    down = y * rows - row
    covered = down < reach
    place_x = np.where(covered, within, wall.x)
    place_y = np.where(covered, down + 1, down).astype(np.float32)
    edge = np.asarray(0.5 / columns - np.abs(place_x), np.float32)
    return Pieces(np.where(covered, label, wall.label), wall.count, edge, place_x, place_y)


def roof(sheet: Sheet) -> Material:
    """Shingles, scales or curved tiles, each row over the one below."""
    rng = sheet.rng
    curved = sheet.turn % 3 == 2
    rows = 2 * int(rng.integers(2, 5) if curved else rng.integers(3, 8))
    columns = max(3, round(rows * (rng.uniform(1, 1.8) if curved else rng.uniform(0.6, 1.3))))
    depth = 0.0 if curved else float(rng.choice([0, 0.2, 0.5]))
    ragged = 0.02 if curved else float(rng.uniform(0.04, 0.25))
    shift = 0.0 if curved else 0.5  # the channels of curved tiles run down the whole roof
    pieces = _shingles(sheet, rows, columns, shift=shift, depth=depth, ragged=ragged)
    gap = 0.03 / columns
    rise = 0.05 / rows
    height = pieces.y * np.float32(rise) + each(sheet, pieces, 0, 0.25) * np.float32(rise)
    if curved:
        wave = pieces.x * np.float32(2 * np.pi * columns)
        height += np.cos(wave + 0.5 * np.sin(wave)) * np.float32(0.2 / columns)
    height -= np.float32(rise) * (1 - step(pieces.edge, 0, gap))
    rough = noise(sheet, 30, slope=1.5, stretch=float(rng.uniform(1, 3)), angle=np.pi / 2)
    height += rough * np.float32(rng.uniform(0.0002, 0.0009))
    tone = each(sheet, pieces) * 0.8 + 0.1 * rough + 0.1
    under = 0.35 * (1 - step(pieces.y, 0.0, 0.6))
    colour = toned(
        ramp(tone, palette(sheet, PALETTES["slate"], main=True)),
        0.04 * grain(sheet) + 0.05 * rough - under,
    )
    moss = step(noise(sheet, 5, slope=1.4), 1.0, 2.2) * rng.uniform(0, 0.6)
    colour = mixed(colour, np.array([0.36, 0.4, 0.2], np.float32), moss)
    return Material(colour, height, float(rng.uniform(0, 0.25)))


def _fibres(sheet: Sheet, stretch: float) -> Field:
    """Wood fibres along x: long waves and fine lines together, about -2 to 2."""
    fine = noise(sheet, 60, slope=1.2, stretch=stretch * 2)
    return 0.6 * noise(sheet, 12, slope=1.5, stretch=stretch) + 0.4 * fine


def parquet(sheet: Sheet) -> Material:
    """Varnished wooden blocks as herringbone or strips."""
    rng = sheet.rng
    if sheet.turn % 3:
        length = int(rng.integers(3, 6))
        across = 2 * length * int(rng.integers(1, 3))
        pieces, lying = herringbone(sheet, across, length)
    else:
        squares, strips = 2 * int(rng.integers(1, 4)), int(rng.integers(4, 7))
        across = squares * strips
        pieces, lying = basket(sheet, squares, strips)
    along = scattered(sheet, _fibres(sheet, 9), pieces)
    beside = scattered(sheet, np.ascontiguousarray(_fibres(sheet, 9).T), pieces)
    fibre = np.where(lying, along, beside)
    spread = rng.uniform(0.25, 0.9)
    tone = 0.5 + (each(sheet, pieces) - 0.5) * spread + 0.13 * fibre
    joint = 0.02 / across
    face = step(pieces.edge, joint * 0.3, joint * 1.6)
    colour = toned(
        ramp(tone, palette(sheet, PALETTES["timber"], main=True)), 0.05 * fibre - 0.6 * (1 - face)
    )
    height = 0.0012 * face + fibre * np.float32(0.00012)
    height += (each(sheet, pieces, -1, 1) * pieces.x) * np.float32(0.01)
    return Material(colour, height.astype(np.float32), float(rng.uniform(0, 0.35)))


def planks(sheet: Sheet) -> Material:
    """Boards side by side, weathered or painted, with nails and open joints."""
    rng = sheet.rng
    boards = int(rng.integers(4, 11))
    lengths = [int(rng.choice([1, 1, 2]))] * boards
    deck = courses(sheet, lengths, rng.random(boards))
    fibre = scattered(sheet, _fibres(sheet, 14), deck)
    joint = rng.uniform(0.02, 0.05) / boards
    face = step(deck.edge, joint * 0.5, joint * 1.8)
    height = face * (0.006 + each(sheet, deck, -0.0015, 0.0015)) + fibre * np.float32(0.0006)
    tone = each(sheet, deck, 0.15, 0.85) + 0.2 * fibre
    wood = toned(
        ramp(tone, palette(sheet, PALETTES["timber"], main=True)),
        0.05 * grain(sheet) + 0.05 * fibre,
    )
    if rng.random() < 0.45:
        worn = noise(sheet, 10, slope=1.3, stretch=3) + 0.9 * fibre
        coat = step(worn, -2.2 + rng.uniform(0, 1.8), -1.8 + rng.uniform(0, 1.8) + 0.2)
        paint = ramp(each(sheet, deck) + 0.05 * fibre, palette(sheet, PALETTES["paint"]))
        wood, height = mixed(wood, paint, coat), height + coat * np.float32(0.0006)
    end = np.abs(np.abs(deck.x) - np.float32(0.5 / lengths[0] - 0.03))
    side = np.abs(np.abs(deck.y) - np.float32(0.28 / boards))
    nail = 1 - step(np.hypot(end, side), 0.003, 0.006)
    colour = toned(wood, -0.75 * (1 - face) - 0.6 * nail)
    return turned(sheet, Material(colour, height - nail * np.float32(0.002)))


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
    yarn = palette(sheet, PALETTES["yarn"], main=True)
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
        ramp(tone, palette(sheet, PALETTES["metals"], main=True)),
        0.035 * brushed + 0.04 * sheen - patina,
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
    paint = ramp(
        0.5 + 0.15 * noise(sheet, 4, slope=1.6),
        palette(sheet, PALETTES["paint"] + PALETTES["metals"], main=True),
    )
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
        ramp(tone, palette(sheet, PALETTES["cement"], main=True)),
        0.03 * grain(sheet) + 0.03 * rough,
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
    binder = palette(sheet, PALETTES["bitumen"], main=True)
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
