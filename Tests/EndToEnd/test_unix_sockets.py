"""Unix sockets on both sides."""

import socket
import stat

import pytest

from harness import Client, cluster, configuration, forward, listener, until


class LocalClient(Client):
    """A client of a unix socket."""

    def __init__(self, path):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(15)
        sock.connect(str(path))
        super(Client, self).__init__(sock)


def settings(behind, path, **options):
    return configuration([cluster("main", behind, **options)], listeners=[listener(address=f"unix:{path}")])


def status(path, count=1):
    with LocalClient(path) as client:
        for _ in range(count):
            client.request()
            found = client.read().status
    return found


def test_a_listener(weir, upstream, tmp_path):
    path = tmp_path / "edge.sock"
    behind = upstream()
    running = weir(settings(behind, path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o666
    assert [status(path, 3) for _ in range(8)] == [200] * 8
    assert running.wait_log(24)[0]["client"] == "unix"
    running.signal(15)
    assert running.wait_exit() == 0
    assert not path.exists()


def test_a_file_that_was_left_behind_is_replaced(weir, upstream, tmp_path):
    path = tmp_path / "edge.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    weir(settings(upstream(), path))
    assert status(path) == 200


@pytest.mark.parametrize("what", ["another weir", "a file"])
def test_what_is_not_ours_is_left_alone(weir, upstream, tmp_path, what):
    path = tmp_path / "edge.sock"
    if what == "a file":
        path.write_text("precious")
    else:
        weir(settings(upstream(), path))
    second = weir(settings(upstream(), path), wait=False)
    assert second.wait_exit() == 1
    assert f"listener 'edge' cannot use unix:{path}" in second.stderr
    assert path.exists()
    assert what == "a file" or status(path) == 200


def test_a_reload_opens_and_closes_listeners(weir, upstream, tmp_path):
    first, second = tmp_path / "first.sock", tmp_path / "second.sock"
    behind = upstream()
    running = weir(settings(behind, first))
    for path, other in ((second, first), (first, second)) * 2:
        running.reload(settings(behind, path))
        until(lambda: not other.exists(), "the old one is gone")
        assert status(path) == 200


def test_an_endpoint(weir, upstream, tmp_path):
    path = tmp_path / "origin.sock"
    behind = upstream(path=path)
    running = weir(configuration([cluster("main", behind, host_header="endpoint")], [forward()]))
    with running.client() as client:
        for _ in range(5):
            client.request()
            assert client.read().status == 200
    assert {request.one("host") for request in behind.requests} == {"localhost"}
    assert len(behind.connections) == 1, "it is kept"
    assert running.wait_log(5)[0]["endpoint"] == f"unix:{path}"
    assert running.wait_total(1, "weir_endpoint_state", endpoint=f"unix:{path}", state="available") == 1
    behind.stop()
    path.unlink()
    assert running.get().reason in ("upstream_connect", "no_endpoint")
