"""Where datasets lie: a folder that a node sees, or a folder of an object store, written s3://bucket/path or gs://bucket/path."""
from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, PlainSerializer, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

SCHEMES = ("s3", "gs")
_URI = re.compile(rf"([A-Za-z][A-Za-z0-9+.-]*)://(.*)|({'|'.join(SCHEMES)}):(.*)", re.DOTALL)
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")  # S3 takes 3 to 63 characters, Google more where there are dots


@dataclass(frozen=True, order=True)
class Uri:
    """A folder or file of a bucket. `/` goes on below it, as with a Path; a Path itself would make one slash of two."""

    scheme: str
    bucket: str
    path: str  # without slashes at its ends; "": the whole bucket

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}" + (f"/{self.path}" if self.path else "")

    def __truediv__(self, name: str) -> Uri:
        return Uri(self.scheme, self.bucket, f"{self.path}/{name}" if self.path else name)

    @property
    def name(self) -> str:
        """The last part."""
        return self.path.rpartition("/")[2] or self.bucket

    def is_relative_to(self, root: Uri) -> bool:
        """Whether it is `root` or lies below it, part by part: s3://b/data2 is not below s3://b/data."""
        same = (self.scheme, self.bucket) == (root.scheme, root.bucket)
        return same and (not root.path or self.path == root.path or self.path.startswith(f"{root.path}/"))


Place = Path | Uri


def looks_like_uri(text: str) -> bool:
    """Whether it is meant as one, right or wrong."""
    return _URI.fullmatch(text) is not None


def place_of(value: Place | str) -> Place:
    """What a text names. ValueError for a URI that is none: an unknown scheme, no bucket, empty or dotted parts, a query."""
    if isinstance(value, Uri):
        return value
    text = str(value)
    found = _URI.fullmatch(text)
    if found is None:
        return Path(value)
    scheme, rest = found[1], found[2]
    if scheme is None:
        raise ValueError(f"{text} has one slash after its colon: write {found[3]}://bucket/path")
    if scheme not in SCHEMES:
        raise ValueError(f"{text}: the scheme {scheme} is not known, only {' and '.join(f'{one}://' for one in SCHEMES)} and plain paths")
    bucket, _, path = rest.partition("/")
    if not bucket:
        raise ValueError(f"{text} names no bucket: write {scheme}://bucket/path")
    if not _BUCKET.fullmatch(bucket):
        raise ValueError(f"{text}: {bucket!r} is no bucket's name (small letters, digits, dots and dashes; credentials stand in no URI)")
    path = path.removesuffix("/")
    parts = path.split("/") if path else []
    if any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"{text}: a part of the path is empty, '.' or '..': write the plain path")
    if any(mark in path for mark in "?#\\") or not path.isprintable():
        raise ValueError(f"{text}: ?, #, \\ and control characters have no place in it: options stand in the environment")
    return Uri(scheme, bucket, path)


def place_here(text: Place | str) -> Place:
    """The same, a relative path or ~ as this machine's user means it."""
    found = place_of(text)
    return found if isinstance(found, Uri) else found.expanduser().resolve()


def _read(value: object) -> Place:
    if not isinstance(value, (str, Path, Uri)):
        raise PydanticCustomError("place", "Input should be a path or a URI as text")
    try:
        return place_of(value)
    except ValueError as error:
        raise PydanticCustomError("place", "{said}", {"said": str(error)}) from None


def _no_uri(value: object) -> object:
    if isinstance(value, (str, Path)) and looks_like_uri(str(value)):
        raise PydanticCustomError("folder", "must be a path that every node sees: only a dataset's target may be a URI")
    return value


# In a config: both kinds.
PlaceField = Annotated[
    Path | Uri, PlainValidator(_read), PlainSerializer(str, return_type=str), WithJsonSchema({"type": "string", "format": "path"})
]
# A path alone; a URI would silently lose a slash.
Folder = Annotated[Path, BeforeValidator(_no_uri), Field(strict=False)]
