#!/usr/bin/env python3
"""The well-behaved client beside a flood: polite.py PORT asks until its standard input ends.

Ten connections of HTTP/1.1 and ten of HTTP/2 are kept, with 95 requests a second of each kind; ten
more a second come on connections of their own. Each is due at its time whatever became of the one
before, and its latency counts from there. At the end all are printed as JSON: when each was due
(CLOCK_MONOTONIC), how long it took, and what was wrong with its answer.
"""

import json
import os
import socket
import sys
import threading
import time

import frames

#: Of each connection. None is so busy that one that is held up for a moment holds up the next.
KEPT, RATE, NEW_RATE = 10, 9.5, 10
BODY, PATIENCE = 1024, 5
HTTP1 = b"GET /1k HTTP/1.1\r\nHost: floods\r\nUser-Agent: polite\r\nAccept: */*\r\n%b\r\n"


class Wrong(Exception):
    """An answer that is not the one that was asked for."""


class Http1:
    """Asks on the connection it has, or on a new one each time."""

    def __init__(self, port, is_kept):
        self.port, self.is_kept, self.sock = port, is_kept, None

    def connect(self):
        self.sock = socket.create_connection(("127.0.0.1", self.port), PATIENCE)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self):
        if self.sock is None:
            self.connect()
        self.sock.sendall(HTTP1 % (b"" if self.is_kept else b"Connection: close\r\n"))
        answer = b""
        while (end := answer.find(b"\r\n\r\n")) < 0 or len(answer) < end + 4 + BODY:
            answer += self.receive()
        if not answer.startswith(b"HTTP/1.1 200 ") or len(answer) != end + 4 + BODY:
            raise Wrong(answer[:60])
        if not self.is_kept:
            self.close()

    def receive(self):
        data = self.sock.recv(65536)
        if not data:
            raise Wrong("closed")
        return data

    def close(self):
        if self.sock is not None:
            self.sock.close()
            self.sock = None


class Http2(Http1):
    """Asks on streams of one connection."""

    def connect(self):
        super().connect()
        self.buffer, self.stream = bytearray(), -1
        window = frames.frame(frames.WINDOW_UPDATE, 0, 0, frames.word(frames.LARGEST - 65535))
        self.sock.sendall(frames.PREFACE + frames.settings() + window)

    def ask(self):
        if self.sock is None:
            self.connect()
        self.stream += 2
        self.sock.sendall(frames.request(self.stream, frames.head("/1k")))
        status, length = None, 0
        while True:
            self.buffer += self.receive()
            for kind, flags, stream, payload in frames.take_frames(self.buffer):
                if kind in (frames.SETTINGS, frames.PING) and not flags & frames.ACK:
                    echo = payload if kind == frames.PING else b""
                    self.sock.sendall(frames.frame(kind, frames.ACK, 0, echo))
                elif kind in (frames.GOAWAY, frames.RST_STREAM):
                    raise Wrong((kind, payload))
                elif kind == frames.HEADERS:
                    status = frames.status_of(payload)
                elif kind == frames.DATA:
                    length += len(payload)
                if stream and kind in (frames.HEADERS, frames.DATA) and flags & frames.END_STREAM:
                    if (stream, status, length) != (self.stream, 200, BODY):
                        raise Wrong((stream, status, length))
                    return


def keep_asking(client, rate, due, stop, records):
    """Whoever wakes late by himself does not count that; whoever was kept waiting does."""
    is_late = False
    while True:
        if stop.wait(max(due - time.monotonic(), 0)):
            break
        began = due if is_late else time.monotonic()
        why = None
        try:
            client.ask()
        except (OSError, Wrong) as error:
            why = f"{type(client).__name__}: {error or type(error).__name__}"
            client.close()
        ended = time.monotonic()
        records.append((due, ended - began, why))
        due += 1 / rate
        is_late = due < ended
    client.close()


def main():
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except OSError:
        pass  # Without the right to it the attacker holds up the client a little.
    port = int(sys.argv[1])
    kept = [kind(port, True) for _ in range(KEPT) for kind in (Http1, Http2)]
    clients = [(client, RATE) for client in kept] + [(Http1(port, False), NEW_RATE)]
    stop, records, threads = threading.Event(), [], []
    for client, _ in clients:
        client.ask()
    begin = time.monotonic()
    for place, (client, rate) in enumerate(clients):
        due = begin + place / len(clients) / rate
        threads.append(
            threading.Thread(target=keep_asking, args=(client, rate, due, stop, records))
        )
        threads[-1].start()
    print("ready", flush=True)
    sys.stdin.read()
    stop.set()
    for thread in threads:
        thread.join()
    print(json.dumps(records), flush=True)


if __name__ == "__main__":
    main()
