"""The admin listener: metrics that count exactly, status, readiness, reload."""

import json
import socket
import threading

import pytest

from harness import Client, cluster, configuration, forward, get, ok, patience, until
from harness.nobody import refusing


def statuses(request):
    return ok(b"x" * 100, f"{request.target.strip('/') or 200} Status")


@pytest.fixture
def counted(weir, upstream):
    behind = upstream(statuses)
    return weir(configuration([cluster("main", behind)], [forward(match={"path_prefix": "/"})])), behind


def test_metrics_count_every_request_once(counted):
    running, _ = counted
    for status, number in ((200, 20), (404, 5), (503, 3)):
        with running.client() as client:
            for _ in range(number):
                client.request(path=f"/{status}")
                assert client.read().status == status
    running.get("/", headers=["X : y"])

    def requests():
        samples = running.metrics()
        return {
            next(value for key, value in labels if key == "code_class"): count
            for (name, labels), count in samples.items()
            if name.endswith("requests_total") and ("route", "main") in labels and count
        }

    found = until(
        lambda: (counts := requests()) and sum(counts.values()) >= 28 and counts, "28 requests are counted"
    )
    assert found == {"2xx": 20, "4xx": 5, "5xx": 3}


def test_duration_histogram_is_sound(counted):
    running, _ = counted
    for _ in range(50):
        running.get()
    name = "http_request_duration_seconds"

    def samples():
        found = {key: value for key, value in running.metrics().items() if key[0].startswith(name)}
        total = sum(value for key, value in found.items() if key[0] == f"{name}_count")
        return found if total >= 50 else None

    found = until(samples, "50 requests are in the histogram")
    groups = {}
    for (metric, labels), value in found.items():
        if metric == f"{name}_bucket":
            bound = float(dict(labels)["le"].replace("+Inf", "inf"))
            rest = frozenset(label for label in labels if label[0] != "le")
            groups.setdefault(rest, []).append((bound, value))
    assert groups
    for rest, buckets in groups.items():
        buckets.sort()
        assert [count for _, count in buckets] == sorted(count for _, count in buckets), "cumulative"
        assert buckets[-1][0] == float("inf")
        assert buckets[-1][1] == found[f"{name}_count", rest]
    assert sum(value for key, value in found.items() if key[0] == f"{name}_count") == 50
    assert sum(value for key, value in found.items() if key[0] == f"{name}_sum") > 0


def test_metrics_have_help_and_type_once_a_name(counted):
    running, _ = counted
    running.get()
    _, text = running.ask("GET", "/metrics")
    types, seen, last = {}, set(), None
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in types, f"TYPE of {name} twice"
            types[name] = kind
        elif line and not line.startswith("#"):
            name = line.split("{")[0].split(" ")[0]
            base = next(
                (
                    name.removesuffix(end)
                    for end in ("_bucket", "_sum", "_count")
                    if types.get(name.removesuffix(end)) == "histogram"
                ),
                name,
            )
            assert base in types, f"no TYPE for {name}"
            if types[base] == "counter":
                assert base.endswith("_total"), base
            assert base == last or base not in seen, f"samples of {base} are scattered"
            seen.add(base)
            last = base


def test_in_flight_and_connections_return_to_zero(pair):
    go = threading.Event()

    def answer(_):
        assert go.wait(patience(30))
        return ok()

    running, behind = pair(answer)

    def gauge(name):
        return sum(value for (found, _), value in running.metrics().items() if found == name)

    clients = [Client(running.edge) for _ in range(7)]
    for client in clients:
        client.request()
    behind.wait_requests(7)
    for name in ("http_requests_in_flight", "upstream_requests_in_flight", "downstream_connections"):
        until(lambda: gauge(name) == 7, f"{name} is seven")
    go.set()
    for client in clients:
        assert client.read().status == 200
        client.close()
    for name in ("http_requests_in_flight", "upstream_requests_in_flight", "downstream_connections"):
        until(lambda: gauge(name) == 0, f"{name} is zero again")


def test_refusals_are_counted_by_reason(weir):
    with refusing() as address:
        running = weir(configuration([cluster("main", address)], [forward(match={"path_prefix": "/up"})]))
        for _ in range(3):
            assert running.get("/up").status == 502
        assert running.get("/elsewhere").status == 404
        get(running.edge, headers=["X : y"])

        def counts():
            found = {}
            for (name, labels), value in running.metrics().items():
                reason = dict(labels).get("reason")
                if reason and value and ("refus" in name or "failure" in name):
                    found[reason] = max(found.get(reason, 0), value)
            return found

        until(
            lambda: counts().items() >= {"upstream_connect": 3, "route_missing": 1, "bad_request": 1}.items(),
            "the reasons are counted",
        )


def test_process_metrics_are_there(counted):
    running, _ = counted
    samples = {name: value for (name, _), value in running.metrics().items()}
    assert samples["process_resident_memory_bytes"] > 1 << 20
    assert 5 < samples["process_open_fds"] <= running.open_files + 5
    assert samples["process_cpu_seconds_total"] >= 0


def test_reload_metrics(counted):
    running, behind = counted

    def value(part):
        return next(v for (name, _), v in running.metrics().items() if part in name)

    before = running.generation
    assert value("generation") == before
    running.reload(
        configuration([cluster("main", behind)], [forward(name="other", match={"path_prefix": "/"})])
    )
    assert running.generation > before
    until(lambda: value("generation") == running.generation, "the metric follows")


def test_status_names_what_runs(counted):
    running, behind = counted
    status = running.status()
    assert [entry["name"] for entry in status["listeners"]] == ["edge"]
    assert [entry["name"] for entry in status["clusters"]] == ["main"]
    assert [entry["address"] for entry in status["clusters"][0]["endpoints"]] == [behind.address]
    assert isinstance(status["generation"], int)


def test_health_and_unknown_paths(counted):
    running, _ = counted
    assert running.ask("GET", "/healthz")[0] == 200
    assert running.ask("GET", "/ready")[0] == 200
    assert running.ask("GET", "/nowhere")[0] == 404
    assert running.ask("POST", "/metrics")[0] == 405
    assert running.ask("GET", "/reload")[0] == 405


def test_admin_answers_are_typed(counted):
    running, _ = counted
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(patience(15))
        raw.connect(running.admin)
        raw.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        data = b""
        while piece := raw.recv(65536):
            data += piece
    assert b"content-type: text/plain; version=0.0.4" in data.lower()


def test_admin_survives_bad_requests(counted):
    running, _ = counted
    for garbage in (
        b"\0\1\2\3\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: a\r\n\r\n",
        b"",
    ):
        with socket.socket(socket.AF_UNIX) as raw:
            raw.settimeout(patience(15))
            raw.connect(running.admin)
            raw.sendall(garbage)
            raw.shutdown(socket.SHUT_WR)
            while raw.recv(65536):
                pass
    assert running.ask("GET", "/ready")[0] == 200


def test_scraping_under_load_never_fails(counted):
    running, _ = counted
    stop, problems = threading.Event(), []

    def load():
        with Client(running.edge) as client:
            while not stop.is_set():
                client.request()
                if client.read().status != 200:
                    problems.append("status")

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        last = -1
        for _ in range(50):
            now = sum(v for (name, _), v in running.metrics().items() if name.endswith("requests_total"))
            assert now >= last, "a counter ran backwards"
            last = now
    finally:
        stop.set()
        for thread in threads:
            thread.join(patience(10))
    assert not problems


def test_refused_reload_answers_with_places(counted):
    running, _ = counted
    running.swap("version: 1\nlisteners:\n  - { name: edge, addres: 127.0.0.1:0 }\nroutes: []\n")
    status, text = running.ask("POST", "/reload")
    assert status == 400
    assert "weir.yaml:3:" in text, text
    assert "addres" in text
    last = running.status()["last_reload"]
    assert last["ok"] is False
    assert json.dumps(last)


def test_process_log_is_json_when_not_on_a_terminal(counted):
    running, _ = counted
    lines = [json.loads(line) for line in running.stderr.splitlines()]
    assert any(line["level"] == "info" and running.edge in json.dumps(line) for line in lines)


def test_reload_answers_json_of_one_shape(weir, upstream):
    """A program that asks for a reload finds `ok` in every answer, and findings beside it."""
    behind = upstream()
    settings = configuration([cluster("main", behind)])
    running = weir(settings)

    def reload():
        status, text = running.ask("POST", "/reload", headers={"Accept": "application/json"})
        return status, json.loads(text)

    status, answer = reload()
    assert (status, answer["ok"], answer["changes"]) == (200, True, ["no change"])
    running.swap(settings | {"clusters": [cluster("main", behind, connect_timeout="5")]})
    status, answer = reload()
    assert (status, answer["ok"], answer["trigger"]) == (400, False, "POST /reload")
    assert [found["code"] for found in answer["diagnostics"]] == ["missing-unit"]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = "127.0.0.1:%d" % taken.getsockname()[1]
        running.swap(settings | {"listeners": [*settings["listeners"], {"name": "two", "address": address}]})
        status, answer = reload()
    assert (status, answer["ok"], "diagnostics" in answer) == (400, False, False)
    assert "Address already in use" in answer["errors"][0]
