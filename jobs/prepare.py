"""The prepare job: raw shapes to prepared datasets, one plain Ray task a shard.

`python -m jobs.prepare` is the stage of a pipeline; with one `data` section as JSON in $ADACROSSNET_DATA_CONFIG it prepares that, in this
process, without Ray or MLflow.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray

from jobs.config import Data, check_data, digest_of, names
from jobs.config.datasets import Prepared
from jobs.config.places import Place, Uri
from jobs.data import stores
from jobs.data.format import INDEX, MANIFEST, REJECTS, WORK, checksum_faults, presence_faults, read_manifest, shard_name
from jobs.data.items import Item
from jobs.data.locking import held
from jobs.data.prepared import check_shards
from jobs.data.times import remember_times, rewritten
from jobs.show import contact_sheet
from jobs.tracking import Stage, run_stage

if TYPE_CHECKING:
    from jobs.data.building import Built

BLOCKS_A_ROOM = 64  # about: what a raw room counts for in a shard
EVERY_S = 1.0  # seconds between two progress lines, at least
_FILES = rf"{MANIFEST}|{INDEX}|{REJECTS}|shard-\d+\.arrow"
OURS = re.compile(rf"\{WORK}|contact-sheet\.png|{_FILES}|\.({_FILES})\.\d+")  # what may stand in a target, or its temporary name


def main() -> None:
    section = os.environ.get(names.ENV_DATA_CONFIG)
    if section is None:
        run_stage("prepare", prepare_stage)
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a Ctrl-C comes as SIGTERM through the command, which ignores SIGINT for us
    try:
        prepare(check_data(json.loads(section), "data"), say=lambda line: print(f"prepare: {line}", flush=True), parallel=False)
    except KeyboardInterrupt:
        print("prepare: interrupted: finished shards are kept; the same command goes on", file=sys.stderr, flush=True)
        sys.exit(130)
    except (ValueError, OSError) as error:
        sys.exit(f"prepare: error: {error}")


def prepare_stage(stage: Stage) -> None:
    """Prepares the datasets of the pretraining, the probe and the further evaluations, and leaves what they hold."""
    facts: dict[str, Any] = {}
    if stage.config.suite is not None:
        from jobs.suite import FACTS, pinned  # PyTorch, which preparing does without

        facts[FACTS] = pinned(stage)
    for section, data in stage.config.datasets.items():
        manifest = prepare(data, say=stage.say, parallel=True)
        facts[section] = {key: value for key, value in manifest.items() if key != "shards"} | {"target": str(data.target)}
    first, data = next(iter(stage.config.datasets.items()))  # the pretraining's
    target = data.target
    assert target is not None
    stage.tag({names.TAG_DATA: facts[first]["digest"]})
    stage.picture("shapes", lambda path: contact_sheet(target, path, shapes=12))
    stage.leave(facts)


def prepare(data: Data, say: Callable[[str], None], parallel: bool) -> dict[str, Any]:
    """Prepares one dataset into `data.target` and returns its manifest; `parallel` makes each shard a Ray task.

    The same input and seed give the same bytes. What a broken-off run finished is kept, as is a whole dataset with these settings; while
    another process prepares the same folder, this one waits for it.
    Raises ValueError: source missing or empty, no usable shape, target taken by something else or by other settings.
    """
    folder = data.target
    if folder is None:
        raise ValueError("data.target is not set: name the folder that the prepared dataset goes to")
    if isinstance(folder, Path) and os.path.lexists(folder) and not folder.is_dir():
        raise ValueError(f"{folder} is a file, not a folder: choose another target")
    if isinstance(data, Prepared):
        check_shards(folder)
        return _summed_up(folder, read_manifest(folder), say)
    from jobs.data.finishing import finish, renamed  # the readers and what builds: two seconds that a prepared dataset does without
    from jobs.data.tables import SOURCES

    items = SOURCES[data.kind].list_items(data)
    categories = sorted({item.category for item in items})
    _compare_counts(items, SOURCES[data.kind].counts(data), say)
    if (isinstance(folder, Uri) or folder.is_dir()) and not stores.is_file(folder / MANIFEST):
        _refuse_foreign(folder)  # before the lock beside it is made: a mistyped target is left as it was
    listing = digest_of([[item.id, item.category, item.split, item.fingerprint] for item in items])
    with held(folder, say):
        if stores.is_file(folder / MANIFEST) and _reusable(folder, data, listing, items, say):
            return _summed_up(folder, renamed(folder, data.name), say)
        whole_rooms = SOURCES[data.kind].channels > 3 and items[0].row is None
        together = max(1, data.shard_rows // BLOCKS_A_ROOM) if whole_rooms else data.shard_rows
        starts = range(0, len(items), together)
        _make_room(folder, len(starts))
        parts = [items[start : start + together] for start in starts]
        progress = _Progress(len(items), say)
        build = _in_tasks if parallel else _in_process
        built = sorted(build(folder, parts, data, categories, progress), key=lambda shard: shard.number)
        manifest = finish(folder, data, items, categories, listing, built)
        remember_times(folder, manifest["digest"], items)
        return _summed_up(folder, manifest, say)


def _compare_counts(items: Sequence[Item], expected: dict[str, int], say: Callable[[str], None]) -> None:
    """Says so where a dataset holds another number of shapes than it is distributed with."""
    found = {split: sum(item.split == split for item in items) for split in expected}
    if found != expected:
        counts = [", ".join(f"{count} {split}" for split, count in one.items()) for one in (found, expected)]
        say(f"the source holds {counts[0]} shapes; the dataset is distributed with {counts[1]}")


def _reusable(folder: Place, data: Any, listing: str, items: Sequence[Item], say: Callable[[str], None]) -> bool:
    """Whether the finished dataset in `folder` is what is asked for; a damaged one is built again, another one is never overwritten."""
    from jobs.data.building import settings_of

    manifest, settings = read_manifest(folder), settings_of(data)
    # A setting that came later stood at its default when older manifests were written; the version was 1.
    fields = type(data).model_fields
    since = {key: value for key, value in settings.items() if key == "parts" or (key in fields and value == fields[key].default)}
    made = {**since, "version": 1, **manifest["data"]}
    if made != settings or manifest["listing"] != listing or rewritten(folder, manifest["digest"], items):
        changed = sorted(key for key in settings.keys() | made.keys() if settings.get(key) != made.get(key))
        what = f"other settings ({', '.join(changed)})" if changed else "another source, or its files have changed since"
        raise ValueError(f"{folder} already holds a dataset prepared from {what}: choose another target, or remove that folder")
    faults = presence_faults(folder, manifest) if isinstance(folder, Uri) else checksum_faults(folder, manifest)
    if not faults:
        say(f"{folder} is prepared already, {'all files are there' if isinstance(folder, Uri) else 'checksums agree'}")
        return True
    _refuse_foreign(folder)
    say(f"{folder} is damaged ({'; '.join(faults)}): preparing it again")
    stores.remove(folder / MANIFEST)
    return False


def _make_room(folder: Place, shards: int) -> None:
    """An empty target, or one that a broken-off run left; ValueError when it holds anything else."""
    if isinstance(folder, Path):
        folder.mkdir(parents=True, exist_ok=True)
    _refuse_foreign(folder)
    if isinstance(folder, Path):
        (folder / WORK).mkdir(exist_ok=True)
    expected = {shard_name(number) for number in range(shards)}
    for name in stores.sizes(folder).keys() - expected:
        stores.remove(folder / name)


def _refuse_foreign(folder: Place) -> None:
    foreign = sorted(name for name in (*stores.sizes(folder), *stores.folders(folder)) if not OURS.fullmatch(name))
    if foreign:
        raise ValueError(f"{folder} holds other files ({', '.join(foreign[:3])}): choose an empty folder as target")


def _in_process(folder: Place, parts: Sequence[list[Item]], data: Any, categories: list[str], progress: _Progress) -> Iterator[Built]:
    from jobs.data.building import build_shard

    for number, items in enumerate(parts):
        yield build_shard(folder, number, items, data, categories, progress.within_shard())


@ray.remote(num_cpus=1)
def _task(folder: Place, number: int, items: list[Item], data: Any, categories: list[str]) -> Built:
    from jobs.data.building import build_shard

    return build_shard(folder, number, items, data, categories, lambda count: None)


def _in_tasks(folder: Place, parts: Sequence[list[Item]], data: Any, categories: list[str], progress: _Progress) -> Iterator[Built]:
    if not ray.is_initialized():
        ray.init(log_to_driver=False)
    waiting = {_task.remote(folder, number, items, data, categories): len(items) for number, items in enumerate(parts)}
    while waiting:
        (ready,), _ = ray.wait(list(waiting), num_returns=1)
        built: Built = ray.get(ready)
        progress.add(waiting.pop(ready))
        yield built


class _Progress:
    """`128/400 shapes, 210 shapes/s, 3 s left`, now and then."""

    def __init__(self, total: int, say: Callable[[str], None]) -> None:
        self.total, self.say = total, say
        self.done, self.start, self.said = 0, time.monotonic(), time.monotonic()

    def within_shard(self) -> Callable[[int], None]:
        """What a shard calls with its own count."""
        before = self.done
        return lambda count: self.add(before + count - self.done)

    def add(self, count: int) -> None:
        self.done += count
        now = time.monotonic()
        if now - self.said >= EVERY_S or self.done == self.total:
            self.said = now
            rate = self.done / max(now - self.start, 1e-6)
            self.say(f"{self.done}/{self.total} shapes, {rate:.0f} shapes/s, {(self.total - self.done) / rate:.0f} s left")


def _summed_up(folder: Place, manifest: dict[str, Any], say: Callable[[str], None]) -> dict[str, Any]:
    counts = ", ".join(f"{value['count']} {split}" for split, value in manifest["splits"].items())
    what, each = ("categories", "shape") if manifest["channels"] == 3 else ("areas", "block")
    say(f"{folder}: {counts}; {len(manifest['categories'])} {what}, {manifest['points']} points, {manifest['views']} views a {each}")
    counts_of = {split: value["categories"] for split, value in manifest["splits"].items()}
    for split, word in (("val", "validation"), ("test", "test")):
        bare = [name for name in manifest["categories"] if counts_of["train"][name] and not counts_of[split][name]]
        if bare and manifest["channels"] == 3:
            which = f"in {len(bare)} of {len(manifest['categories'])} categories ({', '.join(bare[:5])}{', …' if len(bare) > 5 else ''})"
            say(
                f"no {word} shape {which}: a source that names splits (folders train, val, test) must name this one for each of them; "
                "where none is named, a category gives one from three different shapes on"
            )
    if len(manifest["categories"]) == 1:
        say(f"{manifest['categories'][0]} is the only category: pretraining can use it, the linear SVM needs two")
    if manifest["resampled"]:
        say(f"{manifest['resampled']} shapes had fewer than {manifest['points']} points and were resampled")
    if manifest["rejects"]:
        say(f"{manifest['rejects']} reject{'s'[: manifest['rejects'] != 1]}, each with its reason in {folder / REJECTS}")
    return manifest


if __name__ == "__main__":
    main()
