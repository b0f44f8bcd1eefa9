"""Real programs that speak HTTP/2: curl, nghttp, h2load, httpx and node."""

import asyncio
import hashlib
import json
import random
import re
import subprocess

import httpx
import pytest

from harness import listener, ok, patience
from harness.programs import program

pytestmark = pytest.mark.clients
MIB = 1 << 20
LARGE = random.Random(1).randbytes(4 * MIB)


def run(*command, data=None):
    """The output of a program that must succeed."""
    command = [str(part) for part in command]
    done = subprocess.run(command, input=data, capture_output=True, timeout=patience(40))
    assert done.returncode == 0, (command, done.stdout[-2000:], done.stderr[-2000:])
    return done.stdout


def answer(request):
    """Something large for /large, else what a body was like."""
    if request.target == "/large":
        return ok(LARGE)
    if request.target == "/chunked":
        body = b"".join(b"%x\r\n%s\r\n" % (1000, bytes([n]) * 1000) for n in range(200))
        return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body + b"0\r\n\r\n"
    if request.method == "HEAD":
        return b"HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n"
    return ok(json.dumps(said(request.method, request.target, request.body)).encode())


def said(method, target, body=b""):
    return [method, target, len(body), hashlib.sha256(body).hexdigest()]


CHUNKED = b"".join(bytes([n]) * 1000 for n in range(200))


@pytest.fixture(scope="module")
def local(authority):
    return authority.issue("DNS:localhost", "IP:127.0.0.1")


@pytest.fixture(params=["http", "https"])
def site(request, pair, local):
    """(weir, its endpoint, the URL of its listener), plain and over TLS."""
    tls = {"certificates": [local.files]} if request.param == "https" else None
    running, behind = pair(answer, listeners=[listener(tls=tls)], runtime={"workers": 2})
    yield running, behind, f"{request.param}://{running.edge}"
    protocols = {line["protocol"] for line in running.wait_log(1)}
    assert protocols == {"HTTP/2"}, "all of it was HTTP/2"


@pytest.fixture
def secure(pair, local):
    """The same over TLS alone."""
    listeners = [listener(tls={"certificates": [local.files]})]
    running, behind = pair(answer, listeners=listeners, runtime={"workers": 2})
    return running, behind, f"https://{running.edge}"


# curl


@pytest.fixture
def curl(site, authority):
    _, _, url = site
    way = "--http2" if url.startswith("https") else "--http2-prior-knowledge"
    lead = [program("curl"), "-sS", "--max-time", patience(30), way, "--cacert"]

    def ask(path, *options, data=None):
        return run(*lead, authority.certificate, *options, f"{url}{path}", data=data)

    return ask


def test_curl_get(curl):
    assert curl("/large") == LARGE
    assert curl("/chunked") == CHUNKED
    assert json.loads(curl("/a?b")) == said("GET", "/a?b")
    assert curl("/", "-o", "/dev/null", "-w", "%{http_version} %{http_code}") == b"2 200"


def test_curl_head(curl):
    text = curl("/", "-I").decode().lower()
    assert text.startswith("http/2 200") and "content-length: 12345" in text


@pytest.mark.parametrize("size", [0, 1, MIB])
@pytest.mark.parametrize("way", ["file", "stream", "expect"])
def test_curl_post(curl, tmp_path, size, way):
    data = LARGE[:size]
    file = tmp_path / "data"
    file.write_bytes(data)
    options = {
        "file": ["--data-binary", f"@{file}"],
        "stream": ["-X", "POST", "-T", "-"],
        "expect": ["--data-binary", f"@{file}", "-H", "Expect: 100-continue"],
    }[way]
    body = curl("/up", *options, data=data if way == "stream" else None)
    assert json.loads(body) == said("POST", "/up", data)


def test_curl_parallel(secure, authority, tmp_path):
    """Fifty streams on a connection or two; over TLS, since curl 7.88 fails without."""
    _, _, url = secure
    pairs = [part for n in range(50) for part in ("-o", tmp_path / str(n), f"{url}/{n}")]
    options = ["-sS", "--fail", "-Z", "--parallel-max", 50, "--http2"]
    run(program("curl"), *options, "--cacert", authority.certificate, *pairs)
    for number in range(50):
        assert json.loads((tmp_path / str(number)).read_bytes()) == said("GET", f"/{number}")


# nghttp2


def test_nghttp(site, tmp_path):
    _, _, url = site
    file = tmp_path / "data"
    file.write_bytes(LARGE[:MIB])
    text = run(program("nghttp"), "-nv", *(f"{url}/{n}" for n in range(10))).decode()
    assert len(re.findall(r"recv \(stream_id=\d+\) :status: 200", text)) == 10, text
    assert "RST_STREAM" not in text
    body = run(program("nghttp"), "-d", file, f"{url}/up")
    assert json.loads(body) == said("POST", "/up", LARGE[:MIB])
    # Windows of 64 KiB and of 1 GiB; no table of fields; padding.
    for options in (["-w16", "-W16"], ["-w30", "-W30"], ["--header-table-size=0"], ["-b255"]):
        assert run(program("nghttp"), *options, f"{url}/large") == LARGE


def test_h2load(site):
    running, behind, url = site
    text = run(program("h2load"), "-n", 2000, "-c", 4, "-m", 10, f"{url}/a").decode()
    assert "2000 succeeded, 0 failed, 0 errored, 0 timeout" in text, text
    assert re.search(r"status codes: 2000 2xx, 0 3xx, 0 4xx, 0 5xx", text), text
    assert running.wait_total(2000, "http_requests_total", code_class="2xx") == 2000
    assert len(behind.requests) == 2000
    text = run(program("h2load"), "-n", 16, "-c", 2, "-m", 4, f"{url}/large").decode()
    assert "16 succeeded, 0 failed" in text, text


def test_h2load_posts(site, tmp_path):
    _, behind, url = site
    file = tmp_path / "data"
    file.write_bytes(LARGE[:100_000])
    text = run(program("h2load"), "-n", 100, "-c", 4, "-m", 10, "-d", file, f"{url}/up").decode()
    assert "status codes: 100 2xx" in text, text
    assert {request.body for request in behind.requests} == {LARGE[:100_000]}


# httpx


def test_httpx(secure, authority):
    running, behind, url = secure
    options = {"http2": True, "verify": authority.client(), "trust_env": False}
    with httpx.Client(timeout=patience(20), **options) as client:
        for _ in range(2):
            got = client.get(f"{url}/large")
            assert (got.http_version, got.status_code, got.content) == ("HTTP/2", 200, LARGE)
        assert client.get(f"{url}/chunked").content == CHUNKED
        got = client.post(f"{url}/up", content=LARGE[:MIB])
        assert got.json() == said("POST", "/up", LARGE[:MIB])
        pieces = (LARGE[at : at + 10_000] for at in range(0, 100_000, 10_000))
        got = client.post(f"{url}/up", content=pieces)
        assert got.json() == said("POST", "/up", LARGE[:100_000])
        client.cookies.update({"a": "1", "b": "2"})
        got = client.get(f"{url}/c")
        assert got.headers["via"] == "1.1 weir"
    assert behind.requests[-1].one("cookie") == "a=1; b=2"
    assert running.wait_total(1, "downstream_http2_connections_total") == 1


def test_httpx_many_at_once(secure, authority):
    running, _, url = secure

    async def main():
        options = {"http2": True, "verify": authority.client(), "trust_env": False}
        async with httpx.AsyncClient(timeout=patience(20), **options) as client:
            bodies = [LARGE[n * 1000 : n * 3000] for n in range(60)]
            asks = [client.post(f"{url}/{n}", content=body) for n, body in enumerate(bodies)]
            for number, got in enumerate(await asyncio.gather(*asks)):
                assert got.http_version == "HTTP/2"
                assert got.json() == said("POST", f"/{number}", bodies[number])

    asyncio.run(main())
    assert running.wait_total(60, "http_requests_total", code_class="2xx") == 60


# node

SCRIPT = """
const http2 = require('http2'), fs = require('fs'), crypto = require('crypto')
const [url, ca] = process.argv.slice(2)
const connection = http2.connect(url, { ca: fs.readFileSync(ca) })
connection.on('error', error => { console.error(error); process.exit(1) })

function ask(path, method = 'GET', body = null) {
  return new Promise((resolve, reject) => {
    const stream = connection.request({ ':path': path, ':method': method }), pieces = []
    let head
    stream.on('response', fields => { head = fields })
    stream.on('data', piece => pieces.push(piece))
    stream.on('error', reject)
    stream.on('end', () => resolve([head[':status'], Buffer.concat(pieces)]))
    stream.end(body)
  })
}

async function main() {
  const [status, page] = await ask('/large')
  console.log(JSON.stringify([status, crypto.createHash('sha256').update(page).digest('hex')]))
  const body = Buffer.alloc(1 << 20, 'weir')
  console.log(String((await ask('/up', 'POST', body))[1]))
  const many = await Promise.all([...Array(20).keys()].map(n => ask('/' + n)))
  for (const [, text] of many) console.log(String(text))
  await new Promise((resolve, reject) =>
    connection.ping(error => error ? reject(error) : resolve()))
  connection.close()
}
main().catch(error => { console.error(error); process.exit(1) })
"""


def test_node(site, authority, tmp_path):
    _, _, url = site
    script = tmp_path / "client.js"
    script.write_text(SCRIPT)
    lines = run(program("node"), script, url, authority.certificate).decode().splitlines()
    lines = [json.loads(line) for line in lines]
    assert lines[0] == [200, hashlib.sha256(LARGE).hexdigest()]
    assert lines[1] == said("POST", "/up", b"weir" * (MIB // 4))
    assert lines[2:] == [said("GET", f"/{number}") for number in range(20)]
