"""OFF files: the Object File Format of Geomview, as ModelNet and other collections write it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jobs.data.items import Reject

MAGIC = re.compile(r"(?:ST)?C?N?OFF", re.IGNORECASE)  # texture coordinates, colours and normals follow x, y and z: they are left out

Words = list[list[str]]  # the words of each line that holds any


def read_off(path: Path) -> NDArray[np.float64]:
    """The faces of an OFF file, [T, 3, 3], in the file's order; a polygon is the fan of triangles around its first corner.

    Any line ends, blank lines and comments are taken, and the header may stand on the line of the counts or be glued to them
    (`OFF8 6 0`). A line holds a vertex or a face, with what follows its coordinates or indices (colours, normals) left out; where lines
    do not fit that, the file is read as a stream of words without colours. Reject says what is wrong with a file that fits neither.
    """
    text = path.read_bytes().removeprefix(b"\xef\xbb\xbf").decode("latin-1")
    lines = [words for line in re.split(r"[\r\n]+", text) if (words := line.partition("#")[0].split())]
    vertices, faces, body = _header(lines)
    corners, rest, whole = _vertices(body, vertices)
    by_line = _faces_by_line(rest, faces) if whole else None
    polygons = by_line if by_line is not None else _faces_by_word([word for words in rest for word in words], faces)
    return _fans(corners, polygons)


def _header(lines: Words) -> tuple[int, int, Words]:
    """(vertices, faces, the lines after the counts)."""
    magic = MAGIC.match(lines[0][0]) if lines else None
    if magic is None:
        raise Reject("is no OFF file: it does not begin with OFF")
    glued = lines[0][0][magic.end() :]
    words = ([glued] if glued else []) + lines[0][1:]
    at = 1
    while len(words) < 3 and at < len(lines) and (len(words) < 2 or len(lines[at]) == 1):  # the number of edges may be left out
        words = words + lines[at]
        at += 1
    try:
        vertices, faces = int(words[0]), int(words[1])
    except (IndexError, ValueError):
        raise Reject(f"its OFF header does not give the numbers of vertices and faces: {' '.join(words)[:60]!r}") from None
    if vertices < 0 or faces < 0:
        raise Reject(f"its OFF header gives negative numbers: {vertices} vertices and {faces} faces")
    return vertices, faces, ([words[3:]] if len(words) > 3 else []) + lines[at:]


def _vertices(body: Words, count: int) -> tuple[NDArray[np.float64], Words, bool]:
    """(x, y and z of `count` vertices [V, 3], the lines after them, whether the vertices ended with a line)."""
    lines = body[:count]
    widths = {len(words) for words in lines}
    if len(lines) == count and (not widths or (len(widths) == 1 and min(widths) >= 3)):
        return _floats([words[:3] for words in lines]), body[count:], True
    words: list[str] = []
    at = 0
    while len(words) < 3 * count:
        if at == len(body):
            raise Reject(f"is cut short: {count} vertices declared, numbers for {len(words) // 3} found")
        words += body[at]
        at += 1
    left = words[3 * count :]
    return _floats([words[: 3 * count]]), ([left] if left else []) + body[at:], not left


def _floats(rows: Words) -> NDArray[np.float64]:
    try:
        return np.array([word for row in rows for word in row], dtype=str).astype(np.float64).reshape(-1, 3)
    except ValueError:
        raise Reject("a vertex holds something that is no number") from None


def _faces_by_line(lines: Words, count: int) -> Words | None:
    """The indices of each face, one face a line; None when the lines are not so."""
    if len(lines) < count:
        return None
    faces = []
    for words in lines[:count]:
        if not words[0].isdecimal() or len(words) <= int(words[0]):
            return None
        faces.append(words[1 : 1 + int(words[0])])
    return faces


def _faces_by_word(words: list[str], count: int) -> Words:
    """The indices of each face from words alone. It is strict, since a file that was cut short comes here as well."""
    faces, at = [], 0
    for number in range(count):
        size = int(words[at]) if at < len(words) and words[at].isdecimal() else None
        if at >= len(words) or (size is not None and at + size >= len(words)):
            raise Reject(f"is cut short: {count} faces declared, {number} whole ones found")
        if size is None or size < 3:
            raise Reject(f"face {number + 1} of {count} begins with {words[at][:20]!r}, not with its number of corners")
        faces.append(words[at + 1 : at + 1 + size])
        at += 1 + size
    if at < len(words):
        raise Reject(f"holds {len(words) - at} words after its {count} faces, which do not stand one a line")
    return faces


def _fans(corners: NDArray[np.float64], polygons: Words) -> NDArray[np.float64]:
    """Triangles [T, 3, 3] of polygons of any sizes; those of fewer than three corners have no surface and are left out."""
    sizes = np.array([len(polygon) for polygon in polygons], np.int64)
    triangles, order = [np.empty((0, 3), np.int64)], [np.empty(0, np.int64)]
    for size in np.unique(sizes):
        rows = np.flatnonzero(sizes == size)
        try:
            indices = np.array([polygons[row] for row in rows], dtype=str).astype(np.int64).reshape(len(rows), size)
        except (ValueError, OverflowError):
            raise Reject("a face holds something that is no vertex number") from None
        if indices.size and (indices.min() < 0 or indices.max() >= len(corners)):
            raise Reject(f"a face names a vertex outside the range 0 to {len(corners) - 1}")
        for place in range(1, size - 1):
            triangles.append(indices[:, [0, place, place + 1]])
            order.append(rows)
    ordered = np.argsort(np.concatenate(order), kind="stable")
    return corners[np.concatenate(triangles)[ordered]]
