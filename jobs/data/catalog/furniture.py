"""Seats, tables, beds and shelves. They share legs, backs and tops on purpose: a class is told by the whole, not by one part."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from jobs.data.catalog.solids import Triangles, box, cylinder, lathe, mirrored, moved, tube, turned

Parts = Iterator[tuple[str, Triangles]]
Draw = Callable[[float, float], float]  # a uniform number between two bounds
Maybe = Callable[[float], bool]  # true with this probability


def _legs(u: Draw, maybe: Maybe, width: float, depth: float, height: float) -> Parts:
    """Four legs straight or splayed, perhaps with rails; or a pedestal; or two runners."""
    thick = u(0.02, 0.045)
    x, z = width / 2 - thick, depth / 2 - thick
    style = u(0, 1)
    if style < 0.6:
        splay = u(0, 0.09) if maybe(0.5) else 0.0
        leg = (
            tube([[x, height, z], [x + splay, 0, z + splay]], thick, 6)
            if maybe(0.6)
            else box((2 * thick, height, 2 * thick), (x, height / 2, z))
        )
        yield "leg", mirrored(mirrored(leg, 0), 2)
        if maybe(0.35):
            at = height * u(0.2, 0.7)
            yield "leg", mirrored(box((2 * x, thick, thick), (0, at, z)), 2)
            yield "leg", mirrored(box((thick, thick, 2 * z), (x, at, 0)), 0)
    elif style < 0.8:
        yield "leg", cylinder(thick * u(0.8, 1.6), 0, height)
        if maybe(0.5):
            yield "leg", cylinder(min(width, depth) * u(0.3, 0.5), 0, thick)
        else:
            spoke = box((min(width, depth) * u(0.8, 1.0), thick, thick), (0, thick / 2, 0))
            yield "leg", np.concatenate([spoke, turned(spoke, 1, np.pi / 2)])
    else:
        yield "leg", mirrored(tube([[x, height, -z], [x, thick, -z], [x, thick, z], [x, height, z]], thick * 0.7, 6), 0)


def _back(u: Draw, maybe: Maybe, width: float, low: float, high: float, z: float) -> Parts:
    """A panel, slats or rails behind a seat, leaning a little."""
    thick, lean = u(0.02, 0.05), u(0, 0.3)
    style = u(0, 1)
    if style < 0.45:
        parts = [box((width, (high - low) * u(0.5, 1), thick), (0, 0, 0))]
        parts = [
            moved(parts[0], (0, high - np.ptp(parts[0][..., 1]) / 2, z)),
            mirrored(box((thick, high - low, thick), (width * 0.4, (low + high) / 2, z)), 0),
        ]
    else:
        bars = int(u(3, 7))
        upright = style < 0.75
        parts = [mirrored(box((thick, high - low, thick), (width / 2 - thick / 2, (low + high) / 2, z)), 0)]
        for place in np.linspace(-0.4, 0.4, bars):
            middle = (low + high) / 2
            size, at = (
                ((thick, high - low, thick), (place * width, middle, z))
                if upright
                else ((width, thick, thick), (0.0, middle + place * (high - low), z))
            )
            parts.append(box(size, at))
        parts.append(box((width, 2 * thick, thick), (0, high, z)))
    yield "back", turned(np.concatenate(parts), 0, -lean, (0, low, z))


def _arms(u: Draw, width: float, depth: float, seat: float, solid: bool) -> Parts:
    """Arms at both sides, open on posts or solid down to the seat's base."""
    height, thick = u(0.14, 0.26), u(0.03, 0.05)
    if solid:
        thick = u(0.08, 0.16)
        yield "arm", mirrored(box((thick, height + seat * 0.7, depth), (width / 2 + thick / 2, seat * 0.65 + height / 2, 0)), 0)
    else:
        yield "arm", mirrored(box((thick, thick, depth * 0.9), (width / 2, seat + height, 0)), 0)
        yield "arm", mirrored(box((thick, height, thick), (width / 2, seat + height / 2, depth * 0.38)), 0)


def _top(u: Draw, maybe: Maybe, width: float, depth: float, height: float, thick: float) -> Triangles:
    """A slab, round or rectangular."""
    if maybe(0.3):
        return cylinder(0.5, height, height + thick) * np.array([width, 1, depth])
    return box((width, thick, depth), (0, height + thick / 2, 0))


def chair(u: Draw, maybe: Maybe) -> Parts:
    """A seat for one with a back; arms or not."""
    width, depth, seat = u(0.4, 0.56), u(0.4, 0.56), u(0.36, 0.55)
    yield "seat", _top(u, maybe, width, depth, seat, u(0.03, 0.1))
    yield from _legs(u, maybe, width, depth, seat)
    yield from _back(u, maybe, width, seat, seat + u(0.25, 0.6), -depth / 2)
    if maybe(0.4):
        yield from _arms(u, width, depth, seat, maybe(0.25))


def stool(u: Draw, maybe: Maybe) -> Parts:
    """A seat for one without a back, or with a lip of one."""
    width, seat = u(0.3, 0.5), u(0.4, 0.8)
    depth = width * u(0.85, 1.15)
    yield "seat", _top(u, maybe, width, depth, seat, u(0.03, 0.12))
    yield from _legs(u, maybe, width, depth, seat)
    if maybe(0.2):
        yield "back", box((width, u(0.05, 0.1), 0.03), (0, seat + 0.1, -depth / 2))


def bench(u: Draw, maybe: Maybe) -> Parts:
    """A long hard seat; a back or not, arms or not."""
    width, depth, seat = u(0.85, 1.5), u(0.3, 0.5), u(0.35, 0.5)
    if maybe(0.5):
        for z in np.linspace(-depth / 2, depth / 2, int(u(3, 6))):
            yield "seat", box((width, 0.03, depth / 6), (0, seat, float(z)))
    else:
        yield "seat", box((width, u(0.03, 0.08), depth), (0, seat, 0))
    yield from _legs(u, lambda p: maybe(p * 0.5), width, depth, seat)
    if maybe(0.55):
        yield from _back(u, maybe, width, seat, seat + u(0.25, 0.5), -depth / 2)
    if maybe(0.4):
        yield from _arms(u, width, depth, seat, False)


def sofa(u: Draw, maybe: Maybe) -> Parts:
    """A long soft seat with a thick back and solid arms; feet or not."""
    width, depth, seat = u(0.7, 1.6), u(0.45, 0.65), u(0.28, 0.42)
    low = u(0.0, 0.12)
    yield "seat", box((width, seat - low, depth), (0, (seat + low) / 2, 0))
    if maybe(0.6):
        for x in np.linspace(-0.5, 0.5, int(u(3, 5)))[:-1]:
            step = width / max(1, round(width / 0.5))
            yield "seat", box((step * 0.9, 0.1, depth * 0.8), (float(x) * width + step / 2, seat + 0.05, 0.05))
    thick = u(0.12, 0.22)
    back = box((width, u(0.4, 0.62), thick), (0, 0.45, -depth / 2 - thick / 2))
    yield "back", turned(back, 0, -u(0, 0.2), (0, seat, -depth / 2))
    if maybe(0.85):
        yield from _arms(u, width, depth, seat, True)
    if low > 0.05:
        yield "leg", mirrored(mirrored(box((0.05, low, 0.05), (width / 2 - 0.05, low / 2, depth / 2 - 0.05)), 0), 2)


def bed(u: Draw, maybe: Maybe) -> Parts:
    """A mattress on a frame with a headboard; footboard, pillows or a canopy's posts perhaps."""
    width, depth, height = u(0.6, 1.3), u(1.3, 1.6), u(0.22, 0.42)
    yield "frame", box((width, height * 0.5, depth), (0, height * 0.5, 0))
    yield "mattress", box((width * 0.95, u(0.1, 0.2), depth * 0.95), (0, height, 0))
    board = u(0.1, 0.5)
    yield "headboard", box((width, height + board, 0.05), (0, (height + board) / 2, -depth / 2))
    if maybe(0.4):
        foot = board * u(0.3, 0.8)
        yield "headboard", box((width, height + foot, 0.05), (0, (height + foot) / 2, depth / 2))
    if maybe(0.6):
        for x in (-0.25, 0.25) if width > 0.9 else (0.0,):
            yield "pillow", box((width * 0.36 if width > 0.9 else width * 0.6, 0.1, 0.25), (x * width, height + 0.14, -depth / 2 + 0.22))
    posts = u(0.9, 1.4) if maybe(0.2) else height * 0.5
    yield "leg", mirrored(mirrored(box((0.05, posts, 0.05), (width / 2, posts / 2, depth / 2)), 0), 2)


def table(u: Draw, maybe: Maybe) -> Parts:
    """A top on legs."""
    width, height = u(0.6, 1.5), u(0.35, 0.75)
    depth = min(width, u(0.5, 0.95))
    yield "top", _top(u, maybe, width, depth, height, u(0.02, 0.07))
    yield from _legs(u, maybe, width, depth, height)
    if maybe(0.25):
        yield "shelf", box((width * 0.85, 0.025, depth * 0.85), (0, height * u(0.25, 0.6), 0))


def desk(u: Draw, maybe: Maybe) -> Parts:
    """A rectangular top with drawers or side panels under it; a hutch perhaps."""
    width, depth, height = u(0.9, 1.5), u(0.45, 0.7), u(0.6, 0.75)
    yield "top", box((width, 0.04, depth), (0, height, 0))
    block = width * u(0.2, 0.32)
    tall = height * u(0.4, 1)
    sides = (-1, 1) if maybe(0.4) else (1,)
    for side in sides:
        yield "drawer", box((block, tall, depth * 0.95), (side * (width - block) / 2, height - tall / 2, 0))
    if len(sides) == 1 or tall < height * 0.8:
        leg = box((0.04, height, depth * 0.9 if maybe(0.5) else 0.04), (-width / 2 + 0.04, height / 2, 0))
        yield "leg", leg if len(sides) == 1 else mirrored(leg, 0)
    if maybe(0.4):
        yield "panel", box((width * 0.95, height * u(0.4, 0.8), 0.02), (0, height * 0.6, -depth / 2 + 0.03))
    if maybe(0.3):
        yield "hutch", box((width, u(0.2, 0.45), depth * 0.3), (0, height + 0.2, -depth * 0.33))


def shelf(u: Draw, maybe: Maybe) -> Parts:
    """Boards between two sides; a back, doors or a divider perhaps."""
    width, depth, height = u(0.45, 1.1), u(0.2, 0.42), u(0.7, 1.6)
    boards = int(u(3, 7))
    for y in np.linspace(0.02, height - 0.02, boards):
        yield "board", box((width, 0.03, depth), (0, float(y), 0))
    if maybe(0.75):
        yield "side", mirrored(box((0.03, height, depth), (width / 2, height / 2, 0)), 0)
    else:
        yield "side", mirrored(mirrored(box((0.03, height, 0.03), (width / 2, height / 2, depth / 2)), 0), 2)
    if maybe(0.5):
        yield "back", box((width, height, 0.015), (0, height / 2, -depth / 2))
    if maybe(0.3):
        yield "side", box((0.03, height, depth), (width * u(-0.25, 0.25), height / 2, 0))
    if maybe(0.3):
        yield "door", box((width, height * u(0.25, 0.5), 0.03), (0, height * 0.2, depth / 2))


def lamp(u: Draw, maybe: Maybe) -> Parts:
    """A shade on a pole or an arm with joints, over a base."""
    height = u(0.5, 1.6)
    pole, foot = u(0.012, 0.03), u(0.1, 0.22)
    yield "base", cylinder(foot, 0, u(0.02, 0.08), top=foot * u(0.4, 1))
    top = (0.0, height, 0.0)
    if maybe(0.4):
        elbow, top = (u(-0.25, 0.1), height * 0.6, 0.0), (u(0.1, 0.4), height * u(0.75, 1), 0.0)
        yield "pole", tube([(0, 0, 0), elbow, top], pole)
    else:
        yield "pole", cylinder(pole, 0, height)
    wide, narrow, tall = u(0.14, 0.3), u(0.05, 0.16), u(0.12, 0.3)
    if maybe(0.2):
        wide, narrow = narrow, wide  # a bowl that lights the ceiling
    shade = lathe([(wide, -tall / 2), (narrow, tall / 2)])
    yield "shade", moved(turned(shade, 2, u(-0.6, 0.6) if maybe(0.35) else 0.0), top)
