"""Calls that an endpoint of HTTP/2 does not take: whose fault that is, and what is counted."""

import itertools
import threading
import time

import pytest

from harness import cluster, configuration, forward, patience, until
from harness.http2 import CANCEL, ENHANCE_YOUR_CALM, INTERNAL_ERROR, REFUSED_STREAM, Http2Client

CALL = ("content-type", "application/grpc")


def settings(behind, route=None, **options):
    clusters = [cluster("main", behind, http2=True, **options)]
    return configuration(clusters, [forward(timeout="60s", **(route or {}))], runtime={"workers": 1})


def test_many_refusals_are_no_flood(weir, http2_upstream):
    """An endpoint may refuse all that it is asked; calls that it has taken go on."""
    go = threading.Event()

    def answer(call):
        if call.path != "/held":
            return call.reset(REFUSED_STREAM)
        assert go.wait(patience(60))
        call.respond(body=b"held")

    behind = http2_upstream(answer)
    running = weir(settings(behind))
    with running.client(seconds=60) as held, Http2Client(running.edge, seconds=60) as client:
        held.request(path="/held")
        behind.wait_requests(1)
        for _ in range(15):
            streams = [client.request() for _ in range(90)]
            assert {client.read(stream).reason for stream in streams} == {"upstream_reset"}
        go.set()
        assert held.read().body == b"held"
    assert len(behind.connections) == 1 and not behind.connections[0].goaways
    assert running.total("upstream_failures_total", reason="protocol") == 0


def test_a_retry_that_is_refused_keeps_its_place(weir, http2_upstream):
    """It is sent again, and is a retry still."""
    places, go = itertools.count(), threading.Event()

    def answer(call):
        place = next(places)
        if place == 1:
            return call.reset(REFUSED_STREAM)
        if place == 2:
            assert go.wait(patience(60))
        call.respond(503 if place != 2 else 200)

    behind = http2_upstream(answer)
    policy = {"on": ["gateway_error"], "attempts": 1, "backoff": {"base": "1ms", "max": "2ms"}}
    policy["budget"] = {"percent": 100, "min_per_second": 100}
    made = settings(behind, {"retry": "one"}, circuit_breakers={"max_retries": 1})
    running = weir(made | {"retry_policies": {"one": policy}})
    with running.client() as first:
        first.request()
        behind.wait_requests(3)
        assert running.get().status == 503
        assert running.wait_log(1)[0]["no_retry"] == "ceiling"
        go.set()
        assert first.read().status == 200
    until(lambda: running.status()["clusters"][0]["retries_in_flight"] == 0, "it is given back")


def test_each_call_that_waits_in_vain_for_a_connection_is_counted(weir, http2_upstream):
    running = weir(settings(http2_upstream(is_mute=True), connect_timeout="300ms"))
    with Http2Client(running.edge) as client:
        streams = [client.request() for _ in range(5)]
        assert {client.read(stream).status for stream in streams} == {504}
    assert running.wait_total(5, "upstream_failures_total", reason="connect_timeout") == 5


@pytest.mark.parametrize("count", [20, 90])
def test_clients_that_wait_no_longer_than_they_said_do_no_harm(weir, http2_upstream, count):
    """They reset their calls when their deadlines pass, as weir does in the same moment."""
    made = settings(http2_upstream(lambda call: call.wait_reset()))
    fence = {"name": "fence", "match": {"path": "/fence"}, "direct_response": {"status": 204}}
    made["routes"].insert(0, fence)
    running = weir(made)
    with Http2Client(running.edge, seconds=40) as client:
        for _ in range(20):
            fields = [CALL, ("te", "trailers"), ("grpc-timeout", "60m")]
            streams = [client.request("POST", "/late", fields) for _ in range(count)]
            # They have been sent on when this is answered; their time is over soon after.
            assert client.get("/fence").status == 204
            time.sleep(0.06)
            for stream in streams:
                client.cancel(stream)
        assert client.ping() and not client.goaways
    assert running.total("downstream_http2_floods_total") == 0


def test_a_deadline_is_no_licence_to_reset(weir, http2_upstream):
    """However near it is, who gives a call up before it pays for that."""
    go = threading.Event()
    running = weir(settings(http2_upstream(lambda call: go.wait(patience(30)))))
    with Http2Client(running.edge) as client:
        fields = [CALL, ("te", "trailers"), ("grpc-timeout", f"{int(patience(5))}S")]
        for _ in range(4):
            streams = [client.request("POST", "/late", fields) for _ in range(90)]
            if not client.ping():
                break
            for stream in streams:
                client.cancel(stream)
        client.expect_close(ENHANCE_YOUR_CALM)
    go.set()


def test_an_answer_that_is_shorter_than_it_says_has_no_end(weir, http2_upstream):
    """Trailers in place of its rest would make it one that breaks HTTP's rules."""

    def answer(call):
        call.head([(":status", "200"), CALL, ("content-length", "100")])
        call.data(b"\0\0\0\0\1x", end=False)
        call.reset(CANCEL)

    running = weir(settings(http2_upstream(answer)))
    with Http2Client(running.edge) as client:
        stream = client.get("/", [CALL, ("te", "trailers")], method="POST")
        assert (stream.reset, stream.trailers) == (INTERNAL_ERROR, [])
    assert "grpc_status" not in running.wait_log(1)[0]
