"""Every request of the table gets its verdict, however its bytes are cut."""

import itertools
import json
import random

import pytest

from harness import Client, cluster, configuration, get, listener, patience, values
from malformed_requests import BODY_LIMIT, CASES, FIELD_LIMIT, HEAD_LIMIT, URI_LIMIT, Dropped, Either, Refused

FENCES = itertools.count()


@pytest.fixture(scope="module")
def table(module_weir, module_upstream):
    behind = module_upstream()
    limits = {
        "request_header_bytes": f"{HEAD_LIMIT >> 10}KiB",
        "request_headers": FIELD_LIMIT,
        "request_uri_bytes": f"{URI_LIMIT >> 10}KiB",
        "request_body_bytes": f"{BODY_LIMIT >> 10}KiB",
        "header_timeout": f"{int(patience(1))}s",
        "body_timeout": f"{int(patience(1))}s",
    }
    running = module_weir(
        configuration([cluster("main", behind)], listeners=[listener(limits=limits)], runtime={"workers": 1})
    )
    return running, behind


def whole(data, _):
    return [data]


def byte_by_byte(data, _):
    step = 1 if len(data) < 3000 else 509
    return [data[at : at + step] for at in range(0, len(data), step)]


def torn(data, name):
    cuts = sorted(random.Random(name).sample(range(len(data) + 1), 2))
    return [data[: cuts[0]], data[cuts[0] : cuts[1]], data[cuts[1] :]]


def check_refused(response, verdict):
    assert response.status in verdict.statuses, (response.status, response.fields, response.body)
    assert response.reason in verdict.reasons
    assert response.one("connection") == "close" or not verdict.closes
    assert response.one("content-type") == "application/problem+json"
    assert response.one("x-request-id")
    if response.body:
        said = json.loads(response.body)
        assert (said["status"], said["reason"]) == (response.status, response.reason)


def check_forwarded(request, verdict):
    assert (request.method, request.target) == (verdict.method, verdict.target)
    assert request.body == verdict.body
    for name, value in verdict.has.items():
        assert values(request.fields, name) == [value], (name, request.fields)
    for name in verdict.lacks:
        assert not values(request.fields, name), (name, request.fields)
    if verdict.trailers is not None:
        assert tuple(request.trailers) == verdict.trailers


@pytest.mark.parametrize("cut", [whole, byte_by_byte, torn], ids=lambda cut: cut.__name__)
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_request(table, case, cut):
    running, behind = table
    first, bytes_before = len(behind.requests), behind.bytes_received
    expected = []
    with Client(running.edge) as client:
        client.send_until_answered(cut(case.data, case.name), answers=len(case.verdicts))
        for verdict in case.verdicts:
            if isinstance(verdict, Dropped):
                client.shutdown()
                answer = client.read()
                assert answer is None or answer.status in (400, 408), answer
                client.expect_end()
                continue
            response = client.read("HEAD" if case.data.startswith(b"HEAD") else "GET")
            assert response is not None, "closed without an answer"
            if isinstance(verdict, Either):
                verdict = verdict.forwarded if response.status == 200 else verdict.refused
            if isinstance(verdict, Refused):
                check_refused(response, verdict)
                if response.all("connection"):
                    client.expect_end()
            else:
                assert response.status == 200, (response.status, response.reason, response.body)
                expected.append(verdict)
        # With one worker, whatever weir had to send before this request was answered is there.
        fence = f"/fence-{next(FENCES)}"
        assert get(running.edge, fence).status == 200
    reached = behind.requests[first:]
    assert reached[-1].target == fence
    assert len(reached) - 1 == len(expected), [request.raw for request in reached]
    for request, verdict in zip(reached, expected):
        check_forwarded(request, verdict)
    assert behind.bytes_received - bytes_before == sum(len(request.raw) for request in reached)
    assert not behind.violations, behind.violations


def test_no_case_cost_more_than_its_connection(table):
    """After hundreds of refusals nothing is left open but the kept upstream connections."""
    running, behind = table
    assert get(running.edge).status == 200
    alive = sum(not connection.is_closed.is_set() for connection in behind.connections)
    assert alive <= 2, f"{alive} upstream connections are open"
