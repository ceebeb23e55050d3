"""The storage check on a real cluster of two nodes."""
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster

from jobs.preflight import unreachable

pytestmark = pytest.mark.soak


@pytest.fixture
def two_nodes() -> object:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 100_000_000})
    cluster.add_node(num_cpus=1, object_store_memory=100_000_000)
    ray.init(address=cluster.address, log_to_driver=False)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")  # Ray's own test cluster
def test_every_node_is_asked_and_a_folder_that_cannot_be_written_is_named_with_the_node(two_nodes: object, tmp_path: Path) -> None:
    nodes, faults = unreachable(tmp_path / "storage")
    assert (nodes, faults) == (2, {})
    assert list((tmp_path / "storage").iterdir()) == []
    taken = tmp_path / "file"
    taken.write_text("a file where the folder should be")
    with pytest.raises(OSError, match="file"):
        unreachable(taken)
