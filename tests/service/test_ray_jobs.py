"""What the job server's answers mean."""
from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from cluster.local import LocalCluster
from service.endpoints import resolve
from service.home import Home
from service.ray_jobs import ClusterAway, RayJobs
from service.tables import EMBEDDED, UP

ASK: tuple[Callable[[RayJobs], object], ...] = (lambda jobs: jobs.job("p-1"), lambda jobs: jobs.logs("p-1"), lambda jobs: jobs.stop("p-1"))


@pytest.fixture
def proxy() -> Iterator[str]:
    """The address of a proxy whose job server is away: it answers 404 to everything."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(404, "no such route", "The page /api/jobs/p-1 does not exist here")

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("ask", ASK)
def test_a_job_that_ray_does_not_know_is_none(ask: Callable[[RayJobs], object], shared: tuple[Home, LocalCluster]) -> None:
    endpoint = resolve(UP, EMBEDDED, shared[0])
    assert endpoint is not None
    assert not ask(RayJobs(endpoint.ray, endpoint.token))


@pytest.mark.parametrize("ask", ASK)
def test_a_404_that_is_not_rays_own_is_a_cluster_that_is_away(ask: Callable[[RayJobs], object], proxy: str) -> None:
    with pytest.raises(ClusterAway, match="answered 404 to /api/jobs/p-1"):
        ask(RayJobs(proxy, None))
