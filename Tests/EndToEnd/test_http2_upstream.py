"""HTTP/2 to endpoints: what they are asked, what they answer, who shares a connection."""

import threading
import time

import pytest

from harness import Client, cluster, configuration, forward, listener, patience, until
from harness.http2 import MAX_CONCURRENT_STREAMS, Http2Client


class Old(Client):
    """A client of HTTP/1.1 that is asked as one of HTTP/2 is."""

    def get(self, path="/", headers=(), method="GET", body=None, host="e2e.test"):
        lines = [f"{name}: {value}" for name, value in headers]
        self.request(method, path, lines, body, host)
        return self.read(method)


@pytest.fixture(params=[Old, Http2Client], ids=["http1", "http2"])
def speak(request):
    """A way to connect to weir, by either version."""
    made = []

    def start(running, **options):
        made.append(request.param(running.edge, **options))
        return made[-1]

    start.is_old = request.param is Old
    yield start
    for client in made:
        client.close()


def settings(*behind, routes=None, runtime=None, listeners=None, **options):
    clusters = [cluster("main", *behind, http2=True, **options)]
    return configuration(clusters, routes, listeners, {"workers": 1} | (runtime or {}))


@pytest.fixture
def site(weir, http2_upstream):
    """weir before an endpoint that speaks HTTP/2."""

    def start(answer=None, behind=None, **options):
        behind = http2_upstream(answer, **(behind or {}))
        return weir(settings(behind, **options)), behind

    return start


# Requests

METHODS = [
    ("GET", None),
    ("HEAD", None),
    ("OPTIONS", None),
    ("DELETE", None),
    ("PURGE", None),
    ("POST", b"hello"),
    ("PUT", b"hello" * 50_000),
    ("POST", b""),
]


@pytest.mark.parametrize("method, body", METHODS)
def test_a_request_is_answered(site, speak, method, body):
    running, behind = site(lambda call: call.respond(body=None if call.method == "HEAD" else b"ok"))
    client = speak(running)
    for count in range(2):
        answer = client.get(f"/a/b?c=d&{count}", method=method, body=body)
        assert answer.status == 200
        assert method == "HEAD" or answer.body == b"ok"
    for count, request in enumerate(behind.requests):
        assert (request.method, request.path) == (method, f"/a/b?c=d&{count}")
        assert (request.scheme, request.authority) == ("http", "e2e.test")
        assert request.body == (body or b"")
        assert request.one("content-length") == (None if body is None else str(len(body)))
    assert behind.requests[0].frames == ["Headers"] or body
    assert len(behind.requests) == 2 and len(behind.connections) == 1


def test_what_the_endpoint_is_told(site, speak):
    running, behind = site()
    fields = [("x-a", "1"), ("accept", "*/*"), ("x-a", "2")]
    answer = speak(running).get("/", fields, host="Shop.test:8443")
    (request,) = behind.requests
    assert request.authority == "Shop.test:8443"
    assert request.one("via") == ("1.1 weir" if speak.is_old else "2 weir")
    assert request.one("x-forwarded-proto") == "http"
    assert request.one("x-forwarded-for") == "127.0.0.1"
    assert request.one("x-forwarded-host") == "Shop.test:8443"
    assert request.one("x-request-id") == answer.one("x-request-id")
    assert [field for field in request.fields if field[0] in ("x-a", "accept")] == fields
    assert not request.all("host") and not request.all("te")


def test_what_is_of_the_clients_connection_stays_there(site):
    running, behind = site()
    with Old(running.edge) as client:
        own = [("Connection", "keep-alive, X-Hop, TE"), ("X-Hop", "1"), ("Keep-Alive", "timeout=5")]
        own += [("Proxy-Connection", "keep-alive"), ("TE", "gzip"), ("X-Kept", "y")]
        assert client.get(headers=own).status == 200
        assert client.get(headers=[("Connection", "TE"), ("TE", "trailers")]).status == 200
    first, second = behind.requests
    assert first.one("x-kept") == "y"
    assert not first.all("x-hop") and not first.all("te")
    assert second.one("te") == "trailers"


def test_te_trailers_is_handed_on(site):
    running, behind = site()
    with Http2Client(running.edge) as client:
        assert client.get(headers=[("te", "trailers")]).status == 200
        assert client.get().status == 200
    assert [request.all("te") for request in behind.requests] == [["trailers"], []]


def test_the_authority_is_what_the_cluster_says(site, speak):
    running, behind = site(host_header={"literal": "www.origin.test"})
    assert speak(running).get().status == 200
    assert behind.requests[0].authority == "www.origin.test"
    running.reload(settings(behind, host_header="endpoint"))
    assert speak(running).get().status == 200
    assert behind.requests[1].authority == behind.address


def test_an_old_client_may_name_no_host(site):
    running, behind = site()
    with Client(running.edge) as client:
        client.send(b"GET /old HTTP/1.0\r\n\r\n")
        assert client.read().body == b"ok\n"
    (request,) = behind.requests
    assert request.authority == behind.address


def test_the_path_may_be_rewritten(site, speak):
    routes = [forward(match={"path_prefix": "/api"}, prefix_rewrite="/v2")]
    running, behind = site(routes=routes)
    assert speak(running).get("/api/things?x=/api").status == 200
    assert behind.requests[0].path == "/v2/things?x=/api"


def test_cookies_reach_the_endpoint(site, speak):
    running, behind = site()
    crumbs = [("cookie", "a=1; b=2; c=3")]
    if not speak.is_old:
        crumbs = [("cookie", "a=1"), ("x-between", "y"), ("cookie", "b=2"), ("cookie", "c=3")]
    assert speak(running).get(headers=crumbs).status == 200
    assert "; ".join(behind.requests[0].all("cookie")) == "a=1; b=2; c=3"


def test_a_body_without_a_length_has_none(site):
    running, behind = site(lambda call: call.respond(body=bytes(call.body)))
    with Old(running.edge) as client:
        lead = b"POST / HTTP/1.1\r\nHost: e2e.test\r\nTransfer-Encoding: chunked\r\n\r\n"
        client.send(lead + b"5\r\nhello\r\n3;x=y\r\n wo\r\n3\r\nrld\r\n0\r\n\r\n")
        assert client.read().body == b"hello world"
    with Http2Client(running.edge) as client:
        stream = client.request("POST", end=False)
        client.data(stream, b"hello world")
        assert client.read(stream).body == b"hello world"
    for request in behind.requests:
        assert request.body == b"hello world" and not request.all("content-length")


def test_request_trailers_reach_the_endpoint(site):
    running, behind = site()
    with Old(running.edge) as client:
        lead = b"POST / HTTP/1.1\r\nHost: e2e.test\r\nTransfer-Encoding: chunked\r\n\r\n"
        client.send(lead + b"5\r\nhello\r\n0\r\nX-Sum: 42\r\nx-more: y\r\n\r\n")
        assert client.read().status == 200
    with Http2Client(running.edge) as client:
        for length in ([], [("content-length", "5")]):
            stream = client.request("POST", headers=length, end=False)
            client.data(stream, b"hello", end=False)
            client.trailers(stream, [("x-sum", "42"), ("x-more", "y")])
            assert client.read(stream).status == 200
    for request in behind.requests[:2]:
        assert request.body == b"hello"
        assert request.trailers == [("x-sum", "42"), ("x-more", "y")]
    assert behind.requests[2].body == b"hello"
    assert behind.requests[2].trailers in ([], [("x-sum", "42"), ("x-more", "y")])


def test_a_body_that_waits_to_be_asked_for(site):
    def answer(call):
        if call.one("expect"):
            call.interim(100)
        call.wait_end()
        call.respond(body=bytes(call.body))

    running, behind = site(answer, {"early": True}, routes=[forward(request_buffer="0KiB")])
    with Old(running.edge) as client:
        lead = "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
        client.send(lead.encode())
        line = client.start_line("an interim response")
        assert line.startswith(b"HTTP/1.1 100") and not client.fields("it")
        client.send(b"hello")
        assert client.read().body == b"hello"


def test_large_heads_go_both_ways(site, speak):
    big = [(f"x-{number}", f"{number}{{|}}" * 100) for number in range(40)]

    def answer(call):
        block = [(":status", "200"), *big, ("content-length", "0")]
        call.head(block, end=True, cut=5000)

    running, behind = site(answer)
    client = speak(running)
    for _ in range(3):
        assert [field for field in client.get(headers=big).fields if field in big] == big
    for request in behind.requests:
        assert [field for field in request.fields if field in big] == big


# Answers


def test_a_body_with_and_without_a_length(site, speak):
    body = bytes(range(251)) * 2000

    def answer(call):
        call.respond(body=body, length=call.path == "/length")

    running, _ = site(answer)
    client = speak(running)
    for path in ("/length", "/none", "/length"):
        answer = client.get(path)
        assert (answer.status, answer.body) == (200, body)
        assert answer.one("content-length") == (str(len(body)) if path == "/length" else None)
        if speak.is_old:
            assert answer.all("transfer-encoding") == (["chunked"] if path == "/none" else [])


def test_a_client_of_http_1_0_reads_to_the_end(site):
    running, _ = site(lambda call: call.respond(body=b"hello" * 1000, length=False))
    with Client(running.edge) as client:
        client.send(b"GET / HTTP/1.0\r\nHost: x\r\n\r\n")
        assert client.read().body == b"hello" * 1000


@pytest.mark.parametrize("ends_in_head", [True, False])
@pytest.mark.parametrize(
    "method, status, fields",
    [
        ("HEAD", 200, [("content-length", "1234")]),
        ("HEAD", 200, []),
        ("GET", 204, []),
        ("GET", 304, [("content-length", "1234"), ("etag", '"a"')]),
        ("GET", 200, [("content-length", "0")]),
        ("GET", 200, []),
        ("POST", 302, [("location", "/b")]),
    ],
)
def test_answers_without_a_body(site, speak, method, status, fields, ends_in_head):
    def answer(call):
        call.head([(":status", str(status)), *fields], end=ends_in_head)
        if not ends_in_head:
            call.data(b"")

    running, behind = site(answer)
    client = speak(running)
    for _ in range(2):
        answer = client.get(method=method)
        assert (answer.status, answer.body, answer.trailers) == (status, b"", [])
        for name, value in fields:
            assert answer.one(name) == value
    assert len(behind.connections) == 1


@pytest.mark.parametrize("body", [b"", b"hello" * 10_000])
def test_trailers_reach_the_client(site, speak, body):
    trailers = [("x-sum", "42"), ("x-more", "y")]
    fields = [("trailer", "x-sum"), ("x-a", "1")]

    def answer(call):
        call.respond(body=body, fields=fields, length=False, trailers=trailers)

    running, _ = site(answer)
    client = speak(running)
    for _ in range(2):
        answer = client.get(headers=[("te", "trailers")])
        assert (answer.status, answer.body, answer.trailers) == (200, body, trailers)
        assert answer.one("x-a") == "1"


def test_hints_come_first(site, speak):
    def answer(call):
        for number in range(2):
            call.interim(103, [("link", f"</{number}.css>; rel=preload")])
        call.respond(body=b"page")

    running, _ = site(answer)
    client = speak(running)
    for _ in range(2):
        answer = client.get()
        assert (answer.status, answer.body) == (200, b"page")
        assert [interim.status for interim in answer.interim] == [103, 103]
        assert answer.interim[1].one("link") == "</1.css>; rel=preload"


def test_fields_of_an_answer_are_kept_apart(site, speak):
    fields = [("set-cookie", "a=1"), ("x-a", "1"), ("set-cookie", "b=2; Path=/"), ("server", "me")]
    running, _ = site(lambda call: call.respond(fields=fields))
    answer = speak(running).get()
    assert [field for field in answer.fields if field in fields] == fields
    assert answer.one("via") == "1.1 weir" or answer.one("via") == "2 weir"


def test_an_answer_may_come_before_the_request_is_complete(site, speak):
    """What the endpoint has said that it does not want is not sent to it."""

    def answer(call):
        call.respond(413, b"too much")
        call.reset(0)

    running, behind = site(answer, {"early": True}, routes=[forward(request_buffer="0KiB")])
    lead = [("content-length", "1000000")]
    client = speak(running)
    if speak.is_old:
        client.request("POST", "/", ["Content-Length: 1000000"])
        client.send(b"x" * 100)
        answer = client.read()
    else:
        stream = client.request("POST", headers=lead, end=False)
        client.data(stream, b"x" * 100, end=False)
        client.until(lambda: stream.has_ended or stream.reset is not None)
        answer = stream
    assert (answer.status, bytes(answer.body)) == (413, b"too much")
    assert speak(running).get().status == 413
    assert len(behind.connections) == 1


# Who shares a connection


def ask_at_once(running, count, kind=Old, **options):
    """The statuses of so many requests, each by a client of its own."""
    statuses = []

    def ask(number):
        with kind(running.edge, seconds=30) as client:
            statuses.append(client.get(f"/{number}", **options).status)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    return statuses, threads


def test_many_clients_share_a_connection(site, speak):
    go = threading.Event()
    running, behind = site(lambda call: go.wait(patience(30)) and call.respond())
    kind = Old if speak.is_old else Http2Client
    statuses, threads = ask_at_once(running, 40, kind)
    behind.wait_requests(40)
    go.set()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 40
    assert len(behind.connections) == 1
    assert running.wait_total(1, "upstream_connections") == 1
    assert speak(running).get().status == 200
    assert len(behind.connections) == 1, "it is kept"


def test_no_more_streams_than_the_endpoint_allows(site):
    go = threading.Event()

    def answer(call):
        if call.path != "/first":
            assert go.wait(patience(30))
        call.respond()

    running, behind = site(answer, {"settings": {MAX_CONCURRENT_STREAMS: 4}})
    assert running.get("/first").status == 200
    statuses, threads = ask_at_once(running, 10)
    behind.wait_requests(11)
    go.set()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 10
    assert len(behind.connections) >= 3
    assert all(len(connection.calls) >= 1 for connection in behind.connections)


@pytest.mark.parametrize("method, body", [("GET", None), ("POST", b"x")])
def test_a_burst_before_the_endpoint_has_said_how_many_it_takes(site, method, body):
    """What it refuses for that has not been looked at, and is not the clients' fault."""
    most = 10
    behind = {"settings": {MAX_CONCURRENT_STREAMS: most}}
    running, behind = site(lambda call: time.sleep(0.02) or call.respond(), behind)
    with Http2Client(running.edge) as client:
        streams = [client.request(method, body=body) for _ in range(90)]
        answers = [client.read(stream).status for stream in streams]
    assert answers == [200] * len(streams)
    assert len(behind.requests) == len(streams)
    enough = len(streams) // most
    assert len(behind.connections) <= 3 * enough, f"{enough} would do"


def test_an_idle_connection_is_closed(site):
    running, behind = site(keepalive={"idle_timeout": "200ms"})
    assert running.get().status == 200
    behind.connections[0].wait_closed()
    assert running.get().status == 200
    assert len(behind.connections) == 2


def test_every_worker_has_connections_of_its_own(site):
    running, behind = site(runtime={"workers": 3})
    statuses, threads = ask_at_once(running, 30)
    for thread in threads:
        thread.join()
    assert statuses == [200] * 30
    assert len(behind.connections) <= 3


# TLS


@pytest.fixture(scope="module")
def proven(authority):
    return authority.issue("DNS:origin.test", "IP:127.0.0.1")


def test_http_2_is_agreed_on_in_tls(site, speak, authority, proven):
    names = []
    context = authority.server(proven)
    context.sni_callback = lambda sock, name, context: names.append(name)
    tls = {"ca": str(authority.certificate), "server_name": "origin.test"}
    echo = {"answer": lambda call: call.respond(body=bytes(call.body))}
    running, behind = site(**echo, behind={"tls": context}, tls=tls)
    body = bytes(range(256)) * 2000
    client = speak(running)
    for _ in range(3):
        assert client.get(method="POST", body=body).body == body
    assert {request.scheme for request in behind.requests} == {"https"}
    assert behind.connections[0].sock.selected_alpn_protocol() == "h2" and names == ["origin.test"]
    assert len(behind.connections) == 1


def test_an_endpoint_that_does_not_agree_on_http_2(weir, upstream, authority, proven):
    tls = {"ca": str(authority.certificate)}
    context = authority.server(proven)
    for protocols in (None, ["http/1.1"]):
        if protocols:
            context.set_alpn_protocols(protocols)
        behind = upstream(tls=context)
        running = weir(settings(behind, tls=tls))
        answer = running.get()
        assert (answer.status, answer.reason) == (502, "upstream_connect")
        assert "does not speak HTTP/2" in running.stderr
        assert running.wait_total(1, "upstream_failures_total", reason="connect") == 1
        assert not behind.requests


def test_http_1_and_http_2_listeners_share_what_is_behind(site, authority):
    shop = authority.issue("DNS:shop.test")
    listeners = [listener(), listener("secure", tls={"certificates": [shop.files]})]
    running, behind = site(listeners=listeners)
    tls = {"tls": authority.client(protocols=["h2"]), "name": "shop.test"}
    with Http2Client(running.address("secure"), **tls) as client, Old(running.edge) as old:
        for _ in range(3):
            assert client.get().status == old.get().status == 200
    assert {request.one("x-forwarded-proto") for request in behind.requests} == {"http", "https"}
    assert {request.scheme for request in behind.requests} == {"http"}
    assert len(behind.connections) == 1


# What is seen of it


def test_the_log_and_the_metrics_say_the_same_as_of_http_1(site, speak):
    running, behind = site(lambda call: call.respond(body=b"x" * 1000))
    answer = speak(running).get("/a?q=1", method="POST", body=b"y" * 500)
    (line,) = running.wait_log()
    assert (line["status"], line["endpoint"]) == (200, behind.address)
    assert line["request_id"] == answer.one("x-request-id")
    assert not line["reason"] and line["attempts"] == 1
    assert line["bytes_in"] >= 500 and line["bytes_out"] >= 1000
    assert all(value is None or value >= 0 for value in line["ms"].values())
    until(lambda: running.total("http_requests_in_flight") == 0, "it is over")
    assert running.wait_total(1, "http_requests_total", code_class="2xx") == 1
