"""Vessels, vehicles and a guitar."""

from __future__ import annotations

import numpy as np

from jobs.data.catalog.furniture import Draw, Maybe, Parts
from jobs.data.catalog.solids import arc, box, cylinder, ellipsoid, lathe, mirrored, moved, plate, prism, tube, turned


def mug(u: Draw, maybe: Maybe) -> Parts:
    """An open cup with one handle, or none, or two."""
    radius, height = u(0.22, 0.36), u(0.35, 0.8)
    foot = radius * u(0.55, 1.05)
    wall = 0.04
    bulge = radius * u(0.95, 1.2)
    yield (
        "body",
        lathe([(0, 0), (foot, 0), (bulge, height * 0.5), (radius, height), (radius - wall, height), (foot - wall, wall), (0, wall)]),
    )
    if maybe(0.8):
        loop = tube(
            arc((u(0.12, 0.24), height * u(0.2, 0.36)), -np.pi / 2, np.pi / 2, (radius * 0.95, height * u(0.45, 0.55), 0)), u(0.02, 0.045)
        )
        yield "handle", loop
        if maybe(0.12):
            yield "handle", turned(loop, 1, np.pi)
    if maybe(0.2):
        yield "saucer", cylinder(radius * u(1.3, 1.9), -0.04, 0)


def bottle(u: Draw, maybe: Maybe) -> Parts:
    """A body that narrows to a neck; a cap, a pump or a handle perhaps; round or flat."""
    radius, height = u(0.14, 0.3), u(0.4, 0.8)
    neck, top = radius * u(0.2, 0.6), height + u(0.12, 0.4)
    shoulder = height + (top - height) * u(0.1, 0.6)
    flat = np.array([1, 1, u(0.45, 0.8) if maybe(0.3) else 1.0])
    yield "body", lathe([(0, 0), (radius * u(0.8, 1), 0), (radius, height * 0.5), (radius * u(0.7, 1), height), (neck, shoulder)]) * flat
    yield "neck", lathe([(neck, shoulder), (neck * u(0.7, 1.1), top)]) * flat
    if maybe(0.55):
        yield "cap", cylinder(neck * 1.25, top - 0.03, top + u(0.03, 0.12))
    elif maybe(0.4):
        yield "cap", tube([(0, top, 0), (0, top + 0.1, 0), (u(0.08, 0.2), top + 0.1, 0)], 0.025)
    if maybe(0.25):
        yield "handle", tube(arc((u(0.1, 0.2), height * 0.3), -np.pi / 2, np.pi / 2, (radius * 0.9, height * 0.65, 0)), 0.025)


def vase(u: Draw, maybe: Maybe) -> Parts:
    """An open vessel with a drawn profile; two handles or a foot perhaps."""
    height = u(0.5, 1.0)
    radii = [u(0.1, 0.24), u(0.16, 0.36), u(0.14, 0.34), u(0.06, 0.22), u(0.08, 0.28)]
    heights = [0, height * 0.25, height * 0.55, height * 0.82, height]
    fine = np.linspace(0, height, 12)
    yield "body", lathe([(0, 0), *zip(np.interp(fine, heights, radii), fine, strict=True)])
    if maybe(0.3):
        loop = tube(arc((u(0.08, 0.18), height * 0.18), -np.pi / 2, np.pi / 2, (radii[2] * 0.9, height * 0.68, 0)), 0.022)
        yield "handle", mirrored(loop, 0)
    if maybe(0.3):
        yield "foot", cylinder(radii[0] * 1.3, -0.06, 0)


def guitar(u: Draw, maybe: Maybe) -> Parts:
    """A body of two bouts or an angular one, a long neck and a head; standing or lying."""
    lower, upper, thick = u(0.24, 0.34), u(0.18, 0.27), u(0.05, 0.14)
    length = u(0.55, 0.8)
    if maybe(0.75):
        body = np.concatenate([cylinder(lower, -thick / 2, thick / 2), moved(cylinder(upper, -thick / 2, thick / 2), (0, 0, lower * 0.9))])
        start = lower * 0.9 + upper
    else:
        start = lower * 1.5
        body = plate([(-lower, -lower * 0.9), (lower, -lower), (upper, start), (-upper * u(0.2, 1), start * 0.8)], -thick / 2, thick / 2)
    neck = box((0.06, 0.04, length), (0, thick * 0.4, start + length / 2 - 0.05))
    head = box((u(0.09, 0.14), 0.03, 0.16), (0, thick * 0.4, start + length))
    lean = -np.pi / 2 + u(-0.25, 0.25) if maybe(0.7) else 0.0
    for name, solid in (("body", body), ("neck", neck), ("head", head)):
        yield name, turned(solid, 0, lean)


def airplane(u: Draw, maybe: Maybe) -> Parts:
    """A fuselage along z, wings swept or straight, high or low, one pair or two; a tail; jets or propellers."""
    length, radius = u(1.2, 1.8), u(0.07, 0.15)
    yield (
        "fuselage",
        ellipsoid((2 * radius, 2 * radius, length), (0, 0, 0))
        if maybe(0.5)
        else turned(
            lathe([(0, -length / 2), (radius * 0.5, -length * 0.4), (radius, -length * 0.1), (radius, length * 0.3), (0, length / 2)]),
            0,
            np.pi / 2,
        ),
    )
    span, chord, sweep = u(0.5, 1.0), u(0.16, 0.38), u(-0.05, 0.55)
    tip = chord * u(0.2, 1)
    wing = plate([(0, -chord / 2), (0, chord / 2), (span, chord / 2 - sweep), (span, chord / 2 - sweep - tip)], -0.015, 0.015)
    wing = mirrored(turned(wing, 2, u(-0.05, 0.12)), 0)
    level = u(-0.7, 0.9) * radius
    yield "wing", moved(wing, (0, level, u(-0.05, 0.15)))
    if maybe(0.15):
        yield "wing", moved(wing, (0, level + u(0.2, 0.3), 0.1))
    high = u(0.15, 0.4)
    fin = [(0.0, -length / 2 + 0.02), (0.0, -length / 2 + 0.25), (high, -length / 2 + 0.1), (high, -length / 2 - 0.02)]
    yield "tail", turned(plate(fin, -0.012, 0.012), 2, np.pi / 2)
    flat = mirrored(
        plate([(0, -length / 2), (0, -length / 2 + 0.2), (u(0.2, 0.4), -length / 2 + 0.05), (0.2, -length / 2 - 0.03)], -0.012, 0.012), 0
    )
    yield "tail", moved(flat, (0, high if maybe(0.25) else 0.03, 0))
    if maybe(0.6):
        for x in np.linspace(0.3, 0.65, 2 if maybe(0.3) else 1):
            engine = mirrored(
                turned(cylinder(u(0.04, 0.07), -0.12, 0.12), 0, np.pi / 2) + np.array([span * x, level - 0.06, 0.1 - sweep * x]), 0
            )
            yield "engine", engine
    elif maybe(0.5):
        yield "engine", mirrored(box((u(0.2, 0.3), 0.04, 0.02), (0.1, 0, length / 2)), 0)


def car(u: Draw, maybe: Maybe) -> Parts:
    """A body along z with a cabin that makes it a saloon, van, pickup or sports car, and four wheels or six."""
    length, width, body = u(0.9, 1.5), u(0.45, 0.6), u(0.14, 0.26)
    wheel = u(0.09, 0.15)
    yield "body", box((width, body, length), (0, wheel + body / 2, 0))
    top, cabin = u(0.12, 0.4), length * u(0.3, 0.9)
    shrink_front, shrink_back = u(0.5, 0.95), u(0.6, 1.0)
    at = u(-0.5, 0.5) * (length - cabin)
    base = np.array(
        [(x, wheel + body, z * cabin / 2 + at) for x, z in ((-width / 2, -1), (width / 2, -1), (width / 2, 1), (-width / 2, 1))]
    )
    roof = base + np.array([0, top, 0])
    roof[:2, 2] = at - cabin / 2 * shrink_back
    roof[2:, 2] = at + cabin / 2 * shrink_front
    roof[:, 0] *= u(0.75, 0.98)
    yield "cabin", prism(base, roof)
    round_wheel = turned(cylinder(wheel, -0.045, 0.045), 2, np.pi / 2)
    axles = [-length * u(0.28, 0.36), length * u(0.28, 0.36)] + ([-length * 0.12] if maybe(0.12) else [])
    for z in axles:
        yield "wheel", mirrored(moved(round_wheel, (width / 2, wheel, z)), 0)
    if maybe(0.25):
        yield "spoiler", box((width, 0.02, 0.08), (0, wheel + body + 0.1, -length / 2))


def ship(u: Draw, maybe: Maybe) -> Parts:
    """A hull along z that narrows to a bow; cabins, a funnel, masts or a sail."""
    length, width, depth = u(1.2, 1.8), u(0.26, 0.5), u(0.14, 0.32)
    bow, stern = u(0.25, 0.5), u(0.5, 1)
    deck = np.array(
        [
            (-width / 2 * stern, 0, -length / 2),
            (width / 2 * stern, 0, -length / 2),
            (width / 2, 0, 0),
            (width / 2, 0, length / 2 - bow),
            (0, 0, length / 2),
            (-width / 2, 0, length / 2 - bow),
            (-width / 2, 0, 0),
        ]
    )
    keel = deck * [u(0.3, 0.8), 1, u(0.75, 0.95)] - [0, depth, 0]
    yield "hull", prism(keel, deck)
    if maybe(0.7):
        tall, long = u(0.08, 0.2), length * u(0.15, 0.5)
        at = u(-0.3, 0.1) * length
        for level in range(int(u(1, 4))):
            yield "cabin", box((width * (0.75 - 0.15 * level), tall, long * (1 - 0.2 * level)), (0, tall * (level + 0.5), at))
        if maybe(0.6):
            yield "funnel", cylinder(0.05, 0, u(0.3, 0.55), (0, 0, at - 0.1))
    if maybe(0.55):
        mast = u(0.5, 1.0)
        for z in np.linspace(-0.25, 0.25, int(u(1, 3.5))) * length:
            yield "mast", cylinder(0.015, 0, mast, (0, 0, float(z)))
            if maybe(0.5):
                sail = plate([(0.08, 0), (mast * 0.95, 0), (0.1, -length * 0.25)], -0.008, 0.008)
                yield "sail", moved(turned(sail, 2, np.pi / 2), (0, 0, float(z)))
