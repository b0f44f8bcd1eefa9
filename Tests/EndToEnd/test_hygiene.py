"""What weir adds to heads, and what it takes out of them."""

import re

import pytest

from harness import forward, listener, ok

IDENTITY = re.compile(r"[0-9a-f]{32}\Z")


def test_forwarding_fields_are_set(pair):
    running, behind = pair()
    response = running.get("/", host="shop.test")
    request = behind.requests[0]
    assert request.one("host") == "shop.test"
    assert request.one("via") == "1.1 weir"
    assert request.one("x-forwarded-for") == "127.0.0.1"
    assert request.one("x-forwarded-proto") == "http"
    assert request.one("x-forwarded-host") == "shop.test"
    assert IDENTITY.match(request.one("x-request-id"))
    assert response.one("x-request-id") == request.one("x-request-id")
    assert response.one("via") == "1.1 weir"


def test_request_ids_differ(pair):
    running, behind = pair(runtime={"workers": 2})
    for _ in range(100):
        running.get()
    assert len({request.one("x-request-id") for request in behind.requests}) == 100


FORGED = [
    "X-Forwarded-For: 6.6.6.6",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Host: evil.test",
    "X-Request-Id: forged",
    "X-Forwarded-For: 7.7.7.7",
]


def test_claims_of_an_untrusted_client_are_replaced(pair):
    running, behind = pair()
    running.get("/", headers=FORGED)
    request = behind.requests[0]
    assert request.all("x-forwarded-for") == ["127.0.0.1"]
    assert request.one("x-forwarded-proto") == "http"
    assert request.one("x-forwarded-host") == "e2e.test"
    assert IDENTITY.match(request.one("x-request-id"))
    assert b"6.6.6.6" not in request.raw and b"forged" not in request.raw


def test_claims_of_a_trusted_proxy_are_kept_and_added_to(pair):
    running, behind = pair(listeners=[listener(trusted=["127.0.0.0/8"])])
    response = running.get(
        "/",
        headers=[
            "X-Forwarded-For: 6.6.6.6",
            "X-Forwarded-Proto: https",
            "X-Forwarded-Host: shop.test",
            "X-Request-Id: abc-123",
        ],
    )
    request = behind.requests[0]
    assert ", ".join(request.all("x-forwarded-for")) == "6.6.6.6, 127.0.0.1"
    assert request.one("x-forwarded-proto") == "https"
    assert request.one("x-forwarded-host") == "shop.test"
    assert request.one("x-request-id") == "abc-123"
    assert response.one("x-request-id") == "abc-123"


def test_trusted_proxy_without_claims(pair):
    running, behind = pair(listeners=[listener(trusted=["127.0.0.1/32"])])
    running.get()
    request = behind.requests[0]
    assert request.one("x-forwarded-for") == "127.0.0.1"
    assert request.one("x-forwarded-proto") == "http"
    assert IDENTITY.match(request.one("x-request-id"))


def test_a_proxy_outside_the_trusted_prefixes_is_not_believed(pair):
    running, behind = pair(listeners=[listener(trusted=["10.0.0.0/8", "fd00::/8"])])
    running.get("/", headers=FORGED)
    assert behind.requests[0].all("x-forwarded-for") == ["127.0.0.1"]


def test_via_is_appended_to(pair):
    running, behind = pair(lambda request: ok(Via="1.0 origin"))
    response = running.get("/", headers=["Via: 1.0 fred, 1.1 wilma"])
    assert ", ".join(behind.requests[0].all("via")) == "1.0 fred, 1.1 wilma, 1.1 weir"
    assert ", ".join(response.all("via")) == "1.0 origin, 1.1 weir"


def test_hop_by_hop_request_fields_are_removed(pair):
    running, behind = pair()
    running.get(
        "/",
        headers=[
            "Connection: keep-alive, X-Mine",
            "X-Mine: 1",
            "Keep-Alive: timeout=5",
            "Proxy-Connection: keep-alive",
            "TE: gzip",
            "Upgrade: x",
            "Trailer: a",
        ],
    )
    names = {name for name, _ in behind.requests[0].fields}
    assert not names & {"x-mine", "keep-alive", "proxy-connection", "te", "upgrade"}


def test_hop_by_hop_response_fields_are_removed(pair):
    running, _ = pair(
        lambda request: ok(
            headers=[
                "Connection: X-Mine",
                "X-Mine: 1",
                "Keep-Alive: timeout=5",
                "Proxy-Connection: keep-alive",
                "Upgrade: h2c",
                "X-Kept: 1",
            ]
        )
    )
    names = {name for name, _ in running.get().fields}
    assert not names & {"x-mine", "keep-alive", "proxy-connection", "upgrade"}
    assert "x-kept" in names


def test_everything_else_passes_unchanged_and_in_order(pair):
    sent = [
        "Accept: */*",
        "Cookie: a=1",
        "X-B: 2",
        "X-A: 1",
        "X-B: 3",
        "Authorization: Bearer x",
        "Cookie: b=2",
        "Pragma:",
        'ETag: W/"x"',
        "Accept-Encoding: gzip, br",
    ]
    running, behind = pair(
        lambda request: ok(
            headers=[
                "Set-Cookie: a=1; Path=/",
                "Set-Cookie: b=2",
                "X-B: 2",
                "X-A: 1",
                "X-B: 3",
                "Server: origin/1",
                "Date: Mon, 01 Jan 2024 00:00:00 GMT",
            ]
        )
    )
    response = running.get("/", headers=sent)
    wanted = [tuple(part.strip() for part in line.split(":", 1)) for line in sent]
    wanted = [(name.lower(), value) for name, value in wanted]
    assert [one for one in behind.requests[0].fields if one in wanted] == wanted
    assert response.all("set-cookie") == ["a=1; Path=/", "b=2"]
    assert response.all("x-b") == ["2", "3"]
    assert response.one("server") == "origin/1"
    assert response.one("date") == "Mon, 01 Jan 2024 00:00:00 GMT"


def test_http_1_0_clients_are_served_by_1_1_upstream(pair):
    running, behind = pair()
    with running.client() as client:
        client.send(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
        assert client.read().status == 200
    assert behind.requests[0].raw.startswith(b"GET / HTTP/1.1\r\n")
    assert behind.requests[0].one("via") == "1.0 weir", "Via names the protocol that was received"


@pytest.mark.parametrize(
    "policy, expected", [("preserve", "shop.test"), ("endpoint", None), ("inner.test", "inner.test")]
)
def test_host_header_policy(pair, policy, expected):
    value = policy if policy in ("preserve", "endpoint") else {"literal": policy}
    running, behind = pair(host_header=value)
    running.get("/", host="shop.test")
    request = behind.requests[0]
    assert request.one("host") == (expected or behind.address)
    assert request.one("x-forwarded-host") == "shop.test"


def test_header_edits(pair):
    edits = {"remove": ["x-gone"], "set": {"x-set": "new"}, "add": {"x-add": "more"}}
    running, behind = pair(
        lambda request: ok(x_gone="1", x_set="old", x_add="first"),
        routes=[forward(request_headers=edits, response_headers=edits)],
    )
    response = running.get("/", headers=["X-Gone: 1", "X-Set: old", "X-Set: older", "X-Add: first"])
    for message in (behind.requests[0], response):
        assert message.all("x-gone") == []
        assert message.all("x-set") == ["new"]
        assert message.all("x-add") == ["first", "more"]
