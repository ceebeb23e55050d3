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
        check_paths(check(values, "test").resolved(Path("/shared")), [place_of(root) for root in roots], Path("/shared/state"))
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


def test_the_services_own_folder_may_not_be_named_but_for_its_storage() -> None:
    assert not allowed("/shared/state/cluster") and not allowed("state")
    assert allowed("/shared/state/storage/data/x")


def test_a_path_with_dots_is_refused_for_behind_a_link_it_leads_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "other" / "deep").mkdir(parents=True)
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link").symlink_to(tmp_path / "other" / "deep")
    assert not allowed(f"{tmp_path}/root/link/../secret", roots=(f"{tmp_path}/root", "/shared"))
    assert not allowed(f"{tmp_path}/root/link/secret", roots=(f"{tmp_path}/root", "/shared"))
    assert allowed(f"{tmp_path}/root/own/secret", roots=(f"{tmp_path}/root", "/shared"))


def test_datasets_that_nothing_is_judged_on_are_looked_at_too() -> None:
    values = {
        "suite": {"model": "models:/m/1"}, "data": {"kind": "prepared", "target": "/etc"}, "cluster": {"storage": "/shared/runs"},
        "evaluations": [{"task": "svm", "data": {"kind": "prepared", "target": "/shared/data"}}],
    }  # fmt: skip
    with pytest.raises(OutsideRoots, match=r"data\.target is /etc"):
        check_paths(check(values, "test").resolved(Path("/shared")), [Path("/shared")], Path("/home/service"))
