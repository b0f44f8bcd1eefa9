"""Unary calls of gRPC: the proxies before an endpoint that speaks HTTP/2 with them."""

import stand

MESSAGE = "m" * 128
stand.FILES["/unary"] = len(MESSAGE)


def of_grpc(proxy):
    """The same proxy, which speaks HTTP/2 with its clients and with its endpoint."""

    class Speaker(proxy):
        configs = stand.HERE / "configs" / "grpc"

        def __init__(self, folder, **values):
            super().__init__(folder, http2=True, MESSAGE=MESSAGE, **values)

    return Speaker


PROXIES = {name: of_grpc(proxy) for name, proxy in stand.PROXIES.items()}
Upstream = of_grpc(stand.Upstream)


def load(port, requests, connections=8, calls=8):
    """As `stand.load_h2`: each request is one call with a message, and so is its answer."""
    message = stand.WORK / "message"
    message.write_text(MESSAGE)
    options = ["-c", connections, "-m", calls, "-d", message]
    for field in ("content-type: application/grpc", "te: trailers"):
        options += ["-H", field]
    return stand.h2load("http", port, requests, "/unary", options)
