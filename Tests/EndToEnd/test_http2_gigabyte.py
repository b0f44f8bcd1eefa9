"""A gigabyte each way over HTTP/2 and TLS 1.3, as a browser's HTTP/2 goes, at flat memory."""

import os
import re
import subprocess
import threading

import pytest

from harness import cluster, configuration, forward, listener, patience

GIGABYTE = 1 << 30
ROOM = 24 << 20

pytestmark = [
    pytest.mark.slow,
    pytest.mark.clients,
    pytest.mark.skipif(
        os.environ.get("WEIR_TEST_SANITIZER", "none") != "none",
        reason="a sanitizer's memory says nothing, and takes minutes to do so",
    ),
]


@pytest.fixture
def origin():
    """The sample origin, which makes and counts bodies of any size; its port."""
    command = [os.environ["WEIR_ORIGIN"], "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            line = child.stdout.readline()
            yield int(re.search(r":(\d+)", line)[1])
        finally:
            child.terminate()


class Peak:
    """The most memory that a process has been seen with."""

    def __init__(self, running):
        self.running, self.most, self.done = running, 0, threading.Event()
        self.thread = threading.Thread(target=self.watch)

    def watch(self):
        while not self.done.wait(0.05):
            self.most = max(self.most, self.running.resident)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()


def curl(authority, url, *options, **more):
    lead = ["curl", "-sS", "--http2", "--tlsv1.3", "--max-time", patience(120)]
    command = [*lead, "--cacert", authority.certificate, *options, url]
    return subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, **more)


def test_a_gigabyte_each_way(weir, authority, origin):
    local = authority.issue("DNS:localhost", "IP:127.0.0.1")
    running = weir(
        configuration(
            [cluster("main", f"127.0.0.1:{origin}")],
            [forward(timeout="off")],
            listeners=[listener(tls={"certificates": [local.files]})],
        )
    )
    site = f"https://{running.edge}"
    small = curl(authority, f"{site}/bytes/1000", "-o", os.devnull)
    assert small.wait(patience(30)) == 0
    before = running.resident
    with Peak(running) as peak:
        down = curl(authority, f"{site}/bytes/{GIGABYTE}", "-o", os.devnull)
        zeroes = subprocess.Popen(
            ["head", "-c", str(GIGABYTE), "/dev/zero"], stdout=subprocess.PIPE
        )
        up = curl(authority, f"{site}/upload", "-T", "-", "-X", "POST", stdin=zeroes.stdout)
        zeroes.stdout.close()
        said, _ = up.communicate(timeout=patience(150))
        assert (up.returncode, down.wait(patience(150)), zeroes.wait()) == (0, 0, 0)
    assert str(GIGABYTE) in said.decode(), said
    assert peak.most - before < ROOM, (before, peak.most)
    lines = running.wait_log(3)
    for line in lines:
        assert (line["status"], line["protocol"], line["reason"]) == (200, "HTTP/2", None)
    assert [line["bytes_out"] for line in lines if line["bytes_out"] > ROOM] == [GIGABYTE]
