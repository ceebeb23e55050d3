from pathlib import Path

import numpy as np
import pytest
from plyfile import PlyData, PlyElement

from jobs.data.items import Reject
from jobs.data.ply import read_vertices

CLOUD = np.random.default_rng(0).standard_normal((50, 3)).astype(np.float32)
HEAD = b"ply\nformat ascii 1.0\nelement vertex 2\nproperty float x\nproperty float y\nproperty float z\nend_header\n"


def write(path: Path, text: bool, order: str, kind: str = "f4", faces: bool = False) -> Path:
    vertex = np.zeros(50, [("nx", "f4"), ("x", kind), ("red", "u1"), ("y", kind), ("z", kind)])
    vertex["x"], vertex["y"], vertex["z"] = CLOUD.T
    elements = [PlyElement.describe(vertex, "vertex")]
    if faces:
        face = np.zeros(1, [("vertex_indices", "i4", (3,))])
        elements.append(PlyElement.describe(face, "face"))
    PlyData(elements, text=text, byte_order=order).write(path)
    return path


@pytest.mark.parametrize(("text", "order"), [(True, "="), (False, "<"), (False, ">")])
@pytest.mark.parametrize("kind", ["f4", "f8"])
@pytest.mark.parametrize("faces", [False, True])
def test_vertices_equal_what_plyfile_reads(tmp_path: Path, text: bool, order: str, kind: str, faces: bool) -> None:
    path = write(tmp_path / "a.ply", text, order, kind, faces)
    vertex = PlyData.read(path)["vertex"]
    expected = np.stack([vertex[axis] for axis in "xyz"], 1)
    assert np.array_equal(read_vertices(path).astype(np.float32), expected.astype(np.float32))


@pytest.mark.parametrize(
    "data",
    [
        HEAD + b"\n1 2 3\n  \n4 5 6\n\n",
        (HEAD + b"1 2 3\n4 5 6\n").replace(b"\n", b"\r\n"),
        (HEAD + b"1 2 3\n4 5 6\n").replace(b"\n", b"\r"),
        HEAD.replace(b"element vertex", b"comment not the end_header\nelement vertex") + b"1 2 3\n4 5 6",
        HEAD.replace(b"ascii", b"binary_little_endian") + np.arange(1, 7, dtype="<f4").tobytes(),
    ],
)
def test_blank_lines_other_line_ends_and_comments_change_nothing(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.ply"
    path.write_bytes(data)
    assert np.array_equal(read_vertices(path), [[1, 2, 3], [4, 5, 6]])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty"),
        (b"solid stl", "is no PLY file"),
        (b"ply\nformat ascii 1.0\nelement ver", "header is missing or cut short"),
        (HEAD + b"1 2 3\n4 5", "is cut short: 2 vertices"),
        (HEAD + b"1 2 3\n", "is cut short: 2 vertices"),
        (HEAD + b"1 2 3\n4 five 6\n", "something that is no number"),
        (HEAD.replace(b"ascii", b"binary_little_endian") + b"\0" * 23, "is cut short: 2 vertices of 12 bytes declared, 23 bytes found"),
        (HEAD.replace(b"ascii", b"binary_little_endian").replace(b"vertex 2", b"vertex -300"), "declares -300 vertices"),
        (HEAD.replace(b"ascii", b"morse"), "header cannot be understood: 'format morse"),
        (HEAD.replace(b"property float z\n", b""), "lacks the format, the vertices or their x, y and z"),
        (HEAD.replace(b"float y", b"float x"), "lacks|twice"),
        (HEAD.replace(b"element vertex", b"element face 0\nelement vertex"), "not the first element"),
    ],
)
def test_a_broken_file_is_rejected_with_its_reason(tmp_path: Path, data: bytes, reason: str) -> None:
    path = tmp_path / "a.ply"
    path.write_bytes(data)
    with pytest.raises(Reject, match=reason):
        read_vertices(path)
