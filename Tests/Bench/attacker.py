#!/usr/bin/env python3
"""The attacker of a flood: attacker.py NAME PORT SECONDS, with an attack of attacks.py.

It says "ready", begins with the next line of its standard input, and ends by itself after so many
seconds or so many connections, whichever comes first. What it did is printed as JSON.
"""

import errno
import heapq
import json
import os
import select
import socket
import ssl
import struct
import sys
import threading
import time
from collections import Counter

import attacks
import frames

#: Where attackers come from: limits by address must not find the well-behaved client among them.
SOURCE = "127.0.0.2"
READ, WRITE, GONE = select.EPOLLIN, select.EPOLLOUT, select.EPOLLERR | select.EPOLLHUP
#: Connections begun between two looks at what came, and bytes handed over at once.
BEGUN, PIECE = 50, 1 << 16


class Line:
    """One connection: what its script has it send, and what became of it."""

    def __init__(self, attack, port):
        self.is_http2 = attack.is_http2
        self.sock = socket.socket()
        self.sock.setblocking(False)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Closing leaves nothing behind: thousands of waiting ends would use up the ports.
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if attack.receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, attack.receive_buffer)
        self.sock.setsockopt(socket.SOL_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT
        self.sock.bind((SOURCE, 0))
        failed = self.sock.connect_ex(("127.0.0.1", port))
        if failed not in (0, errno.EINPROGRESS):
            raise OSError(failed, os.strerror(failed))
        self.script, self.out = attack.script(), memoryview(b"")
        self.reads, self.is_resting, self.is_done = attack.reads, False, False
        self.received, self.lead, self.goaway = bytearray(), b"", None

    @property
    def interest(self):
        return (READ if self.reads else 0) | (0 if self.is_resting or self.is_done else WRITE)

    def advance(self):
        """Sends until the peer takes no more; the pause that the script wants, if it does."""
        for _ in range(8):
            if not self.out:
                step = next(self.script, None)
                if step is None:
                    self.is_done = True
                    return None
                if isinstance(step, attacks.Take):
                    self.take(step.count)
                    continue
                if not isinstance(step, bytes):
                    self.is_resting = True
                    return step
                self.out = memoryview(step)
            try:
                sent = self.sock.send(self.out[:PIECE])
            except BlockingIOError:
                return None
            self.out = self.out[sent:]
            tally.bytes += sent
        return None

    def take(self, count=65536):
        """Reads so much; False at the end of the connection."""
        try:
            data = self.sock.recv(count)
        except BlockingIOError:
            return True
        if len(self.lead) < 12:
            self.lead += data[:12]
        if self.is_http2 and self.reads:
            self.received += data
            for kind, _, _, payload in frames.take_frames(self.received):
                self.note(kind, payload)
        return bool(data)

    def note(self, kind, payload):
        if kind == frames.GOAWAY:
            self.goaway = code(payload[4:8])
        elif kind == frames.RST_STREAM:
            tally.streams["reset " + code(payload)] += 1
        elif kind == frames.HEADERS:
            tally.streams[str(frames.status_of(payload) or "answered")] += 1

    def fate(self, is_held):
        """What to say of its end."""
        if self.goaway:
            return f"GOAWAY {self.goaway}"
        if self.lead.startswith(b"HTTP/1.1 ") and not self.lead.startswith(b"HTTP/1.1 200"):
            return self.lead[9:12].decode()
        return "held" if is_held else "closed"


def code(payload):
    number = int.from_bytes(payload, "big")
    return frames.CODES[number] if number < len(frames.CODES) else hex(number)


class Tally:
    """What all connections of this attacker did."""

    def __init__(self):
        self.connections = self.bytes = 0
        self.fates, self.streams = Counter(), Counter()


tally = Tally()


class Flood:
    """Keeps so many connections busy with the attack's script."""

    def __init__(self, attack, port, end):
        self.attack, self.port, self.end = attack, port, end
        self.poll, self.lines, self.resting = select.epoll(), {}, []

    def run(self):
        while (now := time.monotonic()) < self.end:
            self.begin()
            if not self.lines:
                break
            while self.resting and self.resting[0][0] <= now:
                line = heapq.heappop(self.resting)[2]
                if line.sock.fileno() in self.lines and line.is_resting:
                    line.is_resting = False
                    self.go_on(line)
            until = min(self.end, self.resting[0][0] if self.resting else self.end)
            pause = 0.001 if self.wants_more() else max(until - time.monotonic(), 0)
            for number, event in self.poll.poll(pause):
                self.handle(self.lines[number], event)
        for line in list(self.lines.values()):
            self.finish(line, is_held=True)

    def wants_more(self):
        return len(self.lines) < self.attack.at_once and tally.connections < self.attack.most

    def begin(self):
        for _ in range(BEGUN):
            if not self.wants_more():
                return
            line = Line(self.attack, self.port)
            tally.connections += 1
            self.lines[line.sock.fileno()] = line
            self.poll.register(line.sock, line.interest)

    def handle(self, line, event):
        try:
            if event & READ and not line.take():
                return self.finish(line)
            if event & GONE:
                while line.reads and line.take():
                    pass
                return self.finish(line)
            if event & WRITE:
                self.go_on(line)
        except OSError:
            self.finish(line)

    def go_on(self, line):
        try:
            pause = line.advance()
        except OSError:
            # What was said before the connection was cut is still there to be read.
            try:
                while line.reads and line.take():
                    pass
            except OSError:
                pass
            return self.finish(line)
        if pause is not None:
            heapq.heappush(self.resting, (time.monotonic() + pause, line.sock.fileno(), line))
        self.poll.modify(line.sock, line.interest)

    def finish(self, line, is_held=False):
        tally.fates[line.fate(is_held)] += 1
        del self.lines[line.sock.fileno()]
        line.sock.close()


def shake_hands(attack, port, end):
    """Full handshakes, one after the other on each of some threads, and nothing after them."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

    def work():
        while time.monotonic() < end and tally.connections < attack.most:
            tally.connections += 1
            try:
                with socket.create_connection(("127.0.0.1", port), 5, (SOURCE, 0)) as sock:
                    context.wrap_socket(sock).close()
                tally.fates["shaken"] += 1
            except OSError:
                tally.fates["closed"] += 1

    threads = [threading.Thread(target=work) for _ in range(attack.at_once)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def spin(end):
    """No attack: only what the attacker takes from the CPU that he shares with the client."""
    while time.monotonic() < end:
        pass


def main():
    os.nice(19)  # The client on the same CPU must not wait for the attacker.
    attack = attacks.ATTACKS[sys.argv[1]]
    port, seconds = int(sys.argv[2]), float(sys.argv[3])
    if attack.script and not attack.is_handshake:
        for _, _ in zip(attack.script(), range(2)):
            pass  # What is prepared once is prepared now.
    print("ready", flush=True)
    sys.stdin.readline()
    began = time.monotonic()
    if attack.is_handshake:
        shake_hands(attack, port, began + seconds)
    elif attack.script:
        Flood(attack, port, began + seconds).run()
    else:
        spin(began + seconds)
    ended = time.monotonic()
    times = os.times()
    print(
        json.dumps(
            {
                "began": began,
                "ended": ended,
                "cpu": times.user + times.system,
                "connections": tally.connections,
                "bytes": tally.bytes,
                "fates": tally.fates,
                "streams": tally.streams,
            }
        ),
        flush=True,
    )


if __name__ == "__main__":
    main()
