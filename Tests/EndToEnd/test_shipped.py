"""The shipped configurations serve requests. Only what is of another machine is replaced: addresses."""

import re
from pathlib import Path

import pytest
import yaml

from harness import get

CONFIGS = Path(__file__).resolve().parents[2] / "configs"

#: What each of them is asked: listener, host and path.
ASKED = {
    "edge": ("http", "www.example.com", "/checkout/1"),
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


def moved(settings, endpoint):
    """The same, with every listener on a free port and one endpoint behind every cluster."""
    for listener in settings["listeners"]:
        listener["address"] = "127.0.0.1:0"
    for cluster in settings["clusters"]:
        cluster.pop("discovery", None)
        cluster["endpoints"] = [endpoint]
    settings.get("runtime", {}).pop("access_log", None)
    return settings


@pytest.mark.parametrize("name", sorted(file.stem for file in CONFIGS.glob("*.yaml")))
def test_it_starts_and_answers(weir, upstream, name):
    behind = upstream()
    settings = yaml.load((CONFIGS / f"{name}.yaml").read_text(), Loader)
    running = weir(moved(settings, behind.address))
    listener, host, path = ASKED[name]
    names = [each["name"] for each in settings["listeners"]]
    answer = get(running.address(listener if listener in names else names[0]), path, host=host)
    assert answer.status == 200, answer
    assert [request.target for request in behind.requests if request.target == path]
