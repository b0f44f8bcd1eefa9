"""Small things that tests of HTTP/2 endpoints say to a call, and ask of an answer."""

from .http2 import PING, frame


def named(call):
    """Each is answered with what it asked for."""
    call.respond(body=call.path.encode())


def outcome(answer):
    return answer.status, answer.reason


def after_all(connection):
    """Once this returns, weir has said what it had to say to all that it was sent."""
    count = len(connection.pongs)
    connection.send(frame(PING, payload=b"behind.."))
    connection.owner.wait(lambda: len(connection.pongs) > count, "weir has read so far")
