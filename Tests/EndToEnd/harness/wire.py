"""A blocking, buffered reader of HTTP/1 bytes that records what it read and notes what is ill-formed.

It judges what weir wrote, so it is stricter than any server has to be.
"""

import re
import socket

TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
FIELD = re.compile(rb"(" + TOKEN + rb"):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*\Z")
CHUNK_SIZE = re.compile(rb"[0-9a-fA-F]{1,16}\Z")


class Incomplete(Exception):
    """The peer closed in the middle of a message; `got` is what had come of it."""

    def __init__(self, where, got=b""):
        super().__init__(f"closed in the middle of {where}; got {got[-200:]!r}")
        self.got = got


class Wire:
    """One socket: everything read stays in `record` unless recording is off."""

    def __init__(self, sock, recording=True):
        self.sock = sock
        self.buffer = bytearray()
        self.record = bytearray()
        self.recording = recording
        self.received = 0
        self.violations = []

    def fill(self):
        """Reads once; False at the end of the stream."""
        try:
            piece = self.sock.recv(1 << 18)
        except (ConnectionResetError, BrokenPipeError):
            piece = b""
        if not piece:
            return False
        self.received += len(piece)
        if self.recording:
            self.record += piece
        self.buffer += piece
        return True

    def take(self, count):
        piece = bytes(self.buffer[:count])
        del self.buffer[:count]
        return piece

    def line(self, where):
        """One line without its CRLF; a bare CR or LF is a violation."""
        start = 0
        while True:
            end = self.buffer.find(b"\n", start)
            if end >= 0:
                break
            start = len(self.buffer)
            if not self.fill():
                raise Incomplete(where, bytes(self.buffer))
        line = self.take(end + 1)
        if not line.endswith(b"\r\n"):
            self.violations.append(f"bare LF in {where}: {line!r}")
            return line[:-1]
        line = line[:-2]
        if b"\r" in line:
            self.violations.append(f"bare CR in {where}: {line!r}")
        return line

    def start_line(self, where):
        """The next start line, or None when the stream ended before a byte of it."""
        while not self.buffer:
            if not self.fill():
                return None
        return self.line(where)

    def fields(self, where):
        found = []
        while line := self.line(where):
            match = FIELD.match(line)
            if not match:
                self.violations.append(f"ill-formed field in {where}: {line!r}")
                continue
            found.append((match[1].decode("latin-1").lower(), match[2].decode("latin-1")))
        return found

    def exactly(self, count, sink, where):
        """Feeds `count` bytes to `sink`."""
        while count > 0:
            if not self.buffer and not self.fill():
                raise Incomplete(where)
            piece = self.take(min(count, len(self.buffer)))
            count -= len(piece)
            sink(piece)

    def chunked(self, sink, where):
        """Feeds a chunked body to `sink`; returns the trailer fields and the chunk sizes."""
        sizes = []
        while True:
            line = self.line(where)
            if not CHUNK_SIZE.match(line):
                self.violations.append(f"ill-formed chunk size in {where}: {line!r}")
                raise Incomplete(where, line)
            size = int(line, 16)
            if size == 0:
                return self.fields(f"the trailers of {where}"), sizes
            sizes.append(size)
            self.exactly(size, sink, where)
            if self.line(where) != b"":
                self.violations.append(f"chunk longer than its size in {where}")

    def to_end(self, sink):
        while self.buffer or self.fill():
            sink(self.take(len(self.buffer)))

    def shutdown(self):
        """Half-closes: no more will be sent, answers are still read."""
        self.sock.shutdown(socket.SHUT_WR)

    def cut(self):
        """Ends both directions at once, as when a program is killed."""
        try:
            # That of a TLS socket would go on to read what is enciphered as if it were plain.
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)
        except OSError:
            pass

    def reset(self):
        """Closes with a RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.sock.close()


def values(fields, name):
    """All values of the fields called `name`."""
    return [value for key, value in fields if key == name]


def check_framing(fields, violations, where):
    """Notes every way in which the framing of a message could be read twice."""
    lengths, codings = values(fields, "content-length"), values(fields, "transfer-encoding")
    if len(lengths) > 1 or any(not re.fullmatch(r"[0-9]+", length) for length in lengths):
        violations.append(f"Content-Length in {where}: {lengths}")
    if codings and codings != ["chunked"]:
        violations.append(f"Transfer-Encoding in {where}: {codings}")
    if lengths and codings:
        violations.append(f"both Content-Length and Transfer-Encoding in {where}")
