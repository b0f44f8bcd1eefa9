"""TLS with clients: certificates, tickets, client certificates, reload, and what comes instead of a handshake."""

import hashlib
import re
import shutil
import socket
import ssl
import subprocess
import threading

import pytest

from harness import Authority, Client, cluster, configuration, listener, ok, patience, until

V12 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2
V13 = ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_3


@pytest.fixture(scope="module")
def shop(authority):
    return authority.issue("DNS:shop.test", "DNS:*.shop.test")


def settings(upstream, *certificates, limits=None, trusted=None, identify=None, **tls):
    tls = {"certificates": [one if isinstance(one, dict) else one.files for one in certificates]} | tls
    made = configuration(
        [cluster("main", upstream)], listeners=[listener(tls=tls, limits=limits, trusted=trusted)]
    )
    if identify:
        plans = {"free": {"rate": "1/m", "burst": 3}}
        made["tenants"] = {"identify": identify, "plans": plans, "default_plan": "free"}
    return made


def connect(running, context, name="shop.test", **options):
    return Client(running.edge, tls=context, name=name, **options)


def status(running, context, headers=(), **options):
    with connect(running, context, **options) as client:
        client.request(headers=headers)
        return client.read().status


def shown(running, context, name="shop.test"):
    """The DNS names of the certificate that the server shows."""
    with connect(running, context, name) as client:
        return {value for kind, value in client.sock.getpeercert()["subjectAltName"] if kind == "DNS"}


@pytest.mark.parametrize("versions, name", [(V12, "TLSv1.2"), (V13, "TLSv1.3")])
def test_requests_over_tls(weir, upstream, authority, shop, versions, name):
    behind = upstream(lambda request: ok(b"secret"))
    running = weir(settings(behind, shop))
    with connect(running, authority.client(versions=versions)) as client:
        for count in range(3):
            client.request(path=f"/{count}")
            answer = client.read()
            assert (answer.status, answer.body) == (200, b"secret")
        assert client.sock.version() == name
    requests = behind.wait_requests(3)
    assert {request.one("x-forwarded-proto") for request in requests} == {"https"}
    assert {line["tls"] for line in running.wait_log(3)} == {name}
    assert running.wait_total(1, "downstream_tls_handshakes_total", result="full") == 1


def test_curl_over_tls(weir, upstream, authority, shop):
    running = weir(settings(upstream(lambda request: ok(request.body)), shop))
    port = running.edge.rpartition(":")[2]
    command = ["curl", "-sS", "--fail", "--cacert", authority.certificate, "--resolve", f"shop.test:{port}:127.0.0.1"]
    done = subprocess.run(
        [*command, "-d", "hello", f"https://shop.test:{port}/"], capture_output=True, timeout=patience(20)
    )
    assert (done.returncode, done.stdout) == (0, b"hello"), done.stderr


@pytest.mark.parametrize("versions", [V12, V13])
def test_large_bodies_both_ways(weir, upstream, authority, shop, versions):
    running = weir(settings(upstream(lambda request: ok(request.body)), shop))
    body = bytes(range(256)) * (40 << 10)
    with connect(running, authority.client(versions=versions), seconds=40) as client:
        client.request("POST", body=body)
        answer = client.read("POST", keep=False)
    assert (answer.length, answer.digest) == (len(body), hashlib.sha256(body).hexdigest())


def test_pipelined_and_split_requests(weir, upstream, authority, shop):
    behind = upstream()
    running = weir(settings(behind, shop))
    with connect(running, authority.client()) as client:
        head = b"GET /x HTTP/1.1\r\nHost: shop.test\r\n\r\n"
        client.send(head * 5 + head[:20])
        for _ in range(5):
            assert client.read().status == 200
        for byte in head[20:]:
            client.send(bytes([byte]))
        assert client.read().status == 200


def test_malformed_requests_are_refused_as_ever(weir, upstream, authority, shop):
    running = weir(settings(upstream(), shop))
    with connect(running, authority.client()) as client:
        client.send(b"GET / HTTP/1.1\r\nHost : x\r\n\r\n")
        assert client.read().status == 400
        client.expect_end()


def test_old_versions_are_refused(weir, upstream, shop):
    running = weir(settings(upstream(), shop, min_version="1.3"))
    command = ["openssl", "s_client", "-connect", running.edge, "-cipher", "ALL:@SECLEVEL=0"]
    for version in ("-tls1", "-tls1_1", "-tls1_2"):
        done = subprocess.run([*command, version], input=b"", capture_output=True, timeout=patience(20))
        assert b"alert protocol version" in done.stderr, done.stderr
    assert running.wait_total(3, "downstream_tls_handshakes_total", result="failed") == 3


def test_certificates_are_picked_by_name(weir, upstream, authority, shop):
    other = authority.issue("DNS:other.test")
    running = weir(settings(upstream(), shop, other))
    context = authority.client()
    assert shown(running, context, "shop.test") == {"shop.test", "*.shop.test"}
    assert shown(running, context, "a.SHOP.test") == {"shop.test", "*.shop.test"}
    assert shown(running, context, "other.test") == {"other.test"}
    context.check_hostname = False
    for name in ("a.b.shop.test", "stranger.test", None):
        assert shown(running, context, name) == {"shop.test", "*.shop.test"}, "the first"


def test_rsa_and_ecdsa_stand_side_by_side(weir, upstream, authority, shop):
    rsa = authority.issue("DNS:shop.test", kind="rsa")
    running = weir(settings(upstream(), shop, rsa))
    for algorithm, names in (("RSA", {"shop.test"}), ("ECDSA", {"shop.test", "*.shop.test"})):
        context = authority.client(versions=V12, ciphers=f"ECDHE-{algorithm}-AES128-GCM-SHA256")
        assert shown(running, context) == names, algorithm


def test_protocols_are_agreed_on(weir, upstream, authority, shop):
    running = weir(settings(upstream(), shop))
    with connect(running, authority.client(protocols=["h9", "http/1.1"])) as client:
        assert client.sock.selected_alpn_protocol() == "http/1.1"
    with connect(running, authority.client()) as client:
        assert client.sock.selected_alpn_protocol() is None
    with pytest.raises(ssl.SSLError, match="(?i)no.application.protocol"):
        connect(running, authority.client(protocols=["h9"]))


@pytest.mark.parametrize("versions", [V12, V13])
def test_sessions_are_resumed_at_any_worker_and_after_a_reload(weir, upstream, authority, shop, versions):
    behind = upstream()
    running = weir(settings(behind, shop) | {"runtime": {"workers": 3}})
    context = authority.client(versions=versions)

    def visit(session):
        with connect(running, context, session=session) as client:
            client.request()
            assert client.read().status == 200
            return client.sock.session_reused, client.sock.session

    reused, session = visit(None)
    assert not reused
    for _ in range(8):
        reused, session = visit(session)
        assert reused
    running.reload(settings(behind, shop, limits={"idle_timeout": "50s"}) | {"runtime": {"workers": 3}})
    assert visit(session)[0]
    assert running.wait_total(9, "downstream_tls_handshakes_total", result="resumed") == 9


@pytest.mark.parametrize("versions", [V12, V13])
def test_clients_must_show_a_certificate(weir, upstream, authority, shop, tmp_path, versions):
    behind = upstream()
    running = weir(settings(behind, shop, client_ca=str(authority.certificate)))
    stranger = Authority(tmp_path / "stranger", "a stranger").issue("URI:spiffe://test/billing")
    for certificate in (None, stranger):
        # In TLS 1.3 a client learns that it was refused only when it reads.
        with pytest.raises((ssl.SSLError, ConnectionError, AttributeError)):
            status(running, authority.client(certificate, versions=versions))
    billing = authority.issue("URI:spiffe://test/billing", "DNS:billing.test", subject="/O=Test, Inc/CN=billing")
    assert status(running, authority.client(billing, versions=versions)) == 200
    (request,) = behind.wait_requests(1)
    told = request.one("x-forwarded-client-cert")
    assert re.fullmatch(
        r'Hash=[0-9a-f]{64};Subject="CN=billing,O=Test\\\\, Inc";URI=spiffe://test/billing;DNS=billing.test', told
    ), told
    assert running.wait_total(2, "downstream_tls_handshakes_total", result="failed") == 2


@pytest.mark.parametrize("versions", [V12, V13])
def test_a_name_changes_nothing_about_client_certificates(weir, upstream, authority, shop, versions):
    second = authority.issue("DNS:second.test")
    running = weir(settings(upstream(), shop, second, client_ca=str(authority.certificate)))
    context = authority.client(authority.issue("DNS:a.test"), versions=versions)
    with pytest.raises((ssl.SSLError, ConnectionError, AttributeError)):
        status(running, authority.client(versions=versions), name="second.test")
    session = None
    for _ in range(3):
        with connect(running, context, "second.test", session=session) as client:
            client.request()
            assert client.read().status == 200
            assert client.sock.session_reused == (session is not None)
            session = client.sock.session


def test_a_client_may_show_a_certificate(weir, upstream, authority, shop):
    behind = upstream()
    running = weir(
        settings(behind, shop, client_ca=str(authority.certificate), client_certificate="optional")
    )
    forged = ["X-Forwarded-Client-Cert: Hash=00;URI=spiffe://test/admin"]
    assert status(running, authority.client(), forged) == 200
    assert status(running, authority.client(authority.issue("DNS:a.test")), forged) == 200
    without, with_one = behind.wait_requests(2)
    assert without.all("x-forwarded-client-cert") == []
    assert with_one.one("x-forwarded-client-cert").endswith(";DNS=a.test")


def test_a_trusted_proxys_word_on_the_certificate_is_passed_on(weir, upstream, shop, authority):
    behind = upstream()
    running = weir(settings(behind, shop, trusted=["127.0.0.0/8"]))
    assert status(running, authority.client(), ["X-Forwarded-Client-Cert: Hash=ab"]) == 200
    assert behind.wait_requests(1)[0].one("x-forwarded-client-cert") == "Hash=ab"


def test_tenants_are_told_by_their_certificates(weir, upstream, authority, shop):
    running = weir(
        settings(
            upstream(),
            shop,
            client_ca=str(authority.certificate),
            identify=[{"client_certificate": "san"}],
        )
    )
    one = authority.client(authority.issue("URI:spiffe://test/one"))
    other = authority.client(authority.issue("DNS:other.test"))
    assert [status(running, one) for _ in range(4)] == [200] * 3 + [429]
    assert status(running, other) == 200
    tenants = {line["tenant"] for line in running.wait_log(5)}
    assert tenants == {"spiffe://test/one", "other.test"}


def test_a_session_is_not_resumed_under_another_authority(weir, upstream, authority, shop, tmp_path):
    behind = upstream()
    first = settings(behind, shop, client_ca=str(authority.certificate))
    running = weir(first)
    context = authority.client(authority.issue("URI:spiffe://test/one"))
    with connect(running, context) as client:
        client.request()
        assert client.read().status == 200
        session = client.sock.session
    other = Authority(tmp_path / "other", "another")
    running.reload(settings(behind, shop, client_ca=str(other.certificate)))
    with pytest.raises((ssl.SSLError, ConnectionError, AttributeError)):
        status(running, context, session=session)


@pytest.mark.parametrize("versions", [V12, V13])
def test_a_session_without_a_certificate_is_not_resumed_where_one_is_demanded(
    weir, upstream, authority, shop, versions
):
    behind = upstream()
    demand = {"client_ca": str(authority.certificate)}
    running = weir(settings(behind, shop, client_certificate="optional", **demand))
    context = authority.client(versions=versions)
    with connect(running, context) as client:
        client.request()
        assert client.read().status == 200
        session = client.sock.session
    running.reload(settings(behind, shop, **demand))
    with pytest.raises((ssl.SSLError, ConnectionError, AttributeError)):
        status(running, context, session=session)


def test_a_url_among_many_names_is_found(weir, upstream, authority, shop):
    names = [f"DNS:n{number}.test" for number in range(40)] + ["URI:spiffe://test/last"]
    behind = upstream()
    made = settings(behind, shop, client_ca=str(authority.certificate), identify=[{"client_certificate": "san"}])
    running = weir(made)
    assert status(running, authority.client(authority.issue(*names))) == 200
    assert running.wait_log(1)[0]["tenant"] == "spiffe://test/last"
    assert behind.requests[0].one("x-forwarded-client-cert").count("DNS=") == 16


# Reload


def test_a_new_certificate_is_taken_up_without_dropping_a_connection(weir, upstream, authority, tmp_path):
    mine = authority.issue("DNS:shop.test")
    placed = type(mine)(tmp_path / "shop.pem", tmp_path / "shop.key")
    placed.install(mine)
    running = weir(settings(upstream(), placed))
    context = authority.client()
    with connect(running, context) as kept:
        kept.request()
        assert kept.read().status == 200
        before = running.generation
        placed.install(authority.issue("DNS:shop.test", "DNS:new.test"))
        running.wait_generation(before)
        until(lambda: shown(running, context) == {"shop.test", "new.test"}, "the new certificate is shown")
        kept.request()
        assert kept.read().status == 200


def test_a_bad_certificate_leaves_the_old_one(weir, upstream, authority, tmp_path):
    mine = authority.issue("DNS:shop.test")
    placed = type(mine)(tmp_path / "shop.pem", tmp_path / "shop.key")
    placed.install(mine)
    running = weir(settings(upstream(), placed))
    shutil.copy(authority.issue("DNS:shop.test").key, placed.key)
    until(lambda: running.total("weir_config_last_reload_successful") == 0, "the reload is refused")
    code, text = running.ask("POST", "/reload")
    assert code == 400
    assert f"listener 'edge': tls.certificates[0] '{placed.chain}': the key is not the certificate's" in text
    assert "the running configuration stays" in running.stderr
    assert status(running, authority.client()) == 200
    placed.install(mine)
    until(lambda: running.total("weir_config_last_reload_successful") == 1, "it is right again")


def test_certificates_are_rotated_under_load_without_losing_a_request(weir, upstream, authority, tmp_path):
    fresh = [authority.issue("DNS:shop.test") for _ in range(3)]
    placed = type(fresh[0])(tmp_path / "shop.pem", tmp_path / "shop.key")
    placed.install(fresh[0])
    running = weir(settings(upstream(), placed))
    context = authority.client()
    wrong, stop = [], threading.Event()

    def visit():
        while not stop.is_set():
            try:
                with connect(running, context) as client:
                    for _ in range(3):
                        client.request()
                        if client.read().status != 200:
                            wrong.append("another status")
            except (OSError, AttributeError) as error:
                wrong.append(error)

    visitors = [threading.Thread(target=visit) for _ in range(4)]
    for visitor in visitors:
        visitor.start()
    for number in range(6):
        placed.install(fresh[number % 3])
        code, text = running.ask("POST", "/reload")
        assert code == 200, text
    stop.set()
    for visitor in visitors:
        visitor.join()
    assert not wrong


@pytest.mark.parametrize("what, words", [("missing", "No such file"), ("garbage", "no certificate in PEM")])
def test_weir_does_not_start_without_its_certificate(weir, upstream, tmp_path, shop, what, words):
    chain = tmp_path / "chain.pem"
    if what == "garbage":
        chain.write_text("-----BEGIN CERTIFICAT-----\n")
    running = weir(settings(upstream(), {"chain": str(chain), "key": str(shop.key)}), wait=False)
    assert running.wait_exit() == 1
    assert "listener 'edge': tls.certificates[0]" in running.stderr and words in running.stderr


def test_an_encrypted_key_is_refused_without_asking(weir, upstream, shop, tmp_path):
    key = tmp_path / "locked.key"
    locked = subprocess.run(
        ["openssl", "pkcs8", "-topk8", "-in", shop.key, "-passout", "pass:x", "-out", key], capture_output=True
    )
    assert locked.returncode == 0
    running = weir(settings(upstream(), {"chain": str(shop.chain), "key": str(key)}), wait=False)
    assert running.wait_exit() == 1
    assert "without a password" in running.stderr


def test_expiry_is_told(weir, upstream, shop):
    running = weir(settings(upstream(), shop))
    text = subprocess.run(
        ["openssl", "x509", "-in", shop.chain, "-noout", "-enddate"], capture_output=True, text=True
    ).stdout
    wanted = ssl.cert_time_to_seconds(text.strip().partition("=")[2])
    labels = frozenset({("owner", "listener"), ("name", "edge"), ("certificate", "shop.test"), ("key", "ecdsa")})
    assert running.metrics()["weir_certificate_expiry_timestamp_seconds", labels] == wanted


def test_the_authoritys_word_is_stapled(weir, upstream, authority):
    mine, other = authority.issue("DNS:shop.test"), authority.issue("DNS:other.test")
    running = weir(settings(upstream(), mine.files | {"ocsp": str(authority.vouch(mine))}, other))
    command = ["openssl", "s_client", "-connect", running.edge, "-status", "-CAfile", authority.certificate]
    for name, words in (("shop.test", b"OCSP Response Status: successful"), ("other.test", b"no response sent")):
        done = subprocess.run(
            [*command, "-servername", name], input=b"", capture_output=True, timeout=patience(20)
        )
        assert words in done.stdout, done.stdout


# What comes instead of a handshake


@pytest.mark.parametrize(
    "bytes_sent", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"x" * 40, b"\x00" * 400]
)
def test_what_is_no_handshake_is_closed(weir, upstream, authority, shop, bytes_sent):
    running = weir(settings(upstream(), shop))
    with Client(running.edge) as client:
        client.send(bytes_sent)
        client.to_end(lambda piece: None)
    assert status(running, authority.client()) == 200
    until(lambda: running.total("downstream_tls_handshakes_total", result="failed") == 1, "it is counted")
    assert running.wait_total(1, "http_requests_total") == 1


def test_a_slow_handshake_is_closed(weir, upstream, authority, shop):
    running = weir(settings(upstream(), shop, limits={"header_timeout": "300ms"}))
    with Client(running.edge) as client:
        client.send(b"\x16\x03\x01")
        client.to_end(lambda piece: None)
    assert status(running, authority.client()) == 200


def test_a_handshake_begins_when_its_first_record_is_whole(weir, upstream, authority, shop):
    """Before that it costs little, and however it is cut nothing of it is lost."""
    running = weir(settings(upstream(), shop))
    assert status(running, authority.client()) == 200
    sent, received = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = authority.client().wrap_bio(received, sent, server_hostname="shop.test")
    with pytest.raises(ssl.SSLWantReadError):
        session.do_handshake()
    hello = sent.read()
    place = ("127.0.0.1", int(running.edge.rpartition(":")[2]))
    before = running.resident
    clients = [socket.create_connection(place) for _ in range(200)]
    for client in clients:
        client.sendall(hello[:-1])
    until(lambda: running.total("downstream_connections_total") == 201, "all of them")
    assert running.resident - before < patience(200 * (20 << 10))
    for count in (1, 3, 4, 5, 6, 100, len(hello) - 1):
        with socket.create_connection(place) as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client.sendall(hello[:count])
            client.sendall(hello[count:])
            client.settimeout(patience(20))
            assert client.recv(1) == b"\x16", "a handshake's record"
    with socket.create_connection(place) as client:
        client.sendall(hello[:50])
    until(lambda: running.total("downstream_tls_handshakes_total", result="failed") >= 1, "it is counted")
    for client in clients:
        client.sendall(hello[-1:])
        client.settimeout(patience(20))
        assert client.recv(1) == b"\x16"
        client.close()


def test_many_handshakes_that_never_end_hold_nobody_up(weir, upstream, authority, shop):
    running = weir(settings(upstream(), shop))
    waiting = []
    try:
        for _ in range(400):
            sock = socket.create_connection(("127.0.0.1", int(running.edge.rpartition(":")[2])))
            waiting.append(sock)
            sock.sendall(b"\x16\x03\x01\x02\x00\x01")
        assert [status(running, authority.client()) for _ in range(5)] == [200] * 5
    finally:
        for sock in waiting:
            sock.close()
    until(lambda: running.total("downstream_connections") == 0, "all are gone")


def test_a_client_that_leaves_cancels_its_request(weir, upstream, authority, shop):
    left = []

    def handle(connection):
        connection.read()
        left.append(connection.wait_closed())

    behind = upstream(handle=handle)
    running = weir(settings(behind, shop))
    client = connect(running, authority.client())
    client.request()
    behind.wait_requests(1)
    client.sock.setblocking(False)
    try:
        client.sock.unwrap()
    except (ssl.SSLWantReadError, OSError):
        pass
    client.close()
    until(lambda: left, "the attempt is cancelled")
    assert left == [True]
    (line,) = running.wait_log(1)
    assert (line["reason"], line["ended_by"]) == ("client_gone", "client")


def test_the_connections_end_is_announced(weir, upstream, authority, shop):
    running = weir(settings(upstream(), shop))
    with connect(running, authority.client()) as client:
        client.sock.suppress_ragged_eofs = False
        client.request(headers=["Connection: close"])
        assert client.read().status == 200
        # An end without an alert would raise.
        client.expect_end()
