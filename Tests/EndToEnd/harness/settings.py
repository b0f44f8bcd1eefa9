"""Configurations as Python values; the one place that knows how they are spelled in YAML."""

import os
import random
import socket

import yaml

#: Workers of an instance whose test does not depend on their number.
WORKERS = int(os.environ.get("WEIR_TEST_WORKERS", "2"))


def listener(name="edge", address="127.0.0.1:0", limits=None, trusted=None, tls=None):
    made = {"name": name, "address": address}
    if tls:
        made["tls"] = tls
    if limits:
        made["limits"] = limits
    if trusted:
        made["trusted_proxies"] = trusted
    return made


def free_address():
    """An address on which nothing listens just now; for what must keep its port over reloads.

    Its port lies below those that the kernel gives to outgoing connections, so none takes it.
    """
    with open("/proc/sys/net/ipv4/ip_local_port_range") as file:
        first_outgoing = int(file.read().split()[0])
    while True:
        address = "127.0.0.1", random.randrange(10_000, first_outgoing)
        with socket.socket() as probe:
            try:
                probe.bind(address)
            except OSError:
                continue
        return "%s:%d" % address


def cluster(name, *endpoints, policy=None, **options):
    """`endpoints` are addresses, (address, weight) pairs or upstreams."""
    made = {"name": name}
    if endpoints:
        made["endpoints"] = [written(endpoint) for endpoint in endpoints]
    if policy:
        made["load_balancing"] = {"policy": policy}
    return made | options


def written(endpoint):
    if isinstance(endpoint, tuple):
        return {"address": written(endpoint[0]), "weight": endpoint[1]}
    return endpoint if isinstance(endpoint, str) else endpoint.address


def forward(cluster="main", name=None, match=None, **options):
    """A route to a cluster; `match` defaults to every path."""
    return {"name": name or cluster, "match": match or {"path_prefix": "/"}, "cluster": cluster} | options


def configuration(clusters, routes=None, listeners=None, runtime=None):
    """A whole file but for `admin` and the access log, which the harness adds."""
    made = {
        "version": 1,
        "runtime": {"workers": WORKERS, "drain_timeout": "10s"} | (runtime or {}),
        "listeners": listeners or [listener()],
        "routes": routes if routes is not None else [forward()],
    }
    return made | {"clusters": clusters} if clusters else made


class Plain(yaml.SafeDumper):
    """Writes a value that occurs twice out twice: weir refuses anchors and aliases."""

    def ignore_aliases(self, data):
        return True


def to_yaml(settings):
    if isinstance(settings, str):
        return settings
    return yaml.dump(settings, Dumper=Plain, sort_keys=False, width=1000)
