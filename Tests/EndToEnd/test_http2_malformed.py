"""Malformed requests over HTTP/2: each is refused, reaches nobody and costs only its stream."""

import itertools

import pytest

from harness import cluster, configuration, forward, listener, ok
from harness.http2 import PROTOCOL_ERROR, Http2Client
from malformed_http2 import ALLOWED, BROKEN, FIELD_LIMIT, HEAD_LIMIT, REFUSED, URI_LIMIT, request

FENCES = itertools.count()
NOTHING = (), None


@pytest.fixture(scope="module")
def table(module_weir, module_upstream):
    behind = module_upstream(lambda request: ok(request.target.encode()))
    limits = {
        "request_header_bytes": f"{HEAD_LIMIT >> 10}KiB",
        "request_headers": FIELD_LIMIT,
        "request_uri_bytes": f"{URI_LIMIT >> 10}KiB",
    }
    listeners = [listener(limits=limits)]
    settings = configuration([cluster("main", behind)], listeners=listeners, runtime={"workers": 1})
    return module_weir(settings), behind


def send(client, fields, rest):
    pieces, trailers = rest
    stream = client.open(fields, end=not pieces and trailers is None)
    for place, piece in enumerate(pieces):
        client.data(stream, piece, end=place == len(pieces) - 1 and trailers is None)
    if trailers is not None and not stream.is_over:
        client.trailers(stream, trailers)
    return client.read(stream)


def fence(client, behind, first, bytes_before):
    """The connection serves the next request, and nothing but that reached the endpoint."""
    path = f"/fence-{next(FENCES)}"
    assert client.get(path).body == path.encode()
    reached = behind.requests[first:]
    assert [one.target for one in reached] == [path], [one.raw for one in reached]
    assert behind.bytes_received - bytes_before == len(reached[0].raw)
    assert not behind.violations, behind.violations


@pytest.mark.parametrize("body", [b"four", b"sixsix"])
@pytest.mark.parametrize("is_sent_on", [False, True])
def test_a_body_unlike_its_length_is_a_bad_request(pair, body, is_sent_on):
    """And no client that has left, whether the endpoint has the request already or not."""
    running, _ = pair(routes=[forward(request_buffer="0B" if is_sent_on else "1KiB")])
    with Http2Client(running.edge) as client:
        stream = client.open(client.fields("POST", headers=[("content-length", "5")]), end=False)
        client.data(stream, body)
        assert client.read(stream).reset == PROTOCOL_ERROR
        assert client.get().status == 200
    lines = running.wait_log(2)
    assert sorted((line["reason"] or "", line["ended_by"] or "") for line in lines) == [
        ("", ""),
        ("bad_request", "client"),
    ]


@pytest.mark.parametrize("fields, rest", BROKEN)
def test_a_message_against_the_rules_reaches_nobody(table, fields, rest):
    """RFC 9113 section 8.1.1: the stream is reset, or answered with 400."""
    running, behind = table
    before = len(behind.requests), behind.bytes_received
    with Http2Client(running.edge) as client:
        stream = send(client, fields, rest)
        if stream.has_ended:
            assert (stream.status, stream.reason) == (400, "bad_request"), stream.outcome
        else:
            assert stream.reset == PROTOCOL_ERROR, stream.outcome
        fence(client, behind, *before)


@pytest.mark.parametrize("fields, status, reason, or_reset", REFUSED)
def test_what_weir_does_not_pass_on_is_told_so(table, fields, status, reason, or_reset):
    running, behind = table
    before = len(behind.requests), behind.bytes_received
    with Http2Client(running.edge) as client:
        answer = send(client, fields, NOTHING)
        if answer.reset is None or not or_reset:
            assert (answer.status, answer.reason) == (status, reason), answer.outcome
            assert answer.one("content-type") == "application/problem+json"
        else:
            assert answer.reset == PROTOCOL_ERROR, answer.outcome
        fence(client, behind, *before)


@pytest.mark.parametrize("fields, has", ALLOWED)
def test_what_is_legal_by_a_hair_is_passed_on(table, fields, has):
    running, behind = table
    first = len(behind.requests)
    with Http2Client(running.edge) as client:
        assert send(client, fields, NOTHING).status == 200
    (reached,) = behind.requests[first:]
    assert (reached.method, reached.target) == (fields[0][1], dict(fields)[":path"])
    for name, value in has.items():
        assert reached.one(name) == value


def test_an_asterisk_is_for_options(table):
    """It may be passed on, or refused as in HTTP/1.1."""
    running, _ = table
    with Http2Client(running.edge) as client:
        answer = send(client, request(method="OPTIONS", path="*"), NOTHING)
        assert answer.status in (200, 400, 404, 501), answer.outcome
        assert client.get().status == 200


def test_all_of_them_on_one_connection(table):
    """Refusals by the hundred leave the table of fields and the windows as both sides know them."""
    running, behind = table
    first = len(behind.requests)
    with Http2Client(running.edge) as client:
        for number, case in enumerate(BROKEN[::9]):
            send(client, *case.values)
            answer = client.get(f"/{number}", [("x-number", f"{number}"), ("x-same", "y")])
            assert answer.body == b"/%d" % number
    reached = behind.requests[first:]
    assert [one.one("x-number") for one in reached] == [str(n) for n in range(len(reached))]


def test_no_case_left_anything_behind(table):
    running, behind = table
    with Http2Client(running.edge) as client:
        assert client.get().status == 200
    alive = sum(not connection.is_closed.is_set() for connection in behind.connections)
    assert alive <= 2, f"{alive} connections to the endpoint are open"
