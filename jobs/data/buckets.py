"""Object stores through pyarrow's own clients: every call whole or a `StorageFault` in one line, or a `Passing` one worth another try.

Credentials come from where the client finds them (environment, files, instance profile), an S3-compatible store's address from
AWS_ENDPOINT_URL. `python -m jobs.data.buckets bytes URI` copies an object to standard output: for processes that were forked, which these
clients do not support, because the threads of the process they were made in are not there; they may hang.
"""
from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from jobs.config.places import Uri, place_of

CHUNK = 1 << 20  # bytes read at once
CONNECT_S, REQUEST_S, RETRY_S = 5.0, 30.0, 8  # seconds until a connection, a request and Google's own retries are given up
_PASSING = re.compile(
    r"NETWORK_CONNECTION|REQUEST_TIMEOUT|SLOW_DOWN|THROTTL|SERVICE_UNAVAILABLE|INTERNAL_FAILURE|HTTP status (429|5\d\d)"
    r"|UNAVAILABLE|DEADLINE|curlCode: (?!6,)\d+|[Tt]imed? ?out"
)
_REFUSED = re.compile(
    r"ACCESS_DENIED|INVALID_ACCESS_KEY|INVALID_CLIENT_TOKEN|SIGNATURE|MISSING_AUTHENTICATION|UNRECOGNIZED_CLIENT|EXPIRED|HTTP status 40[13]"
    r"|PERMISSION_DENIED|UNAUTHENTICATED|OAuth2|[Cc]redentials|OPT_IN_REQUIRED"
)
_NO_BUCKET = re.compile(r"NO_SUCH_BUCKET|specified bucket does not exist|bucket .*not found", re.IGNORECASE)
Found = TypeVar("Found")


class StorageFault(ValueError):
    """A store that does not give what was asked, in one line with the way out."""


class Passing(Exception):
    """A fault that may be over in a moment; the message is that of a StorageFault."""


class Missing(FileNotFoundError):
    """The object is not there, its bucket is."""


forked = False  # whether this process was forked from another Python: no client of pyarrow may be used in it


def _after_fork() -> None:
    global forked
    forked = True


os.register_at_fork(after_in_child=_after_fork)


def size(file: Uri) -> int | None:
    """Bytes of an object; None where there is none."""
    return _asked(file, "size", lambda files, fs: _size(files, fs, _key(file)))


def sizes(folder: Uri) -> dict[str, int]:
    """Name -> bytes of the objects right below `folder`; empty where there are none."""
    found: dict[str, int] = _asked(folder, "sizes", lambda files, fs: _listed(files, fs, _key(folder), fs.FileType.File))
    return found


def folders(folder: Uri) -> list[str]:
    """Names of the folders right below `folder`."""
    found: list[str] = _asked(folder, "folders", lambda files, fs: sorted(_listed(files, fs, _key(folder), fs.FileType.Directory)))
    return found


def chunks(file: Uri) -> Iterator[bytes]:
    """The bytes of an object, in order. Missing where there is none."""
    if forked:
        yield from _through_another(file)
        return
    with _called(file) as (files, _):
        stream = files.open_input_stream(_key(file))
    with stream:
        while True:
            with _called(file):
                chunk = stream.read(CHUNK)
            if not chunk:
                return
            yield chunk


def read(file: Uri) -> bytes:
    """The whole of a small object."""
    return b"".join(chunks(file))


def write(file: Uri, data: bytes | Path) -> None:
    """Makes or replaces an object from bytes or from a file.

    A process that is killed leaves nothing; one that is interrupted may leave the beginning, as the client closes what it opened. So who
    writes several writes the one that says that they are whole last.
    """
    with _called(file) as (files, _):
        stream = files.open_output_stream(_key(file))
        if isinstance(data, bytes):
            stream.write(data)
        else:
            with data.open("rb") as source:
                while chunk := source.read(8 * CHUNK):
                    stream.write(chunk)
        stream.close()


def remove(file: Uri) -> None:
    """Removes an object; nothing happens where there is none."""
    with _called(file) as (files, _):
        try:
            files.delete_file(_key(file))
        except FileNotFoundError:
            return


def _key(at: Uri) -> str:
    return f"{at.bucket}/{at.path}" if at.path else at.bucket


def _size(files: Any, fs: Any, key: str) -> int | None:
    (info,) = files.get_file_info([key])
    return int(info.size) if info.type == fs.FileType.File else None


def _listed(files: Any, fs: Any, key: str, kind: Any) -> dict[str, int]:
    try:
        found = files.get_file_info(fs.FileSelector(key))
    except FileNotFoundError:
        return {}
    return {info.base_name: int(info.size or 0) for info in found if info.type == kind}


def _asked(at: Uri, what: str, ask: Callable[[Any, Any], Found]) -> Found:
    if forked:
        answer: Found = json.loads(b"".join(_through_another(at, what)))
        return answer
    with _called(at) as (files, fs):
        return ask(files, fs)


class _called:
    """A call to the client: its faults in words. Gives the client and pyarrow.fs, whose import takes a moment that folders do not need."""

    def __init__(self, at: Uri) -> None:
        self.at = at

    def __enter__(self) -> tuple[Any, Any]:
        import pyarrow.fs

        try:
            return _client(self.at.scheme, self.at.bucket), pyarrow.fs
        except OSError as error:
            raise _fault(self.at, error) from None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError) and not isinstance(error, Missing):
            raise _fault(self.at, error) from None


def _fault(at: Uri, error: OSError) -> Exception:
    said = " ".join(str(error).split())
    bucket = f"{at.scheme}://{at.bucket}"
    if _NO_BUCKET.search(said):
        return StorageFault(f"{at}: there is no bucket {bucket}{_where(at)}: make it, or name another")
    if isinstance(error, FileNotFoundError):
        return Missing(2, "there is no such object", str(at))
    if _REFUSED.search(said):
        found = (
            "the environment (AWS_ACCESS_KEY_ID, AWS_PROFILE), ~/.aws, or the machine's role"
            if at.scheme == "s3"
            else "GOOGLE_APPLICATION_CREDENTIALS, `gcloud auth application-default login`, or the machine's account"
        )
        return StorageFault(f"{at}: the store refuses it{_where(at)}: check the credentials, which come from {found} ({said[:160]})")
    if "curlCode: 6," in said or _PASSING.search(said):
        fault = f"{at}: the store does not answer{_where(at)}: is there a network, and is AWS_ENDPOINT_URL right? ({said[-160:]})"
        return StorageFault(fault) if "curlCode: 6," in said else Passing(fault)
    return StorageFault(f"{at}: {said[:300]}")


def _where(at: Uri) -> str:
    endpoint = _endpoint() if at.scheme == "s3" else None
    return f" at {endpoint}" if endpoint else ""


def _endpoint() -> str | None:
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None


def _client(scheme: str, bucket: str) -> Any:
    assert not forked
    endpoint = _endpoint()
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if scheme == "s3" and region is None:
        region = "us-east-1" if endpoint else _region(bucket)
    return _made(scheme, endpoint, region)


@functools.cache
def _made(scheme: str, endpoint: str | None, region: str | None) -> Any:
    import pyarrow.fs

    if scheme == "gs":
        return pyarrow.fs.GcsFileSystem(retry_time_limit=timedelta(seconds=RETRY_S))
    given: dict[str, Any] = {"region": region, "connect_timeout": CONNECT_S, "request_timeout": REQUEST_S}
    if endpoint is not None:
        parts = urlsplit(endpoint)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise StorageFault(f"AWS_ENDPOINT_URL is {endpoint}: write http://host:port or https://host")
        given |= {"scheme": parts.scheme, "endpoint_override": parts.netloc + parts.path.rstrip("/")}
    return pyarrow.fs.S3FileSystem(**given)


@functools.cache
def _region(bucket: str) -> str:
    import pyarrow.fs

    return str(pyarrow.fs.resolve_s3_region(bucket))


def _through_another(at: Uri, what: str = "bytes") -> Iterator[bytes]:
    """A fresh process asks, this one reads what it says."""
    tree = str(Path(__file__).resolve().parents[2])  # a worker's current folder need not be the project's
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([tree, *filter(None, [os.environ.get("PYTHONPATH")])])}
    command = [sys.executable, "-m", "jobs.data.buckets", what, str(at)]
    with subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as asked:
        assert asked.stdout is not None and asked.stderr is not None
        try:
            while chunk := asked.stdout.read(CHUNK):
                yield chunk
            said = asked.stderr.read().decode(errors="replace").strip().rpartition("\n")[2]
        except GeneratorExit:
            asked.kill()
            raise
        status = asked.wait()
    if status:
        name, _, message = said.partition(": ")
        if name == Missing.__name__:
            raise Missing(2, "there is no such object", str(at))
        if name == Passing.__name__:
            raise Passing(message)
        raise StorageFault(message if name == StorageFault.__name__ else f"{at}: the process that reads it ended with {status}: {said}")


def main() -> None:
    what, at = sys.argv[1], place_of(sys.argv[2])
    assert isinstance(at, Uri)
    try:
        if what == "bytes":
            for chunk in chunks(at):
                sys.stdout.buffer.write(chunk)
        else:
            sys.stdout.write(json.dumps({"size": size, "sizes": sizes, "folders": folders}[what](at)))
    except (StorageFault, Passing, Missing) as error:
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
