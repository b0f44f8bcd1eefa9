"""Keep-alive, pipelining, closing and half-closing on the client's side."""

import threading

from harness import Client, exchange, listener, ok, patience


def test_many_requests_on_one_connection_use_one_upstream_connection(pair):
    running, behind = pair()
    with running.client() as client:
        for number in range(100):
            client.request(path=f"/{number}")
            assert client.read().status == 200
    assert [request.target for request in behind.requests] == [f"/{n}" for n in range(100)]
    assert len(behind.connections) == 1


def test_pipelined_requests_are_answered_in_order(pair):
    running, behind = pair(lambda request: ok(request.target.encode()))
    with running.client() as client:
        client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % n for n in range(200)))
        for number in range(200):
            assert client.read().body == b"/%d" % number
        client.shutdown()
        client.expect_end()
    assert len(behind.requests) == 200


def test_pipelined_bodies_are_kept_apart(pair):
    running, behind = pair(lambda request: ok(request.body))
    with running.client() as client:
        client.send(
            b"".join(
                b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n%03d"
                b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nc%02d\r\n0\r\n\r\n"
                % (n, n)
                for n in range(50)
            )
        )
        for number in range(50):
            assert client.read().body == b"%03d" % number
            assert client.read().body == b"c%02d" % number


def test_pipelined_requests_before_a_half_close_are_all_answered(pair):
    running, _ = pair(lambda request: ok(request.target.encode()))
    with running.client() as client:
        client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % n for n in range(20)))
        client.shutdown()
        for number in range(20):
            assert client.read().body == b"/%d" % number
        client.expect_end()


def test_half_closed_client_still_gets_a_slow_answer(pair):
    release = threading.Event()

    def answer(_):
        assert release.wait(patience(15))
        return ok(b"late")

    running, behind = pair(answer, listeners=[listener(limits={"allow_half_close": True})])
    with running.client() as client:
        client.request()
        client.shutdown()
        behind.wait_requests(1)
        release.set()
        assert client.read().body == b"late"
        client.expect_end()


def test_connection_close_is_honoured(pair):
    running, behind = pair()
    with running.client() as client:
        client.request(headers=["Connection: close"])
        response = client.read()
        assert response.status == 200
        assert response.one("connection") == "close"
        client.expect_end()
    with running.client() as client:
        client.request()
        assert client.read().status == 200
    assert len(behind.connections) == 1, "the client's close is not the upstream's"


def test_http_1_0_closes_unless_it_asks_for_keep_alive(pair):
    running, _ = pair()
    with running.client() as client:
        client.send(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
        assert client.read().status == 200
        client.expect_end()
    with running.client() as client:
        for _ in range(3):
            client.send(b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")
            response = client.read()
            assert response.status == 200
            if (response.one("connection") or "").lower() != "keep-alive":
                client.expect_end()
                break


def test_upstream_closing_does_not_close_the_client(pair):
    running, behind = pair(lambda request: ok(headers=["Connection: close"]))
    with running.client() as client:
        for _ in range(5):
            client.request()
            response = client.read()
            assert response.status == 200
            assert response.one("connection") != "close"
    assert len(behind.connections) == 5


def test_client_that_leaves_frees_the_upstream(pair):
    running, behind = pair(handle=lambda connection: (connection.read(), connection.wait_closed()))
    with running.client() as client:
        client.request(path="/never")
        behind.wait_requests(1)
        client.reset()
    behind.wait(lambda: behind.connections[0].is_closed.is_set(), "weir gave the attempt up")
    line = running.wait_log()[0]
    assert line["reason"] == "client_gone"


def test_early_answer_reaches_the_client_before_its_body_ends(pair):
    def handle(connection):
        connection.read_head()
        connection.send(ok(b"no thanks", "413 Content Too Large", ["Connection: close"]))
        connection.wait_closed()

    running, behind = pair(handle=handle)
    with running.client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n" + b"x" * 100_000)
        response = client.read()
        assert response.status == 413
        assert response.body == b"no thanks"
    behind.wait(lambda: behind.connections[0].is_closed.is_set(), "the half-used connection closed")


def test_connection_of_an_early_answer_is_not_reused(pair):
    def handle(connection):
        while (request := connection.read_head()) is not None:
            connection.note(request)
            connection.send(ok(b"early"))
            if request.method == "POST":
                connection.wait_closed()
                return

    running, behind = pair(handle=handle)
    with running.client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n" + b"x" * 100_000)
        assert client.read().body == b"early"
    assert running.get("/next").body == b"early"
    assert len(behind.connections) == 2


def test_empty_connections_are_closed_quietly(pair):
    running, behind = pair()
    for _ in range(20):
        with running.client() as client:
            client.shutdown()
            client.expect_end()
    with running.client() as client:
        client.request()
        assert client.read().status == 200
    assert len(behind.connections) == 1


def test_idle_connection_is_closed_after_its_timeout(pair):
    from harness import listener

    running, _ = pair(listeners=[listener(limits={"idle_timeout": "300ms"})])
    with running.client() as client:
        client.request()
        assert client.read().status == 200
        client.expect_end()


def test_one_shot_exchange_of_plain_bytes(pair):
    running, behind = pair()
    assert exchange(running.edge, b"GET /x HTTP/1.1\r\nhost:a\r\n\r\n").status == 200
    assert behind.requests[0].target == "/x"


def test_a_thousand_connections_at_once(pair):
    running, behind = pair(runtime={"workers": 2})
    clients = [Client(running.edge) for _ in range(1000)]
    try:
        for client in clients:
            client.request()
        assert {client.read().status for client in clients} == {200}
    finally:
        for client in clients:
            client.close()
