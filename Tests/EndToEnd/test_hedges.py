"""Hedges: second attempts beside slow ones, which of the two is heard, and what the other is held for."""

import itertools
import threading
import time

import pytest

from harness import cluster, configuration, forward, ok, patience, until
from harness.client import ask_hedged
from harness.nobody import never_connecting


def test_a_slow_attempt_is_hedged_and_the_first_answer_is_heard(weir, upstream):
    release = threading.Event()

    def slow_when_asked(request):
        if request.target == "/slow":
            release.wait(patience(60))
            return ok(b"slow")
        return ok(b"quick")

    slow, quick = upstream(slow_when_asked), upstream(lambda request: ok(b"quick"))
    running = weir(
        configuration(
            [cluster("main", slow, quick)],
            [forward(hedge={"after": "50ms", "percent": 10}, timeout="20s")],
            runtime={"workers": 1},
        )
    )
    try:
        ask_hedged(running)
        until(lambda: running.total("upstream_requests_in_flight") == 0, "the slow attempt was cancelled")
    finally:
        release.set()


def test_hedges_in_shadow_are_counted_and_not_sent(weir, upstream):
    def late(request):
        if request.target == "/slow":
            time.sleep(0.3)
        return ok(b"here")

    behind = [upstream(late), upstream(late)]
    hedge = {"mode": "shadow", "after": "50ms", "percent": 10}
    running = weir(configuration([cluster("main", *behind)], [forward(hedge=hedge)], runtime={"workers": 1}))
    with running.client() as client:
        for _ in range(60):
            client.request()
            assert client.read().status == 200
        client.request(path="/slow")
        assert client.read().body == b"here"
    assert sum(len(each.requests) for each in behind) == 61
    assert running.wait_total(1, "upstream_would_hedge_total") == 1
    assert running.total("upstream_hedges_total") == 0
    # An answer is on its way before its place is given back.
    until(lambda: running.total("weir_endpoint_in_flight") == 0, "all places are free")
    [line] = running.wait_log(1, lambda line: line["path"] == "/slow")
    assert line["would_attempt"] == "hedge" and line["attempts"] == 1


#: Long enough that a slow build's ordinary requests are not hedged.
AFTER = f"{int(patience(300))}ms"


class Two:
    """Endpoints for one request to /two: the attempt that comes first waits for the other one, whose answer
    waits for `go`; one of them, by its place, goes `bad`.
    """

    def __init__(self, place, bad):
        self.place, self.bad, self.places = place, bad, itertools.count()
        self.both, self.go = threading.Event(), threading.Event()

    def handle(self, connection):
        while (request := connection.read()) is not None:
            if request.target != "/two":
                connection.send(ok(b"here"))
                continue
            place = next(self.places)
            if place:
                self.both.set()
            assert self.both.wait(patience(30))
            if place == self.place:
                if not self.bad:
                    return
                connection.send(self.bad)
                continue
            assert self.go.wait(patience(30))
            connection.send(ok(b"here"))


@pytest.mark.parametrize(
    "bad", [b"", ok(status="503 Service Unavailable", headers=["Retry-After: 0"])], ids=["stale", "busy"]
)
@pytest.mark.parametrize("place", [0, 1], ids=["first", "second"])
def test_an_attempt_of_two_is_judged_like_any_other(weir, upstream, place, bad):
    """A kept connection that is closed as it is used, or an answer that asks for less, is no failure."""
    two = Two(place, bad)
    behind = [upstream(handle=two.handle) for _ in range(2)]
    running = weir(
        configuration(
            [cluster("main", *behind)],
            [forward(hedge={"after": AFTER, "percent": 10}, timeout="60s")],
            runtime={"workers": 1},
        )
    )
    with running.client() as client:
        for _ in range(60):
            client.request()
            assert client.read().status == 200
        client.request(path="/two")
        assert two.both.wait(patience(30))
        until(lambda: running.total("weir_endpoint_in_flight") == 1, "one of them goes on alone")
        two.go.set()
        answer = client.read()
        assert (answer.status, answer.body) == (200, b"here")
    assert running.total("upstream_hedges_total") >= 1
    [main] = running.status()["clusters"]
    assert [endpoint["failures"] for endpoint in main["endpoints"]] == [0, 0]
    assert running.total("upstream_failures_total") == 0
    assert running.total("upstream_requests_total", code_class="5xx") == bool(bad)


class Beside:
    """An endpoint beside one that nobody can connect to."""

    def __init__(self):
        self.go = threading.Event()

    def answer(self, request):
        kind = request.one("x-do")
        if kind and "wait" in kind:
            assert self.go.wait(patience(30))
        return ok(b"here", status="502 Bad Gateway" if kind and "fail" in kind else "200 OK")

    def begin(self, weir, upstream, address, **options):
        """A client, and the path by which its requests come here first."""
        balancing = {"policy": "ring_hash", "hash_on": "path"}
        behind = cluster("main", upstream(self.answer), address, connect_timeout="30s", load_balancing=balancing)
        route = {"hedge": {"after": AFTER, "percent": 10}, "timeout": f"{int(patience(2000))}ms"}
        made = configuration([behind], [forward(**route, **options)], runtime={"workers": 1})
        self.running = weir(made | {"retry_policies": {"one": POLICY}})
        path = next(f"/{number}" for number in range(100) if self.comes_first(f"/{number}"))
        client = self.running.client()
        for _ in range(60):
            client.request(path=path)
            assert client.read().status == 200
        until(lambda: self.counts()[1] == 0, "what looking for the path has cost is forgotten", 30)
        self.before = self.counts()
        return client, path

    def comes_first(self, path):
        before = self.running.total("upstream_hedges_total")
        return self.running.get(path).status == 200 and self.running.total("upstream_hedges_total") == before

    def counts(self):
        """Hedges that were begun, and what is charged for them and for retries."""
        [main] = self.running.status()["clusters"]
        return self.running.total("upstream_hedges_total"), main["retry_budget"]["retries"]

    def since(self):
        return tuple(now - before for now, before in zip(self.counts(), self.before))


POLICY = {"on": ["gateway_error"], "attempts": 1, "backoff": {"base": "1ms", "max": "1ms"}}


@pytest.mark.parametrize("do, status", [("wait", 200), ("wait and fail", 504)])
def test_a_hedge_that_was_not_sent_is_given_back(weir, upstream, do, status):
    """Be it since the first attempt was better, or since it never had a connection."""
    beside = Beside()
    with never_connecting() as address:
        client, path = beside.begin(weir, upstream, address)
        with client:
            client.request(path=path, headers=[f"x-do: {do}"])
            until(lambda: beside.since() == (1, 1), "it waits for a connection")
            beside.go.set()
            assert client.read().status == status
        assert beside.since() == (1, 0)


def test_a_retry_is_not_hedged_while_it_connects(weir, upstream):
    """The first attempt's time for a hedge is over with that attempt."""
    beside = Beside()
    with never_connecting() as address:
        client, path = beside.begin(weir, upstream, address, retry="one")
        with client:
            client.request(path=path, headers=["x-do: fail"])
            answer = client.read()
            assert (answer.status, answer.reason) == (504, "upstream_timeout")
        assert beside.since() == (0, 0)
