"""Views of meshes by pyvista off-screen, with no display: through EGL, or OSMesa where there is none."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.data.splat import ELEVATION, FILL, png

WINDOWS = {"libEGL.so.1": "vtkEGLRenderWindow", "libOSMesa.so.8": "vtkOSOpenGLRenderWindow"}  # in this order


class Unrenderable(ValueError):
    """No view can be drawn on this machine, whatever the mesh."""


def views(triangles: NDArray[np.float64], angles: Iterable[float], size: int, colour: tuple[float, ...]) -> list[bytes]:
    """One PNG (RGBA, white and transparent behind) an azimuth in radians, of triangles [T, 3, 3] in the unit ball, y up.

    Orthographic, flat shading by the faces themselves (files' normals are often missing or wrong), both sides lit.
    Raises Unrenderable when neither EGL nor OSMesa is installed.
    """
    import pyvista

    plotter = _plotter(size)
    corners = triangles.reshape(-1, 3)
    faces = np.insert(np.arange(len(corners)).reshape(-1, 3), 0, 3, axis=1)
    actor = plotter.add_mesh(
        pyvista.PolyData(corners, faces.ravel()), color=colour, smooth_shading=False, ambient=0.25, diffuse=0.8, reset_camera=False
    )
    pictures = []
    for angle in angles:
        away = np.array([np.sin(angle) * np.cos(ELEVATION), np.sin(ELEVATION), np.cos(angle) * np.cos(ELEVATION)])
        plotter.camera.position, plotter.camera.focal_point, plotter.camera.up = tuple(4 * away), (0, 0, 0), (0, 1, 0)
        plotter.camera.clipping_range = (2.5, 5.5)
        plotter.render()
        pictures.append(png(plotter.screenshot(None, return_img=True, transparent_background=True)))
    plotter.remove_actor(actor, reset_camera=False)
    return pictures


@cache
def _plotter(size: int) -> Any:
    """The process's plotter: making one costs two seconds, and each leaves memory behind."""
    os.environ["VTK_DEFAULT_OPENGL_WINDOW"] = _window()  # else VTK tries an X server first, and complains
    import pyvista

    plotter: Any = pyvista.Plotter(off_screen=True, window_size=[size, size])
    plotter.set_background("white")
    plotter.camera.parallel_projection = True
    plotter.camera.parallel_scale = 1 / FILL
    return plotter


def _window() -> str:
    for library, window in WINDOWS.items():
        try:
            ctypes.CDLL(library)
        except OSError:
            continue
        return window
    raise Unrenderable(
        "meshes are rendered through EGL or OSMesa and neither is installed: on Debian or Ubuntu `apt-get install libegl1 libgl1-mesa-dri` "
        "(or libosmesa6), or prepare with data.views=0 for evaluation only"
    )
