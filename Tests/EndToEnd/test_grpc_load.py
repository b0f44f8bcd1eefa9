"""gRPC's own clients while certificates change, while weir stops, and beyond a tenant's rate."""

import signal
import threading

import pytest

from harness import cluster, configuration, forward, free_address, listener, patience, until
from harness.grpc_server import serve
from harness.http2 import NO_ERROR, Http2Client

grpc = pytest.importorskip("grpc")

NAME = "e2e.Load"
OK, UNAVAILABLE = grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE
STREAMS, MESSAGES = 8, 200


class Server:
    """gRPC's own server; it answers each message at once, and keeps what unary calls have said."""

    def __init__(self):
        self.seen = []
        kinds = {
            "Unary": grpc.unary_unary_rpc_method_handler(self.unary),
            "Chat": grpc.stream_stream_rpc_method_handler(self.chat),
        }
        self.server, self.address = serve(NAME, kinds, threads=32)

    def unary(self, request, context):
        self.seen.append(request)
        return b"re: " + request

    def chat(self, requests, context):
        for request in requests:
            yield b"re: " + request


@pytest.fixture
def server():
    made = Server()
    yield made
    made.server.stop(0).wait()


@pytest.fixture
def dial(authority):
    """Channels to weir; over TLS where its certificate has to have a name."""
    made = []

    def start(running, name=None):
        # One that fails is not to try again unseen, and no connection is another channel's.
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
        if name:
            options.append(("grpc.ssl_target_name_override", name))
            known = grpc.ssl_channel_credentials(authority.certificate.read_bytes())
            made.append(grpc.secure_channel(running.edge, known, options))
        else:
            made.append(grpc.insecure_channel(running.edge, options))
        return made[-1]

    yield start
    for channel in made:
        channel.close()


def settings(server, certificate=None, address="127.0.0.1:0", **options):
    # Streams may pause, and nothing here has to be quick.
    return configuration(
        [cluster("main", server.address, http2=True, **options)],
        [forward(timeout="60s", idle_timeout="60s")],
        [listener(address=address, tls=certificate and {"certificates": [certificate.files]})],
        runtime={"drain_timeout": "60s"},
    )


def unary(channel):
    made = channel.unary_unary(f"/{NAME}/Unary")
    return lambda request, **options: made(request, timeout=patience(30), **options)


def is_met(channel):
    """Whether a call is answered, which needs the name that the channel wants."""
    try:
        return unary(channel)(b"x") == b"re: x"
    except grpc.RpcError as error:
        assert error.code() == UNAVAILABLE, error
        return False


class Talk:
    """A stream both ways: each message is sent once it is allowed and the one before is answered."""

    def __init__(self, channel, place):
        self.allowed, self.answered = threading.Semaphore(0), threading.Semaphore(0)
        self.messages = [b"%d %d " % (place, number) * (1 + number * 7) for number in range(MESSAGES)]
        self.answers, self.outcome = [], None
        self.call = channel.stream_stream(f"/{NAME}/Chat")(self.requests(), timeout=patience(50))
        threading.Thread(target=self.read, daemon=True).start()

    def requests(self):
        for message in self.messages:
            assert self.allowed.acquire(timeout=patience(30))
            yield message
            assert self.answered.acquire(timeout=patience(30))

    def read(self):
        try:
            for answer in self.call:
                self.answers.append(answer)
                self.answered.release()
        except grpc.RpcError:
            pass  # What it was is asked below.
        self.outcome = self.call.code(), self.call.details()


class Talks:
    """Streams over some channels, which go on together."""

    def __init__(self, channels):
        self.talks = [Talk(channels[place % len(channels)], place) for place in range(STREAMS)]
        self.allowed = 0

    def allow(self, count):
        """More messages, which are on their way when this returns."""
        self.allowed += count
        for talk in self.talks:
            talk.allowed.release(count)

    def catch_up(self):
        """All that was allowed is answered, and no stream has ended, since each has more to say."""

        def is_done(talk):
            return talk.outcome or len(talk.answers) == self.allowed

        until(lambda: all(map(is_done, self.talks)), "what was sent is answered", 30)
        assert [talk.outcome for talk in self.talks] == [None] * STREAMS

    def finish(self):
        self.allow(MESSAGES - self.allowed)
        until(lambda: all(talk.outcome for talk in self.talks), "all streams end", 30)
        assert [talk.outcome for talk in self.talks] == [(OK, "")] * STREAMS
        for talk in self.talks:
            assert talk.answers == [b"re: " + message for message in talk.messages]


class Caller(threading.Thread):
    """Unary calls one after the other, each with words of its own, until ten were refused."""

    def __init__(self, channel, place):
        super().__init__(daemon=True)
        self.call, self.place = unary(channel), place
        self.answers, self.refusals = {}, []
        self.start()

    def run(self):
        while len(self.refusals) < 10 and len(self.answers) < 100_000:
            request = b"%d %d" % (self.place, len(self.answers) + len(self.refusals))
            try:
                self.answers[request] = self.call(request)
            except grpc.RpcError as error:
                self.refusals.append(error)


def test_streams_outlive_their_certificate(weir, server, dial, authority, tmp_path):
    """They go on under the one that they began with, over reloads, and new channels see the new one."""
    fresh = [authority.issue("DNS:shop.test", f"DNS:n{number}.test") for number in range(3)]
    placed = type(fresh[0])(tmp_path / "shop.pem", tmp_path / "shop.key")
    placed.install(fresh[0])
    running = weir(settings(server, placed))
    talks = Talks([dial(running, "shop.test") for _ in range(4)])
    talks.allow(8)
    talks.catch_up()
    for number in range(1, 7):
        new, old = f"n{number % 3}.test", f"n{(number - 1) % 3}.test"
        talks.allow(16)
        placed.install(fresh[number % 3])
        assert running.ask("POST", "/reload")[0] == 200
        until(lambda: is_met(dial(running, new)), "the new one is shown")
        until(lambda: not is_met(dial(running, old)), "the old one is shown no more")
        talks.allow(8)
        # A listener on a port of the kernel's choice is kept as it is.
        running.reload(settings(server, placed, connect_timeout=f"{number}s"))
        talks.catch_up()
    talks.finish()
    lines = running.wait_log(STREAMS, lambda line: line["path"] == f"/{NAME}/Chat")
    assert [(line["grpc_status"], line["reason"]) for line in lines] == [("OK", None)] * STREAMS


@pytest.mark.parametrize("name", [None, "shop.test"], ids=["plain", "tls"])
def test_calls_under_way_outlive_sigterm(weir, server, dial, authority, name):
    """Open streams run to their end, and what the server has heard of is answered to its client."""
    # No connection goes out from this port, and so none meets itself there once weir has left it.
    running = weir(settings(server, name and authority.issue(f"DNS:{name}"), free_address()))
    channels = [dial(running, name) for _ in range(6)]
    # Some channels have streams that hold them open, the others only calls.
    talks = Talks(channels[:4])
    callers = [Caller(channel, place) for place, channel in enumerate(channels)]
    talks.allow(MESSAGES // 4)
    talks.catch_up()
    until(lambda: all(len(caller.answers) > 20 for caller in callers), "calls are answered")
    talks.allow(MESSAGES // 4)
    running.signal(signal.SIGTERM)
    talks.catch_up()
    until(lambda: not any(caller.is_alive() for caller in callers), "weir takes no more calls", 30)
    talks.allow(MESSAGES // 4)
    talks.catch_up()
    assert running.process.poll() is None, "it waits for the streams"
    talks.finish()
    assert running.wait_exit() == 0
    refusals = [error for caller in callers for error in caller.refusals]
    assert {error.code() for error in refusals} == {UNAVAILABLE}, [str(error) for error in refusals]
    answers = {request: answer for caller in callers for request, answer in caller.answers.items()}
    assert len(server.seen) == len(answers), "seen once each, and each answered"
    assert answers == {request: b"re: " + request for request in server.seen}
    lines = running.wait_log(len(answers) + STREAMS)
    assert len(lines) == len(answers) + STREAMS
    assert {(line["grpc_status"], line["reason"]) for line in lines} == {("OK", None)}


@pytest.mark.forced
def test_what_a_drain_cuts_off_is_told_so(weir, server, dial):
    running = weir(settings(server) | {"runtime": {"drain_timeout": "200ms"}})
    talks = Talks([dial(running)])
    talks.allow(2)
    talks.catch_up()
    running.signal(signal.SIGTERM)
    until(lambda: all(talk.outcome for talk in talks.talks), "all streams end", 30)
    assert {talk.outcome[0] for talk in talks.talks} == {UNAVAILABLE}
    for talk in talks.talks:
        assert dict(talk.call.trailing_metadata())["x-weir-reason"] == "draining"
    assert running.wait_exit() == 0


def test_a_tenant_beyond_its_rate_is_told_so(weir, server, dial):
    """In one head, that gRPC reads as an answer that is trailers alone."""
    plans = {"free": {"rate": "1/m", "burst": 3}}
    tenants = {"identify": [{"header": "x-tenant"}], "plans": plans, "default_plan": "free"}
    running = weir(settings(server) | {"tenants": tenants})
    call = unary(dial(running))
    for _ in range(3):
        assert call(b"x", metadata=[("x-tenant", "a")]) == b"re: x"
    with pytest.raises(grpc.RpcError) as caught:
        call(b"x", metadata=[("x-tenant", "a")])
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert dict(caught.value.trailing_metadata())["x-weir-reason"] == "rate_limited"
    assert caught.value.details()
    fields = [("content-type", "application/grpc"), ("te", "trailers"), ("x-tenant", "a")]
    # One head with END_STREAM; where more of the call might come, none of it is wanted.
    for ends, told in (True, (["Headers"], None)), (False, (["Headers", "RstStream"], NO_ERROR)):
        with Http2Client(running.edge) as client:
            answer = client.read(client.request("POST", f"/{NAME}/Unary", fields, end=ends))
            assert client.ping() and answer.has_ended and (answer.frames, answer.reset) == told
        assert (answer.status, answer.one("content-type")) == (200, "application/grpc")
        assert (answer.one("grpc-status"), answer.reason) == ("8", "rate_limited")
        assert answer.one("grpc-message") == caught.value.details()
    assert call(b"y", metadata=[("x-tenant", "b")]) == b"re: y", "another has a rate of its own"
    assert server.seen == [b"x", b"x", b"x", b"y"]
    refused = running.wait_log(3, lambda line: line["reason"])
    told = {(line["status"], line["reason"], line["grpc_status"]) for line in refused}
    assert told == {(429, "rate_limited", "RESOURCE_EXHAUSTED")}
