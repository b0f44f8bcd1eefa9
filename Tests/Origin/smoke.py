#!/usr/bin/env python3
"""Asks weir-origin for everything it can do, over raw sockets: smoke.py PATH_TO_WEIR_ORIGIN"""
import json
import socket
import subprocess
import sys
import threading
import time

BINARY = sys.argv[1]


class Origin:
    def __init__(self, *options):
        self.process = subprocess.Popen(
            [BINARY, "--port", "0", "--name", "a", *options], stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline().rsplit(":", 1)[1])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        assert self.process.wait(5) == 0, "SIGTERM ends it cleanly"

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def raw(self, text):
        """Sends bytes and reads until the connection ends."""
        with self.connect() as connection:
            connection.sendall(text.encode("latin-1"))
            received = b""
            while piece := connection.recv(1 << 16):
                received += piece
            return received

    def ask(self, target, method="GET", body="", fields="", version="1.1"):
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        received = self.raw(
            f"{method} {target} HTTP/{version}\r\nHost: t\r\nConnection: close\r\n"
            f"{fields}{length}\r\n{body}")
        head, _, rest = received.partition(b"\r\n\r\n")
        return head.decode("latin-1"), rest

    def stats(self):
        return json.loads(self.ask("/__stats")[1])


def fnv(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"


def dechunk(data):
    body = b""
    while True:
        line, _, data = data.partition(b"\r\n")
        size = int(line, 16)
        if size == 0:
            return body, data
        body, data = body + data[:size], data[size + 2:]


def pattern(count):
    return (b"abcdefghijklmnopqrstuvwxyz" * (count // 26 + 1))[:count]


def paths(origin):
    head, body = origin.ask("/any?x=1", fields="X-One: 1\r\n")
    assert head.startswith("HTTP/1.1 200 OK\r\n") and f"x-origin: a:{origin.port}" in head, head
    assert b"GET /any?x=1\nHost: t\n" in body and b"X-One: 1\n" in body, body

    _, body = origin.ask("/echo?q", "POST", "hello \" you", 'X-Q: a"b\\c\r\n')
    echoed = json.loads(body)
    assert echoed["method"] == "POST" and echoed["target"] == "/echo?q", echoed
    assert ["X-Q", 'a"b\\c'] in echoed["headers"] and echoed["body_length"] == 11, echoed
    assert echoed["body_fnv1a"] == fnv(b'hello " you'), echoed

    for count in (0, 1, 25, 1024, 100_000, 3_000_000):
        head, body = origin.ask(f"/bytes/{count}")
        assert f"content-length: {count}\r\n" in head and body == pattern(count), count
        head, body = origin.ask(f"/bytes/{count}?chunked=1")
        assert "transfer-encoding: chunked" in head and dechunk(body) == (pattern(count), b"\r\n")
    head, body = origin.ask("/bytes/1000?chunked=1", version="1.0")
    assert "chunked" not in head and body == pattern(1000), head
    head, body = origin.ask("/bytes/1000", "HEAD")
    assert "content-length: 1000\r\n" in head and body == b"", head

    assert origin.ask("/status/404")[0].startswith("HTTP/1.1 404 Not Found\r\n")
    assert origin.ask("/status/204")[1] == b""
    assert origin.ask("/any?status=503")[0].startswith("HTTP/1.1 503 ")
    assert origin.ask("/any?fail_percent=100")[0].startswith("HTTP/1.1 500 ")
    assert origin.ask("/nothing/special")[0].startswith("HTTP/1.1 200 ")

    head, body = origin.ask("/trailers")
    text, trailers = dechunk(body)
    assert trailers.decode() == f"x-checksum: {fnv(text)}\r\n\r\n", trailers
    head, body = origin.ask("/hints")
    assert head.startswith("HTTP/1.1 103 Early Hints\r\nlink: ") and b"HTTP/1.1 200 OK" in body
    head, body = origin.ask("/continue?n=2")
    assert (head + body.decode()).count("100 Continue") == 2
    assert origin.ask("/close") == ("", b"")
    head, body = origin.ask("/truncate?bytes=100")
    assert "content-length: 100\r\n" in head and len(body) == 50
    assert b"not HTTP" in origin.raw("GET /garbage HTTP/1.1\r\nHost: t\r\n\r\n")
    try:
        origin.ask("/reset")
        raise AssertionError("no reset")
    except ConnectionResetError:
        pass

    data = "z" * 700_000
    assert origin.ask("/upload", "PUT", data)[1].decode() == f"700000 {fnv(data.encode())}\n"
    chunked = "5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nx-t: 1\r\n\r\n"
    reply = origin.raw(
        "POST /echo HTTP/1.1\r\nHost: t\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        + chunked)
    echoed = json.loads(reply.partition(b"\r\n\r\n")[2])
    assert echoed["body_fnv1a"] == fnv(b"hello world") and "x-t: 1" in echoed["trailers"], echoed
    assert origin.raw("GET / HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 400 ")


def connections(origin):
    ten = "".join(f"GET /delay/0?i={i} HTTP/1.1\r\nHost: t\r\n\r\n" for i in range(1000))
    received = origin.raw(ten + "GET /any?close=1 HTTP/1.1\r\nHost: t\r\n\r\n")
    assert received.count(b"HTTP/1.1 200 OK") == 1001, "pipelined"
    assert b"connection: close" in received[-300:]
    received = origin.raw("GET /any?drop=1 HTTP/1.1\r\nHost: t\r\n\r\n")
    assert received and b"connection: close" not in received
    received = origin.raw("GET /status/200 HTTP/1.0\r\n\r\n")
    assert b"connection: close" in received

    with origin.connect() as connection:
        connection.sendall(b"POST /upload HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\n"
                           b"Content-Length: 3\r\n\r\n")
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"abc")
        assert f"3 {fnv(b'abc')}".encode() in connection.recv(1000)
        connection.sendall(b"POST /early HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 OK")
        connection.sendall(b"abcGET /status/201 HTTP/1.1\r\nHost: t\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 201 ")


def timing(origin):
    def timed(target):
        begin = time.monotonic()
        result = origin.ask(target)
        return time.monotonic() - begin, result

    assert timed("/delay/50")[0] >= 0.05
    assert timed("/any?delay=30")[0] >= 0.03
    assert timed("/bytes/20000?rate=100000")[0] >= 0.19
    took, (_, body) = timed("/sse?n=4&every=50ms")
    assert took >= 0.15 and dechunk(body)[0].count(b"data: ") == 4


def behaviour(origin):
    assert b"done" in origin.ask("/__set?status=418&delay=5ms", "POST")[1]
    assert origin.ask("/any")[0].startswith("HTTP/1.1 418 ")
    assert origin.ask("/__set?status=200&nonsense=1", "POST")[0].startswith("HTTP/1.1 400 ")
    assert origin.ask("/any")[0].startswith("HTTP/1.1 418 "), "all or nothing"
    assert b"done" in origin.ask("/__set?reset=1", "POST")[1]
    assert origin.ask("/any")[0].startswith("HTTP/1.1 200 ")
    stats = origin.stats()
    assert stats["in_flight"] == 1 and stats["connections"] == 1, stats
    assert stats["requests"] > stats["answers"] > 50 and stats["malformed"] == 1, stats


def capacity():
    with Origin("--concurrency", "2", "--service-time", "20ms") as origin:
        begin = time.monotonic()
        threads = [threading.Thread(target=origin.ask, args=("/any",)) for _ in range(10)]
        for thread in threads:
            thread.start()
        time.sleep(0.03)
        stats = origin.stats()
        assert stats["serving"] == 2 and stats["queued"] > 0, stats
        for thread in threads:
            thread.join()
        took = time.monotonic() - begin
        assert took >= 0.1, f"five rounds of 20 ms took {took}"
        stats = origin.stats()
        assert stats["serving"] == 0 and stats["queued"] == 0, stats


with Origin("--workers", "2") as origin:
    for check in (paths, connections, timing, behaviour):
        check(origin)
        print(f"{check.__name__}: ok")
capacity()
print("capacity: ok")
wrong = subprocess.run([BINARY, "--port", "x"], capture_output=True, text=True, check=False)
assert wrong.returncode == 2 and "--port cannot be x" in wrong.stderr, wrong
print("usage: ok")
