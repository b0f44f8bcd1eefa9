"""Everything the end-to-end tests share: the process under test, upstreams, clients, configs."""

from .client import Client, Response, exchange, get
from .namespace import NetworkNamespace
from .patience import SLOWDOWN, patience, until
from .process import REPOSITORY, WEIR, Weir
from .settings import cluster, configuration, forward, free_address, listener
from .tls import Authority
from .upstream import Connection, RawUpstream, Request, ok
from .wire import Incomplete, values

__all__ = [
    "REPOSITORY",
    "SLOWDOWN",
    "WEIR",
    "Authority",
    "Client",
    "Connection",
    "Incomplete",
    "NetworkNamespace",
    "RawUpstream",
    "Request",
    "Response",
    "Weir",
    "cluster",
    "configuration",
    "exchange",
    "forward",
    "free_address",
    "get",
    "listener",
    "ok",
    "patience",
    "until",
    "values",
]
