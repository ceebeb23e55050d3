from pathlib import Path
from typing import Any

import pytest

from jobs.config import check
from jobs.config.places import place_of
from service.roots import OutsideRoots, check_paths
from service.settings import read_settings

ROOTS = ("/shared", "s3://shapes/sets")


def allowed(target: str, roots: tuple[str, ...] = ROOTS, **cluster: Any) -> bool:
    values = {"data": {"kind": "synthetic", "target": target}, "cluster": {"storage": "/shared/runs", **cluster}}
    try:
        check_paths(check(values, "test").resolved(Path("/shared")), [place_of(root) for root in roots])
    except OutsideRoots:
        return False
    return True


@pytest.mark.parametrize("target", ["s3://shapes/sets", "s3://shapes/sets/a/b", "/shared/data", "data"])
def test_a_place_below_a_root_of_its_kind_may_be_named(target: str) -> None:
    assert allowed(target)


@pytest.mark.parametrize(
    "target", ["s3://shapes/sets2", "s3://shapes", "s3://other/sets/a", "gs://shapes/sets/a", "/shared2/a", "/shared/../a"]
)
def test_any_other_may_not(target: str) -> None:
    assert not allowed(target)


def test_a_uri_lies_below_no_folder_and_a_folder_below_no_uri() -> None:
    assert not allowed("s3://shapes/sets", roots=("/",))
    assert allowed("/shared/data", roots=("/shared",)) and not allowed("/data", roots=("/shared", "s3://data"))


def test_the_cache_of_the_nodes_lies_below_a_root_too() -> None:
    assert allowed("data", cache="/shared/cache")
    assert not allowed("data", cache="/etc/cron.d")


def test_settings_take_uris_as_roots_beside_a_folder(tmp_path: Path) -> None:
    path = tmp_path / "service.yaml"
    path.write_text("roots: [s3://shapes/sets, /shared]")
    assert read_settings(path).roots == (place_of("s3://shapes/sets"), Path("/shared"))
    path.write_text("roots: [s3://shapes/sets]")
    with pytest.raises(ValueError, match=r"roots: .*names no folder: checkpoints lie in one"):
        read_settings(path)
    path.write_text("roots: [ftp://shapes/sets]")
    with pytest.raises(ValueError, match=r"roots.*: ftp://shapes/sets: the scheme ftp is not known"):
        read_settings(path)
