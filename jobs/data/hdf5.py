"""HDF5 files of many clouds, as ModelNet40 and ScanObjectNN come: `data` float [n, p, 3], `label` [n] or [n, 1], more a cloud."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from jobs.data.items import Item


def items_of(files: Sequence[Path], split: str, categories: Sequence[str]) -> list[Item]:
    """One item a row of `files`, in that order; its category by its label.

    ValueError, naming the file (and row), when a file is cut short or no HDF5, lacks `data` or `label`, holds as many of one as not of the
    other, or a label that is no category.
    """
    items = []
    for file in files:
        labels, stat = _labels(file), file.stat()
        outside = np.flatnonzero((labels < 0) | (labels >= len(categories)))
        if len(outside):
            row = int(outside[0])
            raise ValueError(f"{file}: the label of row {row} is {labels[row]}, but there are {len(categories)} categories, from 0 on")
        items += [
            Item(
                f"{split}/{file.stem}/{row:05d}", categories[label], split, file, row=row,
                fingerprint=f"{file.name}:{stat.st_size}", modified=str(stat.st_mtime_ns),
            )
            for row, label in enumerate(labels.tolist())
        ]  # fmt: skip
    return items


def rows_of(file: Path, name: str) -> NDArray[np.generic]:
    """The whole dataset `name` of a file, kept for the next row that is asked for: files are read in the order of their rows."""
    return _cached(file, file.stat().st_mtime_ns, name)


def holds(file: Path, name: str) -> bool:
    """Whether the file has a dataset `name`."""
    with opened(file) as content:
        return name in content


@lru_cache(maxsize=2)
def _cached(file: Path, _modified: int, name: str) -> NDArray[np.generic]:
    with opened(file) as content:
        rows: NDArray[np.generic] = content[name][()]
        return rows


def _labels(file: Path) -> NDArray[np.int64]:
    with opened(file) as content:
        for name, width in (("data", 3), ("label", None)):
            if not isinstance(content.get(name), h5py.Dataset):
                raise ValueError(f"{file} holds no dataset {name!r}, but {', '.join(sorted(content)) or 'none'}: is it another release?")
            shape = content[name].shape
            if width is not None and (len(shape) != 3 or shape[2] < width):
                raise ValueError(f"{file}: data has the shape {list(shape)}; clouds are [n, points, 3]")
        labels = np.asarray(content["label"][()])
        if labels.ndim not in (1, 2) or (labels.ndim == 2 and labels.shape[1] != 1) or labels.dtype.kind not in "iu":
            raise ValueError(f"{file}: label has the shape {list(labels.shape)} of {labels.dtype}; labels are whole numbers, [n] or [n, 1]")
        clouds = content["data"].shape[0]
        if len(labels) != clouds:
            raise ValueError(f"{file} holds {clouds} clouds and {len(labels)} labels: they must be as many; the file is damaged")
    return labels.reshape(-1).astype(np.int64)


def text_lines(path: Path) -> list[str]:
    """The lines of a text file that are not empty, stripped. ValueError, naming it, when it is missing or no UTF-8."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start}): save it as UTF-8") from None
    return [line.strip() for line in text.splitlines() if line.strip()]


def opened(file: Path) -> h5py.File:
    """The file, to be closed by whoever asks. ValueError when it is cut short or no HDF5."""
    try:
        return h5py.File(file, "r")
    except OSError as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{file} cannot be read as HDF5 ({reason}): it is damaged or cut short, get it again") from None
