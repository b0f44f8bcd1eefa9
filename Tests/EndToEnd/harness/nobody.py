"""Addresses at which nobody answers."""

import contextlib
import socket


def _address(sock):
    return "127.0.0.1:%d" % sock.getsockname()[1]


@contextlib.contextmanager
def refusing():
    """Whoever connects is refused. The port is held: a free one may become another test's."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield _address(holder)


@contextlib.contextmanager
def never_connecting():
    """A listener whose backlog is full: whoever connects hears nothing."""
    with socket.socket() as full, contextlib.ExitStack() as stack:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        yield _address(full)
