"""Real programs: curl, h2load, wrk, Python's http.client and h11 in front, nginx behind."""

import hashlib
import http.client
import random
import re
import socket
import subprocess
import threading

import h11
import pytest

from harness import Client, cluster, configuration, forward, ok, patience
from harness.client import parse
from harness.nginx import PROGRAM, Nginx
from harness.programs import program

pytestmark = pytest.mark.clients
MIB = 1 << 20
FILES = {
    "1k": random.Random(1).randbytes(1024),
    "1m": random.Random(2).randbytes(MIB),
    "32m": random.Random(3).randbytes(32 * MIB),
    "empty": b"",
    "page.html": b"<h1>hello</h1>" * 1000,
}


def run(*command, data=None, seconds=60):
    done = subprocess.run(
        [str(part) for part in command], input=data, capture_output=True, timeout=patience(seconds)
    )
    return done


@pytest.fixture(scope="module")
def nginx():
    if not PROGRAM:
        pytest.skip("nginx is not installed")
    server = Nginx(
        "gzip_static off; location /nowhere { return 404; } location /sink { return 200 'taken'; }"
        " location = /redirect { return 302 /1k; } location /empty204 { return 204; }",
        "gzip on; gzip_types text/html; gzip_min_length 100;",
    )
    for name, data in FILES.items():
        server.put(name, data)
    yield server
    server.stop()


@pytest.fixture
def site(weir, nginx):
    return weir(configuration([cluster("main", nginx.address)]))


# curl


def curl(running, path, *options, data=None):
    """(status, body, head text)"""
    done = run(
        program("curl"),
        "-sS",
        "-i",
        "--max-time",
        patience(60),
        *options,
        f"http://{running.edge}{path}",
        data=data,
    )
    assert done.returncode == 0, done.stderr
    head, body = b"", done.stdout
    while body.startswith(b"HTTP/"):
        head, _, body = body.partition(b"\r\n\r\n")
    return int(head.split()[1]), body, head.decode("latin-1").lower()


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "options",
    [["--http1.1"], ["--http1.0"], ["--http1.1", "-H", "Connection: close"]],
    ids=["1.1", "1.0", "close"],
)
def test_curl_get(site, name, options):
    status, body, _ = curl(site, f"/{name}", *options)
    assert status == 200
    assert hashlib.sha256(body).digest() == hashlib.sha256(FILES[name]).digest()


def test_curl_many_urls_on_one_connection(site):
    done = run(
        program("curl"),
        "-sS",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code} %{num_connects}\n",
        f"http://{site.edge}/1k",
        *[part for n in range(49) for part in ("-o", "/dev/null", f"http://{site.edge}/1k?{n}")],
    )
    lines = [line.split() for line in done.stdout.decode().splitlines()]
    assert [status for status, _ in lines] == ["200"] * 50
    assert sum(int(count) for _, count in lines) == 1


def test_curl_head(site):
    status, body, head = curl(site, "/1m", "-I")
    assert (status, body) == (200, b"")
    assert f"content-length: {MIB}" in head


def test_curl_range(site):
    status, body, head = curl(site, "/1m", "-r", "1000-1999")
    assert (status, body) == (206, FILES["1m"][1000:2000])
    assert f"content-range: bytes 1000-1999/{MIB}" in head
    assert curl(site, "/1m", "-r", f"{2 * MIB}-")[0] == 416


def test_curl_conditional(site):
    _, _, head = curl(site, "/1k", "-I")
    tag = re.search(r'etag: (".*?")', head)[1]
    status, body, _ = curl(site, "/1k", "-H", f"If-None-Match: {tag}")
    assert (status, body) == (304, b"")
    status, body, _ = curl(site, "/1k", "-H", 'If-None-Match: "other"')
    assert (status, body) == (200, FILES["1k"])


def test_curl_compressed(site):
    status, body, _ = curl(site, "/page.html", "--compressed")
    assert (status, body) == (200, FILES["page.html"])


def test_curl_redirect_and_204(site):
    status, _, head = curl(site, "/redirect")
    assert status == 302 and "location: " in head
    assert curl(site, "/empty204")[:2] == (204, b"")


def digest(request):
    return ok(f"{len(request.body)} {hashlib.sha256(request.body).hexdigest()}".encode())


@pytest.mark.parametrize("size", [0, 1, 1000, 5 * MIB])
@pytest.mark.parametrize("way", ["file", "chunked", "1.0", "expect", "no-expect"])
def test_curl_post(pair, tmp_path, size, way):
    data = random.Random(size).randbytes(size)
    running, _ = pair(digest)
    file = tmp_path / "data"
    file.write_bytes(data)
    options = {
        "file": ["--data-binary", f"@{file}"],
        "chunked": ["-X", "POST", "-T", "-"],
        "1.0": ["--http1.0", "--data-binary", f"@{file}"],
        "expect": ["--data-binary", f"@{file}", "-H", "Expect: 100-continue", "--expect100-timeout", "1"],
        "no-expect": ["--data-binary", f"@{file}", "-H", "Expect:"],
    }[way]
    status, body, _ = curl(running, "/up", *options, data=data if way == "chunked" else None)
    assert (status, body.decode()) == (200, f"{size} {hashlib.sha256(data).hexdigest()}")


def test_curl_form_upload(pair, tmp_path):
    running, behind = pair()
    file = tmp_path / "data"
    file.write_bytes(FILES["1m"])
    assert curl(running, "/form", "-F", f"file=@{file}", "-F", "a=b")[0] == 200
    assert FILES["1m"] in behind.requests[0].body


def test_curl_refused_upload_sees_the_answer(pair):
    running, _ = pair(routes=[forward(match={"path_prefix": "/only"})])
    status, body, _ = curl(running, "/elsewhere", "--data-binary", "x" * 100_000)
    assert (status, b"route_missing" in body) == (404, True)


# Load generators


def test_h2load(site):
    done = run(program("h2load"), "--h1", "-n", 20_000, "-c", 20, "-t", 1, f"http://{site.edge}/1k")
    text = done.stdout.decode()
    assert re.search(
        r"requests: 20000 total, 20000 started, 20000 done, 20000 succeeded, 0 failed, 0 errored, 0 timeout",
        text,
    ), text
    assert "20000 2xx" in text


def test_wrk(site):
    text = run(
        program("wrk"),
        "-t",
        1,
        "-c",
        50,
        "-d",
        "2s",
        "--timeout",
        f"{int(patience(10))}s",
        f"http://{site.edge}/1k",
    ).stdout.decode()
    assert "Requests/sec" in text, text
    assert "Socket errors" not in text and "Non-2xx" not in text, text


def test_wrk_with_new_connections(site):
    text = run(
        program("wrk"), "-t", 1, "-c", 10, "-d", "2s", "-H", "Connection: close", f"http://{site.edge}/1k"
    ).stdout.decode()
    assert "Non-2xx" not in text and re.search(r"(\d+) requests in", text)[1] != "0", text


# Python


def test_http_client(site):
    connection = http.client.HTTPConnection(*parse(site.edge), timeout=patience(15))
    for name in ("1k", "1m", "empty", "1k"):
        connection.request("GET", f"/{name}")
        assert connection.getresponse().read() == FILES[name]
    connection.request("HEAD", "/1m")
    answer = connection.getresponse()
    assert (answer.status, answer.length, answer.read()) == (200, 0, b"")
    connection.request("GET", "/nowhere")
    answer = connection.getresponse()
    assert answer.status == 404 and answer.read()
    connection.close()


def test_http_client_sends_chunked_iterables(pair):
    running, _ = pair(digest)
    connection = http.client.HTTPConnection(*parse(running.edge), timeout=patience(15))
    pieces = [FILES["1m"][at : at + 10_000] for at in range(0, MIB, 10_000)]
    for _ in range(2):
        connection.request(
            "POST", "/", body=iter(pieces), encode_chunked=True, headers={"Transfer-Encoding": "chunked"}
        )
        assert connection.getresponse().read().decode() == f"{MIB} {hashlib.sha256(FILES['1m']).hexdigest()}"
    connection.close()


def test_h11_accepts_every_answer(site):
    """An independent strict parser reads what weir writes."""
    with socket.create_connection(parse(site.edge), timeout=patience(15)) as raw:
        side = h11.Connection(h11.CLIENT)
        for method, path in [
            ("GET", "/1k"),
            ("HEAD", "/1k"),
            ("GET", "/page.html"),
            ("GET", "/nowhere"),
            ("GET", "/empty204"),
            ("GET", "/1m"),
        ]:
            raw.sendall(
                side.send(
                    h11.Request(
                        method=method, target=path, headers=[("Host", "a"), ("Accept-Encoding", "gzip")]
                    )
                )
            )
            raw.sendall(side.send(h11.EndOfMessage()))
            length = 0
            while True:
                event = side.next_event()
                if event is h11.NEED_DATA:
                    side.receive_data(raw.recv(65536))
                elif isinstance(event, h11.Data):
                    length += len(event.data)
                elif isinstance(event, h11.EndOfMessage):
                    break
            if path == "/1m":
                assert length == MIB
            side.start_next_cycle()


# nginx as upstream


def test_nginx_restart_in_between(weir):
    if not PROGRAM:
        pytest.skip("nginx is not installed")
    server = Nginx()
    try:
        server.put("a", b"one")
        running = weir(configuration([cluster("main", server.address)]))
        assert running.get("/a").body == b"one"
        server.process.terminate()
        server.process.wait(patience(10))
        assert running.get("/a").status == 502
        assert server.start("", "")
        assert running.get("/a").body == b"one"
    finally:
        server.stop()


@pytest.mark.slow
def test_large_files_to_many_clients(site):
    """Eight clients fetch 32 MB each at once, in one worker set, byte-exact."""
    wanted, wrong = hashlib.sha256(FILES["32m"]).hexdigest(), []

    def fetch():
        with Client(site.edge, seconds=60) as client:
            for name, digest in (("32m", wanted), ("1k", hashlib.sha256(FILES["1k"]).hexdigest())):
                client.request(path=f"/{name}")
                if client.read(keep=False).digest != digest:
                    wrong.append(name)

    threads = [threading.Thread(target=fetch) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(patience(60))
    assert not wrong


def test_nginx_takes_an_upload(site):
    status, body, _ = curl(site, "/sink", "--data-binary", "x" * 100_000)
    assert (status, body) == (200, b"taken")
