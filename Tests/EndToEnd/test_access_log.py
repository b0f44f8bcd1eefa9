"""One JSON line an exchange, with what happened, when, and who ended it."""

import re
import threading

from harness import Client, cluster, configuration, forward, listener, ok, patience

KEYS = {
    "time",
    "request_id",
    "tenant",
    "client",
    "method",
    "host",
    "path",
    "protocol",
    "status",
    "route",
    "cluster",
    "endpoint",
    "attempts",
    "reason",
    "ended_by",
    "phase",
    "ms",
    "bytes_in",
    "bytes_out",
    "generation",
    "user_agent",
}


def test_every_field_of_a_plain_request(pair):
    running, behind = pair(lambda request: ok(b"x" * 1000))
    response = running.get(
        "/a/b?q=1", method="POST", body=b"y" * 500, host="shop.test", headers=["User-Agent: e2e/1.0"]
    )
    (line,) = running.wait_log()
    assert set(line) >= KEYS, KEYS - set(line)
    assert set(line["ms"]) == {"read", "queue", "connect", "first_byte", "total"}
    assert line["request_id"] == response.one("x-request-id")
    assert line["client"].startswith("127.0.0.1")
    assert (line["method"], line["host"], line["status"]) == ("POST", "shop.test", 200)
    assert line["path"].startswith("/a/b")
    assert line["protocol"] == "HTTP/1.1"
    assert (line["route"], line["cluster"], line["endpoint"]) == ("main", "main", behind.address)
    assert line["attempts"] == 1
    assert not line["reason"]
    assert line["user_agent"] == "e2e/1.0"
    assert line["bytes_in"] >= 500 and line["bytes_out"] >= 1000
    assert line["generation"] == running.generation
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", line["time"])


def test_timers_tell_where_the_time_went(pair):
    gate = threading.Event()

    def answer(_):
        gate.wait(0.3)
        return ok()

    running, _ = pair(answer)
    running.get()
    (line,) = running.wait_log()
    times = line["ms"]
    assert times["first_byte"] >= 250
    assert times["total"] >= times["first_byte"]
    assert times["read"] < 250 and times["connect"] < 250
    assert all(value is None or value >= 0 for value in times.values())


def test_refusals_carry_their_reason(pair):
    running, _ = pair(
        routes=[forward(match={"path_prefix": "/up"})],
        listeners=[listener(limits={"request_body_bytes": "1KiB"})],
    )
    cases = [
        ("/nowhere", {}, 404, "route_missing"),
        ("/up", {"headers": ["X : y"]}, 400, "bad_request"),
        ("/up/../x", {}, 400, "bad_request"),
        ("/up", {"method": "POST", "body": b"x" * 2000}, 413, "body_too_large"),
        ("/" + "u" * 20_000, {}, 414, "head_too_large"),
    ]
    for path, options, status, reason in cases:
        response = running.get(path, **options)
        assert (response.status, response.reason) == (status, reason), path[:50]
    lines = running.wait_log(len(cases))
    assert [(line["status"], line["reason"]) for line in lines] == [
        (status, reason) for _, _, status, reason in cases
    ]
    assert all(line["attempts"] == 0 for line in lines)


def test_hostile_values_stay_one_line_of_json(pair):
    running, _ = pair()
    agents = [
        '"',
        "\\",
        '\\"}',
        "\t",
        "\xff\xfe",
        "\xe4\xf6",
        "</script>",
        "%00",
        "x" * 5000,
        '","status":500,"x":"',
    ]
    for agent in agents:
        assert running.get('/?q=%22%0a"', headers=[f"User-Agent: {agent}"]).status in (200, 400)
    lines = running.wait_log(len(agents))
    assert len(lines) == len(agents)
    assert {line["status"] for line in lines} <= {200, 400}


def test_client_that_leaves_is_named(pair):
    running, behind = pair(
        handle=lambda connection: (connection.note(connection.read_head()), connection.wait_closed())
    )
    with running.client() as client:
        client.request()
        behind.wait_requests(1)
        client.reset()
    (line,) = running.wait_log()
    assert line["reason"] == "client_gone"
    assert "client" in line["ended_by"] or "downstream" in line["ended_by"]
    assert line["phase"]


def test_upstream_that_breaks_off_is_named(pair):
    running, _ = pair(
        handle=lambda connection: (
            connection.read(),
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"),
        )
    )
    with running.client() as client:
        client.request()
        client.read_head()
        client.to_end(lambda piece: None)
    (line,) = running.wait_log()
    assert line["reason"] == "upstream_reset"
    assert "upstream" in line["ended_by"]


def test_client_address_of_a_trusted_proxy_is_the_forwarded_one(pair):
    running, _ = pair(listeners=[listener(trusted=["127.0.0.1/32"])])
    running.get("/", headers=["X-Forwarded-For: 203.0.113.9"])
    (line,) = running.wait_log()
    assert line["client"].startswith(("203.0.113.9", "127.0.0.1"))


def test_log_of_a_thousand_requests_has_a_thousand_lines(weir, upstream):
    running = weir(configuration([cluster("main", upstream())]))

    def load():
        with Client(running.edge) as client:
            for _ in range(250):
                client.request()
                assert client.read().status == 200

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(patience(60))
    lines = running.wait_log(1000)
    assert len(lines) == 1000
    assert len({line["request_id"] for line in lines}) == 1000


def test_log_file_that_cannot_be_opened_is_refused_by_name(weir, upstream, tmp_path):
    running = weir(
        configuration(
            [cluster("main", upstream())], runtime={"access_log": {"path": str(tmp_path / "missing" / "log")}}
        ),
        wait=False,
    )
    assert running.wait_exit() == 1
    assert "missing" in running.stderr
