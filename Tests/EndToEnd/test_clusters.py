"""Choosing endpoints, keeping connections, and what happens when an upstream fails."""

import collections
import threading

import pytest

from harness import Client, RawUpstream, cluster, configuration, forward, ok, patience, until
from harness.nobody import never_connecting, refusing


def named(name):
    return lambda request: ok(name.encode())


def counts(running, number, path="/"):
    with running.client() as client:
        found = collections.Counter()
        for _ in range(number):
            client.request(path=path)
            found[client.read().body.decode()] += 1
        return found


def test_round_robin_follows_the_weights(weir, upstream):
    one, two, three = (upstream(named(name)) for name in "abc")
    running = weir(configuration([cluster("main", (one, 1), (two, 2), (three, 5))], runtime={"workers": 1}))
    assert counts(running, 80) == {"a": 10, "b": 20, "c": 50}


def test_round_robin_without_weights_is_even(weir, upstream):
    running = weir(
        configuration(
            [cluster("main", *(upstream(named(name)) for name in "abcd"), policy="round_robin")],
            runtime={"workers": 1},
        )
    )
    assert counts(running, 40) == dict.fromkeys("abcd", 10)


def test_least_request_avoids_the_busy_endpoint(weir, upstream):
    release = threading.Event()

    def stuck(request):
        if request.target == "/hold":
            assert release.wait(patience(60))
        return ok(b"busy")

    busy, idle = upstream(stuck), upstream(named("free"))
    running = weir(
        configuration([cluster("main", busy, idle, policy="least_request")], runtime={"workers": 1})
    )
    held = []
    try:

        def busy_holds():
            held.append(Client(running.edge))
            held[-1].request(path="/hold")
            return busy.requests

        until(busy_holds, "a request hangs at one endpoint")
        until(lambda: len(busy.requests) + len(idle.requests) == len(held), "the others have arrived")
        assert counts(running, 50)["free"] >= 49, "at most one met the end of the last that was held"
    finally:
        release.set()
        for client in held:
            client.close()


def test_refused_connection_is_a_502(weir):
    with refusing() as address:
        running = weir(configuration([cluster("main", address)]))
        with running.client() as client:
            for _ in range(3):
                client.request()
                response = client.read()
                assert (response.status, response.reason) == (502, "upstream_connect")
    assert {line["reason"] for line in running.wait_log(3)} == {"upstream_connect"}


def test_connect_timeout_is_a_504(weir):
    with never_connecting() as address:
        running = weir(configuration([cluster("main", address, connect_timeout="300ms")]))
        response = running.get()
        assert (response.status, response.reason) == (504, "upstream_connect")


@pytest.mark.parametrize("way", ["close", "reset"])
def test_upstream_that_hangs_up_is_a_502(pair, way):
    def handle(connection):
        connection.note(connection.read_head())
        if way == "reset":
            connection.reset()

    running, behind = pair(handle=handle)
    response = running.get("/", method="POST", body=b"x")
    assert (response.status, response.reason) == (502, "upstream_reset")
    assert len(behind.requests) == 1, "a POST that was sent is never sent again"


def stale(connection):
    """Answers one request, and closes when the second has arrived: a keep-alive race lost."""
    request = connection.read()
    if request is None:
        return
    connection.send(ok(b"fresh"))
    connection.read()


def test_stale_kept_connection_is_replayed_for_get(pair):
    running, behind = pair(handle=stale)
    for _ in range(5):
        response = running.get()
        assert (response.status, response.body) == (200, b"fresh")
    assert len(behind.connections) >= 3


def test_stale_kept_connection_is_not_replayed_for_post(pair):
    running, behind = pair(handle=stale)
    assert running.get().status == 200
    response = running.get("/", method="POST", body=b"once")
    assert (response.status, response.reason) == (502, "upstream_reset")
    assert len([one for one in behind.requests if one.method == "POST"]) == 1


def test_a_fresh_connection_that_fails_is_not_replayed(pair):
    """Only a kept connection can be stale; a fresh one that hangs up is an answer."""
    running, behind = pair(handle=lambda connection: connection.read())
    assert running.get().status == 502
    assert len(behind.requests) == 1


def test_answer_that_broke_off_is_never_replayed(pair):
    def handle(connection):
        connection.read()
        connection.send(ok(b"fresh"))
        connection.read()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-")

    running, behind = pair(handle=handle)
    assert running.get().status == 200
    assert running.get().status == 502
    assert len(behind.requests) == 2


def test_kept_connection_that_the_upstream_closed_is_not_used(pair):
    def handle(connection):
        connection.read()
        connection.send(ok())

    running, behind = pair(handle=handle)
    for _ in range(5):
        assert running.get("/", method="POST", body=b"x").status == 200
        behind.wait(lambda: all(one.is_closed.is_set() for one in behind.connections), "the upstream closed")
    assert len(behind.requests) == 5


def test_idle_upstream_connection_is_closed_after_its_timeout(pair):
    running, behind = pair(keepalive={"idle_timeout": "200ms"})
    assert running.get().status == 200
    behind.wait(lambda: behind.connections[0].is_closed.is_set(), "weir closed the idle connection")
    assert running.get().status == 200
    assert len(behind.connections) == 2


def test_max_idle_bounds_the_pool(pair):
    gate = threading.Barrier(20)

    def answer(_):
        gate.wait(patience(15))
        return ok()

    running, behind = pair(answer, keepalive={"max_idle": 3})
    clients = [Client(running.edge) for _ in range(20)]
    for client in clients:
        client.request()
    assert {client.read().status for client in clients} == {200}
    for client in clients:
        client.close()
    behind.wait(lambda: sum(not one.is_closed.is_set() for one in behind.connections) == 3, "three stay open")


def test_max_idle_zero_closes_after_each_request(pair):
    running, behind = pair(keepalive={"max_idle": 0})
    for _ in range(3):
        assert running.get().status == 200
    behind.wait(lambda: all(one.is_closed.is_set() for one in behind.connections), "all are closed")
    assert len(behind.connections) == 3


@pytest.mark.slow
def test_upstream_killed_and_restarted_under_load(weir):
    """While one of two endpoints dies and returns, only requests that met it fail, each with a reason."""

    def start(port=0):
        return RawUpstream(named("ok"), port=port)

    steady, flaky = start(), start()
    running = weir(configuration([cluster("main", steady, flaky, connect_timeout="500ms")]))
    stop, failures, served = threading.Event(), [], collections.Counter()

    def load():
        client = Client(running.edge)
        while not stop.is_set():
            client.request()
            response = client.read()
            if response is None:
                failures.append("closed without an answer")
                client = Client(running.edge)
                continue
            served[response.status, response.reason] += 1
        client.close()

    threads = [threading.Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(4):
            seen = sum(served.values())
            until(lambda: sum(served.values()) > seen + 200, "requests flow")
            flaky.stop()
            seen = served[502, "upstream_connect"]
            until(lambda: served[502, "upstream_connect"] > seen, "the loss is noticed")
            flaky = until(lambda: restart(start, flaky.port), "the port is free again")
            until(lambda: len(flaky.requests) > 20, "the restarted upstream is used again")
    finally:
        stop.set()
        for thread in threads:
            thread.join(patience(15))
        steady.stop()
        flaky.stop()
    assert not failures
    assert set(served) <= {(200, None), (502, "upstream_connect"), (502, "upstream_reset")}, served
    assert served[200, None] > sum(served.values()) / 2


def restart(start, port):
    try:
        return start(port)
    except OSError:
        return None


# Names


def test_name_that_resolves(weir, upstream):
    behind = upstream()
    running = weir(configuration([cluster("main", discovery={"dns": f"localhost:{behind.port}"})]))
    until(lambda: running.get().status == 200, "the name is resolved")
    assert any(
        one["address"].endswith(f":{behind.port}") for one in running.status()["clusters"][0]["endpoints"]
    )


@pytest.mark.parametrize("policy, host", [("endpoint", "localhost"), ("preserve", "e2e.test")])
def test_host_header_of_a_resolved_name(weir, upstream, policy, host):
    behind = upstream()
    running = weir(
        configuration([cluster("main", discovery={"dns": f"localhost:{behind.port}"}, host_header=policy)])
    )
    until(lambda: running.get().status == 200, "the name is resolved")
    assert behind.requests[-1].one("host").split(":")[0] == host


def test_name_that_does_not_resolve_degrades_its_cluster_only(weir, upstream):
    behind = upstream()
    running = weir(
        configuration(
            [cluster("main", behind), cluster("lost", discovery={"dns": "nonexistent.invalid:80"})],
            [forward("lost", match={"path_prefix": "/lost"}), forward()],
        )
    )
    for _ in range(5):
        response = running.get("/lost")
        assert (response.status, response.reason) == (503, "no_endpoint")
        assert running.get("/").status == 200
    assert running.ask("GET", "/ready")[0] == 200
    until(lambda: '"name":"nonexistent.invalid"' in running.stderr, "the log says which name")


def test_route_without_time_limit_waits(pair):
    go = threading.Event()

    def answer(_):
        assert go.wait(patience(30))
        return ok(b"late")

    running, behind = pair(answer, routes=[forward(timeout="off")])
    with running.client() as client:
        client.request()
        behind.wait_requests(1)
        go.set()
        assert client.read().body == b"late"
