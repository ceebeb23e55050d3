from pathlib import Path
from typing import Any

import pytest

from jobs.config import ConfigError, Pipeline, check
from jobs.config.places import Uri, place_here, place_of


def config(**sections: Any) -> Pipeline:
    return check({"data": {"kind": "synthetic"}, **sections}, "test")


@pytest.mark.parametrize("text", ["s3://shapes/modelnet40", "gs://my-bucket.example/a b/ü", "s3://shapes"])
def test_a_uri_is_read_and_written_as_it_is(text: str) -> None:
    assert isinstance(place_of(text), Uri)
    assert str(place_of(text)) == str(place_of(f"{text}/")) == str(place_here(text)) == text
    assert str(place_of(text) / "manifest.json") == f"{text}/manifest.json"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("s4://shapes/a", r"data.target: s4://shapes/a: the scheme s4 is not known, only s3:// and gs:// and plain paths"),
        ("S3://shapes/a", r"the scheme S3 is not known"),
        ("file:///shapes/a", r"the scheme file is not known"),
        ("s3:///a", r"s3:///a names no bucket: write s3://bucket/path"),
        ("s3:/shapes/a", r"s3:/shapes/a has one slash after its colon: write s3://bucket/path"),
        (Path("s3://shapes/a"), r"has one slash after its colon"),
        ("s3://key:secret@shapes/a", r"is no bucket's name .*credentials stand in no URI"),
        ("s3://shapes//a", r"a part of the path is empty"),
        ("s3://shapes/a/../../other", r"a part of the path is empty, '.' or '..'"),
        ("s3://shapes/a?endpoint_override=evil", r"have no place in it"),
        (3, r"data.target: Input should be a path or a URI as text"),
    ],
)
def test_what_is_no_uri_is_refused_with_the_way_out(text: object, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        config(data={"kind": "prepared", "target": text})


def test_a_resolved_config_keeps_uris_and_makes_paths_absolute(tmp_path: Path) -> None:
    sections = {"data": {"kind": "synthetic", "target": "s3://shapes/a"}, "probe": {"kind": "prepared", "target": "ready"}}
    found = config(**sections, cluster={"cache": "fast"}).resolved(tmp_path)
    assert found.data.target == Uri("s3", "shapes", "a")
    assert found.probe is not None and found.probe.target == tmp_path / "ready"
    assert found.cluster.cache == tmp_path / "fast"
    assert Pipeline.model_validate_json(found.to_json()) == found
    assert check(found.model_dump(), "test") == found
    assert '"target":"s3://shapes/a"' in found.to_json()


@pytest.mark.parametrize("sections", [{"cluster": {"storage": "s3://shapes/runs"}}, {"data": {"kind": "meshes", "source": "s3://shapes/raw"}}])
def test_what_must_be_a_folder_is_never_made_one_of_a_uri(sections: Any) -> None:
    with pytest.raises(ConfigError, match=r"(cluster.storage|data.source): must be a path that every node sees"):
        config(**sections)


def test_below_goes_by_whole_parts() -> None:
    root = Uri("s3", "shapes", "sets")
    assert Uri("s3", "shapes", "sets/a").is_relative_to(root) and root.is_relative_to(root)
    assert Uri("s3", "shapes", "sets").is_relative_to(Uri("s3", "shapes", ""))
    for other in (Uri("s3", "shapes", "sets2"), Uri("s3", "other", "sets/a"), Uri("gs", "shapes", "sets/a"), Uri("s3", "shapes", "")):
        assert not other.is_relative_to(root)
