"""Free ports on loopback."""
from __future__ import annotations

import socket
from contextlib import ExitStack

# Ray's head binds these whatever it is told (the metrics of its autoscaler and dashboard), after we have chosen ours.
RAYS_OWN = frozenset({44217, 44227})


def free_ports(count: int, taken: frozenset[int] = RAYS_OWN) -> list[int]:
    """`count` different ports that nobody listens on now and that are not `taken`."""
    with ExitStack() as stack:
        found: list[int] = []
        while len(found) < count:
            one = stack.enter_context(socket.socket())
            one.bind(("", 0))  # all interfaces: Ray binds some of its servers there
            if (port := one.getsockname()[1]) not in taken:
                found.append(port)
        return found


def claim(port: int | None, what: str, option: str) -> int:
    """`port` if nobody listens on it, a free one for None.

    Raises ValueError naming the port, what it was for and the option that changes it.
    """
    if port is None:
        return free_ports(1)[0]
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError as error:
            raise ValueError(
                f"port {port}, asked for {what}, is in use or not allowed ({error.strerror}): "
                f"give another with {option}, or none to have one chosen"
            ) from None
    return port
