"""Free ports on loopback."""
from __future__ import annotations

import socket
from contextlib import ExitStack


def free_ports(count: int) -> list[int]:
    """`count` different ports that nobody listens on now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("", 0))  # all interfaces: Ray binds some of its servers there
        return [one.getsockname()[1] for one in sockets]


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
