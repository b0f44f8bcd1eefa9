"""Requests of HTTP/2 that are malformed, that weir does not pass on, or that are legal by a hair.

A request is its fields, the pieces of its body and its trailers. BROKEN ones are against the rules
of HTTP/2, or would be two requests for whoever reads HTTP/1; REFUSED ones have the status and the
reason of their answer, and whether RFC 9113 has them for malformed, too, so that a reset will do;
ALLOWED ones have fields that must reach the endpoint.
"""

import pytest

HEAD_LIMIT, FIELD_LIMIT, URI_LIMIT = 8 << 10, 50, 2 << 10
BROKEN, REFUSED, ALLOWED = [], [], []
HELLO = (b"hello",)


def request(*more, method="GET", scheme="http", authority="a.test", path="/", first=()):
    """The fields of a request; None leaves one out."""
    pseudo = {":method": method, ":scheme": scheme, ":authority": authority, ":path": path}
    lead = [(name, value) for name, value in pseudo.items() if value is not None]
    return [*first, *lead, *more]


def post(*more, **options):
    return request(*more, method="POST", **options)


def broken(name, fields, body=(), trailers=None):
    BROKEN.append(pytest.param(fields, (body, trailers), id=name))


def refused(name, fields, status=400, reason="bad_request", or_reset=False):
    REFUSED.append(pytest.param(fields, status, reason, or_reset, id=name))


def allowed(name, fields, **has):
    ALLOWED.append(pytest.param(fields, has, id=name))


# --- pseudo fields

broken("no method", request(method=None))
broken("no scheme", request(scheme=None))
broken("no path", request(path=None))
broken("neither authority nor host", request(authority=None))
broken("nothing at all", [])
broken("only fields", [("accept", "*/*")])
for name, value in request():
    rest = [field for field in request(("accept", "*/*")) if field[0] != name]
    broken(f"{name} twice", [(name, value), *request()])
    broken(f"{name} twice, different", [(name, "x" + value), *request()])
    broken(f"{name} twice, once after a field", request(("accept", "*/*"), (name, value)))
    broken(f"{name} after a field", [*rest, (name, value)])
    broken(f"{name} empty", [(name, ""), *rest])
    broken(f"{name} in upper case", [(name.upper(), value), *rest])
broken("unknown pseudo field", request(first=[(":colour", "red")]))
broken("pseudo field of answers", request(first=[(":status", "200")]))
broken("only a colon", request((":", "x")))
broken("a colon in front of a name", request((":x-y", "1")))

# --- names

for name in ("Accept", "X-Mine", "HOST", "content-Length", "acCept"):
    broken(f"name {name}", request((name, "1")))
for name in (
    *(b"", b"x y", b"x\ty", b" x", b"x ", b"x\r", b"x\n", b"x\0", b"x\r\ny: z\r\nw", b"x:y", b"x:"),
    *(b"\xe4", b"x\x7f", b"x\x01", b"(x)", b"x/y", b'"x"', b"x,y", b"x@y", b"{x}", b"x=y", b"x;y"),
):
    broken(f"name {name}", request((name, b"1")))

# --- values

GET = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
for value in (
    *(b"a\rb", b"a\nb", b"a\0b", b"a\r\nx: y", b"a\r\n\r\n" + GET, b"\r", b"\n", b"\0", b"a\r\n b"),
    *(b"a\x01b", b"a\x0bb", b"a\x1bb", b"a\x7fb"),
):
    broken(f"value {value}", request((b"x-a", value)))
    broken(f"user agent {value}", request((b"user-agent", value)))
for value in (b"b\rc", b"b\nc", b"b\0c", b"b\r\nx: y"):
    broken(f"cookie {value}", request((b"cookie", b"a=1"), (b"cookie", value)))

# --- what has no meaning in HTTP/2

for name, value in (
    *(("connection", "close"), ("connection", "keep-alive"), ("connection", "x-mine")),
    *(("keep-alive", "timeout=5"), ("proxy-connection", "keep-alive"), ("upgrade", "h2c")),
    *(("transfer-encoding", "chunked"), ("transfer-encoding", "identity")),
    *(("upgrade", "websocket"), ("te", "gzip"), ("te", "trailers, deflate"), ("te", "chunked")),
):
    broken(f"{name}: {value}", request((name, value)))
CHUNKED = "transfer-encoding", "chunked"
broken("chunks in a body", post(CHUNKED), (b"5\r\nhello\r\n0\r\n\r\n",))
broken("both framings", post(CHUNKED, ("content-length", "5")), HELLO)

# --- lengths

for value in (
    *("", "-1", "+5", "5 5", "5, 5", "5,5", "0x5", "5a", "5.0", "1_0", "9" * 100),
    "18446744073709551621",
):
    broken(f"content-length: {value[:25]}", post(("content-length", value)), HELLO)
for name, length, body, trailers in (
    ("a byte less", 6, HELLO, None),
    ("a byte more", 4, HELLO, None),
    ("none came", 5, (), None),
    ("an empty body", 5, (b"",), None),
    ("none was announced", 0, HELLO, None),
    ("less in two pieces", 20, (b"hello", b"more"), None),
    ("more in two pieces", 7, (b"hello", b"more"), None),
    ("less before trailers", 6, HELLO, [("x-sum", "1")]),
    ("more before trailers", 4, HELLO, [("x-sum", "1")]),
):
    broken(f"length: {name}", post(("content-length", f"{length}")), body, trailers)
broken("two equal lengths", post(("content-length", "5"), ("content-length", "5")), HELLO)
broken("two lengths", post(("content-length", "5"), ("content-length", "6")), HELLO)

# --- trailers

for name, value in (
    *((":path", "/other"), (":method", "GET"), (":status", "200"), (":x", "y"), ("X-Sum", "1")),
    *(("x-sum", "1\r\nx: y"), ("x-sum", "\0"), ("connection", "close"), CHUNKED, ("x sum", "1")),
):
    broken(f"trailer {name}: {value!r}", post(), HELLO, [("x-first", "1"), (name, value)])

# --- requests within requests

SMUGGLED = "HTTP/1.1\r\nHost: a.test\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n"
for method in (
    *("GET /x", "GET / " + SMUGGLED, "GET\r\n", "GET\t/", " GET", "GET ", "G\0T", "G(T", "G\x7fT"),
    *("\r\nGET", "G:T", b"G\xc4T", "GET /smuggled HTTP/1.1\r\nX:", "GET /smuggled HTTP/1.1\nX:"),
):
    broken(f"method {method[:30]!r}", request(method=method))
for path in (
    *("/ " + SMUGGLED, "/a b", "/\r\n", "/\r\nx: y", "/\0", "/\t", "/\x01", "/\x7f", b"/\xe4"),
    *(" /", "/ ", "/?a b", "/?\r\nx:y", "/x HTTP/1.1\r\nhost: b", "/x HTTP/1.1\nhost: b"),
):
    broken(f"path {path[:30]!r}", request(path=path))
for authority in (
    *("a.test\r\nx: y", "a.test\r\n\r\n" + GET.decode(), "a.test\n", "a.test\r", "a\0.test"),
    *("a.test b.test", "\ta.test", "a.test ", b"a\xe4.test", "a\x01.test"),
):
    broken(f"authority {authority[:30]!r}", request(authority=authority))
for scheme in ("http://b.test/?", "http\r\nx: y", "http://a\r\n", "ht tp", "http ", "\0"):
    broken(f"scheme {scheme!r}", request(scheme=scheme))
broken("host with CRLF", request(("host", "a.test\r\nx: y"), authority=None))
broken("host with a space", request(("host", "a.test b.test"), authority=None))

# --- what weir does not pass on: it is said in an answer

for path in (
    *("/..", "/../", "/a/../b", "/a/..", "/./a", "/a/.", "/%2e%2e/a", "/a/%2E%2E/b", "/.%2e/a"),
    *("/..%2fa", "/a\\b", "/%", "/%2", "/%zz", "/a#b", "/#"),
):
    refused(f"path {path}", request(path=path))
for path in ("a", "a/b", "?x", "http://b.test/x", "a.test:80", ":80", "*", "*x"):
    refused(f"path {path}", request(path=path), or_reset=True)
refused("more than an asterisk", request(method="OPTIONS", path="*/x"), or_reset=True)
for authority in (
    *("u@a.test", "u:p@a.test", "a.test:8x", "a.test:65536", "a.test:80:80", "[::1", "[zz]"),
    *("[::1]x", "::1", "a%zz.test"),
):
    refused(f"authority {authority}", request(authority=authority))
    refused(f"host {authority}", request(("host", authority), authority=None))
for authority in (
    *("a.test/x", "a.test?x", "a.test#x", "http://a.test", "a.test\\b", "<a.test>"),
    '"a.test"',
):
    refused(f"authority {authority}", request(authority=authority), or_reset=True)
    refused(f"host {authority}", request(("host", authority), authority=None), or_reset=True)
refused("host that differs", request(("host", "b.test")))
refused("host with another port", request(("host", "a.test:80")))
for name, more in (
    ("two hosts that agree", [("host", "a.test"), ("host", "a.test")]),
    ("two hosts, one that differs", [("host", "a.test"), ("host", "b.test")]),
    ("empty host beside an authority", [("host", "")]),
):
    refused(name, request(*more), or_reset=True)
for scheme in ("ftp", "ws", "httpss", "file", "x"):
    refused(f"scheme {scheme}", request(scheme=scheme))

for name, more in (
    ("a field too many", [(f"x-{n}", "y") for n in range(FIELD_LIMIT)]),
    ("many fields", [(f"x-{n}", "y") for n in range(FIELD_LIMIT * 4)]),
    ("a large value", [("x-a", "a" * HEAD_LIMIT)]),
    ("a large head", [(f"x-{n}", "y" * 1000) for n in range(40)]),
    ("a long name", [("x" * HEAD_LIMIT, "a")]),
    ("large cookies", [("cookie", "y" * 1000) for n in range(20)]),
):
    refused(name, request(*more), 431, "head_too_large")
refused("a long path", request(path="/" + "a" * URI_LIMIT), 414, "head_too_large")
refused("TRACE", request(method="TRACE"), 501, "not_implemented")

# --- what must not be refused

allowed("escapes", request(path="/%20a%2Fb?c=../d"))
allowed("empty segments", request(path="//a//b"))
allowed("a path at the limit", request(path="/" + "a" * (URI_LIMIT - 1)))
allowed("a port", request(authority="A.Test:8080"), host="A.Test:8080")
allowed("an IPv6 address", request(authority="[::1]:80"), host="[::1]:80")
allowed("high bytes", request((b"x", b"\xe4\xff \t.")), x="\xe4\xff \t.")
allowed("an empty value", request(("x", "")), x="")
allowed("a name of all characters", request(("!#$%&'*+-.^_`|~9az", "1")))
allowed("a method of all characters", request(method="!#$%&'*+-.^_`|~9aZ"))
allowed("another scheme than the listener's", request(scheme="https"))
allowed("a length of nothing", request(("content-length", "0")))
allowed("many fields", request(*[(f"x{n}", "y") for n in range(FIELD_LIMIT - 10)]), x39="y")
