"""What weir may make of a request; the table of `malformed_requests.py` is written in these words."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Refused:
    statuses: tuple = (400,)
    reasons: tuple = ("bad_request",)
    #: Framing is in doubt, so the connection must end; otherwise it may.
    closes: bool = True


@dataclass(frozen=True)
class Forwarded:
    method: str = "GET"
    target: str = "/"
    body: bytes = b""
    has: dict = field(default_factory=dict)
    lacks: tuple = ()
    trailers: tuple = None


@dataclass(frozen=True)
class Either:
    refused: Refused
    forwarded: Forwarded


@dataclass(frozen=True)
class Dropped:
    pass


@dataclass(frozen=True)
class Case:
    name: str
    data: bytes
    #: One verdict for each request in `data`, in order.
    verdicts: tuple
