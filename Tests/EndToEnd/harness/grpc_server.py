"""gRPC's own server."""

from concurrent.futures import ThreadPoolExecutor

import grpc


def serve(name, kinds, threads=16, options=(), credentials=None):
    """A server that runs, and its address; `kinds` are the handlers of the service's methods."""
    made = grpc.server(ThreadPoolExecutor(threads), options=options)
    made.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(name, kinds)])
    if credentials:
        port = made.add_secure_port("127.0.0.1:0", credentials)
    else:
        port = made.add_insecure_port("127.0.0.1:0")
    made.start()
    return made, f"127.0.0.1:{port}"
