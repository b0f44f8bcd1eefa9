"""Every answer of the table reaches the client whole, or as a 502, or visibly broken off."""

import json

import pytest

from harness import Client, Incomplete, Response, cluster, configuration, forward, values
from malformed_responses import CASES, Either, Refused, Truncated


@pytest.fixture(scope="module")
def table(module_weir, module_upstream):
    """The upstream answers with the case that the path names, whole or byte by byte."""

    def handle(connection):
        while (request := connection.read()) is not None:
            if request.target == "/after":
                connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nafter")
                continue
            case = CASES[int(request.target.split("/")[2])]
            step = len(case.data) if request.target.startswith("/whole/") else 1
            for at in range(0, len(case.data), max(step, 1)):
                connection.send(case.data[at : at + step])
            if case.closes:
                return

    behind = module_upstream(handle=handle)
    running = module_weir(
        configuration([cluster("main", behind)], [forward(timeout="30s")], runtime={"workers": 1})
    )
    return running, behind


def check_forwarded(response, verdict):
    assert response.status == verdict.status, (response.status, response.reason)
    assert response.body == verdict.body
    for name, value in verdict.has.items():
        assert values(response.fields, name) == [value], (name, response.fields)
    for name in verdict.lacks:
        assert not values(response.fields, name), (name, response.fields)
    assert tuple(head.status for head in response.interim if head.status != 100) == verdict.interim


@pytest.mark.parametrize("cut", ["whole", "bytes"])
@pytest.mark.parametrize("number", range(len(CASES)), ids=[case.name for case in CASES])
def test_response(table, number, cut):
    running, behind = table
    case = CASES[number]
    if cut == "bytes" and (len(case.data) > 5000 or case.has_excess):
        pytest.skip("only means something in one piece")
    verdict = case.verdict
    with Client(running.edge) as client:
        client.request(case.method, f"/{cut}/{number}")
        try:
            response = client.read(case.method)
        except Incomplete:
            assert isinstance(verdict, Truncated), "broken off"
            response = None
        if isinstance(verdict, Truncated):
            # The fault may also show before the head was passed on.
            assert (
                response is None
                or response.reason == "upstream_protocol"
                or response.reason == "upstream_reset"
            ), response
        else:
            assert isinstance(response, Response), "closed without an answer"
            if isinstance(verdict, Either):
                verdict = verdict.refused if response.status == 502 else verdict.forwarded
            if isinstance(verdict, Refused):
                assert response.status == 502, response
                assert response.reason in verdict.reasons
                if case.method != "HEAD":
                    assert json.loads(response.body)["reason"] == response.reason
            else:
                check_forwarded(response, verdict)
    used = next(
        one
        for one in behind.connections
        if any(request.target == f"/{cut}/{number}" for request in one.requests)
    )
    with Client(running.edge) as client:
        client.request("GET", "/after")
        assert client.read().body == b"after"
    reused = used.requests[-1].target == "/after"
    if isinstance(verdict, (Refused, Truncated)):
        assert not reused
        behind.wait(used.is_closed.is_set, "weir closed the connection with the bad answer")
    elif verdict.reused is not None:
        assert reused == verdict.reused
