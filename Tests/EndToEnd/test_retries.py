"""Attempts: which failures are followed by another one, where it goes, and what it costs."""

import itertools
import threading
import time

import pytest

from harness import cluster, configuration, forward, ok, patience, until
from harness.nobody import refusing

POLICY = {
    "on": ["connect_failure", "reset_before_response", "gateway_error", "per_try_timeout"],
    "attempts": 2,
    "backoff": {"base": "1ms", "max": "2ms"},
    "budget": {"percent": 100, "min_per_second": 10},
}


def settings(*behind, policy=None, route=None, **options):
    made = configuration(
        [cluster("main", *behind, **options)], [forward(retry="safe", **(route or {}))], runtime={"workers": 1}
    )
    return made | {"retry_policies": {"safe": POLICY | (policy or {})}}


def failing(status="503 Service Unavailable", headers=()):
    return lambda request: ok(b"no", status=status, headers=headers)


def test_a_failed_attempt_goes_to_another_endpoint(weir, upstream):
    bad, good = upstream(failing()), upstream()
    running = weir(settings(bad, good))
    for _ in range(6):
        assert running.get().status == 200
    assert len(good.requests) == 6
    assert 1 <= len(bad.requests) <= 6
    assert running.wait_total(len(bad.requests), "upstream_retries_total") == len(bad.requests)
    lines = running.wait_log(6)
    assert {line["attempts"] for line in lines} <= {1, 2}
    assert sum(line["attempts"] for line in lines) == 6 + len(bad.requests)


def test_attempts_are_numbered_for_those_behind(weir, upstream):
    bad = upstream(failing())
    running = weir(settings(bad))
    assert running.get().status == 503
    assert [request.one("x-weir-attempt") for request in bad.requests] == [None, "2", "3"]


def test_the_last_failure_is_the_clients(weir, upstream):
    running = weir(settings(upstream(failing("502 Bad Gateway"))))
    answer = running.get()
    assert answer.status == 502 and answer.body == b"no" and answer.reason is None
    assert running.wait_log(1)[0]["no_retry"] == "attempts"


@pytest.mark.parametrize(
    "policy, options, cause",
    [
        ({"on": ["connect_failure"]}, {}, "condition"),
        ({}, {"method": "POST", "body": b"x"}, "method"),
        ({"methods": ["POST"], "body_buffer": "1KiB"}, {"method": "POST", "body": b"x" * 5000}, "body"),
        ({"budget": {"percent": 0, "min_per_second": 0}}, {}, "budget"),
    ],
)
def test_the_log_says_why_there_was_no_other_attempt(weir, upstream, policy, options, cause):
    behind = upstream(failing())
    running = weir(settings(behind, policy=policy))
    assert running.get(**options).status == 503
    assert len(behind.requests) == 1
    assert running.wait_log(1)[0]["no_retry"] == cause


def test_a_body_is_sent_again(weir, upstream):
    body = bytes(range(256)) * 100
    answers = itertools.chain([failing()(None)], itertools.repeat(ok()))
    behind = upstream(lambda request: next(answers))
    running = weir(settings(behind, policy={"methods": ["POST"]}))
    assert running.get(method="POST", body=body).status == 200
    assert [request.body for request in behind.requests] == [body, body]


def test_a_body_that_is_sent_as_it_comes_is_kept_too(weir, upstream):
    body = bytes(range(256)) * 100
    answers = itertools.chain([failing()(None)], itertools.repeat(ok()))
    behind = upstream(lambda request: next(answers))
    running = weir(
        settings(behind, policy={"methods": ["POST"]}, route={"request_buffer": "0KiB"})
    )
    assert running.get(method="POST", body=body).status == 200
    assert [request.body for request in behind.requests] == [body, body]


def test_a_connection_that_was_refused_is_tried_elsewhere_whatever_the_method(weir, upstream):
    good = upstream()
    with refusing() as address:
        running = weir(settings(address, good))
        for _ in range(4):
            assert running.get(method="POST", body=b"x").status == 200
    assert len(good.requests) == 4


def test_an_attempt_that_takes_too_long_is_given_up_for_another(weir, upstream):
    release = threading.Event()

    def stuck(request):
        release.wait(patience(60))
        return ok(b"late")

    slow, good = upstream(stuck), upstream()
    running = weir(settings(slow, good, policy={"per_try_timeout": "100ms"}))
    try:
        assert [running.get().body for _ in range(4)] == [b"ok\n"] * 4
    finally:
        release.set()


def test_the_endpoint_is_not_asked_again_before_it_said(weir, upstream):
    behind = upstream(failing(headers=["Retry-After: 1"]))
    running = weir(settings(behind, policy={"attempts": 1}))
    began = time.monotonic()
    assert running.get().status == 503
    assert len(behind.requests) == 2
    assert time.monotonic() - began >= 1


def test_where_the_wait_does_not_fit_there_is_no_retry(weir, upstream):
    behind = upstream(failing(headers=["Retry-After: 5"]))
    running = weir(settings(behind, route={"timeout": "2s"}))
    assert running.get().status == 503
    assert len(behind.requests) == 1
    assert running.wait_log(1)[0]["no_retry"] == "time"


def test_with_everything_failing_attempts_stay_within_the_budget(weir, upstream):
    """Envoy's budget of concurrent retries let every request have four attempts at low load."""
    behind = upstream(failing())
    budget = {"percent": 10, "min_per_second": 0}
    running = weir(settings(behind, policy={"attempts": 3, "budget": budget}))
    for _ in range(200):
        assert running.get().status == 503
    assert 200 <= len(behind.requests) <= 200 * 1.12
    running.wait_total(170, "upstream_retries_over_budget_total")


def test_retries_of_two_weirs_in_a_row_do_not_multiply(weir, upstream):
    behind = upstream(failing())
    inner = weir(
        settings(behind) | {"listeners": [{"name": "edge", "address": "127.0.0.1:0", "trusted_proxies": ["127.0.0.0/8"]}]}
    )
    outer = weir(settings(inner.edge))
    assert outer.get().status == 503
    # The inner one's three attempts; the outer one's second and third begin at 2 and at 3.
    assert len(behind.requests) == 3 + 2 + 1


def test_a_tenant_pays_once_whatever_the_attempts(weir, upstream):
    made = settings(upstream(failing()))
    made["tenants"] = {
        "identify": [{"header": "x-api-key"}],
        "plans": {"free": {"rate": "1/h", "burst": 2}},
        "default_plan": "free",
    }
    running = weir(made)
    assert [running.get(headers=["x-api-key: a"]).status for _ in range(3)] == [503, 503, 429]


def test_a_retry_that_waited_goes_to_another_endpoint(weir, upstream):
    release = threading.Event()

    def bad(request):
        if request.target == "/held":
            assert release.wait(patience(60))
        return ok(b"bad", status="503 Service Unavailable" if request.target == "/fails" else "200 OK")

    behind = [upstream(bad), upstream(lambda request: ok(b"good"))]
    policy = {"attempts": 1, "backoff": {"base": "1s", "max": "1s", "jitter": "none"}}
    queue = {"max_wait": "30s"}
    running = weir(settings(*behind, policy=policy, circuit_breakers={"max_requests": 1}, queue=queue))
    # Of two in turn, the bad one is next.
    while running.get().body != b"good":
        pass
    failed, held = running.client(), running.client()
    with failed, held:
        failed.request(path="/fails")
        until(lambda: running.total("upstream_retries_total") == 1, "the first attempt has failed")
        assert running.get().body == b"good"
        held.request(path="/held")
        until(lambda: running.total("weir_queue_length") == 1, "the retry waits")
        release.set()
        assert held.read().body == b"bad"
        assert failed.read().body == b"good", "the place that came free was the bad one's"


def test_retries_in_shadow_are_counted_and_not_made(weir, upstream):
    bad = upstream(failing())
    budget = {"percent": 0, "min_per_second": 0.4, "window": "10s"}
    policy = {"mode": "shadow", "per_try_timeout": "10ms", "budget": budget}
    running = weir(settings(bad, policy=policy))
    assert [running.get().status for _ in range(6)] == [503] * 6
    assert len(bad.requests) == 6 and all(r.one("x-weir-attempt") is None for r in bad.requests)
    made = running.total("upstream_would_retry_total")
    assert 1 <= made < 6, "the budget bounds the shadow as well"
    lines = running.wait_log(6)
    assert sum(line.get("would_attempt") == "retry" for line in lines) == made
    assert sum(line.get("no_retry") == "budget" for line in lines) == 6 - made
    assert running.total("upstream_retries_total") == 0
    assert running.total("upstream_retries_over_budget_total") == 0
    [shown] = running.status()["clusters"]
    assert shown["retry_budget"] == {"requests": 6, "retries": 0}, "the real budget is as it was"


def test_what_a_shadow_would_not_retry_says_why(weir, upstream):
    running = weir(settings(upstream(failing()), policy={"mode": "shadow"}))
    assert running.get(method="POST", body=b"x").status == 503
    [line] = running.wait_log(1)
    assert line["no_retry"] == "method" and "would_attempt" not in line
    assert running.total("upstream_would_retry_total") == 0


def test_a_try_in_shadow_has_no_time_of_its_own(weir, upstream):
    def late(request):
        time.sleep(0.2)
        return ok(b"late")

    running = weir(settings(upstream(late), policy={"mode": "shadow", "per_try_timeout": "50ms"}))
    assert running.get().status == 200


def test_a_shadow_of_max_retries_says_which_it_would_not_have_made(weir, upstream):
    behind = upstream(failing())
    policy = {"on": ["gateway_error"], "attempts": 1, "budget": {"percent": 100, "min_per_second": 100}}
    running = weir(
        settings(behind, policy=policy, circuit_breakers={"mode": "shadow", "max_retries": 0})
    )
    assert running.get().status == 503
    assert len(behind.requests) == 2, "it is made"
    [line] = running.wait_log(1)
    assert line["would_not_retry"] == "ceiling" and "would_refuse" not in line
    assert running.wait_total(1, "upstream_would_not_retry_total") == 1
    assert running.wait_total(1, "upstream_retries_total") == 1


def test_a_client_that_leaves_before_its_retry_gives_its_place_back(weir, upstream):
    behind = upstream(failing())
    policy = {"backoff": {"base": "60s", "max": "60s", "jitter": "none"}}
    running = weir(settings(behind, policy=policy, route={"timeout": "off"}, circuit_breakers={"max_retries": 1}))
    for number in (1, 2, 3):
        with running.client() as client:
            client.request()
            until(lambda: running.total("upstream_retries_total") == number, "a retry is arranged")
        running.wait_log(number, lambda line: line["reason"] == "client_gone")
    assert len(behind.requests) == 3
    [main] = running.status()["clusters"]
    assert main["retry_budget"] == {"requests": 3, "retries": 0}, "none of them was sent"


def test_a_retry_after_a_status_holds_its_place(weir, upstream):
    """It was given back with the attempt before, and `max_retries` bounded nothing."""
    behind = upstream(failing())
    policy = {"backoff": {"base": "60s", "max": "60s", "jitter": "none"}}
    running = weir(settings(behind, policy=policy, route={"timeout": "off"}, circuit_breakers={"max_retries": 1}))
    with running.client() as client:
        client.request()
        until(lambda: running.total("upstream_retries_total") == 1, "a retry is arranged")
        assert running.get().status == 503
        assert running.wait_log(1)[0]["no_retry"] == "ceiling"


def test_places_of_retries_are_all_given_back(weir, upstream):
    """After a connection that failed and a status, one of two had been kept for good."""
    behind = upstream(failing())
    policy = {"on": ["connect_failure", "gateway_error"], "attempts": 2}
    policy["budget"] = {"percent": 100, "min_per_second": 1000}
    with refusing() as address:
        running = weir(settings(address, behind, policy=policy, circuit_breakers={"max_retries": 2}))
        for _ in range(12):
            assert running.get().status in (502, 503)
        # Two at once, one of each of these clients.
        assert "ceiling" not in {line.get("no_retry") for line in running.wait_log(12)}
