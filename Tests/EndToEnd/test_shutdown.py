"""SIGTERM drains and is bounded; a second one ends at once; a stale instance is not joined."""

import signal
import socket
import subprocess
import threading
import time

import pytest

from harness import WEIR, Client, cluster, configuration, ok, patience, until
from harness.settings import to_yaml


def hanging(upstream):
    """An upstream that answers only when the returned event is set."""
    go = threading.Event()

    def answer(_):
        go.wait(patience(60))
        return ok(b"done")

    return upstream(answer), go


def is_refused(address):
    try:
        Client(address, seconds=1).close()
    except OSError:
        return True
    return False


def test_idle_instance_ends_at_once(weir, upstream):
    running = weir(configuration([cluster("main", upstream())]))
    assert running.get().status == 200
    running.signal(signal.SIGTERM)
    assert running.wait_exit() == 0


def test_interrupt_ends_it_as_well(weir, upstream):
    running = weir(configuration([cluster("main", upstream())]))
    running.signal(signal.SIGINT)
    assert running.wait_exit() == 0


def test_drain_finishes_what_is_in_flight(weir, upstream):
    behind, go = hanging(upstream)
    running = weir(configuration([cluster("main", behind)], runtime={"drain_timeout": "60s"}))
    edge = running.edge
    with running.client() as client:
        client.request()
        behind.wait_requests(1)
        running.signal(signal.SIGTERM)
        until(lambda: is_refused(edge), "new connections are refused")
        assert running.process.poll() is None
        go.set()
        response = client.read()
        assert response.body == b"done"
        assert response.one("connection") == "close"
        client.expect_end()
    assert running.wait_exit() == 0


def test_drain_finishes_a_body_that_streams(weir, upstream):
    go = threading.Event()

    def handle(connection):
        connection.read()
        connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
        assert go.wait(patience(60))
        connection.send(b"1\r\nb\r\n0\r\n\r\n")
        connection.wait_closed()

    running = weir(
        configuration([cluster("main", upstream(handle=handle))], runtime={"drain_timeout": "60s"})
    )
    edge = running.edge
    with running.client() as client:
        client.request()
        head = client.read_head()
        assert head.status == 200
        running.signal(signal.SIGTERM)
        until(lambda: is_refused(edge), "new connections are refused")
        go.set()
        pieces = []
        client.chunked(pieces.append, "the body")
        assert b"".join(pieces) == b"ab"
    assert running.wait_exit() == 0


def test_idle_kept_connections_are_closed_by_the_drain(weir, upstream):
    running = weir(configuration([cluster("main", upstream())], runtime={"drain_timeout": "60s"}))
    clients = [Client(running.edge) for _ in range(10)]
    for client in clients:
        client.request()
        assert client.read().status == 200
    running.signal(signal.SIGTERM)
    for client in clients:
        client.expect_end()
        client.close()
    assert running.wait_exit() == 0


@pytest.mark.forced
def test_drain_is_bounded(weir, upstream):
    behind, go = hanging(upstream)
    running = weir(configuration([cluster("main", behind)], runtime={"drain_timeout": "500ms"}))
    with running.client() as client:
        client.request()
        behind.wait_requests(1)
        started = time.monotonic()
        running.signal(signal.SIGTERM)
        assert running.wait_exit() == 0
        assert 0.4 < time.monotonic() - started < patience(8)
        response = client.read()
        assert response is None or response.reason == "draining"
    go.set()


@pytest.mark.forced
def test_second_signal_ends_at_once(weir, upstream):
    behind, go = hanging(upstream)
    running = weir(configuration([cluster("main", behind)], runtime={"drain_timeout": "1h"}))
    edge = running.edge
    with running.client() as client:
        client.request()
        behind.wait_requests(1)
        running.signal(signal.SIGTERM)
        until(lambda: is_refused(edge), "the drain began")
        running.signal(signal.SIGTERM)
        running.wait_exit(10)
    go.set()


def test_readiness_ends_with_the_drain(weir, upstream):
    """A balancer in front learns from /ready that it should look elsewhere."""
    behind, go = hanging(upstream)
    running = weir(configuration([cluster("main", behind)], runtime={"drain_timeout": "60s"}))
    with running.client() as client:
        client.request()
        behind.wait_requests(1)
        running.signal(signal.SIGTERM)
        until(lambda: running.ask("GET", "/ready")[0] == 503, "/ready says no")
        assert running.ask("GET", "/healthz")[0] == 200
        go.set()
        assert client.read().body == b"done"
    assert running.wait_exit() == 0


def test_access_log_is_complete_after_the_end(weir, upstream):
    running = weir(configuration([cluster("main", upstream())]))
    for _ in range(200):
        assert running.get().status == 200
    running.signal(signal.SIGTERM)
    assert running.wait_exit() == 0
    assert len(running.log()) == 200


def test_restart_loses_no_connection_that_was_accepted(weir, upstream):
    """Requests that race with the drain are answered or never accepted, but not dropped half-way."""
    behind = upstream()
    running = weir(configuration([cluster("main", behind)]))
    edge, broken, answered = running.edge, [], [0]

    def load():
        with Client(edge) as client:
            while True:
                client.request()
                response = client.read()
                if response is None:
                    return  # closed between two requests: a client may send it again
                if response.status != 200:
                    broken.append(response)
                answered[0] += 1
                if response.one("connection") == "close":
                    return

    def guarded():
        try:
            load()
        except OSError:
            pass
        except Exception as error:
            broken.append(error)

    threads = [threading.Thread(target=guarded) for _ in range(8)]
    for thread in threads:
        thread.start()
    until(lambda: answered[0] > 300, "requests flow")
    running.signal(signal.SIGTERM)
    assert running.wait_exit() == 0
    for thread in threads:
        thread.join(patience(10))
    assert not broken, broken[:3]


# Addresses that are taken


def run_to_end(tmp_path, settings):
    file = tmp_path / "weir.yaml"
    file.write_text(to_yaml(settings))
    return subprocess.run([WEIR, "run", str(file)], capture_output=True, text=True, timeout=patience(30))


@pytest.mark.parametrize("section", ["listener", "admin"])
def test_a_stale_instance_is_not_joined(weir, upstream, tmp_path, section):
    """SO_REUSEPORT would let two instances share a port silently; weir looks first."""
    behind = upstream()
    running = weir(configuration([cluster("main", behind)]))
    settings = configuration([cluster("main", behind)])
    if section == "listener":
        taken = running.edge
        settings["listeners"] = [{"name": "edge", "address": taken}]
    else:
        taken = running.admin
        settings["admin"] = {"address": f"unix:{taken}"}
    ended = run_to_end(tmp_path, settings)
    assert ended.returncode == 1
    assert taken in ended.stderr, ended.stderr
    assert running.get().status == 200
    assert running.ask("GET", "/ready")[0] == 200


def test_port_of_another_program_is_refused(tmp_path, upstream):
    behind = upstream()
    settings = configuration([cluster("main", behind)])
    settings["listeners"] = [{"name": "edge", "address": behind.address}]
    ended = run_to_end(tmp_path, settings)
    assert ended.returncode == 1
    assert behind.address in ended.stderr


def test_left_over_admin_socket_does_not_hinder_the_start(weir, upstream):
    settings = configuration([cluster("main", upstream())])
    first = weir(settings)
    first.is_expected_to_run = False
    first.process.kill()
    first.process.wait()
    stale = socket.socket(socket.AF_UNIX)
    with pytest.raises(OSError):
        stale.connect(first.admin)
    again = weir(settings, admin=first.admin)
    assert again.get().status == 200
