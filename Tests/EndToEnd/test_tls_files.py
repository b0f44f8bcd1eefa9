"""Files of TLS that are replaced while weir runs: new connections see it, open ones do not."""

import re
import ssl
import tempfile
import threading
import time
from pathlib import Path

import pytest

from harness import Authority, Client, cluster, configuration, listener, ok, patience, until
from harness.tls import openssl


class Setting:
    """weir with an endpoint, and with files that `place` of its configuration names.

    `see` yields what a new connection comes to: `sights` are that with the old and the new files.
    `later` is what a request on an old connection comes to with the new ones.
    """

    later = 200

    def __init__(self, place, sights, files, server=None, client=None, endpoint=None, options=None):
        """`files` are old and new contents by name; `server` or `client` is TLS that names them."""
        self.place, self.sights, self.files = place, sights, files
        self.server, self.client, self.endpoint = server, client, endpoint
        self.options = options or {}
        self.held, self.go = threading.Event(), threading.Event()

    def start(self, weir, upstream, path, way="rename", max_idle=0):
        self.path, self.way = path, way
        if way == "config map":
            for name in self.files:
                (path / name).symlink_to(Path("..data", name))
        self.put(**self.contents(0))
        options = {"tls": self.client(self.names)} if self.client else {}
        options["keepalive"] = {"max_idle": max_idle}
        main = cluster("main", upstream(self.answer, tls=self.endpoint), **options)
        edge = listener(tls=self.server and self.server(self.names))
        self.running = weir(configuration([main], listeners=[edge], runtime={"workers": 1}))
        return self

    def names(self, *names):
        return {name: str(self.path / name) for name in names}

    def contents(self, number):
        return {name: versions[number] for name, versions in self.files.items()}

    def put(self, **contents):
        """Replaces files; a config map holds all of them, and replaces them at once."""
        place, data = self.path, self.path / "..data"
        if self.way == "config map":
            place = Path(tempfile.mkdtemp(prefix="..v", dir=self.path))
        for name, content in contents.items():
            new = place / (name + ".new" if self.way == "rename" else name)
            new.write_bytes(content)
            if self.way == "rename":
                new.replace(place / name)
        if self.way == "config map":
            data.with_name("..new").symlink_to(place.name)
            data.with_name("..new").replace(data)

    def answer(self, request):
        """Says which names weir has shown."""
        if request.target == "/held":
            self.held.set()
            self.go.wait(patience(40))
        shown = self.endpoint and request.connection.sock.getpeercert()
        return ok(",".join(name for _, name in shown["subjectAltName"]).encode() if shown else b"")

    def connect(self, **options):
        return Client(self.running.edge, seconds=40, **self.options | options)


def read(*paths):
    return [path.read_bytes() for path in paths]


def pairs(old, new):
    return {"chain": read(old.chain, new.chain), "key": read(old.key, new.key)}


def renewal(authority, other, shops=None):
    """A certificate with its response; what is seen is for how many days that is good."""
    days = 3, 5
    shops = shops or [authority.issue("DNS:shop.test") for _ in days]
    responses = [authority.vouch(*each).read_bytes() for each in zip(shops, days)]
    made = Setting(
        "listener 'edge': tls.certificates[0]",
        days,
        pairs(*shops) | {"ocsp": responses},
        server=lambda names: {"certificates": [names("chain", "key", "ocsp")]},
        options={"tls": authority.client(), "name": "shop.test"},
    )

    def see():
        """The days; None where nothing is stapled."""
        command = "s_client", "-connect", made.running.edge, "-servername", "shop.test", "-status"
        text = openssl(*command, "-CAfile", authority.certificate, input=b"").decode()
        if "OCSP response: no response sent" in text:
            return None
        found = re.findall("(?:This|Next) Update: (.*)", text)
        this, following = map(ssl.cert_time_to_seconds, found)
        return (following - this) // 86400

    made.see = see
    return made


def ocsp(authority, other):
    """The response alone."""
    return renewal(authority, other, [authority.issue("DNS:shop.test")] * 2)


def client_ca(authority, other):
    """What is seen is whose clients are let in."""
    shop = authority.issue("DNS:shop.test")
    clients = {
        name: {"tls": authority.client(each.issue("DNS:client.test")), "name": "shop.test"}
        for name, each in (("old", authority), ("new", other))
    }
    made = Setting(
        "listener 'edge': tls.client_ca",
        ({"old"}, {"new"}),
        {"ca": read(authority.certificate, other.certificate)},
        server=lambda names: {"certificates": [shop.files], "client_ca": names("ca")["ca"]},
        options=clients["old"],
    )

    def is_answered(options):
        try:
            with made.connect(**options) as client:
                client.request()
                return client.read().status == 200
        except (ssl.SSLError, ConnectionError, AttributeError):
            # In TLS 1.3 a client learns that it was refused only when it reads.
            return False

    made.see = lambda: {name for name, options in clients.items() if is_answered(options)}
    return made


def ca(authority, other):
    """What is seen is whether the endpoint is believed."""
    made = Setting(
        "cluster 'main': tls.ca",
        (None, "upstream_connect"),
        {"ca": read(authority.certificate, other.certificate)},
        client=lambda names: names("ca"),
        endpoint=authority.server(authority.issue("IP:127.0.0.1")),
    )
    made.see = lambda: made.running.get().reason
    made.later = 502
    return made


def certificate(authority, other):
    """What is seen is whom the endpoint sees."""
    made = Setting(
        "cluster 'main': tls.certificate",
        (b"old.test", b"new.test"),
        pairs(authority.issue("DNS:old.test"), authority.issue("DNS:new.test")),
        client=lambda names: {"verify": False, "certificate": names("chain", "key")},
        endpoint=authority.server(authority.issue("IP:127.0.0.1"), demands=True),
    )
    made.see = lambda: made.running.get().body
    return made


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("other"), "another authority")


@pytest.fixture
def begin(weir, upstream, authority, other, tmp_path):
    return lambda make, *how: make(authority, other).start(weir, upstream, tmp_path, *how)


@pytest.mark.parametrize("way", ["rename", "in place", "config map"])
@pytest.mark.parametrize("make", [ocsp, renewal, client_ca, ca, certificate])
def test_new_files_are_taken_up_without_dropping_a_connection(begin, make, way):
    # A connection to the endpoint that is idle is not for requests under new files.
    at = begin(make, way, 64)
    old, new = at.sights
    assert at.see() == old
    with at.connect() as kept:
        kept.request(path="/held")
        until(at.held.is_set, "it is under way")
        at.put(**at.contents(1))
        until(lambda: at.see() == new, "the new files are in use")
        at.go.set()
        assert kept.read().status == 200
        kept.request()
        assert kept.read().status == at.later
        at.put(**at.contents(0))
        until(lambda: at.see() == old, "the old files are in use again")
        kept.request()
        assert kept.read().status == 200
    assert f"change of {at.path}/" in at.running.stderr


NOT_GOOD = "the OCSP response does not say that this certificate is good"
NONE, MALFORMED = "the file holds no certificate in PEM", "certificate 2 of the file is malformed"


@pytest.mark.parametrize(
    "make, name, fault, words",
    [
        (ocsp, "ocsp", "garbage", NOT_GOOD),
        (renewal, "ocsp", "another's", NOT_GOOD),
        (client_ca, "ca", "garbage", NONE),
        (client_ca, "ca", "cut", MALFORMED),
        (ca, "ca", "garbage", NONE),
        (ca, "ca", "cut", MALFORMED),
        (certificate, "key", "garbage", "the key is no private key in PEM"),
        (certificate, "key", "another's", "the key is not the certificate's"),
        (certificate, "chain", "cut", MALFORMED),
    ],
)
def test_a_bad_file_leaves_the_old_one(begin, make, name, fault, words):
    at = begin(make)
    running, generation = at.running, at.running.generation
    mine, new = at.files[name]
    bad = {"garbage": b"-----BEGIN X-----\n", "cut": mine + new[: len(new) // 2], "another's": new}
    at.put(**{name: bad[fault]})
    until(lambda: running.total("weir_config_last_reload_successful") == 0, "it is refused")
    assert running.total("weir_config_reloads_total", result="refused") >= 1
    line = next(line for line in running.stderr.splitlines() if "configuration stays" in line)
    assert f"change of {at.path / name}" in line
    # Messages know a certificate by its chain.
    assert f"{at.place} '{at.path / next(iter(at.files))}': {words}" in line
    assert (at.see(), running.generation) == (at.sights[0], generation)
    at.put(**{name: mine})
    until(lambda: running.total("weir_config_last_reload_successful") == 1, "it is right again")
    assert at.see() == at.sights[0]


def test_the_metric_of_expiry_follows_the_file(begin):
    at = begin(certificate)
    at.put(**at.contents(1))
    text = openssl("x509", "-in", at.path / "chain", "-noout", "-enddate").decode()
    labels = {"owner": "cluster", "certificate": "new.test", "key": "ecdsa"}
    found = at.running.wait_total(1, "weir_certificate_expiry_timestamp_seconds", **labels)
    assert found == ssl.cert_time_to_seconds(text.strip().partition("=")[2])


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_session_is_resumed_after_a_change_of_the_certificate(begin, authority, version):
    """Keys of tickets are in no file, and outlive any reload."""
    at = begin(renewal)
    context, session = authority.client(versions=(version, version)), None
    for _ in range(2):
        with at.connect(tls=context, session=session) as client:
            client.request()
            assert client.read().status == 200
            assert client.sock.session_reused == (session is not None)
            session = client.sock.session
        at.put(**at.contents(1))
        until(lambda: at.see() == at.sights[1], "the new files are in use")


def expiring(response, seconds):
    """The response with another end; its signature is for clients to check."""
    *_, last = re.finditer(rb"\x18\x0f(\d{14}Z)", response)
    end = time.strftime("%Y%m%d%H%M%SZ", time.gmtime(seconds)).encode()
    return response[: last.start(1)] + end + response[last.end(1) :]


def test_an_expired_response_is_not_stapled_until_there_is_a_new_one(begin):
    end = int(time.time()) - 3600

    def expired(authority, other):
        made = ocsp(authority, other)
        made.files["ocsp"][0] = expiring(made.files["ocsp"][0], end)
        return made

    at = begin(expired)
    assert at.see() is None
    assert "an OCSP response has expired" in at.running.stderr
    assert at.running.total("weir_ocsp_response_expiry_timestamp_seconds", owner="listener") == end
    at.put(**at.contents(1))
    until(lambda: at.see() == at.sights[1], "the new response is stapled")
    at.put(**at.contents(0))
    until(lambda: at.see() is None, "the expired one is not")
    assert at.running.total("weir_config_last_reload_successful") == 1


@pytest.mark.slow
def test_a_response_is_stapled_until_it_expires(begin):
    at = begin(ocsp)
    end = int(time.time()) + 4
    at.put(ocsp=expiring(at.files["ocsp"][0], end))
    until(lambda: at.see() in (0, None), "it is in use")
    before = seen = 0
    # A second's grace: the kernel's coarse clock is a little behind.
    while before < end + 1:
        before, seen = time.time(), at.see()
        if time.time() < end:
            assert seen == 0
    assert seen is None
