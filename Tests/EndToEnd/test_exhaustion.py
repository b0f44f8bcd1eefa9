"""Out of descriptors, connections or memory: new work is shed with a reason, and all of it comes back."""

import os
import threading
from contextlib import ExitStack

import pytest

from harness import Client, NetworkNamespace, cluster, configuration, listener, ok, patience, until
from harness.nobody import refusing


def flood(address, count):
    """Opens up to `count` connections; those that are refused or closed at once are left out."""
    opened = []
    for _ in range(count):
        try:
            opened.append(Client(address, seconds=5))
        except OSError:
            pass
    return opened


def works_again(running):
    def answers():
        try:
            return running.get().status == 200
        except (OSError, AssertionError):
            return False

    until(answers, "weir serves again", 30)


@pytest.mark.parametrize("workers", [1, 2])
def test_accept_flood_beyond_the_descriptors(weir, upstream, workers):
    behind = upstream()
    running = weir(configuration([cluster("main", behind)], runtime={"workers": workers}), open_files=100)
    assert running.get().status == 200
    for _ in range(3):
        held = flood(running.edge, 300)
        assert running.process.poll() is None
        for client in held:
            client.close()
        works_again(running)
    assert running.ask("GET", "/ready")[0] == 200, "the admin listener kept a descriptor for itself"


def test_no_spinning_while_the_descriptors_are_gone(weir, upstream):
    """A level-triggered accept loop would burn a whole core here."""
    behind = upstream()
    running = weir(configuration([cluster("main", behind)]), open_files=80)
    held = flood(running.edge, 200)

    def cpu():
        with open(f"/proc/{running.pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / 100

    before, gate = cpu(), threading.Event()
    gate.wait(1.5)
    assert cpu() - before < patience(0.5)
    for client in held:
        client.close()
    works_again(running)


def test_no_descriptor_left_for_the_upstream(weir, upstream):
    """Clients fill the table while their requests wait: what cannot be sent on is answered 503."""
    go = threading.Event()

    def answer(_):
        assert go.wait(patience(60))
        return ok()

    behind = upstream(answer)
    running = weir(configuration([cluster("main", behind, connect_timeout="1s")]), open_files=100)
    held = flood(running.edge, 70)
    try:
        for client in held:
            try:
                client.request()
            except OSError:
                pass
        behind.wait(lambda: len(behind.requests) >= 5, "some requests came through")
        go.set()
        seen = set()
        for client in held:
            try:
                response = client.read()
            except OSError:
                response = None
            seen.add((response.status, response.reason) if response else None)
        assert (200, None) in seen
        assert seen <= {(200, None), (503, "resource_exhausted"), (503, "ceiling"), None}, seen
    finally:
        go.set()
        for client in held:
            client.close()
    works_again(running)


def test_connection_ceiling(weir, upstream):
    behind = upstream()
    running = weir(configuration([cluster("main", behind)], runtime={"max_connections": 20, "workers": 2}))
    held = flood(running.edge, 20)
    for client in held:
        client.request()
        assert client.read().status == 200
    with Client(running.edge) as extra:
        try:
            extra.request()
            response = extra.read()
        except OSError:
            response = None
        assert response is None or (response.status, response.reason) == (503, "ceiling")
    for client in held:
        client.request()
        assert client.read().status == 200, "those inside are not harmed"
        client.close()
    works_again(running)


def test_descriptors_have_their_room_before_they_are_needed(weir, upstream):
    """Linux has a thread wait for all CPUs where its process's table of them has to grow."""

    def settings(most):
        return configuration([cluster("main", behind)], runtime={"max_connections": most})

    behind = upstream()
    running = weir(settings(500))
    assert running.room_for_files >= 1000
    running.reload(settings(1500))
    assert running.room_for_files >= 3000


def test_buffer_memory_ceiling(weir, upstream):
    """Many stalled bodies may not take more than the configured memory."""
    go = threading.Event()

    def handle(connection):
        connection.recording = False
        while (request := connection.read_head()) is not None:
            go.wait(patience(60))
            connection.read_body(request, lambda piece: None)
            connection.send(ok())

    behind = upstream(handle=handle)
    running = weir(configuration([cluster("main", behind)], runtime={"buffer_memory": "2MiB"}))
    before = running.resident
    held = flood(running.edge, 150)
    try:
        for client in held:
            client.sock.setblocking(False)
            try:
                client.sock.send(
                    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n" + b"x" * 300_000
                )
            except OSError:
                pass
        behind.wait(lambda: len(behind.connections) >= 3, "some bodies were sent on")
        assert running.resident - before < patience(40 << 20)
    finally:
        go.set()
        for client in held:
            client.close()
    works_again(running)


def test_connections_that_come_and_go_leave_nothing(weir, upstream):
    behind = upstream()
    running = weir(configuration([cluster("main", behind, keepalive={"max_idle": 2})]))
    assert running.get().status == 200
    before = running.open_files
    for _ in range(20):
        held = flood(running.edge, 50)
        for number, client in enumerate(held):
            if number % 3 == 0:
                client.request()
            if number % 3 == 1:
                client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf")
        for number, client in enumerate(held):
            client.reset() if number % 2 else client.close()
    until(lambda: running.open_files <= before + 4, "the descriptors are free again (but for the pools)")
    works_again(running)


def test_upstream_out_of_reach_and_back(weir, upstream):
    """A thousand failing requests leave neither descriptors nor a wrong memory of the endpoint."""
    with refusing() as address:
        running = weir(configuration([cluster("main", address)]))
        before = running.open_files
        with running.client() as client:
            for _ in range(1000):
                client.request()
                assert client.read().reason == "upstream_connect"
        until(lambda: running.open_files <= before + 1, "no descriptor is left over")
    upstream(port=int(address.rpartition(":")[2]))
    works_again(running)


@pytest.mark.skipif(
    os.environ.get("WEIR_TEST_SANITIZER") == "thread",
    reason="the sanitizer finds names, and so what is suppressed, only where descriptors are left",
)
@pytest.mark.forced
def test_too_few_descriptors_to_start(weir, upstream):
    """weir ends with a reason or serves with all of its workers; none is missing unseen."""
    behind = upstream()
    for limit in range(14, 36, 2):
        settings = configuration([cluster("main", behind)], runtime={"workers": 2})
        running = weir(settings, open_files=limit, wait=False)
        try:
            running.wait_ready()
            for _ in range(24):
                with running.client() as client:
                    client.request()
                    answer = client.read()
                    assert answer is not None and answer.status in (200, 503)
        except (OSError, AssertionError):
            assert running.wait_exit() == 1, running.stderr
            assert "Too many open files" in running.stderr


def test_local_ports_run_out_and_come_back(weir, upstream):
    """Thirty connections to the endpoint are all that the kernel has ports for."""
    with ExitStack() as stack:
        try:
            namespace = stack.enter_context(NetworkNamespace("40000 40029"))
        except OSError as error:
            pytest.skip(f"no network namespace can be made: {error}")
        go = threading.Event()

        def answer(_):
            assert go.wait(patience(60))
            return ok()

        with namespace.entered():
            behind = upstream(answer, port=9001)
            # Two addresses: what the clients have to themselves must be more than thirty ports.
            listeners = [listener("a", "127.0.0.1:8080"), listener("b", "127.0.0.1:8081")]
            # One worker: the connections that came back are those of the worker that opened them.
            settings = configuration(
                [cluster("main", behind)], listeners=listeners, runtime={"workers": 1}
            )
            running = weir(settings)
            clients = [
                stack.enter_context(Client(("127.0.0.1", port))) for port in (8080, 8081) for _ in range(25)
            ]
        for client in clients:
            client.request()
        refused = "resource_exhausted"
        until(
            lambda: running.total("weir_refusals_total", route="main", reason=refused) == 20,
            "what has no port is refused",
        )
        go.set()
        answers = [client.read() for client in clients]
        assert sorted((answer.status, answer.reason or "") for answer in answers) == (
            [(200, "")] * 30 + [(503, refused)] * 20
        )
        for client in clients:
            client.request()
            answer = client.read()
            assert (answer.status, answer.reason or "") == (200, ""), "the connections serve everyone"
