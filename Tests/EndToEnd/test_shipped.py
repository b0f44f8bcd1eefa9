"""The shipped configurations serve requests. Only what is another machine's is replaced: addresses, certificates."""

import re
from pathlib import Path

import pytest
import yaml

from harness import Client, get

CONFIGS = Path(__file__).resolve().parents[2] / "configs"

#: What each of them is asked: listener, host and path.
ASKED = {
    "edge": ("edge", "www.example.com", "/checkout/1"),
    "flash-sale": ("http", "shop.example.com", "/checkout"),
    "quickstart": ("http", "localhost", "/"),
    "sidecar": ("outgoing", "payments.internal", "/charge"),
    "tenants": ("http", "api.example.com", "/v1/items"),
    "transparent": ("outgoing", "payments.internal", "/charge"),
}


class Loader(yaml.SafeLoader):
    """YAML 1.2's booleans: to PyYAML the key `on` is one as well."""


BOOL = "tag:yaml.org,2002:bool"
Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != BOOL]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
Loader.add_implicit_resolver(BOOL, re.compile("^(?:true|false)$"), ["t", "f"])


@pytest.fixture(scope="module")
def certificate(authority):
    return authority.issue("DNS:www.example.com")


def moved(settings, endpoint, certificate):
    """The same, with every listener on a free port and one endpoint behind every cluster."""
    for listener in settings["listeners"]:
        listener["address"] = "127.0.0.1:0"
        if "tls" in listener:
            listener["tls"]["certificates"] = [certificate.files]
    for cluster in settings["clusters"]:
        cluster.pop("discovery", None)
        cluster["endpoints"] = [endpoint]
    settings.get("runtime", {}).pop("access_log", None)
    return settings


def load(name):
    return yaml.load((CONFIGS / f"{name}.yaml").read_text(), Loader)


@pytest.mark.parametrize("name", sorted(file.stem for file in CONFIGS.glob("*.yaml")))
def test_it_starts_and_answers(weir, upstream, authority, certificate, name):
    behind = upstream()
    running = weir(moved(load(name), behind.address, certificate))
    listener, host, path = ASKED[name]
    listeners = {each["name"]: each for each in load(name)["listeners"]}
    listener = listener if listener in listeners else next(iter(listeners))
    tls = authority.client() if "tls" in listeners[listener] else None
    with Client(running.address(listener), tls=tls, name=host if tls else None) as client:
        client.request(path=path, host=host)
        assert client.read().status == 200
    assert [request.target for request in behind.requests if request.target == path]


def test_the_edge_sends_everybody_to_tls(weir, upstream, certificate):
    running = weir(moved(load("edge"), upstream().address, certificate))
    answer = get(running.address("http"), "/checkout/1?a=b", host="www.example.com")
    assert (answer.status, answer.one("location")) == (308, "https://www.example.com/checkout/1?a=b")
