"""Requests that are malformed, ambiguous or legal by a hair, each with the verdict weir must reach.

Refused: the answer has this status and reason, the connection closes, and not one byte reached the
upstream. Forwarded: exactly this reached the upstream. Either: RFC 9110 and 9112 leave the choice;
both ends are checked in full. Dropped: the client stopped half-way; nothing reached the upstream.
"""

from verdicts import Case, Dropped, Either, Forwarded, Refused

HEAD_LIMIT, FIELD_LIMIT, URI_LIMIT, BODY_LIMIT = 8 << 10, 50, 2 << 10, 8 << 10

BAD = Refused()
UNKNOWN = Refused((400, 501), ("bad_request", "not_implemented"))
VERSION = Refused((400, 505), ("bad_request", "not_implemented"))
METHOD = Refused((405, 501), ("bad_request", "not_implemented"))
TOO_LARGE = Refused((431,), ("head_too_large",))
URI_TOO_LONG = Refused((414,), ("head_too_large",))
BODY_TOO_LARGE = Refused((413,), ("body_too_large",), closes=False)
#: A body that is announced beyond the limit, refused at once or when it does not come.
BODY_TOO_LARGE_OR_LATE = Refused((400, 408, 413), ("bad_request", "client_too_slow", "body_too_large"), closes=False)
CASES = []


def case(name, data, *verdicts):
    CASES.append(Case(name, data, verdicts))


def head(*lines, first="GET / HTTP/1.1", host="Host: a.test", body=b""):
    """A request whose lines are as given (text is latin-1)."""
    made = [first, *([host] if host else []), *lines]
    return b"".join(line.encode("latin-1") + b"\r\n" for line in made) + b"\r\n" + body


def post(*lines, body=b"", **options):
    return head(*lines, first="POST / HTTP/1.1", body=body, **options)


def posted(body=b"", **options):
    return Forwarded("POST", "/", body, **options)


HELLO = b"5\r\nhello\r\n0\r\n\r\n"
CHUNKED = "Transfer-Encoding: chunked"

# --- both framings, and framings that two readers may see differently

case("CL.TE", post("Content-Length: 6", CHUNKED, body=b"0\r\n\r\nG"), BAD)
case("TE.CL", post(CHUNKED, "Content-Length: 4", body=b"5c\r\nGPOST / HTTP/1.1\r\n\r\n0\r\n\r\n"), BAD)
case("CL and TE that agree", post("Content-Length: 15", CHUNKED, body=HELLO), BAD)
case("CL 0 and TE", post("Content-Length: 0", CHUNKED, body=HELLO), BAD)
case("CL and TE identity", post("Content-Length: 5", "Transfer-Encoding: identity", body=b"hello"), UNKNOWN)
case("CL and an unknown TE", post("Content-Length: 5", "Transfer-Encoding: cow", body=b"hello"), UNKNOWN)
case("CL and an empty TE", post("Content-Length: 5", "Transfer-Encoding:", body=b"hello"), UNKNOWN)
case("CL and TE named by Connection",
     post("Connection: Transfer-Encoding", "Content-Length: 5", CHUNKED, body=HELLO), BAD)
case("CL and TE in GET", head("Content-Length: 5", CHUNKED, body=HELLO), BAD)

for name, line, verdict in [
    ("xchunked", "Transfer-Encoding: xchunked", UNKNOWN),
    ("chunkedx", "Transfer-Encoding: chunkedx", UNKNOWN),
    ("quoted", 'Transfer-Encoding: "chunked"', UNKNOWN),
    ("single quotes", "Transfer-Encoding: 'chunked'", UNKNOWN),
    ("vertical tab before", "Transfer-Encoding: \x0bchunked", UNKNOWN),
    ("vertical tab after", "Transfer-Encoding: chunked\x0b", UNKNOWN),
    ("form feed before", "Transfer-Encoding: \x0cchunked", UNKNOWN),
    ("NUL after", "Transfer-Encoding: chunked\0", BAD),
    ("NUL before", "Transfer-Encoding: \0chunked", BAD),
    ("DEL after", "Transfer-Encoding: chunked\x7f", BAD),
    ("0xA0 before", "Transfer-Encoding: \xa0chunked", UNKNOWN),
    ("0xFF after", "Transfer-Encoding: chunked\xff", UNKNOWN),
    ("space before colon", "Transfer-Encoding : chunked", BAD),
    ("tab before colon", "Transfer-Encoding\t: chunked", BAD),
    ("space before name", " Transfer-Encoding: chunked", BAD),
    ("tab before name", "\tTransfer-Encoding: chunked", BAD),
    ("NUL in name", "Transfer\0-Encoding: chunked", BAD),
    ("CR in name", "Transfer-Encoding\r: chunked", BAD),
    ("folded value", "Transfer-Encoding:\r\n chunked", BAD),
    ("folded with tab", "Transfer-Encoding:\r\n\tchunked", BAD),
    ("folded after", "Transfer-Encoding: chunked\r\n foo", BAD),
    ("LF before value", "Transfer-Encoding:\n chunked", BAD),
    ("CR before value", "Transfer-Encoding:\rchunked", BAD),
    ("hidden behind CR", "X: y\rTransfer-Encoding: chunked", BAD),
    ("hidden behind LF", "X: y\nTransfer-Encoding: chunked", BAD),
    ("identity", "Transfer-Encoding: identity", UNKNOWN),
    ("gzip", "Transfer-Encoding: gzip", UNKNOWN),
    ("gzip, chunked", "Transfer-Encoding: gzip, chunked", UNKNOWN),
    ("chunked, gzip", "Transfer-Encoding: chunked, gzip", UNKNOWN),
    ("chunked, identity", "Transfer-Encoding: chunked, identity", UNKNOWN),
    ("identity, chunked", "Transfer-Encoding: identity, chunked", UNKNOWN),
    ("chunked twice in a list", "Transfer-Encoding: chunked, chunked", UNKNOWN),
    ("chunked with a parameter", "Transfer-Encoding: chunked;q=1", UNKNOWN),
    ("two words", "Transfer-Encoding: chunked chunked", UNKNOWN),
    ("empty", "Transfer-Encoding:", UNKNOWN),
    ("only a comma", "Transfer-Encoding: ,", UNKNOWN),
    ("two fields", CHUNKED + "\r\n" + CHUNKED, UNKNOWN),
    ("two fields, last unknown", CHUNKED + "\r\nTransfer-Encoding: cow", UNKNOWN),
    ("two fields, first unknown", "Transfer-Encoding: cow\r\n" + CHUNKED, UNKNOWN),
    ("semicolon for colon", "Transfer-Encoding; chunked", BAD),
    ("no colon", "Transfer-Encoding chunked", BAD),
    ("HTTP/1.0 style name", "Transfer_Encoding: chunked\r\nContent-Length: 15",
     Either(BAD, posted(HELLO))),
    ("leading comma", "Transfer-Encoding: , chunked", Either(UNKNOWN, posted(b"hello"))),
    ("trailing comma", "Transfer-Encoding: chunked,", Either(UNKNOWN, posted(b"hello"))),
    ("upper case", "TRANSFER-ENCODING: CHUNKED", posted(b"hello")),
    ("mixed case", "tRANSFER-eNCODING: cHuNkEd", posted(b"hello")),
    ("tab as whitespace", "Transfer-Encoding:\tchunked\t", posted(b"hello")),
    ("no whitespace", "Transfer-Encoding:chunked", posted(b"hello")),
]:
    case(f"TE {name}", post(line, body=HELLO), verdict)
case("TE in HTTP/1.0", head(CHUNKED, first="POST / HTTP/1.0", body=HELLO), UNKNOWN)
case("TE and CL in HTTP/1.0",
     head(CHUNKED, "Content-Length: 15", first="POST / HTTP/1.0", body=HELLO), UNKNOWN)

# --- Content-Length

for name, value, verdict in [
    ("plus", "+5", BAD), ("minus", "-5", BAD), ("minus one", "-1", BAD), ("minus zero", "-0", BAD),
    ("two words", "5 5", BAD), ("list of equals", "5, 5", BAD), ("list", "5, 6", BAD),
    ("list without space", "5,5", BAD), ("empty", "", BAD), ("only spaces", "   ", BAD),
    ("hex", "0x5", BAD), ("octal-looking letters", "0o5", BAD), ("fraction", "5.0", BAD), ("exponent", "5e0", BAD),
    ("underscore", "1_0", BAD), ("trailing letter", "5a", BAD), ("quoted", '"5"', BAD),
    ("semicolon", "5;", BAD), ("full-width digit", "\xef\xbc\x95", BAD), ("vertical tab", "\x0b5", BAD),
    ("NUL after", "5\0", BAD), ("superscript", "\xb2", BAD), ("trailing comma", "5,", BAD), ("leading comma", ",5", BAD),
    ("2^63", "9223372036854775808", Refused((400, 413), ("bad_request", "body_too_large"))),
    ("2^64 + 5", "18446744073709551621", Refused((400, 413), ("bad_request", "body_too_large"))),
    ("100 digits", "9" * 100, Refused((400, 413), ("bad_request", "body_too_large"))),
    ("folded", "\r\n 5", BAD), ("bare CR", "5\r", BAD),
    ("leading zeros", "0005", Either(BAD, posted(b"hello"))),
    ("tab as whitespace", "\t5\t", posted(b"hello")),
]:
    case(f"CL {name}", post(f"Content-Length: {value}", body=b"hello"), verdict)
case("CL without whitespace", post("Content-Length:5", body=b"hello"), posted(b"hello"))
case("CL upper case", post("CONTENT-LENGTH: 5", body=b"hello"), posted(b"hello"))
case("CL zero", post("Content-Length: 0"), posted(b""))
case("CL twice, equal", post("Content-Length: 5", "Content-Length: 5", body=b"hello"), BAD)
case("CL twice, different", post("Content-Length: 5", "Content-Length: 6", body=b"hello!"), BAD)
case("CL twice, one empty", post("Content-Length: 5", "Content-Length:", body=b"hello"), BAD)
case("CL space before colon", post("Content-Length : 5", body=b"hello"), BAD)
case("CL space before name", post(" Content-Length: 5", body=b"hello"), BAD)
case("CL NUL in name", post("Content\0Length: 5", body=b"hello"), BAD)
case("CL behind CR", post("X: y\rContent-Length: 5", body=b"hello"), BAD)
case("CL above the limit", post(f"Content-Length: {BODY_LIMIT + 1}"), BODY_TOO_LARGE)
case("CL above the limit, with its body", post(f"Content-Length: {BODY_LIMIT + 1}", body=b"x" * (BODY_LIMIT + 1)), BODY_TOO_LARGE)
case("CL at the limit", post(f"Content-Length: {BODY_LIMIT}", body=b"x" * BODY_LIMIT), posted(b"x" * BODY_LIMIT))
case("CL in GET", head("Content-Length: 5", body=b"hello"), Forwarded(body=b"hello"))
case("CL in DELETE", head("Content-Length: 5", first="DELETE / HTTP/1.1", body=b"hello"),
     Forwarded("DELETE", "/", b"hello"))
case("POST without framing", post(), posted(b""))

# --- chunks

for name, body, verdict in [
    ("one", HELLO, posted(b"hello")),
    ("none", b"0\r\n\r\n", posted(b"")),
    ("several", b"1\r\nh\r\n4\r\nello\r\n0\r\n\r\n", posted(b"hello")),
    ("upper-case hex", b"A\r\n0123456789\r\n0\r\n\r\n", posted(b"0123456789")),
    ("lower-case hex", b"a\r\n0123456789\r\n0\r\n\r\n", posted(b"0123456789")),
    ("leading zeros", b"005\r\nhello\r\n000\r\n\r\n", posted(b"hello")),
    ("17 digits, zeros first", b"00000000000000005\r\nhello\r\n0\r\n\r\n", Either(BAD, posted(b"hello"))),
    ("100 zeros", b"0" * 100 + b"5\r\nhello\r\n0\r\n\r\n", Either(BAD, posted(b"hello"))),
    ("extension", b"5;name=value\r\nhello\r\n0;x\r\n\r\n", posted(b"hello")),
    ("extension without value", b"5;name\r\nhello\r\n0\r\n\r\n", posted(b"hello")),
    ("quoted extension", b'5;name="a b"\r\nhello\r\n0\r\n\r\n', posted(b"hello")),
    ("space before an extension", b"5 ;a=b\r\nhello\r\n0\r\n\r\n", Either(BAD, posted(b"hello"))),
    ("empty extension", b"5;\r\nhello\r\n0\r\n\r\n", Either(BAD, posted(b"hello"))),
    ("space after the size", b"5 \r\nhello\r\n0\r\n\r\n", Either(BAD, posted(b"hello"))),
    ("tab after the size", b"5\t\r\nhello\r\n0\r\n\r\n", Either(BAD, posted(b"hello"))),
    ("LF in an extension", b"5;a\nb\r\nhello\r\n0\r\n\r\n", BAD),
    ("CR in an extension", b"5;a\rb\r\nhello\r\n0\r\n\r\n", BAD),
    ("NUL in an extension", b"5;a=\0\r\nhello\r\n0\r\n\r\n", BAD),
    ("extension ended by LF", b"5;a=b\nhello\r\n0\r\n\r\n", BAD),
    ("endless extension", b"5;" + b"a" * 20000 + b"\r\nhello\r\n0\r\n\r\n",
     Refused((400, 413, 431), ("bad_request", "head_too_large", "body_too_large"))),
    ("CR LF in a quoted extension", b'5;a="\r\nhello\r\n0\r\n\r\n', Either(BAD, posted(b"hello"))),
    ("0x", b"0x5\r\nhello\r\n0\r\n\r\n", BAD),
    ("plus", b"+5\r\nhello\r\n0\r\n\r\n", BAD),
    ("minus", b"-5\r\nhello\r\n0\r\n\r\n", BAD),
    ("minus zero", b"-0\r\n\r\n", BAD),
    ("space before", b" 5\r\nhello\r\n0\r\n\r\n", BAD),
    ("tab before", b"\t5\r\nhello\r\n0\r\n\r\n", BAD),
    ("space within", b"1 0\r\n0123456789abcdef\r\n0\r\n\r\n", BAD),
    ("underscore", b"1_0\r\n0123456789abcdef\r\n0\r\n\r\n", BAD),
    ("no digits", b"\r\nhello\r\n0\r\n\r\n", BAD),
    ("only an extension", b";a=b\r\nhello\r\n0\r\n\r\n", BAD),
    ("not hex", b"g\r\nhello\r\n0\r\n\r\n", BAD),
    ("hex then not", b"5g\r\nhello\r\n0\r\n\r\n", BAD),
    ("comma", b"5,5\r\nhello\r\n0\r\n\r\n", BAD),
    ("NUL", b"5\0\r\nhello\r\n0\r\n\r\n", BAD),
    ("vertical tab", b"5\x0b\r\nhello\r\n0\r\n\r\n", BAD),
    ("high byte", b"\xb2\r\nhello\r\n0\r\n\r\n", BAD),
    ("2^63", b"8000000000000000\r\nhello\r\n0\r\n\r\n", Refused((400, 413), ("bad_request", "body_too_large"))),
    ("2^64 - 1", b"ffffffffffffffff\r\nhello\r\n0\r\n\r\n", Refused((400, 413), ("bad_request", "body_too_large"))),
    ("2^64 + 5", b"10000000000000005\r\nhello\r\n0\r\n\r\n", Refused((400, 413), ("bad_request", "body_too_large"))),
    ("2^32 + 5", b"100000005\r\nhello\r\n0\r\n\r\n", BODY_TOO_LARGE_OR_LATE),
    ("size ended by LF", b"5\nhello\r\n0\r\n\r\n", BAD),
    ("size ended by CR", b"5\rhello\r\n0\r\n\r\n", BAD),
    ("size ended by CR CR LF", b"5\r\r\nhello\r\n0\r\n\r\n", BAD),
    ("data too long", b"5\r\nhelloo\r\n0\r\n\r\n", BAD),
    ("data too short", b"6\r\nhello\r\n0\r\n\r\n", BAD),
    ("data ended by LF", b"5\r\nhello\n0\r\n\r\n", BAD),
    ("data ended by CR", b"5\r\nhello\r0\r\n\r\n", BAD),
    ("data ended by nothing", b"5\r\nhello0\r\n\r\n", BAD),
    ("data ended by two other bytes", b"5\r\nhelloXX0\r\n\r\n", BAD),
    ("last chunk ended by LF", b"5\r\nhello\r\n0\n\r\n", BAD),
    ("end with LF", b"5\r\nhello\r\n0\r\n\n", BAD),
    ("all LF", b"5\nhello\n0\n\n", BAD),
    ("above the limit", b"2001\r\n" + b"x" * 0x2001 + b"\r\n0\r\n\r\n", BODY_TOO_LARGE),
    ("above the limit together", b"1000\r\n" + b"x" * 0x1000 + b"\r\n1001\r\n" + b"x" * 0x1001 + b"\r\n0\r\n\r\n", BODY_TOO_LARGE),
    ("trailer", b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n", posted(b"hello")),
    ("trailer without colon", b"5\r\nhello\r\n0\r\nX-Sum\r\n\r\n", BAD),
    ("trailer with space before colon", b"5\r\nhello\r\n0\r\nX-Sum : 1\r\n\r\n", BAD),
    ("trailer folded", b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n 2\r\n\r\n", BAD),
    ("trailer starts with space", b"5\r\nhello\r\n0\r\n X-Sum: 1\r\n\r\n", BAD),
    ("trailer ended by LF", b"5\r\nhello\r\n0\r\nX-Sum: 1\n\r\n", BAD),
    ("trailer with NUL", b"5\r\nhello\r\n0\r\nX-Sum: \0\r\n\r\n", BAD),
    ("trailer with CR", b"5\r\nhello\r\n0\r\nX-Sum: 1\r2\r\n\r\n", BAD),
    ("trailer without name", b"5\r\nhello\r\n0\r\n: 1\r\n\r\n", BAD),
    ("trailers without end", b"5\r\nhello\r\n0\r\n" + b"X: y\r\n" * 20000,
     Refused((400, 413, 431), ("bad_request", "head_too_large", "body_too_large"))),
    ("trailer Content-Length", b"5\r\nhello\r\n0\r\nContent-Length: 9\r\n\r\n",
     Either(BAD, posted(b"hello", trailers=()))),
    ("trailer Transfer-Encoding", b"5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n",
     Either(BAD, posted(b"hello", trailers=()))),
    ("trailer Host", b"5\r\nhello\r\n0\r\nHost: b.test\r\n\r\n", Either(BAD, posted(b"hello", trailers=()))),
    ("trailer Authorization", b"5\r\nhello\r\n0\r\nAuthorization: x\r\n\r\n",
     Either(BAD, posted(b"hello", trailers=()))),
    ("trailer X-Forwarded-For", b"5\r\nhello\r\n0\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n",
     Either(BAD, posted(b"hello", trailers=()))),
]:
    case(f"chunk: {name}", post(CHUNKED, body=body), verdict)

# --- Host

for name, line, verdict in [
    ("missing", "X: y", BAD),
    ("twice, equal", "Host: a.test\r\nHost: a.test", BAD),
    ("twice, different", "Host: a.test\r\nHost: b.test", BAD),
    ("twice, one empty", "Host: a.test\r\nHost:", BAD),
    ("two names", "Host: a.test, b.test", BAD),
    ("two words", "Host: a.test b.test", BAD),
    ("userinfo", "Host: user@a.test", BAD),
    ("userinfo with password", "Host: u:p@a.test", BAD),
    ("path", "Host: a.test/x", BAD),
    ("query", "Host: a.test?x", BAD),
    ("fragment", "Host: a.test#x", BAD),
    ("scheme", "Host: http://a.test", BAD),
    ("backslash", "Host: a.test\\b", BAD),
    ("port of letters", "Host: a.test:8x", BAD),
    ("port too large", "Host: a.test:65536", BAD),
    ("port of many digits", "Host: a.test:99999999999999999999", BAD),
    ("negative port", "Host: a.test:-80", BAD),
    ("two ports", "Host: a.test:80:80", BAD),
    ("high byte", "Host: a\xe4.test", BAD),
    ("control byte", "Host: a\x01.test", BAD),
    ("tab within", "Host: a\t.test", BAD),
    ("NUL", "Host: a.test\0", BAD),
    ("unclosed bracket", "Host: [::1", BAD),
    ("no address in brackets", "Host: [zz]", BAD),
    ("after the bracket", "Host: [::1]x", BAD),
    ("bare IPv6", "Host: ::1", BAD),
    ("angle brackets", "Host: <a.test>", BAD),
    ("quoted", 'Host: "a.test"', BAD),
    ("bad percent escape", "Host: a%zz.test", BAD),
    ("space before colon", "Host : a.test", BAD),
    ("folded", "Host:\r\n a.test", BAD),
    ("empty", "Host:", Either(BAD, Forwarded())),
    ("only a port", "Host: :80", Either(BAD, Forwarded())),
    ("empty port", "Host: a.test:", Either(BAD, Forwarded())),
    ("with port", "Host: a.test:8080", Forwarded(has={"host": "a.test:8080"})),
    ("upper case", "HOST: A.Test", Forwarded()),
    ("underscore", "Host: a_b.test", Forwarded(has={"host": "a_b.test"})),
    ("IPv4", "Host: 127.0.0.1:80", Forwarded(has={"host": "127.0.0.1:80"})),
    ("IPv6", "Host: [::1]:8080", Forwarded(has={"host": "[::1]:8080"})),
]:
    case(f"Host {name}", head(line, host=None), verdict)
case("Host missing in HTTP/1.0", head(host=None, first="GET / HTTP/1.0"), Either(BAD, Forwarded()))

# --- targets

def target(name, text, verdict, method="GET"):
    case(f"target {name}", head(first=f"{method} {text} HTTP/1.1"), verdict)


for text in ["/..", "/../", "/a/../b", "/a/..", "/./a", "/a/.", "/a/./b", "/%2e%2e/a", "/a/%2E%2E/b", "/.%2e/a",
             "/%2e/a", "/..%2fa", "/a\\b", "/a\\..\\b", "/%", "/%2", "/%zz", "/%2g/a", "/a#b", "/#"]:
    target(text, text, BAD)
for text in ["/", "//", "//a", "/a//b", "/...", "/.a", "/a.", "/a/.b", "/%20", "/a%2Fb", "/?", "/?a=b&c=../d", "/a?b?c",
             "/a;b=c", "/a:b@c", "/~a", "/*", "/a+b", "/(a)!$&'", "/?q=%2e%2e/"]:
    target(text, text, Forwarded(target=text))
for text in ["/%00", "/?%zz", '/"', "/<a>", "/{a}", "/a|b", "/^", "/`", "/[a]", "/a%5cb", "/%0d%0aX:%20y"]:
    target(text, text, Either(BAD, Forwarded(target=text)))
for name, text in [("with high byte", "/\xe4"), ("with high byte in the query", "/?\xe4"), ("with control", "/\x01"),
                   ("with NUL", "/\0"), ("with DEL", "/\x7f"), ("with tab", "/\ta"), ("with CR", "/\ra"),
                   ("with space", "/a b"), ("missing", ""), ("relative", "a/b"), ("only a query", "?a"),
                   ("authority in GET", "a.test:80"), ("host without scheme", "a.test/x"), ("asterisk in GET", "*"),
                   ("absolute without host", "http:///x"), ("absolute with userinfo", "http://u@a.test/"),
                   ("absolute with bad port", "http://a.test:x/"), ("absolute with fragment", "http://a.test/#a"),
                   ("absolute with dots", "http://a.test/../x"), ("scheme only", "http:"), ("colon first", ":80"),
                   ("absolute with space", "http://a.test/ x")]:
    target(name, text, BAD)
target("absolute", "http://a.test/x?y", Forwarded(target="/x?y", has={"host": "a.test"}))
target("absolute with another host", "http://b.test/x", Forwarded(target="/x", has={"host": "b.test"}))
target("absolute with port", "http://b.test:8080/x", Forwarded(target="/x", has={"host": "b.test:8080"}))
target("absolute, scheme in upper case", "HTTP://b.test/x", Forwarded(target="/x", has={"host": "b.test"}))
target("absolute without path", "http://b.test", Forwarded(target="/", has={"host": "b.test"}))
target("absolute without path, with query", "http://b.test?x", Forwarded(target="/?x", has={"host": "b.test"}))
target("absolute https", "https://b.test/x", Either(BAD, Forwarded(target="/x", has={"host": "b.test"})))
target("absolute ftp", "ftp://b.test/x", Either(BAD, Forwarded(target="/x", has={"host": "b.test"})))
target("asterisk", "*", Either(Refused((400, 404, 501), ("bad_request", "route_missing", "not_implemented"), closes=False),
                               Forwarded("OPTIONS", "*")), method="OPTIONS")
# A client may send bytes for the tunnel before it is told that there is none: they are no request.
target("authority", "a.test:443", METHOD, method="CONNECT")
target("origin form in CONNECT", "/", Refused((400, 405, 501), ("bad_request", "not_implemented")), method="CONNECT")
target("too long", "/" + "a" * URI_LIMIT, URI_TOO_LONG)
target("at the limit", "/" + "a" * (URI_LIMIT - 1), Forwarded(target="/" + "a" * (URI_LIMIT - 1)))
target("much too long", "/" + "a" * 100_000, Refused((414, 431), ("head_too_large",)))

# --- methods, versions, the request line

for name, line, verdict in [
    ("method in lower case", "get / HTTP/1.1", Forwarded("get")),
    ("unknown method", "BREW / HTTP/1.1", Forwarded("BREW")),
    ("method of all token characters", "!#$%&'*+-.^_`|~9aZ / HTTP/1.1", Forwarded("!#$%&'*+-.^_`|~9aZ")),
    ("PATCH", "PATCH / HTTP/1.1", Forwarded("PATCH")),
    ("OPTIONS with a path", "OPTIONS / HTTP/1.1", Forwarded("OPTIONS")),
    ("TRACE", "TRACE / HTTP/1.1", Refused(METHOD.statuses, METHOD.reasons, closes=False)),
    ("no method", " / HTTP/1.1", BAD),
    ("method with a colon", "GE:T / HTTP/1.1", BAD),
    ("method with a parenthesis", "GET( / HTTP/1.1", BAD),
    ("method with NUL", "GE\0T / HTTP/1.1", BAD),
    ("method with a high byte", "G\xc4T / HTTP/1.1", BAD),
    ("method with a slash", "G/T / HTTP/1.1", BAD),
    ("space before the method", " GET / HTTP/1.1", BAD),
    ("tab before the method", "\tGET / HTTP/1.1", BAD),
    ("two spaces after the method", "GET  / HTTP/1.1", BAD),
    ("tab after the method", "GET\t/ HTTP/1.1", BAD),
    ("two spaces before the version", "GET /  HTTP/1.1", BAD),
    ("tab before the version", "GET /\tHTTP/1.1", BAD),
    ("vertical tab before the version", "GET /\x0bHTTP/1.1", BAD),
    ("space after the version", "GET / HTTP/1.1 ", BAD),
    ("text after the version", "GET / HTTP/1.1 HTTP/1.1", BAD),
    ("HTTP/0.9 request", "GET /", BAD),
    ("HTTP/0.9 with a space", "GET / ", BAD),
    ("method only", "GET", BAD),
    ("HTTP/0.9", "GET / HTTP/0.9", VERSION),
    ("HTTP/2.0", "GET / HTTP/2.0", VERSION),
    ("HTTP/2", "GET / HTTP/2", VERSION),
    ("HTTP/3.0", "GET / HTTP/3.0", VERSION),
    ("HTTP/1.2", "GET / HTTP/1.2", Either(VERSION, Forwarded())),
    ("HTTP/1.10", "GET / HTTP/1.10", VERSION),
    ("HTTP/01.1", "GET / HTTP/01.1", VERSION),
    ("HTTP/1", "GET / HTTP/1", VERSION),
    ("HTTP/1.", "GET / HTTP/1.", VERSION),
    ("HTTP/.1", "GET / HTTP/.1", VERSION),
    ("HTTP/11", "GET / HTTP/11", VERSION),
    ("HTTP/1,1", "GET / HTTP/1,1", VERSION),
    ("HTTP/1.x", "GET / HTTP/1.x", VERSION),
    ("HTTP/-1.1", "GET / HTTP/-1.1", VERSION),
    ("HTTP 1.1", "GET / HTTP 1.1", BAD),
    ("http/1.1", "GET / http/1.1", VERSION),
    ("HTTPS/1.1", "GET / HTTPS/1.1", VERSION),
    ("ICY", "GET / ICY", VERSION),
    ("HTTP/1.0", "GET / HTTP/1.0", Forwarded()),
]:
    case(f"line: {name}", head(first=line), verdict)

# --- line endings

case("LF for CRLF everywhere", b"GET / HTTP/1.1\nHost: a.test\n\n", BAD)
case("LF after the request line", b"GET / HTTP/1.1\nHost: a.test\r\n\r\n", BAD)
case("LF after a field", b"GET / HTTP/1.1\r\nHost: a.test\nX: y\r\n\r\n", BAD)
case("LF for the empty line", b"GET / HTTP/1.1\r\nHost: a.test\r\n\n", BAD)
case("LF LF after a field", b"GET / HTTP/1.1\r\nHost: a.test\n\nGET /x HTTP/1.1\r\nHost: a.test\r\n\r\n", BAD)
case("CR for CRLF after the request line", b"GET / HTTP/1.1\rHost: a.test\r\n\r\n", BAD)
case("CR for CRLF after a field", b"GET / HTTP/1.1\r\nHost: a.test\rX: y\r\n\r\n", BAD)
case("CR CR LF after the request line", b"GET / HTTP/1.1\r\r\nHost: a.test\r\n\r\n", BAD)
case("CR CR LF after a field", b"GET / HTTP/1.1\r\nHost: a.test\r\r\n\r\n", BAD)
case("CR before the end", b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\r\n", BAD)
case("LF CR for CRLF", b"GET / HTTP/1.1\n\rHost: a.test\n\r\n\r", BAD)
case("CR in a value", head("X: a\rb"), BAD)
case("LF in a value", head("X: a\nb"), BAD)
case("CRLF before a request", b"\r\n" + head(), Either(BAD, Forwarded()))
case("LF before a request", b"\n" + head(), Either(BAD, Forwarded()))
case("CR before a request", b"\r" + head(), BAD)
case("space CRLF before a request", b" \r\n" + head(), BAD)

# --- fields

for name, line, verdict in [
    ("space in a name", "X Y: 1", BAD), ("tab in a name", "X\tY: 1", BAD),
    ("space before a colon", "X : 1", BAD), ("tab before a colon", "X\t: 1", BAD),
    ("no name", ": 1", BAD), ("no colon", "X", BAD), ("NUL in a name", "X\0: 1", BAD),
    ("parenthesis in a name", "X(: 1", BAD), ("quote in a name", 'X": 1', BAD), ("slash in a name", "X/Y: 1", BAD),
    ("bracket in a name", "X[0]: 1", BAD), ("comma in a name", "X,Y: 1", BAD), ("at sign in a name", "X@: 1", BAD),
    ("high byte in a name", "X\xe4: 1", BAD), ("control in a name", "X\x01: 1", BAD), ("DEL in a name", "X\x7f: 1", BAD),
    ("NUL in a value", "X: a\0b", BAD), ("0x01 in a value", "X: a\x01b", BAD), ("vertical tab in a value", "X: a\x0bb", BAD),
    ("form feed in a value", "X: a\x0cb", BAD), ("escape in a value", "X: a\x1bb", BAD), ("DEL in a value", "X: a\x7fb", BAD),
    ("obs-fold with space", "X: a\r\n b", BAD), ("obs-fold with tab", "X: a\r\n\tb", BAD), ("obs-fold of nothing", "X: a\r\n ", BAD),
    ("name token characters", "!#$%&'*+-.^_`|~9aZ: 1", Forwarded(has={"!#$%&'*+-.^_`|~9az": "1"})),
    ("underscore in a name", "X_Y: 1", Forwarded(has={"x_y": "1"})),
    ("high bytes in a value", "X: \xe4\xff", Forwarded(has={"x": "\xe4\xff"})),
    ("tab in a value", "X: a\tb", Forwarded(has={"x": "a\tb"})),
    ("empty value", "X:", Forwarded(has={"x": ""})),
    ("whitespace around a value", "X: \t a \t ", Forwarded(has={"x": "a"})),
    ("colons in a value", "X: a:b:c", Forwarded(has={"x": "a:b:c"})),
    ("the same name twice", "Cookie: a\r\nCookie: b", Forwarded()),
]:
    case(f"field: {name}", head(line), verdict)
case("field: space before the first", b"GET / HTTP/1.1\r\n Host: a.test\r\n\r\n", BAD)
case("field: blank line of a space", b"GET / HTTP/1.1\r\nHost: a.test\r\n \r\n\r\n", BAD)
case("fields at the limit", head(*[f"X-{n}: y" for n in range(FIELD_LIMIT - 1)]), Forwarded(has={"x-48": "y"}))
case("one field too many", head(*[f"X-{n}: y" for n in range(FIELD_LIMIT)]), TOO_LARGE)
case("1000 fields too many", head(*[f"X-{n}: y" for n in range(FIELD_LIMIT + 1000)]), TOO_LARGE)
case("a value too long", head("X: " + "a" * HEAD_LIMIT), TOO_LARGE)
case("a name too long", head("X" * HEAD_LIMIT + ": a"), Refused((400, 431), ("bad_request", "head_too_large")))
case("a long value", head("X: " + "a" * (HEAD_LIMIT - 200)), Forwarded(has={"x": "a" * (HEAD_LIMIT - 200)}))
case("a head without end", b"GET / HTTP/1.1\r\nHost: a.test\r\nX: " + b"a" * (HEAD_LIMIT + 100), TOO_LARGE)
case("fields without end", b"GET / HTTP/1.1\r\nHost: a.test\r\n" + b"X: y\r\n" * 3000, TOO_LARGE)
case("a method without end", b"A" * (HEAD_LIMIT + 100), Refused((400, 414, 431, 501), ("bad_request", "head_too_large", "not_implemented")))

# --- Connection, Upgrade, Expect, TE

case("Connection names a field", head("Connection: x-secret", "X-Secret: 1"), Forwarded(lacks=("x-secret",)))
case("Connection names several", head("Connection: close , X-A,x-b", "X-A: 1", "X-B: 2", "X-C: 3"),
     Forwarded(lacks=("x-a", "x-b", "connection"), has={"x-c": "3"}))
case("two Connection fields", head("Connection: x-a", "Connection: x-b", "X-A: 1", "X-B: 2"), Forwarded(lacks=("x-a", "x-b")))
case("Connection after what it names", head("X-A: 1", "Connection: x-a"), Forwarded(lacks=("x-a",)))
case("Connection with empty elements", head("Connection: , x-a ,,", "X-A: 1"), Either(BAD, Forwarded(lacks=("x-a",))))
case("Connection names Host", head("Connection: host"), Either(BAD, Forwarded(has={"host": "a.test"})))
case("Connection names Content-Length", post("Connection: content-length", "Content-Length: 5", body=b"hello"), Either(BAD, posted(b"hello")))
case("Connection names X-Forwarded-For", head("Connection: x-forwarded-for, x-forwarded-proto, x-request-id, via"), Either(BAD, Forwarded()))
case("Connection names Authorization", head("Connection: authorization", "Authorization: x"), Either(BAD, Forwarded()))
case("Connection with a control byte", head("Connection: x\x01"), BAD)
case("Connection that is no token", head("Connection: a b"), Either(BAD, Forwarded()))
case("Keep-Alive and Proxy-Connection", head("Keep-Alive: timeout=5", "Proxy-Connection: keep-alive"), Forwarded(lacks=("keep-alive", "proxy-connection")))
case("TE trailers", head("TE: trailers", "Connection: TE"), Forwarded())
case("TE of codings", head("TE: gzip, deflate;q=0.5", "Connection: TE"), Forwarded(lacks=("te",)))
case("Proxy-Authorization", head("Proxy-Authorization: Basic eA=="), Forwarded(lacks=("proxy-authorization",)))
case("Upgrade without Connection", head("Upgrade: websocket"), Forwarded(lacks=("upgrade",)))
case("Connection: upgrade without Upgrade", head("Connection: upgrade"), Either(BAD, Forwarded(lacks=("connection",))))
case("h2c upgrade", head("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"),
     Either(UNKNOWN, Forwarded(lacks=("upgrade", "http2-settings"))))
case("h2c among others", head("Connection: Upgrade, HTTP2-Settings", "Upgrade: foo, h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"),
     Either(UNKNOWN, Forwarded(lacks=("http2-settings",))))
case("Upgrade in HTTP/1.0", head("Connection: upgrade", "Upgrade: websocket", first="GET / HTTP/1.0"), Either(BAD, Forwarded(lacks=("upgrade",))))
case("Upgrade with a body", post("Connection: upgrade", "Upgrade: websocket", "Content-Length: 5", body=b"hello"), Either(BAD, posted(b"hello")))
case("unknown expectation", post("Expect: tea", "Content-Length: 5", body=b"hello"), Refused((417,), ("not_implemented",)))
case("Expect 100-continue, body at once", post("Expect: 100-continue", "Content-Length: 5", body=b"hello"), posted(b"hello"))
case("Expect in upper case", post("EXPECT: 100-CONTINUE", "Content-Length: 5", body=b"hello"), posted(b"hello"))
case("Expect without a body", head("Expect: 100-continue"), Either(BAD, Forwarded()))

# --- other protocols, and what follows a request

case("almost an HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r", VERSION)
case("TLS ClientHello", bytes.fromhex("16030100a5010000a10303") + bytes(range(32, 64)) + bytes(130),
     Refused((400, 408), ("bad_request", "client_too_slow")))
case("SSH banner", b"SSH-2.0-OpenSSH_9.2p1\r\n", Refused((400, 408), ("bad_request", "client_too_slow")))
case("PROXY protocol v1", b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" + head(), Refused((400, 505), ("bad_request", "not_implemented")))
case("PROXY protocol v2", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes(12) + head(), BAD)
case("a response", b"HTTP/1.1 200 OK\r\nHost: a.test\r\n\r\n", Refused((400, 505), ("bad_request", "not_implemented")))
case("zeros", bytes(64), Refused((400, 408), ("bad_request", "client_too_slow")))
case("garbage after a request", head() + b"\0\1\2garbage\r\n\r\n", Forwarded(), BAD)
case("a bad request after a good one", head() + head("X : 1"), Forwarded(), BAD)
case("three good requests", head(first="GET /1 HTTP/1.1") + head(first="GET /2 HTTP/1.1") + head(first="GET /3 HTTP/1.1"),
     Forwarded(target="/1"), Forwarded(target="/2"), Forwarded(target="/3"))
case("a request after a CL body", post("Content-Length: 5", body=b"hello") + head(first="GET /2 HTTP/1.1"), posted(b"hello"), Forwarded(target="/2"))
case("a request after a chunked body", post(CHUNKED, body=HELLO) + head(first="GET /2 HTTP/1.1"), posted(b"hello"), Forwarded(target="/2"))
case("a smuggled request after a chunked one", post(CHUNKED, "Content-Length: 3", body=HELLO) + head(first="GET /admin HTTP/1.1"), BAD)
case("a body longer than its CL", post("Content-Length: 4", body=b"helloGET / HTTP/1.1\r\n\r\n"), posted(b"hell"), BAD)
case("a request after Connection: close", head("Connection: close") + head(first="GET /2 HTTP/1.1"), Forwarded())
case("a request after HTTP/1.0", head(first="GET / HTTP/1.0") + head(first="GET /2 HTTP/1.1"), Forwarded())
case("half a request line", b"GET / HT", Dropped())
case("half a head", b"GET / HTTP/1.1\r\nHost: a.test\r\n", Dropped())
case("half a body", post("Content-Length: 5", body=b"hel"), Dropped())
case("half a chunk", post(CHUNKED, body=b"5\r\nhel"), Dropped())
case("no last chunk", post(CHUNKED, body=b"5\r\nhello\r\n"), Dropped())
case("no end of the trailers", post(CHUNKED, body=b"5\r\nhello\r\n0\r\n"), Dropped())
