"""Datasets that are copied to a node when they are read: the same bytes, each file fetched once, never a wrong one, never one lost."""

import hashlib
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.config import names
from jobs.config.places import Place, Uri
from jobs.data import stores
from jobs.data.buckets import Passing
from jobs.data.cache import Cache, Full, node_cache
from jobs.data.draws import batch_order
from jobs.data.loading import check_trainable, pretraining_batches
from jobs.data.prepared import PreparedDataset, check_shards
from tests.jobs.bucket import bucket_in

ROOT = Path(__file__).resolve().parents[3]
FORK = multiprocessing.get_context("fork")
FILES = 6  # five shards and the index


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    """Folders are staged too, into an empty cache of 1 GB."""
    monkeypatch.setenv(names.ENV_CACHE, str(tmp_path / "cache"))
    monkeypatch.setenv(names.ENV_CACHE_GB, "1")
    monkeypatch.setenv(names.ENV_STAGE_MOUNTS, "1")
    return node_cache()


@pytest.fixture
def fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that gets a line a fetch of a file of Arrow, from whatever process."""
    log, chunks = tmp_path / "fetched", stores.chunks

    def counted(file: Place) -> Iterator[bytes]:
        if file.name.endswith(".arrow"):
            with log.open("a") as lines:
                lines.write(f"{file.name}\n")
        yield from chunks(file)

    log.touch()
    monkeypatch.setattr(stores, "chunks", counted)
    return log


def unstaged(small: Path, split: str | None = None) -> PreparedDataset:
    """Read in place."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(names.ENV_STAGE_MOUNTS, raising=False)
        return PreparedDataset(small, split)


def everything(dataset: PreparedDataset) -> str:
    """A hash of every cloud, view and part."""
    digest = hashlib.sha256()
    for row in range(len(dataset)):
        parts = dataset.parts(row)
        digest.update(dataset.points(row).tobytes() + b"".join(dataset.views(row)) + (b"" if parts is None else parts.tobytes()))
    return digest.hexdigest()


def test_a_staged_dataset_is_the_one_in_the_folder_and_is_fetched_once(small: Path, cache: Cache, fetched: Path) -> None:
    plain, staged = unstaged(small), PreparedDataset(small, None)
    assert fetched.read_text().split() == ["index.arrow"]  # a shard comes when it is used
    assert (staged.ids, staged.contents, staged.splits) == (plain.ids, plain.contents, plain.splits)
    assert everything(staged) == everything(plain)
    assert everything(PreparedDataset(small, None)) == everything(plain)
    assert Counter(fetched.read_text().split()) == {"index.arrow": 1, **{f"shard-0000{n}.arrow": 1 for n in range(5)}}
    manifest = staged.manifest
    held = {shard["sha256"] for shard in manifest["shards"]} | {manifest["index_sha256"]}
    assert {path.name for path in cache.folder.iterdir() if not path.suffix} == held
    for name in held:
        assert hashlib.sha256((cache.folder / name).read_bytes()).hexdigest() == name


def test_another_process_gets_the_name_and_opens_its_own(small: Path, cache: Cache, fetched: Path) -> None:
    dataset = PreparedDataset(small, "train")
    dataset.expect(range(len(dataset)))
    sent = ForkingPickler.dumps(dataset)
    assert len(sent) < 50_000
    assert everything(ForkingPickler.loads(sent)) == everything(dataset)
    assert max(Counter(fetched.read_text().split()).values()) == 1


def test_a_dataset_in_a_bucket_reads_like_the_one_in_a_folder(
    small: Path, cache: Cache, fetched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(names.ENV_STAGE_MOUNTS)
    shutil.copytree(small, tmp_path / "store/shapes/small")
    bucket_in(tmp_path / "store", monkeypatch)
    found = PreparedDataset("s3://shapes/small", "train")
    assert found.folder == Uri("s3", "shapes", "small")
    assert everything(found) == everything(unstaged(small, "train"))
    check_shards("s3://shapes/small")
    (tmp_path / "store/shapes/small/shard-00002.arrow").unlink()
    with pytest.raises(ValueError, match=r"(?s)s3://shapes/small is damaged.*shard-00002.arrow: missing"):
        check_shards("s3://shapes/small")
    with pytest.raises(ValueError, match=r"s3://shapes/other holds no manifest.json"):
        PreparedDataset("s3://shapes/other", None)


def _read_all(small: Path, start: Any, said: Any) -> None:
    start.wait()
    said.put(everything(PreparedDataset(small, None)))


def test_many_processes_fetch_each_file_exactly_once(small: Path, cache: Cache, fetched: Path) -> None:
    start, said = FORK.Event(), FORK.Queue()
    readers = [FORK.Process(target=_read_all, args=(small, start, said), daemon=True) for _ in range(8)]
    for reader in readers:
        reader.start()
    start.set()
    found = {said.get(timeout=60) for _ in readers}
    for reader in readers:
        reader.join()
        assert reader.exitcode == 0
    assert found == {everything(unstaged(small))}
    assert sorted(fetched.read_text().split()) == ["index.arrow", *(f"shard-0000{n}.arrow" for n in range(5))]


def test_a_damaged_shard_is_tried_twice_and_then_named_and_never_kept(
    small: Path, cache: Cache, fetched: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(small, tmp_path / "copy"))
    data = bytearray((folder / "shard-00001.arrow").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "shard-00001.arrow").write_bytes(data)
    dataset = PreparedDataset(folder, None)
    with pytest.raises(ValueError, match=r"shard-00001.arrow is damaged: its SHA-256 is not the manifest's, twice"):
        everything(dataset)
    assert Counter(fetched.read_text().split())["shard-00001.arrow"] == 2
    assert not cache.has(dataset.manifest["shards"][1]["sha256"])
    assert not list(cache.folder.glob("*.part"))
    shutil.copy(small / "shard-00001.arrow", folder)
    assert everything(dataset) == everything(unstaged(small))


def test_a_shard_that_came_damaged_once_is_fetched_again(small: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    chunks, damaged = stores.chunks, ["shard-00003.arrow"]

    def flipped(file: Place) -> Iterator[bytes]:
        for chunk in chunks(file):
            if file.name in damaged:
                damaged.remove(file.name)
                chunk = bytes([chunk[0] ^ 1]) + chunk[1:]
            yield chunk

    monkeypatch.setattr(stores, "chunks", flipped)
    assert everything(PreparedDataset(small, None)) == everything(unstaged(small))
    assert not damaged


def test_a_store_that_is_away_for_a_moment_is_asked_again_and_one_that_stays_away_is_named(
    small: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunks, faults = stores.chunks, [3]
    monkeypatch.setattr("jobs.data.cache.WAITS_S", (0.01,) * 4)
    monkeypatch.setattr("jobs.data.stores.WAITS_S", (0.01,) * 4)

    def sometimes(file: Place) -> Iterator[bytes]:
        whole = b"".join(chunks(file))
        yield whole[:1000]
        if faults[0] and file.name.endswith(".arrow"):
            faults[0] -= 1
            raise Passing(f"{file}: the store does not answer")
        yield whole[1000:]

    monkeypatch.setattr(stores, "chunks", sometimes)
    assert everything(PreparedDataset(small, None)) == everything(unstaged(small))
    shutil.rmtree(cache.folder)
    cache.folder.mkdir()
    faults[0] = 1000
    with pytest.raises(ValueError, match=r"index.arrow: the store does not answer"):
        PreparedDataset(small, None)
    assert faults[0] == 1000 - 5


def test_a_copy_cut_short_on_the_disk_is_made_again(small: Path, cache: Cache, fetched: Path) -> None:
    dataset = PreparedDataset(small, None)
    whole = everything(dataset)
    cut = cache.folder / dataset.manifest["shards"][0]["sha256"]
    dataset.release()
    cut.write_bytes(cut.read_bytes()[:100])
    assert everything(PreparedDataset(small, None)) == whole
    assert Counter(fetched.read_text().split())["shard-00000.arrow"] == 2


def content(number: int, size: int = 1000) -> tuple[str, bytes]:
    data = bytes([number]) * size
    return hashlib.sha256(data).hexdigest(), data


def bring(cache: Cache, number: int, size: int = 1000) -> Any:
    digest, data = content(number, size)
    return cache.bring(digest, size, f"file {number}", lambda: [data])


def kept(cache: Cache, count: int) -> list[int]:
    return [number for number in range(count) if cache.has(content(number)[0])]


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 3000)
    for number in range(3):
        bring(cache, number).close()
        time.sleep(0.02)
    used = cache.open(content(0)[0])
    assert used is not None
    used.close()
    bring(cache, 3).close()
    assert kept(cache, 4) == [0, 2, 3]
    bring(cache, 4, 1900).close()
    assert kept(cache, 4) == [3] and cache.has(content(4, 1900)[0])


def _hold(cache: Cache, number: int, ready: Any, done: Any) -> None:
    mapped = cache.open(content(number)[0])
    assert mapped is not None
    ready.set()
    done.wait()
    assert mapped[:] == content(number)[1]


def test_what_a_living_process_has_open_never_goes(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 2000)
    for number in range(2):
        bring(cache, number).close()
        time.sleep(0.02)
    ready, done = FORK.Event(), FORK.Event()
    holder = FORK.Process(target=_hold, args=(cache, 0, ready, done), daemon=True)
    holder.start()
    assert ready.wait(10)
    mine = bring(cache, 2)  # 1 goes, though 0 was used before it
    assert kept(cache, 3) == [0, 2]
    with pytest.raises(Full, match=r"file 3 .* finds no room in .*: 2e-06 GB of 2e-06 GB are open in processes"):
        bring(cache, 3)
    done.set()
    holder.join()
    assert holder.exitcode == 0
    bring(cache, 3).close()
    assert kept(cache, 4) == [2, 3]
    mine.close()


def test_what_killed_processes_left_unfinished_takes_no_room(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 1000)
    for number in (0, 1):  # the file's own, and another's
        (tmp_path / f"{content(number)[0]}.part").write_bytes(bytes(1000))
    bring(cache, 0).close()
    assert kept(cache, 2) == [0] and not list(tmp_path.glob("*.part"))


def test_an_array_alone_keeps_its_file(small: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = PreparedDataset(small, None)
    digest = dataset.manifest["shards"][dataset.shard_of(0)]["sha256"]
    cloud = dataset.points(0)
    del dataset
    full = Cache(cache.folder, sum(path.stat().st_size for path in cache.folder.iterdir() if not path.suffix))
    size = full.limit - (cache.folder / digest).stat().st_size
    bring(full, 7, size).close()
    assert full.has(digest) and np.isfinite(cloud).all()
    del cloud
    bring(full, 8, full.limit).close()
    assert not full.has(digest)


def test_a_dataset_larger_than_the_cache_is_refused_when_it_is_opened(
    small: Path, cache: Cache, fetched: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(names.ENV_CACHE_GB, "0.0001")
    with pytest.raises(ValueError, match=r"holds 0.\d+ GB, and the cache .* may hold 0.0001 GB: raise cluster.cache_gb .* to at least 0.0"):
        PreparedDataset(small, None)
    assert not fetched.read_text()


SLOW = """
import sys, time
from jobs.data import stores
from jobs.data.prepared import PreparedDataset
chunks = stores.chunks
def slow(file):
    for chunk in chunks(file):
        yield chunk[:1000]
        if file.name == "shard-00000.arrow":
            print("half", flush=True)
            time.sleep(60)
        yield chunk[1000:]
stores.chunks = slow
PreparedDataset(sys.argv[1], None).open(0)
"""


def test_a_process_killed_in_the_middle_of_a_copy_leaves_nothing_that_others_take_for_whole(small: Path, cache: Cache) -> None:
    killed = subprocess.Popen([sys.executable, "-c", SLOW, str(small)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert killed.stdout is not None and killed.stdout.readline() == "half\n"
    others: list[str] = []
    waiting = threading.Thread(target=lambda: others.append(everything(PreparedDataset(small, None))))
    waiting.start()  # waits for the copy that will never be whole
    time.sleep(0.3)
    assert not others and len(list(cache.folder.glob("*.part"))) == 1
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    killed.stdout.close()
    waiting.join(20)
    assert others == [everything(unstaged(small))]
    assert not list(cache.folder.glob("*.part"))


def test_the_first_batch_waits_for_its_own_shards_alone_and_the_rest_comes_in_the_order_of_the_epoch(
    small: Path, cache: Cache, fetched: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted, gate, asked = stores.chunks, threading.Event(), []
    monkeypatch.setattr("jobs.data.staging.TOGETHER", 1)
    dataset = PreparedDataset(small, "train")
    order = batch_order(3, 0, len(dataset), 2)
    wanted = list(dict.fromkeys(dataset.shard_of(row) for row in order.ravel()))
    first = {dataset.shard_of(row) for row in order[0]}
    assert len(first) < len(wanted)

    def gated(file: Place) -> Iterator[bytes]:
        number = int(file.name[6:11])
        asked.append(number)
        if number not in first:
            assert gate.wait(20)
        yield from counted(file)

    monkeypatch.setattr(stores, "chunks", gated)
    batches = pretraining_batches(
        dataset, seed=3, epoch=0, batch=2, rank=0, world=1, points=32, image_size=32, grey=True, workers=0
    )
    assert next(batches).ids_B.tolist() == order[0].tolist()  # though no other shard has come
    gate.set()
    assert len(list(batches)) == len(order) - 1
    assert asked == wanted


def test_checking_what_can_be_trained_on_opens_no_shard(small: Path, cache: Cache, fetched: Path) -> None:
    dataset = PreparedDataset(small, "train")
    check_trainable(dataset, 64)
    assert fetched.read_text().split() == ["index.arrow"]
    for shard in dataset.manifest["shards"]:
        del shard["fewest_views"]  # as older manifests are
    check_trainable(dataset, 64)
    assert len(set(fetched.read_text().split())) == FILES


@pytest.mark.parametrize("workers", [0, 2])
def test_loader_workers_read_the_same_batches_from_the_cache_and_each_file_is_fetched_once(
    small: Path, cache: Cache, fetched: Path, workers: int
) -> None:
    def batches(dataset: PreparedDataset) -> list[Any]:
        found = pretraining_batches(
            dataset, seed=0, epoch=0, batch=4, rank=0, world=1, points=64, image_size=32, grey=True, workers=workers
        )
        return [(batch.ids_B.tolist(), batch.points_2BNC.numpy().tobytes(), batch.rgb_B3HW.numpy().tobytes()) for batch in found]

    assert batches(PreparedDataset(small, "train")) == batches(unstaged(small, "train"))
    assert max(Counter(fetched.read_text().split()).values()) == 1


def _fork_and_read(small: Path) -> int:
    """The exit status of a child that reads everything while this process's threads fetch."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            everything(PreparedDataset(small, None))
            status = 0
        finally:
            os._exit(status)
    end = time.monotonic() + 15
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_child_forked_while_files_are_fetched_waits_for_none_of_its_own_locks(
    small: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunks = stores.chunks

    def slow(file: Place) -> Iterator[bytes]:
        if file.name.startswith("shard"):
            time.sleep(0.6)
        yield from chunks(file)

    monkeypatch.setattr(stores, "chunks", slow)
    dataset = PreparedDataset(small, None)
    dataset.expect(range(len(dataset)))
    time.sleep(0.1)  # its threads hold the locks of four shards
    child: list[int] = []
    forking = threading.Thread(target=lambda: child.append(_fork_and_read(small)))
    forking.start()
    forking.join(20)
    assert child == [0]


def _read_there(said: Any) -> None:
    try:
        said.put(stores.read(Uri("s3", "shapes", "one")).decode())
    except ValueError as error:
        said.put(str(error))


def test_a_forked_process_leaves_the_stores_client_to_a_fresh_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket_in(tmp_path, monkeypatch)
    stores.write(Uri("s3", "shapes", "one"), b"through the client of this process")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "localhost")  # which a client that is made anew stumbles over
    said = FORK.Queue()
    child = FORK.Process(target=_read_there, args=(said,), daemon=True)
    child.start()
    assert said.get(timeout=30) == "AWS_ENDPOINT_URL is localhost: write http://host:port or https://host"
    child.join()


def test_a_cache_of_another_user_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(names.ENV_CACHE, raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    mine = node_cache().folder
    assert mine.parent == tmp_path and mine.stat().st_mode & 0o777 == 0o700
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    (tmp_path / "adacrossnet-cache-12345").mkdir()
    with pytest.raises(ValueError, match="belongs to another user: name a cache folder of your own"):
        node_cache()
