"""As much of HTTP/2 as a client needs that sends the same few requests: no library, no tables."""

import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS = 0, 1, 3, 4
PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 6, 7, 8, 9
ACK, END_STREAM, END_HEADERS = 0x1, 0x1, 0x4
HEADER_TABLE_SIZE, INITIAL_WINDOW_SIZE, LARGEST = 1, 4, 2**31 - 1
CODES = [
    *("NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT"),
    *("STREAM_CLOSED", "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR"),
    *("CONNECT_ERROR", "ENHANCE_YOUR_CALM", "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED"),
]
#: What stands in HPACK's static table for whole fields, and Huffman's codes of the digits.
INDEXED = {0x88: 200, 0x89: 204, 0x8A: 206, 0x8B: 304, 0x8C: 400, 0x8D: 404, 0x8E: 500}
DIGITS = {f"{n:05b}": str(n) for n in range(3)} | {f"{n + 22:06b}": str(n) for n in range(3, 10)}


def frame(kind, flags=0, stream=0, payload=b""):
    length = len(payload)
    return struct.pack(">HBBBL", length >> 8, length & 0xFF, kind, flags, stream) + payload


def word(value):
    return struct.pack(">L", value)


def settings(**values):
    """SETTINGS of the client, by the names above."""
    pairs = (struct.pack(">HL", globals()[name], value) for name, value in values.items())
    return frame(SETTINGS, payload=b"".join(pairs))


def literal(index, value):
    """A field whose name is in the static table, and which goes into no other one."""
    name = bytes([index]) if index < 15 else bytes([15, index - 15])
    return name + bytes([len(value)]) + value


def head(path, method=0x82, more=b""):
    """A block of fields; `method` is GET's place in the static table, 0x83 is POST's."""
    return bytes([method, 0x86]) + literal(1, b"floods") + literal(4, path.encode()) + more


def request(stream, block, flags=END_STREAM | END_HEADERS):
    return frame(HEADERS, flags, stream, block)


def status_of(block):
    """The status that an answer's fields begin with, or None where it is written otherwise."""
    while block and block[0] & 0xE0 == 0x20:  # A change of the table's size.
        block = block[1:]
    if not block or block[0] in INDEXED:
        return INDEXED[block[0]] if block else None
    if block[0] not in (0x08, 0x18, 0x48) or len(block) < 2:
        return None
    value = block[2 : 2 + (block[1] & 0x7F)]
    if not block[1] & 0x80:
        return int(value)
    bits, text = "".join(f"{byte:08b}" for byte in value), ""
    while len(text) < 3:
        size = 5 if bits[:5] in DIGITS else 6
        if bits[:size] not in DIGITS:
            return None
        text, bits = text + DIGITS[bits[:size]], bits[size:]
    return int(text)


def take_frames(buffer):
    """Takes the whole frames out of what was received: kind, flags, stream, payload."""
    found, at = [], 0
    while len(buffer) - at >= 9:
        high, low, kind, flags, stream = struct.unpack_from(">HBBBL", buffer, at)
        end = at + 9 + (high << 8 | low)
        if len(buffer) < end:
            break
        found.append((kind, flags, stream & LARGEST, bytes(buffer[at + 9 : end])))
        at = end
    del buffer[:at]
    return found
