"""A network of the test's own, in which the kernel has only a few local ports."""

import ctypes
import os
import subprocess
from contextlib import contextmanager

CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)


def checked(result):
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


class NetworkNamespace:
    """Lives as long as something in it does; making one takes the rights of root."""

    def __init__(self, local_ports):
        self.home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            checked(LIBC.unshare(CLONE_NEWNET))
        except OSError:
            os.close(self.home)
            raise
        try:
            self.inside = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            with open("/proc/sys/net/ipv4/ip_local_port_range", "w") as file:
                file.write(local_ports)
        finally:
            self.leave()

    def leave(self):
        checked(LIBC.setns(self.home, CLONE_NEWNET))

    @contextmanager
    def entered(self):
        """What is opened or started by this thread meanwhile belongs to the namespace."""
        checked(LIBC.setns(self.inside, CLONE_NEWNET))
        try:
            yield
        finally:
            self.leave()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.inside)
        os.close(self.home)
