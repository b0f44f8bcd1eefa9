"""Endpoints put out of balancing: by failures, by slowness, by health checks, by hand; and back."""

import json
import socket
import threading

import pytest

from harness import cluster, configuration, forward, ok, patience, until
from harness.nobody import refusing

OUTLIER = {"consecutive_5xx": 5, "base_ejection_time": "60s"}


def settings(*behind, outlier=None, workers=1, routes=None, **options):
    if outlier is not False:
        options["outlier_detection"] = OUTLIER | (outlier or {})
    return configuration([cluster("main", *behind, **options)], routes, runtime={"workers": workers})


class Moody:
    """Answers that change at a word."""

    def __init__(self):
        self.status = "200 OK"
        self.headers = []
        self.calls = 0

    def __call__(self, request):
        self.calls += request.target != "/healthz"
        return ok(status=self.status, headers=self.headers)


def endpoints(running):
    return {entry["address"]: entry for entry in running.status()["clusters"][0]["endpoints"]}


def state(running, upstream):
    return endpoints(running)[upstream.address]["state"]


def ask(running, number):
    with running.client() as client:
        statuses = []
        for _ in range(number):
            client.request()
            statuses.append(client.read().status)
        return statuses


@pytest.mark.parametrize("workers", [1, 2])
def test_five_failures_in_a_row_eject(weir, upstream, workers):
    """With Envoy's defaults, one of three endpoints is never ejected, and nobody is told."""
    mood = Moody()
    bad, good, other = upstream(mood), upstream(), upstream()
    running = weir(settings(bad, good, other, workers=workers))
    assert set(ask(running, 9)) == {200}
    mood.status = "500 Internal Server Error"
    assert ask(running, 60).count(500) == 5
    assert mood.calls == 3 + 5
    assert state(running, bad) == "ejected"
    until(
        lambda: running.total("weir_ejections_total", reason="consecutive_5xx", mode="enforce") == 1,
        "the ejection is counted by the next tick",
    )
    assert "ejected" in running.stderr and "consecutive_5xx" in running.stderr


def test_one_of_two_may_be_ejected_but_never_the_last(weir, upstream):
    moods = [Moody(), Moody()]
    first, second = (upstream(mood) for mood in moods)
    running = weir(settings(first, second))
    for mood in moods:
        mood.status = "500 Internal Server Error"
    assert set(ask(running, 100)) == {500}, "somebody is always asked"
    states = sorted(entry["state"] for entry in endpoints(running).values())
    assert states == ["available", "ejected"]


def test_busy_is_not_broken(weir, upstream):
    mood = Moody()
    bad, good = upstream(mood), upstream()
    running = weir(settings(bad, good))
    mood.status, mood.headers = "503 Service Unavailable", ["Retry-After: 0"]
    ask(running, 40)
    assert state(running, bad) != "ejected"


def test_what_the_client_did_wrong_is_not_the_endpoints_fault(weir, upstream):
    mood = Moody()
    bad = upstream(mood)
    running = weir(settings(bad, upstream()))
    mood.status = "404 Not Found"
    ask(running, 40)
    assert state(running, bad) == "available"


def test_shadow_says_what_it_would_do(weir, upstream):
    mood = Moody()
    mood.status = "500 Internal Server Error"
    bad, good = upstream(mood), upstream()
    running = weir(settings(bad, good, outlier={"mode": "shadow"}))
    assert ask(running, 40).count(500) == 20
    assert state(running, bad) == "available"
    until(
        lambda: running.total("weir_ejections_total", reason="consecutive_5xx", mode="shadow") >= 1,
        "the ejection that would have been is counted",
    )


def test_an_ejected_endpoint_comes_back_by_probation(weir, upstream):
    mood = Moody()
    bad, good = upstream(mood), upstream()
    running = weir(settings(bad, good, outlier={"base_ejection_time": "1s"}))
    mood.status = "500 Internal Server Error"
    ask(running, 20)
    assert state(running, bad) == "ejected"
    mood.status = "200 OK"

    def is_back():
        ask(running, 4)
        return state(running, bad) == "available"

    until(is_back, "the endpoint is readmitted")
    assert set(ask(running, 10)) == {200}


def test_a_slow_endpoint_is_ejected(weir, upstream):
    """None of Envoy, HAProxy and nginx ejects an endpoint for being slow."""
    release = threading.Event()

    def slow(request):
        release.wait(patience(60))
        return ok()

    behind, others = upstream(slow), [upstream(), upstream()]
    running = weir(settings(behind, *others))
    held = []
    try:
        ask_quick = 0
        while state(running, behind) != "ejected":
            client = running.client()
            client.request()
            held.append(client)
            ask_quick += 1
            assert ask_quick < 500
            client.sock.settimeout(0.05)
            try:
                client.read()
            except (TimeoutError, socket.timeout):
                continue
        until(
            lambda: running.total("weir_ejections_total", mode="enforce") == 1,
            "the ejection is counted by the next tick",
        )
        assert set(ask(running, 20)) == {200}
    finally:
        release.set()
        for client in held:
            client.close()


def test_a_reload_ejects_and_readmits_nobody(weir, upstream):
    """Envoy readmits an ejected host when its cluster changes."""
    mood = Moody()
    bad, good = upstream(mood), upstream()
    running = weir(settings(bad, good))
    mood.status = "500 Internal Server Error"
    ask(running, 20)
    for edit in (
        {"connect_timeout": "333ms"},
        {"outlier": {"interval": "3s"}},
        {"load_balancing": {"policy": "least_request"}},
    ):
        running.reload(settings(bad, good, **edit))
        assert state(running, bad) == "ejected", edit
        assert set(ask(running, 10)) == {200}, edit
    extra = upstream()
    running.reload(settings(bad, good, extra))
    assert state(running, bad) == "ejected"
    assert set(ask(running, 20)) == {200}


def test_by_hand(weir, upstream):
    one, two = upstream(), upstream()
    running = weir(settings(one, two, outlier=False))

    def command(word, behind=one, expected=200):
        status, text = running.ask("POST", f"/endpoints/main/{behind.address}/{word}")
        assert status == expected, text
        return text

    command("eject")
    assert state(running, one) == "ejected"
    before = len(one.requests)
    assert set(ask(running, 10)) == {200} and len(one.requests) == before
    command("readmit")
    assert state(running, one) in ("available", "probation")
    ask(running, 20)
    assert len(one.requests) > before
    command("drain", two)
    before = len(two.requests)
    ask(running, 10)
    assert len(two.requests) == before and state(running, two) == "draining"
    command("readmit", two)
    ask(running, 20)
    assert len(two.requests) > before
    command("explode", expected=404)
    assert "no such endpoint" in running.ask("POST", "/endpoints/main/1.2.3.4:5/eject")[1]
    assert running.ask("POST", "/endpoints/nobody/1.2.3.4:5/eject")[0] == 404


CHECK = {"path": "/healthz", "interval": "100ms", "timeout": "90ms", "unhealthy": 2, "healthy": 2}


class Patient(Moody):
    """Healthy or not, apart from how its traffic is answered."""

    is_well = True

    def __call__(self, request):
        if request.target == "/healthz":
            return ok(status="200 OK" if self.is_well else "503 Service Unavailable")
        return super().__call__(request)


class Checked:
    """An upstream whose health checks, which are no proxied requests, are judged by nobody."""

    def __init__(self, upstream):
        self.mood = Patient()

        def handle(connection):
            connection.judge = lambda request: None
            while (request := connection.read()) is not None:
                connection.send(self.mood(request))
                if "close" in ",".join(request.all("connection")):
                    return

        self.upstream = upstream(handle=handle)
        self.address = self.upstream.address


def test_a_health_check_takes_out_and_puts_back(weir, upstream):
    sick, well = Checked(upstream), Checked(upstream)
    running = weir(settings(sick.address, well.address, outlier=False, health_check=CHECK))
    sick.mood.is_well = False
    until(lambda: state(running, sick) == "unhealthy", "it is found unhealthy")
    before = sick.mood.calls
    assert set(ask(running, 10)) == {200} and sick.mood.calls == before
    sick.mood.is_well = True
    until(lambda: state(running, sick) != "unhealthy", "it is found healthy")

    def is_asked():
        ask(running, 4)
        return sick.mood.calls > before

    until(is_asked, "it is asked again")


def test_a_health_check_in_shadow_takes_nobody_out(weir, upstream):
    sick, well = Checked(upstream), Checked(upstream)

    def made(mode):
        return settings(sick.address, well.address, outlier=False, health_check=CHECK | {"mode": mode})

    running = weir(made("shadow"))
    sick.mood.is_well = False

    def would_be():
        named = [dict(labels) for name, labels in running.metrics() if name == "weir_endpoint_would_be_unhealthy"]
        return [labels["endpoint"] for labels in named]

    until(lambda: would_be() == [sick.address], "it is found unhealthy")
    shown = endpoints(running)[sick.address]
    assert shown["state"] == "available" and shown["would_be_unhealthy"] is True
    assert "would_be_unhealthy" not in endpoints(running)[well.address]
    before = sick.mood.calls
    assert set(ask(running, 10)) == {200} and sick.mood.calls > before
    until(lambda: "endpoint would be unhealthy" in running.stderr, "weir's log says so")
    # What is known holds in either mode.
    running.reload(made("enforce"))
    assert state(running, sick) == "unhealthy" and would_be() == []
    running.reload(made("shadow"))
    assert state(running, sick) == "available" and would_be() == [sick.address]
    sick.mood.is_well = True
    until(lambda: would_be() == [], "it is found healthy")


def test_a_green_check_does_not_override_what_traffic_shows(weir, upstream):
    """Envoy readmits a failing host as soon as its shallow health check is green."""
    bad, good = Checked(upstream), Checked(upstream)
    running = weir(settings(bad.address, good.address, health_check=CHECK))
    bad.mood.status = "500 Internal Server Error"
    ask(running, 20)
    assert state(running, bad) == "ejected"
    checks = len(bad.upstream.requests)
    until(lambda: len(bad.upstream.requests) >= checks + 5, "five more green checks")
    assert state(running, bad) == "ejected"


def test_a_tcp_check_needs_only_a_connection(weir, upstream):
    good = Checked(upstream)
    check = {"tcp": True, "interval": "100ms", "timeout": "90ms"}
    with refusing() as dead:
        running = weir(settings(dead, good.address, outlier=False, health_check=check))
        until(lambda: endpoints(running)[dead]["state"] == "unhealthy", "the dead one is found out")
        assert set(ask(running, 10)) == {200}
        assert endpoints(running)[good.address]["state"] == "available"


def test_with_too_few_left_all_are_asked(weir, upstream):
    checked = [Checked(upstream) for _ in range(4)]
    running = weir(
        settings(
            *(each.address for each in checked), outlier={"panic_threshold": 50}, health_check=CHECK
        )
    )
    for each in checked[:3]:
        each.mood.is_well = False
    until(
        lambda: sum(entry["state"] == "unhealthy" for entry in endpoints(running).values()) == 3,
        "three are unhealthy",
    )
    until(lambda: running.total("weir_panic") == 1, "panic")
    ask(running, 40)
    assert all(each.mood.calls >= 5 for each in checked)


def test_a_breaker_opens_answers_in_the_endpoints_place_and_probes(weir, upstream):
    mood = Moody()
    behind = upstream(mood)
    breaker = {
        "failure_percent": 50,
        "min_requests": 10,
        "open_for": "1s",
        "probes": 1,
        "fallback": {"status": 200, "body": "a stale answer\n"},
    }
    running = weir(settings(behind, outlier=False, routes=[forward(breaker=breaker)]))

    def state():
        shown = [dict(labels) for name, labels in running.metrics() if name == "weir_route_breaker_state"]
        breakers = running.status()["route_breakers"]
        assert {labels["route"]: labels["state"] for labels in shown} == breakers
        [state] = breakers.values()
        return state

    assert state() == "closed"
    mood.status = "500 Internal Server Error"
    assert ask(running, 10) == [500] * 10
    answer = running.get()
    assert (answer.status, answer.body, answer.reason) == (200, b"a stale answer\n", "breaker_open")
    assert mood.calls == 10 and state() == "open"
    line = running.wait_log(11)[10]
    assert line["reason"] == "breaker_open" and line["attempts"] == 0
    mood.status = "200 OK"
    until(lambda: running.get().reason is None, "a probe closes it")
    assert set(ask(running, 10)) == {200} and mood.calls >= 20
    assert state() == "closed"


def test_our_own_refusals_are_no_failures_of_the_endpoint(weir, upstream):
    """Envoy's admission control counts Envoy's own refusals, and sheds the innocent for them."""
    release = threading.Event()

    def answer(request):
        if request.target == "/hold":
            release.wait(patience(60))
        return ok()

    behind, other = upstream(answer), upstream(answer)
    running = weir(
        settings(
            behind,
            other,
            circuit_breakers={"max_requests": 1},
            breaker={"failure_percent": 10, "min_requests": 5},
        )
    )
    with running.client() as held:
        held.request(path="/hold")
        until(lambda: behind.requests or other.requests, "the place is taken")
        for _ in range(50):
            assert running.get().reason == "ceiling"
        release.set()
        assert held.read().status == 200
    assert set(ask(running, 10)) == {200}
    assert {entry["state"] for entry in endpoints(running).values()} == {"available"}
