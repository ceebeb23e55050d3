"""Ports are free, different, and none that Ray will bind by itself."""
from cluster.ports import RAYS_OWN, free_ports


def test_ports_are_different_and_never_those_that_are_taken() -> None:
    odd = frozenset(range(1, 65536, 2)) | RAYS_OWN
    found = free_ports(20, odd)
    assert len(set(found)) == 20
    assert not set(found) & odd
