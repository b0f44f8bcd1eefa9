"""Redirected connections: where they were going is where they go."""

import contextlib
import itertools
import resource
import threading
from collections import Counter

import pytest

from harness import cluster, forward, ok, patience, until
from harness.http2 import Http2Client
from harness.transparent import (
    A6,
    B6,
    IN_PORT,
    NOBODY_THERE,
    A,
    AnyClient,
    B,
    answered,
    here,
    needs_machine,
    settings,
    written,
)


@pytest.fixture
def descriptors():
    """As many as there may be, for clients and origins of which there are thousands."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[1] < 8000:
        pytest.skip(f"takes 8,000 descriptors, there may be {before[1]}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@needs_machine
def test_requests_go_where_their_connection_was_going(machine, sidecar):
    for host, port in ((A, 8080), (B, 8080), (B, 80)):
        machine.destination(host, port)
    running = sidecar()
    for host, port in ((A, 8080), (B, 8080), (B, 80), (A, 8080)):
        # The Host field has no say in it.
        response = machine.get(host, port, host="elsewhere.test:99")
        assert answered(response) == (200, written((host, port)))
        assert response.one("via") == "1.1 weir"
    assert [request.one("host") for request in machine.destinations[0].requests] == ["elsewhere.test:99"] * 2
    lines = running.wait_log(4)
    assert [line["endpoint"] for line in lines] == [f"{A}:8080", f"{B}:8080", f"{B}:80", f"{A}:8080"]
    assert {(line["route"], line["cluster"], line["attempts"]) for line in lines} == {("on", "on", 1)}


@needs_machine
def test_ipv6_goes_where_it_was_going(machine, sidecar):
    for host in (A6, B6, A):
        machine.destination(host)
    running = sidecar()
    for host in (A6, B6, A, A6):
        assert answered(machine.get(host)) == (200, written((host, 8080)))
    assert [line["endpoint"] for line in running.wait_log(4)] == [
        f"[{A6}]:8080",
        f"[{B6}]:8080",
        f"{A}:8080",
        f"[{A6}]:8080",
    ]


@needs_machine
def test_a_named_host_goes_to_its_own_cluster_whatever_the_address(machine, sidecar):
    machine.destination(A)
    machine.destination("127.0.0.1", 9000, lambda request: ok(b"governed"))
    running = sidecar(
        cluster("payments", "127.0.0.1:9000"),
        routes=[forward("payments", match={"host": "payments.internal"})],
    )
    for host in (A, B, NOBODY_THERE, A6):
        assert answered(machine.get(host, host="payments.internal")) == (200, "governed")
    assert answered(machine.get(A)) == (200, f"{A}:8080")
    with machine.client(A) as client:
        for number in range(6):
            client.request(host="payments.internal" if number % 2 else "other.internal")
            assert client.read().body.decode() == ("governed" if number % 2 else f"{A}:8080")
    lines = running.wait_log(11)
    assert {line["endpoint"] for line in lines if line["cluster"] == "payments"} == {"127.0.0.1:9000"}
    assert {line["endpoint"] for line in lines if line["cluster"] == "on"} == {f"{A}:8080"}


@needs_machine
def test_a_route_of_the_outgoing_listeners_is_not_for_strangers(machine, sidecar):
    machine.destination(A)
    machine.destination("127.0.0.1", 9000, lambda request: ok(b"governed"))
    match = {"listeners": ["outgoing", "outgoing6"], "host": "payments.internal"}
    sidecar(cluster("payments", "127.0.0.1:9000"), routes=[forward("payments", match=match)])
    for host in (A, A6):
        assert answered(machine.get(host, host="payments.internal")) == (200, "governed")
    with machine.client("127.0.0.1", IN_PORT) as client:
        client.request(host="payments.internal")
        assert answered(client.read()) == (503, "no_endpoint")


@needs_machine
def test_pools_are_kept_for_each_destination(machine, sidecar):
    """One worker, one request at a time: one connection to each of them."""
    places = [(A, 8080), (B, 8080), (A, 80), (A6, 8080), (B6, 80)]
    origins = {place: machine.destination(*place) for place in places}
    sidecar()
    for host, port in places * 20:
        assert answered(machine.get(host, port)) == (200, written((host, port)))
    with contextlib.ExitStack() as stack:
        clients = {place: stack.enter_context(machine.client(*place)) for place in places}
        for _, (place, client) in itertools.product(range(20), clients.items()):
            client.request()
            assert answered(client.read()) == (200, written(place))
    for place, origin in origins.items():
        assert (len(origin.connections), len(origin.requests)) == (1, 40), place


@needs_machine
@pytest.mark.parametrize("workers", [1, 3])
def test_destinations_are_never_mixed(machine, sidecar, workers):
    """Many clients at once, some of which stay and some of which come anew; bodies both ways."""
    places = [(A, 8080), (B, 8080), (A, 80), (A6, 8080)]
    wrong, count = [], Counter()

    def answer(request):
        return ok(f"{here(request)} {len(request.body)}".encode())

    for place in places:
        machine.destination(*place, answer)
    running = sidecar(runtime={"workers": workers})

    def load(number):
        try:
            for turn in range(15):
                host, port = places[(number + turn) % len(places)]
                with machine.client(host, port) as client:
                    for size in range(turn % 5 + 1):
                        client.request("POST", f"/{number}/{turn}", body=b"x" * (size * 7000))
                        response = client.read()
                        expected = f"{written((host, port))} {size * 7000}"
                        if answered(response) != (200, expected):
                            wrong.append((answered(response), expected))
                        count[written((host, port))] += 1
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=load, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(patience(50))
    assert not wrong, wrong[:5]
    lines = running.wait_log(sum(count.values()))
    assert Counter(line["endpoint"] for line in lines) == count
    assert running.total("upstream_connects_total", cluster="on") < sum(count.values()) / 2


@needs_machine
def test_what_comes_from_outside_reaches_the_application_on_its_own_port(machines, weir):
    machine, outside = machines(), machines()
    machine.connect(outside, "10.98.0.1", "10.98.0.2", "fd00:98::1", "fd00:98::2")
    machine.up(outbound="", inbound="3000,3001")
    for host, port in itertools.product(("0.0.0.0", "::"), (3000, 3001)):
        machine.destination(host, port)
    running = machine.weir(weir, settings())
    for host, port in itertools.product(("10.98.0.1", "fd00:98::1"), (3000, 3001)):
        assert answered(outside.get(host, port)) == (200, written((host, port)))
    lines = running.wait_log(4)
    assert {line["client"] for line in lines} == {"10.98.0.2", "fd00:98::2"}
    assert lines[0]["endpoint"] == "10.98.0.1:3000"
    # Whoever comes to weir itself gets nowhere.
    response = outside.get("10.98.0.1", IN_PORT)
    assert answered(response) == (503, "no_endpoint")


@needs_machine
def test_a_destination_that_refuses_harms_no_other(machine, sidecar):
    machine.destination(A)
    running = sidecar()
    for _ in range(20):
        assert answered(machine.get(NOBODY_THERE)) == (502, "upstream_connect")
        assert answered(machine.get(A)) == (200, f"{A}:8080")
    machine.destination(NOBODY_THERE)
    assert answered(machine.get(NOBODY_THERE)) == (200, f"{NOBODY_THERE}:8080")
    refused = [line for line in running.wait_log(41) if line["status"] == 502]
    assert {line["endpoint"] for line in refused} == {f"{NOBODY_THERE}:8080"}


@needs_machine
@pytest.mark.parametrize("status", ["503 Service Unavailable", "429 Too Many Requests", "500 Oh"])
def test_a_destination_that_asks_for_a_pause_gets_none_for_the_others(machine, sidecar, status):
    answers = {"headers": ["Retry-After: 60"], "status": status}
    machine.destination(A, answer=lambda request: ok(b"busy", **answers))
    machine.destination(B)
    sidecar()
    for _ in range(20):
        response = machine.get(A)
        assert (response.status, response.reason) == (int(status[:3]), None)
        assert answered(machine.get(B)) == (200, f"{B}:8080")


@needs_machine
@pytest.mark.parametrize("verb", ["eject", "drain"])
def test_what_stands_for_all_destinations_cannot_be_put_out(machine, sidecar, verb):
    machine.destination(A)
    running = sidecar()
    assert running.ask("POST", f"/endpoints/on/original_destination/{verb}")[0] >= 400
    assert answered(machine.get(A)) == (200, f"{A}:8080")


@needs_machine
def test_a_second_attempt_goes_where_the_first_one_went(machine, weir):
    """After a stale connection, and by a policy."""
    first = threading.Event()

    def handle(connection):
        # One request a connection, without a word about it; the very first is not answered at all.
        request = connection.read()
        if request and request.target == "/retried" and not first.is_set():
            first.set()
        elif request:
            connection.send(ok(here(request).encode()))

    machine.destination(A, handle=handle)
    other = machine.destination(B)
    machine.up()
    made = settings()
    made["retry_policies"] = {
        "once": {
            "on": ["reset_before_response"],
            "attempts": 1,
            "backoff": {"base": "1ms", "max": "1ms"},
            "budget": {"percent": 100, "min_per_second": 10},
        }
    }
    made["routes"][-1]["retry"] = "once"
    running = machine.weir(weir, made)
    with machine.client(A) as client, machine.client(B) as beside:
        for target in ("/", "/", "/retried", "/"):
            beside.request()
            assert answered(beside.read()) == (200, f"{B}:8080")
            client.request(path=target)
            assert answered(client.read()) == (200, f"{A}:8080"), target
    lines = running.wait_log(8)
    assert max(line["attempts"] for line in lines) >= 2
    assert {(line["endpoint"], line["path"]) for line in lines} == {
        (f"{B}:8080", "/"),
        (f"{A}:8080", "/"),
        (f"{A}:8080", "/retried"),
    }
    assert len(other.requests) == 4


@needs_machine
def test_the_clusters_caps_hold_for_all_destinations_together(machine, sidecar):
    go = threading.Event()

    def answer(request):
        assert go.wait(patience(30))
        return ok(here(request).encode())

    slow = machine.destination(A, answer=answer)
    machine.destination(B)
    sidecar(circuit_breakers={"max_requests": 2})
    try:
        with machine.client(A) as one, machine.client(A) as two:
            one.request()
            two.request()
            slow.wait_requests(2)
            assert answered(machine.get(B)) == (503, "ceiling")
            go.set()
            assert answered(one.read()) == answered(two.read()) == (200, f"{A}:8080")
        until(lambda: answered(machine.get(B)) == (200, f"{B}:8080"), "there is room again")
    finally:
        go.set()


@needs_machine
def test_http2_goes_where_it_was_going(machine, sidecar):
    for host in (A, B):
        machine.destination(host)
    running = sidecar()
    with machine.client(A, kind=Http2Client) as to_a, machine.client(B, kind=Http2Client) as to_b:
        for _ in range(10):
            opened = [(client, client.request()) for client in (to_a, to_b) for _ in range(5)]
            for client, stream in opened:
                assert client.until(lambda stream=stream: stream.is_over)
                assert bytes(stream.body).decode() == (f"{A}:8080" if client is to_a else f"{B}:8080")
    lines = running.wait_log(100)
    assert Counter(line["endpoint"] for line in lines) == {f"{A}:8080": 50, f"{B}:8080": 50}
    assert {line["protocol"] for line in lines} == {"HTTP/2"}


@needs_machine
@pytest.mark.parametrize("kind", [AnyClient, Http2Client], ids=["http1", "http2"])
def test_connections_of_http2_to_destinations_are_shared_by_their_clients_only(
    machine, weir, http2_upstream, kind
):
    """Endpoints of HTTP/2 are on loopback here, so that it is not excluded."""
    machine.up(EXCLUDE_CIDRS="10.255.0.0/16")
    with machine.entered():
        behind = {
            port: http2_upstream(lambda call, port=port: call.respond(body=b"%d" % port), port=port)
            for port in (80, 8080)
        }
    running = machine.weir(weir, settings(http2=True))
    with contextlib.ExitStack() as stack:
        clients = [
            (port, stack.enter_context(machine.client("127.0.0.1", port, kind=kind)))
            for port in (80, 8080) * 5
        ]
        for _ in range(10):
            asked = [(port, client, client.request()) for port, client in clients]
            for port, client, stream in asked:
                if kind is Http2Client:
                    assert client.until(lambda stream=stream: stream.is_over)
                    assert bytes(stream.body) == b"%d" % port
                else:
                    assert answered(client.read()) == (200, str(port))
    assert [len(each.requests) for each in behind.values()] == [50, 50]
    assert [len(each.connections) for each in behind.values()] == [1, 1]
    assert Counter(line["endpoint"] for line in running.wait_log(100)) == {
        "127.0.0.1:80": 50,
        "127.0.0.1:8080": 50,
    }


@needs_machine
def test_a_tunnel_goes_where_it_was_going(machine, sidecar):
    def handle(connection):
        connection.read()
        connection.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
        while piece := bytes(connection.buffer) or connection.sock.recv(65536):
            connection.buffer.clear()
            connection.send(piece)

    machine.destination(A, handle=handle)
    machine.destination(B)
    sidecar()
    with machine.client(A) as client:
        client.request(headers=["Connection: upgrade", "Upgrade: echo"])
        assert client.read().status == 101
        for word in (b"\0\1\2", b"x" * 50_000):
            client.send(word)
            got = b""
            while len(got) < len(word):
                piece = client.sock.recv(65536)
                assert piece, "the tunnel has ended"
                got += piece
            assert got == word
        assert answered(machine.get(B)) == (200, f"{B}:8080")


@needs_machine
def test_reloads_lose_no_request_of_redirected_connections(machine, sidecar):
    places = [(A, 8080), (B, 8080), (A6, 8080)]
    for place in places:
        machine.destination(*place)
    running = sidecar(runtime={"workers": 2})
    done, wrong, count = threading.Event(), [], Counter()

    def load(number):
        place = places[number % len(places)]
        try:
            while not done.is_set():
                with machine.client(*place) as client:
                    for _ in range(50 if number < 6 else 1):
                        client.request()
                        response = client.read()
                        if response is None or answered(response) != (200, written(place)):
                            wrong.append((place, response))
                        count[number] += 1
                        if response is None or response.all("connection") == ["close"]:
                            break
        except Exception as error:
            wrong.append((place, error))

    threads = [threading.Thread(target=load, args=(number,)) for number in range(9)]
    for thread in threads:
        thread.start()
    try:
        for turn in range(20):
            changed = settings(
                runtime=machine.runtime,
                connect_timeout=f"{turn + 1}s",
                keepalive={"max_idle": turn % 3},
                circuit_breakers={"max_requests": 1000 + turn},
            )
            if turn % 2:
                changed["routes"][-1]["name"] = "renamed"
            before = sum(count.values())
            running.reload(changed)
            until(lambda before=before: sum(count.values()) > before + 30 or wrong, "requests go on")
    finally:
        done.set()
        for thread in threads:
            thread.join(patience(30))
    assert not wrong, wrong[:5]
    assert set(count) == set(range(9))


@needs_machine
def test_the_cluster_may_come_and_go_with_a_reload(machine, sidecar):
    machine.destination(A)
    machine.destination("127.0.0.1", 9000, lambda request: ok(b"governed"))
    running = sidecar()
    without = settings(runtime=machine.runtime)
    without["clusters"] = [cluster("main", "127.0.0.1:9000")]
    without["routes"] = [forward("main")]
    with machine.client(A) as client:
        for _ in range(4):
            for made, expected in ((without, "governed"), (settings(runtime=machine.runtime), f"{A}:8080")):
                running.reload(made)
                client.request()
                assert answered(client.read()) == (200, expected)
    fixed = settings(cluster("spare", "127.0.0.1:9000"), runtime=machine.runtime)
    fixed["clusters"][-1] = cluster("on", "127.0.0.1:9000")
    running.reload(fixed)
    assert answered(machine.get(A)) == (200, "governed")


@needs_machine
@pytest.mark.slow
def test_many_destinations_leave_no_more_than_a_few_behind(descriptors, machine, sidecar):
    """Three thousand of them: memory, descriptors and what is shown have a bound."""
    machine.destination("0.0.0.0")
    running = sidecar(keepalive={"idle_timeout": "1s"})
    assert answered(machine.get(A)) == (200, f"{A}:8080")

    def shown():
        return len(running.ask("GET", "/metrics")[1]), len(running.ask("GET", "/status")[1])

    def ask(first, count):
        for number in range(first, first + count):
            host = f"10.99.{number // 250 + 1}.{number % 250 + 1}"
            assert answered(machine.get(host)) == (200, f"{host}:8080")

    before, files = shown(), running.open_files
    ask(0, 1500)
    after_first, resident = shown(), running.resident
    ask(1500, 1500)
    assert running.resident - resident < patience(8 << 20)
    # Digits of counters may be added, names of destinations may not.
    for start, middle, end in zip(before, after_first, shown()):
        assert middle - start < 2000 and end - middle < 500, (before, after_first)
    # Those that came first are known no longer, and served as ever.
    ask(0, 50)
    until(lambda: running.open_files <= files + 4, "idle connections to destinations are closed", 30)
    assert answered(machine.get(A)) == (200, f"{A}:8080")
    assert running.ask("GET", "/ready")[0] == 200


@needs_machine
@pytest.mark.slow
def test_more_destinations_at_once_than_are_remembered(descriptors, machine, sidecar):
    """All are busy when the next one comes; each is answered by its own, and again afterwards."""
    count, go = 1200, threading.Event()

    def answer(request):
        assert go.wait(patience(50))
        return ok(here(request).encode())

    behind = machine.destination("0.0.0.0", answer=answer)
    running = sidecar(runtime={"workers": 1})
    with contextlib.ExitStack() as stack:
        stack.callback(go.set)
        clients = {}
        for number in range(count):
            host = f"10.99.{number // 250 + 1}.{number % 250 + 1}"
            clients[host] = stack.enter_context(machine.client(host, seconds=50))
            clients[host].request()
        behind.wait(lambda: len(behind.requests) == count, "all are under way", 50)
        go.set()
        for turn in range(3):
            for host, client in clients.items():
                if turn:
                    client.request()
                assert answered(client.read()) == (200, f"{host}:8080")
    assert running.ask("GET", "/ready")[0] == 200
    lines = running.wait_log(3 * count)
    assert len(lines) == 3 * count
    assert set(Counter(line["endpoint"] for line in lines).values()) == {3}
