"""The vertices of a PLY file, ASCII or binary, exactly as stored."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jobs.data.items import Reject

TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2", "uint16": "u2",
    "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4", "float": "f4", "float32": "f4", "double": "f8", "float64": "f8",
}  # fmt: skip
END = re.compile(rb"[\r\n]end_header[ \t]*(?:\r?\n|\r|$)")  # a whole line: a comment may hold the word
ORDER = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}


def read_vertices(path: Path) -> NDArray[np.floating]:
    """x, y, z of every vertex, [n, 3] in the file's own precision. Reject says what is wrong with a file that cannot be read."""
    data = path.read_bytes()
    if not data:
        raise Reject("the PLY file is empty")
    end = END.search(data)
    if not data.startswith(b"ply") or end is None:
        raise Reject("is no PLY file: its header is missing or cut short")
    order, count, fields = _header([line.decode("latin-1") for line in data[: end.start()].splitlines()[1:]])
    body = data[end.end() :]
    rows = _text_rows(body, count, fields) if order == "" else _binary_rows(body, count, fields, order)
    return np.stack([rows[axis] for axis in "xyz"], 1)


def has_faces(path: Path) -> bool:
    """Whether the header of a PLY file declares faces; False also where it cannot be read."""
    data = path.read_bytes()
    end = END.search(data)
    lines = [line.split() for line in data[: end.start()].splitlines()] if end else []
    return any(words[:2] == [b"element", b"face"] and words[2:] != [b"0"] for words in lines)


def _header(lines: list[str]) -> tuple[str, int, list[tuple[str, str]]]:
    """(byte order, vertices, their fields). Vertices must be the first element: they are, in every file that we know."""
    order, count, fields, element = None, None, [], 0
    for line in lines:
        words = line.split()
        try:
            if words[:1] == ["format"]:
                order = ORDER[words[1]]
            elif words[:1] == ["element"]:
                element += 1
                if words[1] == "vertex":
                    if element > 1:
                        raise Reject("its vertices are not the first element of the PLY file, which this reader needs")
                    count = int(words[2])
            elif words[:1] == ["property"] and element == 1:
                fields.append((words[2], TYPES[words[1]]))
        except (IndexError, KeyError, ValueError):
            raise Reject(f"a line of its PLY header cannot be understood: {line.strip()[:60]!r}") from None
    if count is not None and count < 0:
        raise Reject(f"its PLY header declares {count} vertices")
    if order is None or count is None or not {"x", "y", "z"} <= {name for name, _ in fields}:
        raise Reject("its PLY header lacks the format, the vertices or their x, y and z")
    return order, count, fields


def _text_rows(body: bytes, count: int, fields: list[tuple[str, str]]) -> dict[str, NDArray[np.floating]]:
    lines = [line for line in body.splitlines() if line.strip()][:count]
    words = b" ".join(lines).split()
    if len(lines) < count or len(words) != count * len(fields):
        raise Reject(f"is cut short: {count} vertices of {len(fields)} numbers declared, {len(words)} numbers found in {len(lines)} lines")
    try:
        table = np.array(words, dtype="S").astype(np.float64).reshape(count, len(fields))
    except ValueError:
        raise Reject("a vertex holds something that is no number") from None
    return {name: table[:, place] for place, (name, _) in enumerate(fields)}


def _binary_rows(body: bytes, count: int, fields: list[tuple[str, str]], order: str) -> NDArray[np.void]:
    try:
        kind = np.dtype([(name, order + kind) for name, kind in fields])
    except ValueError as error:
        raise Reject(f"its PLY header names a field twice ({error})") from None
    if len(body) < count * kind.itemsize:
        raise Reject(f"is cut short: {count} vertices of {kind.itemsize} bytes declared, {len(body)} bytes found")
    return np.frombuffer(body, kind, count)
