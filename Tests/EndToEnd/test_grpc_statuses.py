"""What calls of gRPC come to: counted, logged, and held against endpoints, or not."""

import itertools
import threading

import pytest

from harness import cluster, configuration, forward, patience, until
from harness.grpc_server import serve
from harness.http2 import CANCEL, Http2Client

grpc = pytest.importorskip("grpc")

NAME = "e2e.Status"
METRIC = "upstream_grpc_responses_total"
#: All of them, by number.
STATUSES = [code.name for code in sorted(grpc.StatusCode, key=lambda code: code.value[0])]
#: Those that say that the endpoint has failed.
FAILURES = ["UNKNOWN", "DEADLINE_EXCEEDED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"]
OTHERS = [name for name in STATUSES if name not in FAILURES]
#: Rows alone: with this interval nothing is compared while a test runs, however slow the machine.
OUTLIER = {"consecutive_5xx": 5, "base_ejection_time": "60s", "interval": "1h"}
IMPATIENT = [forward(idle_timeout=f"{int(patience(300))}ms", timeout="60s")]


def settings(*behind, routes=None, policies=None, **options):
    clusters = [cluster("main", *behind, **({"http2": True} | options))]
    made = configuration(clusters, routes, runtime={"workers": 1})
    return made | ({"retry_policies": policies} if policies else {})


class Server:
    """gRPC's own server; a request is the name of the status that it is answered with.

    While `mood` is the name of one, that is said in place of all others.
    """

    def __init__(self):
        self.mood, self.calls = None, 0
        self.begun, self.go = threading.Event(), threading.Event()
        kinds = {
            "Head": grpc.unary_unary_rpc_method_handler(self.end),
            "Late": grpc.unary_stream_rpc_method_handler(self.late),
            "Held": grpc.unary_unary_rpc_method_handler(self.held),
        }
        self.server, self.address = serve(NAME, kinds)

    def end(self, request, context):
        """Without a message, but where all is well."""
        self.calls += 1
        name = self.mood or request.decode()
        if name != "OK":
            context.abort(grpc.StatusCode[name], "so it is")
        return request

    def late(self, request, context):
        """After two messages."""
        yield b"one"
        yield b"two"
        self.end(request, context)

    def held(self, request, context):
        context.add_callback(self.go.set)
        self.begun.set()
        self.go.wait(patience(30))
        return request

    def stop(self):
        self.go.set()
        self.server.stop(0).wait()


@pytest.fixture
def server():
    """Servers of gRPC."""
    made = []

    def start():
        made.append(Server())
        return made[-1]

    yield start
    for each in made:
        each.stop()


@pytest.fixture
def dial():
    """Channels to weir."""
    made = []

    def start(running):
        # One that fails is not to wait, and no connection is another test's.
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
        made.append(grpc.insecure_channel(running.edge, options=options))
        return made[-1]

    yield start
    for channel in made:
        channel.close()


def ask(channel, name, method="Head"):
    """The name of the status that a call comes to."""
    kind = channel.unary_stream if method == "Late" else channel.unary_unary
    try:
        answer = kind(f"/{NAME}/{method}")(name.encode(), timeout=patience(30))
        if method == "Late":
            assert list(answer) == [b"one", b"two"]
        return "OK"
    except grpc.RpcError as error:
        return error.code().name


def state(running, behind):
    shown = {entry["address"]: entry for entry in running.status()["clusters"][0]["endpoints"]}
    return shown[behind.address]["state"]


def counted(running):
    """The calls that have been counted, by the names of their statuses."""
    found = {}
    for (name, labels), value in running.metrics().items():
        if name == METRIC:
            assert dict(labels).keys() == {"cluster", "grpc_status"}
            assert dict(labels)["cluster"] == "main"
            found[dict(labels)["grpc_status"]] = value
    return found


# Counted and logged


@pytest.mark.parametrize("method", ["Head", "Late"])
def test_each_status_is_counted_and_logged(weir, server, dial, method):
    running = weir(settings(server()))
    channel = dial(running)
    for name in STATUSES:
        assert ask(channel, name, method) == name
    lines = running.wait_log(len(STATUSES))
    assert [line["grpc_status"] for line in lines] == STATUSES
    assert {(line["status"], line["reason"]) for line in lines} == {(200, None)}
    assert counted(running) == {name: 1 for name in STATUSES}
    ask(channel, "NOT_FOUND", method)
    until(lambda: running.total(METRIC, grpc_status="NOT_FOUND") == 2, "it is counted")


def head_only(call, fields):
    call.head([(":status", "200"), ("content-type", "application/grpc"), *fields], end=True)


def after_head(call, fields):
    call.head([(":status", "200"), ("content-type", "application/grpc")])
    call.head(fields, end=True)


def after_message(call, fields):
    call.head([(":status", "200"), ("content-type", "application/grpc")])
    call.data(b"\0\0\0\0\1x", end=False)
    call.head(fields, end=True)


def after_nothing(call, fields):
    call.head([(":status", "200"), ("content-type", "application/grpc"), ("content-length", "0")])
    call.head(fields, end=True)


FORMS = [head_only, after_head, after_message, after_nothing]
CALL = [("content-type", "application/grpc"), ("te", "trailers")]
MESSAGE = b"\0\0\0\0\1y"


def call_raw(running, fields=CALL):
    """A call frame by frame."""
    with Http2Client(running.edge) as client:
        return client.get(f"/{NAME}/Raw", fields, method="POST", body=MESSAGE)


VALUES = [
    ("0", "OK"),
    ("5", "NOT_FOUND"),
    ("16", "UNAUTHENTICATED"),
    ("17", "UNKNOWN"),
    ("99", "UNKNOWN"),
    ("256", "UNKNOWN"),
    ("269", "UNKNOWN"),
    ("4294967296", "UNKNOWN"),
    ("-1", "UNKNOWN"),
    ("five", "UNKNOWN"),
    ("", "UNKNOWN"),
]


@pytest.mark.parametrize("form", FORMS)
def test_what_a_status_may_look_like(weir, http2_upstream, form):
    values = iter(VALUES)
    behind = http2_upstream(
        lambda call: form(call, [("x-a", "y"), ("grpc-status", next(values)[0]), ("x-b", "z")])
    )
    running = weir(settings(behind))
    for value, _ in VALUES:
        answer = call_raw(running)
        assert answer.status == 200
        said = answer.fields if form is head_only else answer.trailers
        assert dict(said)["grpc-status"] == value, "it is passed on as it is"
    lines = running.wait_log(len(VALUES))
    assert [line["grpc_status"] for line in lines] == [name for _, name in VALUES]
    assert counted(running) == {"OK": 1, "NOT_FOUND": 1, "UNAUTHENTICATED": 1, "UNKNOWN": 8}


@pytest.mark.parametrize(
    "kind", ["application/grpc", "application/grpc+proto", "application/grpc;charset=x"]
)
def test_kinds_of_calls(weir, http2_upstream, kind):
    behind = http2_upstream(lambda call: after_message(call, [("grpc-status", "14")]))
    running = weir(settings(behind))
    call_raw(running, [("content-type", kind), ("te", "trailers")])
    assert running.wait_log()[0]["grpc_status"] == "UNAVAILABLE"
    assert counted(running) == {"UNAVAILABLE": 1}


def test_an_endpoint_of_http_1_may_answer_calls(weir, upstream):
    lead = b"HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\n"
    lead += b"Transfer-Encoding: chunked\r\n\r\n"
    rest = b"6\r\n\0\0\0\0\1x\r\n0\r\nGrpc-Message: no\r\nGrpc-Status:  14 \r\n\r\n"
    running = weir(settings(upstream(lambda request: lead + rest), http2=False))
    assert ("grpc-status", "14") in call_raw(running).trailers
    assert running.wait_log()[0]["grpc_status"] == "UNAVAILABLE"
    assert counted(running) == {"UNAVAILABLE": 1}


def test_an_answer_that_says_no_status_is_unknown(weir, http2_upstream):
    """So its client will take it (gRPC's PROTOCOL-HTTP2)."""

    def answer(call):
        call.head([(":status", "200"), ("content-type", "application/grpc")])
        call.data(b"\0\0\0\0\1x")

    running = weir(settings(http2_upstream(answer)))
    call_raw(running)
    assert running.wait_log()[0]["grpc_status"] == "UNKNOWN"
    assert counted(running) == {"UNKNOWN": 1}


# What is no call, or has no status


NO_CALLS = [None, "application/json", "application/grpc-web", "application/grpcx"]


@pytest.mark.parametrize("kind", NO_CALLS)
def test_what_is_not_grpc_has_no_status(weir, http2_upstream, kind):
    behind = http2_upstream(lambda call: call.respond(trailers=[("grpc-status", "14")]))
    running = weir(settings(behind))
    call_raw(running, [("content-type", kind)] if kind else [])
    assert running.get().status == 200
    for line in running.wait_log(2):
        assert line.get("grpc_status") is None
    assert counted(running) == {}


def test_an_answer_of_http_alone_has_no_status(weir, http2_upstream):
    """A load balancer's, for example; it counts by its own status."""
    running = weir(settings(http2_upstream(lambda call: call.respond(503))))
    assert call_raw(running).status == 503
    assert running.wait_log()[0].get("grpc_status") is None
    assert counted(running) == {}
    assert running.wait_total(1, "upstream_requests_total", code_class="5xx") == 1


def test_a_call_that_is_cut_off_is_told_so(weir, http2_upstream):
    """By weir, behind what has come of the answer: no status of the endpoint's."""
    over = threading.Event()

    def answer(call):
        call.head([(":status", "200"), ("content-type", "application/grpc")])
        call.data(MESSAGE, end=False)
        call.reset(CANCEL) if call.path == "/reset" else over.wait(patience(30))

    running = weir(settings(http2_upstream(answer), routes=IMPATIENT))
    cases = {"/reset": ("14", "UNAVAILABLE", "upstream_reset"), "/idle": ("4", "DEADLINE_EXCEEDED", "upstream_timeout")}
    with Http2Client(running.edge) as client:
        for path, (status, name, reason) in cases.items():
            told = dict((stream := client.get(path, CALL, method="POST", body=MESSAGE)).trailers)
            assert (stream.body, stream.has_ended, stream.reset) == (MESSAGE, True, None)
            assert (told["grpc-status"], told["x-weir-reason"]) == (status, reason) and told["grpc-message"]
            (line,) = running.wait_log(1, lambda line: line["path"] == path)
            assert (line["grpc_status"], line["reason"], line["status"]) == (name, reason, 200)
    over.set()
    assert counted(running) == {}


def test_a_call_that_its_client_cancels_has_no_status(weir, server, dial):
    behind = server()
    running = weir(settings(behind))
    call = dial(running).unary_unary(f"/{NAME}/Held").future(b"OK")
    assert behind.begun.wait(patience(15))
    call.cancel()
    assert running.wait_log()[0]["reason"] == "client_gone"
    assert counted(running) == {}


def test_refusals_of_weirs_own_count_for_no_cluster(weir, server, dial):
    """The log has what the client was told all the same."""
    behind, gone = server(), server()
    gone.stop()
    routes = [
        forward("gone", match={"path": f"/{NAME}/Head"}),
        forward(match={"path": f"/{NAME}/Held"}, timeout="300ms"),
    ]
    made = settings(behind, routes=routes)
    made["clusters"].append(cluster("gone", gone.address, http2=True))
    running = weir(made)
    channel = dial(running)
    for method, told, reason in (
        ("Head", "UNAVAILABLE", "upstream_connect"),
        ("Held", "DEADLINE_EXCEEDED", "upstream_timeout"),
        ("Late", "UNIMPLEMENTED", "route_missing"),
    ):
        assert ask(channel, "OK", method) == told
        (line,) = running.wait_log(1, lambda line: line["path"] == f"/{NAME}/{method}")
        assert (line["grpc_status"], line["reason"]) == (told, reason)
    assert counted(running) == {}


# What is held against endpoints


@pytest.mark.parametrize("method", ["Head", "Late"])
@pytest.mark.parametrize("name", FAILURES)
def test_five_failures_in_a_row_eject(weir, server, dial, name, method):
    bad, good = server(), server()
    running = weir(settings(bad, good, outlier_detection=OUTLIER))
    channel = dial(running)
    assert {ask(channel, "OK", method) for _ in range(6)} == {"OK"}
    bad.mood = name
    assert [ask(channel, "OK", method) for _ in range(40)].count(name) == 5
    assert state(running, bad) == "ejected" and state(running, good) == "available"
    assert bad.calls == 3 + 5
    until(
        lambda: running.total("weir_ejections_total", reason="consecutive_5xx") == 1,
        "the ejection is counted by the next tick",
    )


@pytest.mark.parametrize("method", ["Head", "Late"])
@pytest.mark.parametrize("name", OTHERS)
def test_other_statuses_are_not_the_endpoints_fault(weir, server, dial, name, method):
    bad, good = server(), server()
    running = weir(settings(bad, good, outlier_detection=OUTLIER))
    channel = dial(running)
    bad.mood = name
    for _ in range(40):
        assert ask(channel, "OK", method) in (name, "OK")
    assert state(running, bad) == state(running, good) == "available"
    # Busy is not broken, but may get less.
    assert bad.calls >= (1 if name == "RESOURCE_EXHAUSTED" else 10)


@pytest.mark.parametrize("method", ["Head", "Late"])
@pytest.mark.parametrize("name", ["OK", "NOT_FOUND", "RESOURCE_EXHAUSTED"])
def test_what_is_no_failure_ends_a_row(weir, server, dial, name, method):
    only = server()
    running = weir(settings(only, server(), outlier_detection=OUTLIER))
    channel = dial(running)
    for _ in range(4):
        for mood in ["UNAVAILABLE"] * 4 + [name]:
            before = only.calls
            only.mood = mood
            until(lambda: ask(channel, "OK", method) and only.calls > before, "it is its turn")
    assert state(running, only) == "available"


def test_a_message_does_not_end_a_row(weir, http2_upstream):
    """The status of HTTP is no good news: only the end says what an answer was worth."""
    forms = itertools.cycle(FORMS)
    bad = http2_upstream(lambda call: next(forms)(call, [("grpc-status", "14")]))
    good = http2_upstream(lambda call: after_message(call, [("grpc-status", "0")]))
    running = weir(settings(bad, good, outlier_detection=OUTLIER))
    for _ in range(20):
        call_raw(running)
    assert state(running, bad) == "ejected" and len(bad.requests) == 5


def test_a_call_that_is_still_open_is_no_success(weir, http2_upstream):
    """Its endpoint has begun to answer, and that is all."""
    go = threading.Event()

    def answer(call):
        if call.path != "/held":
            return head_only(call, [("grpc-status", "14")])
        call.head([(":status", "200"), ("content-type", "application/grpc")])
        assert go.wait(patience(30))
        call.head([("grpc-status", "0")], end=True)

    bad = http2_upstream(answer)
    good = http2_upstream(lambda call: after_message(call, [("grpc-status", "0")]))
    running = weir(settings(bad, good, outlier_detection=OUTLIER))
    with Http2Client(running.edge) as client:
        held = []
        while len(bad.requests) < 20 and state(running, bad) != "ejected":
            stream = client.request("POST", "/held", CALL, MESSAGE)
            client.until(lambda: stream.status)
            if not stream.has_ended:
                held.append(stream)
            client.get("/", CALL, method="POST", body=MESSAGE)
            client.get("/", CALL, method="POST", body=MESSAGE)
        assert held and state(running, bad) == "ejected"
        assert sum(call.path == "/" for call in bad.requests) == 5
        go.set()
        for stream in held:
            assert client.read(stream).trailers == [("grpc-status", "0")]


@pytest.mark.parametrize(
    "body, is_whole, found",
    [(MESSAGE, True, "ejected"), (MESSAGE, False, "available"), (b"x" * 100_000, False, "ejected")],
    ids=["whole", "open", "blocked"],
)
def test_where_both_may_speak_silence_is_not_the_endpoints(weir, http2_upstream, body, is_whole, found):
    """It is where the endpoint has the whole request, or takes no more of it."""
    silent = http2_upstream(lambda call: call.head([(":status", "200"), *CALL[:1]]), early=True, windows=False)
    good = http2_upstream(lambda call: after_message(call, [("grpc-status", "0")]), early=True)
    running = weir(settings(silent, good, routes=IMPATIENT, outlier_detection=OUTLIER))
    while len(silent.requests) < 7 and state(running, silent) == "available":
        with Http2Client(running.edge) as client:
            stream = client.request("POST", "/", CALL, body, end=is_whole)
            assert client.until(lambda: stream.is_over)
    failed = running.total("upstream_failures_total", reason="timeout") > 0
    assert (state(running, silent), failed) == (found, found == "ejected")
    cut = running.wait_log(5, lambda line: line["reason"])
    ended_by = "upstream" if found == "ejected" else "weir"
    assert {(line["reason"], line["ended_by"]) for line in cut} == {("upstream_timeout", ended_by)}


# Another attempt

POLICY = {
    "on": ["gateway_error"],
    "attempts": 1,
    "methods": ["POST"],
    "body_buffer": "64KiB",
    "backoff": {"base": "1ms", "max": "2ms"},
    "budget": {"percent": 100, "min_per_second": 10},
}


def retrying(*behind, **policy):
    return settings(*behind, routes=[forward(retry="safe")], policies={"safe": POLICY | policy})


def test_unavailable_is_tried_elsewhere(weir, server, dial):
    bad, good = server(), server()
    bad.mood = "UNAVAILABLE"
    running = weir(retrying(bad, good))
    channel = dial(running)
    assert [ask(channel, "OK") for _ in range(10)] == ["OK"] * 10
    assert bad.calls >= 1 and good.calls == 10
    assert running.wait_total(bad.calls, "upstream_retries_total") == bad.calls
    lines = running.wait_log(10)
    assert {line["grpc_status"] for line in lines} == {"OK"}
    assert sum(line["attempts"] for line in lines) == 10 + bad.calls
    # Each answer of an endpoint counts, whoever got it.
    assert counted(running) == {"OK": 10, "UNAVAILABLE": bad.calls}


def test_the_last_failure_is_the_clients(weir, server, dial):
    only = server()
    running = weir(retrying(only))
    assert ask(dial(running), "UNAVAILABLE") == "UNAVAILABLE"
    (line,) = running.wait_log()
    assert (line["grpc_status"], line["attempts"], line["reason"]) == ("UNAVAILABLE", 2, None)
    assert only.calls == 2 and counted(running) == {"UNAVAILABLE": 2}


@pytest.mark.parametrize("form", [after_head, after_message])
def test_what_the_client_has_begun_to_read_is_not_asked_again(weir, http2_upstream, form):
    bad = http2_upstream(lambda call: form(call, [("grpc-status", "14")]))
    running = weir(retrying(bad))
    answer = call_raw(running)
    assert (answer.status, answer.trailers) == (200, [("grpc-status", "14")])
    assert len(bad.requests) == 1 and running.total("upstream_retries_total") == 0
    (line,) = running.wait_log()
    assert (line["grpc_status"], line["attempts"]) == ("UNAVAILABLE", 1)


@pytest.mark.parametrize("name", ["NOT_FOUND", "CANCELLED", "ABORTED", "INTERNAL", "UNKNOWN"])
def test_what_no_condition_names_is_not_tried_again(weir, server, dial, name):
    only = server()
    running = weir(retrying(only))
    assert ask(dial(running), name) == name
    assert only.calls == 1


@pytest.mark.parametrize("name", ["INTERNAL", "UNKNOWN", "DATA_LOSS", "UNAVAILABLE"])
def test_a_policy_may_name_all_failures(weir, server, dial, name):
    only = server()
    running = weir(retrying(only, on=["5xx"]))
    assert ask(dial(running), name) == name
    assert only.calls == 2
