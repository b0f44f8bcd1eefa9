"""What the shipped script redirects, and what weir makes of its rules and of the configuration."""

import contextlib
import subprocess

import pytest
import yaml

from harness import REPOSITORY, WEIR, cluster, forward, ok, until
from harness.settings import to_yaml
from harness.transparent import (
    A6,
    B6,
    IN_PORT,
    OUT_PORT,
    WEIR_UID,
    A,
    B,
    Echo,
    Witness,
    answered,
    needs_machine,
    settings,
    total_connections,
    written,
)
from test_shipped import Loader

# The script


@needs_machine
@pytest.mark.parametrize("host", [A, B, A6, B6])
def test_the_script_redirects_named_ports_and_the_destination_is_known(machine, host):
    machine.up(outbound="80, 8080,9000-9010")
    machine.acceptor(Witness, "127.0.0.1", OUT_PORT)
    machine.acceptor(Witness, "::1", OUT_PORT)
    for port in (80, 8080, 9000, 9010):
        assert machine.greeted(host, port)[0] == written((host, port))


@needs_machine
@pytest.mark.parametrize("host", [A, A6])
def test_the_script_leaves_other_ports_weirs_user_and_loopback_alone(machine, host):
    machine.up()
    loopback = "127.0.0.1" if host == A else "::1"
    witness = machine.acceptor(Witness, loopback, OUT_PORT)
    for port in (22, 8080, 8081):
        machine.acceptor(Echo, "::" if ":" in host else "0.0.0.0", port)
    for where, port, user in ((host, 22, 1), (host, 8081, 1), (loopback, 8080, 1), (host, 8080, WEIR_UID)):
        seen, own = machine.greeted(where, port, user)
        assert seen == own, "the client itself has connected"
    assert witness.count == 0
    assert machine.greeted(host, 8080)[0] == written((host, 8080))


@needs_machine
def test_the_script_leaves_excluded_prefixes_alone(machine):
    machine.up(EXCLUDE_CIDRS="10.99.7.0/24, fd00:99:0:0:7::/80,127.0.0.0/8")
    for host in ("0.0.0.0", "::"):
        machine.acceptor(Echo, host, 8080)
        machine.acceptor(Witness, host, OUT_PORT)
    for host, excluded in (("10.99.7.9", True), ("10.99.8.9", False), ("fd00:99::7:0:0:1", True), (A6, False)):
        seen, own = machine.greeted(host, 8080)
        assert seen == (own if excluded else written((host, 8080)))


@needs_machine
def test_the_script_redirects_what_comes_from_outside(machines):
    machine, outside = machines(), machines()
    machine.connect(outside, "10.98.0.1", "10.98.0.2", "fd00:98::1", "fd00:98::2")
    machine.up(outbound="", inbound="3000", user="")
    for host in ("0.0.0.0", "::"):
        machine.acceptor(Witness, host, IN_PORT)
        for port in (3000, 3001):
            machine.acceptor(Echo, host, port)
    for host in ("10.98.0.1", "fd00:98::1"):
        assert outside.greeted(host, 3000)[0] == written((host, 3000))
        seen, own = outside.greeted(host, 3001)
        assert seen == own
        seen, own = machine.greeted(host, 3000)
        assert seen == own, "what the machine asks of itself is not incoming"


@needs_machine
def test_the_script_leaves_alone_what_the_machine_forwards_for_others(machines):
    """It is no gateway: what is meant for another machine goes on to it."""
    machine, outside, beyond = machines(), machines(), machines()
    machine.connect(outside, "10.98.0.1", "10.98.0.2", "fd00:98::1", "fd00:98::2")
    machine.run("ip", "link", "set", "cable", "name", "first")
    machine.connect(beyond, "10.97.0.1", "10.97.0.2", "fd00:97::1", "fd00:97::2")
    machine.run("sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
    outside.run("ip", "route", "add", "10.97.0.0/24", "via", "10.98.0.1")
    beyond.run("ip", "route", "add", "10.98.0.0/24", "via", "10.97.0.1")
    machine.up(outbound="", inbound="3000")
    witness = machine.acceptor(Witness, "0.0.0.0", IN_PORT)
    beyond.acceptor(Echo, "0.0.0.0", 3000)
    seen, own = outside.greeted("10.97.0.2", 3000)
    assert seen == own and witness.count == 0


@needs_machine
def test_up_twice_is_up_once_and_down_leaves_nothing(machine):
    # Somebody else's rules, which stay as they are.
    machine.run("iptables", "-t", "nat", "-N", "OTHER")
    machine.run("iptables", "-t", "nat", "-A", "OUTPUT", "-p", "tcp", "--dport", "99", "-j", "OTHER")
    before = machine.rules()
    assert machine.script("status", check=False).returncode == 3
    machine.up(inbound="3000,3001")
    once = machine.rules()
    assert once != before
    machine.up(inbound="3000,3001")
    assert machine.rules() == once
    shown = machine.script("status").stdout
    assert "WEIR_OUTBOUND" in shown and "WEIR_INBOUND" in shown and "redir ports 15001" in shown
    # Other settings take the place of the old ones.
    machine.up(outbound="81")
    assert "--dport 81 " in "".join(machine.rules()) and "--dport 80 " not in "".join(machine.rules())
    assert not any("WEIR_INBOUND" in rule for rule in machine.rules())
    machine.script("down")
    assert machine.rules() == before
    machine.script("down")
    assert machine.rules() == before
    assert machine.script("status", check=False).returncode == 3


@needs_machine
def test_ipv6_is_a_choice(machine):
    machine.up(IPV6="no")
    machine.acceptor(Witness, "127.0.0.1", OUT_PORT)
    machine.acceptor(Echo, "::", 8080)
    assert machine.greeted(A, 8080)[0] == written((A, 8080))
    seen, own = machine.greeted(A6, 8080)
    assert seen == own
    machine.up(IPV6="yes")
    machine.acceptor(Witness, "::1", OUT_PORT)
    assert machine.greeted(A6, 8080)[0] == written((A6, 8080))
    machine.up(IPV6="no")
    assert machine.greeted(A6, 8080)[0] != written((A6, 8080))


REFUSED = [
    ({}, "names a port"),
    ({"OUTBOUND_PORTS": "80"}, "takes WEIR_USER"),
    ({"OUTBOUND_PORTS": "80", "WEIR_USER": "no-such-user"}, "no user 'no-such-user'"),
    ({"OUTBOUND_PORTS": "70000", "WEIR_USER": "1"}, "'70000'"),
    ({"OUTBOUND_PORTS": "80,http", "WEIR_USER": "1"}, "'http'"),
    ({"OUTBOUND_PORTS": "*", "WEIR_USER": "1"}, "'*'"),
    ({"OUTBOUND_PORTS": "9000-80", "WEIR_USER": "1"}, "'9000-80'"),
    ({"OUTBOUND_PORTS": "1-65535", "WEIR_USER": "1"}, "weir's own port 15001"),
    ({"INBOUND_PORTS": "3000,15006"}, "weir's own port 15006"),
    ({"INBOUND_PORTS": "3000", "WEIR_IN_PORT": "in"}, "WEIR_IN_PORT"),
    ({"INBOUND_PORTS": "3000", "IPV6": "maybe"}, "IPV6"),
    ({"INBOUND_PORTS": "3000", "EXCLUDE_CIDRS": "10.0.0.0/8;reboot"}, "EXCLUDE_CIDRS"),
    ({"OUTBOUND_PORTS": "80", "WEIR_USER": "1", "EXCLUDE_CIDRS": "10.0.0.0/99"}, "nothing is changed"),
    ({"OUTBOUND_PORTS": "80", "WEIR_USER": "1", "EXCLUDE_CIDRS": "fd00::/999"}, "nothing is changed"),
]


@needs_machine
def test_what_the_script_refuses_changes_nothing(machine):
    machine.up(outbound="81")
    before = machine.rules()
    for settings, said in REFUSED:
        done = machine.script("up", check=False, **settings)
        assert done.returncode == 1 and said in done.stderr, (settings, done.stderr)
        assert machine.rules() == before, settings
    for arguments in ([], ["sideways"], ["up", "OUTBOUND=80"]):
        assert machine.run(str(REPOSITORY / "configs/transparent.sh"), *arguments, check=False).returncode == 2
    done = machine.run("setpriv", "--reuid=65534", str(REPOSITORY / "configs/transparent.sh"), "down", check=False)
    assert done.returncode == 1 and "root" in done.stderr
    done = machine.run("/bin/sh", str(REPOSITORY / "configs/transparent.sh"), "down", check=False, PATH="/nowhere")
    assert done.returncode != 0
    assert machine.rules() == before


@needs_machine
@pytest.mark.parametrize("is_tracked", [False, True])
def test_connections_that_are_open_stay_where_they_are(machine, is_tracked):
    """Unless the kernel stops to track connections, as it does when no rule is left that needs it."""
    if is_tracked:
        machine.run(*"iptables -A INPUT -m conntrack --ctstate INVALID -j DROP".split())
    witness = machine.acceptor(Witness, "127.0.0.1", OUT_PORT)
    machine.acceptor(Echo, A, 8080)

    def says(file, word):
        file.write(word + b"\n")
        return file.readline() == word + b"\n"

    with machine.client(A) as first, contextlib.ExitStack() as stack:
        direct = stack.enter_context(first.sock.makefile("rwb", 0))
        assert direct.readline().decode().strip() == written(first.sock.getsockname())
        machine.up()
        assert says(direct, b"this one was open before")
        second = stack.enter_context(machine.client(A))
        redirected = stack.enter_context(second.sock.makefile("rwb", 0))
        assert redirected.readline() == b"10.99.0.1:8080\n"
        for settings in ({}, {"outbound": "81"}, {"outbound": "", "inbound": "3000"}):
            machine.up(**settings)
            assert says(redirected, b"redirected") and says(direct, b"direct"), settings
        machine.script("down")
        assert says(direct, b"direct")
        if is_tracked:
            assert says(redirected, b"redirected")
    assert witness.count == 1


# The rules and weir


@needs_machine
@pytest.mark.parametrize("host", ["127.0.0.1", A, "::1", A6])
@pytest.mark.parametrize("port", [OUT_PORT, IN_PORT])
def test_a_connection_that_was_not_redirected_has_nowhere_to_go(machine, sidecar, host, port):
    machine.destination("127.0.0.1", 9000, lambda request: ok(b"governed"))
    running = sidecar(
        cluster("payments", "127.0.0.1:9000"),
        routes=[forward("payments", match={"host": "payments.internal"})],
    )
    with machine.client(host, port) as client:
        for _ in range(3):
            client.request()
            assert answered(client.read()) == (503, "no_endpoint")
        client.request(host="payments.internal")
        assert answered(client.read()) == (200, "governed")
    assert total_connections(running) == 1
    assert running.total("upstream_connects_total", cluster="on") == 0
    assert [line["endpoint"] for line in running.wait_log(4)] == [None] * 3 + ["127.0.0.1:9000"]


@needs_machine
def test_without_rules_there_is_nowhere_to_go(machine, weir):
    """Connection tracking need not even be loaded."""
    running = machine.weir(weir, settings())
    for host in ("127.0.0.1", "::1"):
        assert answered(machine.get(host, OUT_PORT)) == (503, "no_endpoint")
    assert total_connections(running) == 2


@needs_machine
def test_a_listener_that_is_not_transparent_does_not_ask(machine, weir):
    machine.up()
    machine.destination(A)
    plain = settings()
    for each in plain["listeners"]:
        each["transparent"] = False
    running = machine.weir(weir, plain)
    assert answered(machine.get(A)) == (503, "no_endpoint")
    assert running.total("upstream_connects_total", cluster="on") == 0
    # A reload takes effect for connections, or at the latest for those to come.
    running.reload(settings(runtime=machine.runtime))
    assert answered(machine.get(A)) == (200, f"{A}:8080")


@needs_machine
def test_a_rule_that_leads_weir_to_itself_ends_at_once(machine, sidecar):
    """Not of the script: one listener's port is redirected to the other listener."""
    running = sidecar()
    for port, other in ((IN_PORT, OUT_PORT), (OUT_PORT, IN_PORT)):
        rule = f"-t nat -A OUTPUT -p tcp -d {A} --dport {port} -j REDIRECT --to-ports {other}"
        machine.run("iptables", *rule.split())
    # weir's own connections are exempted, so that the second one is not redirected.
    machine.run("iptables", *f"-t nat -I OUTPUT -m owner --uid-owner {WEIR_UID} -j ACCEPT".split())
    for port in (IN_PORT, OUT_PORT):
        assert machine.get(A, port).status == 503
    assert total_connections(running) <= 4
    assert running.total("upstream_connects_total", cluster="on") <= 2


@needs_machine
def test_without_the_exemption_the_loop_ends_at_the_clusters_ceiling(machine, weir):
    """What the page warns of: weir's own connections come back. The caps of the cluster bound it."""
    machine.up(user="2")
    behind = machine.destination(A)
    # What weir keeps open would still lead to itself when the rules are mended.
    options = {"circuit_breakers": {"max_requests": 20}, "keepalive": {"max_idle": 0}}
    running = machine.weir(weir, settings(**options))
    assert machine.get(A).status == 503
    assert total_connections(running) <= 21
    assert not behind.requests
    # The rules mended, everything is as it should be.
    machine.up()
    until(lambda: answered(machine.get(A)) == (200, f"{A}:8080"), "the loop is over")


@needs_machine
def test_what_is_not_redirected_does_not_meet_weir(machine, sidecar):
    for port in (22, 8080):
        machine.acceptor(Echo, "0.0.0.0", port)
    running = sidecar()
    for host, port, user in ((A, 22, 1), ("127.0.0.1", 8080, 1), (A, 8080, WEIR_UID)):
        seen, own = machine.greeted(host, port, user)
        assert seen == own
    assert total_connections(running) == 0


@needs_machine
def test_the_shipped_configuration_serves_by_the_shipped_rules(machine, weir):
    """Only the users and the addresses of the named services are others."""
    made = yaml.load((REPOSITORY / "configs/transparent.yaml").read_text(), Loader)
    named = next(route for route in made["routes"] if "host" in route.get("match", {}))
    for each in made["clusters"]:
        if each.get("discovery") != "original_destination":
            each.pop("discovery", None)
            each["endpoints"] = ["127.0.0.1:9000", "127.0.0.2:9000"]
    machine.destination(A, 8080)
    machine.destination(A6, 80)
    for host in ("127.0.0.1", "127.0.0.2"):
        machine.destination(host, 9000, lambda request: ok(b"governed"))
    machine.up(inbound="3000")
    machine.weir(weir, made)
    assert answered(machine.get(A)) == (200, f"{A}:8080")
    assert answered(machine.get(A6, 80)) == (200, f"[{A6}]:80")
    assert answered(machine.get(B, host=named["match"]["host"])) == (200, "governed")


# The configuration

NEEDS_ENDPOINTS = {
    "load_balancing": {"policy": "random"},
    "concurrency": {"mode": "adaptive"},
    "outlier_detection": {"consecutive_5xx": 5},
    "health_check": {"path": "/"},
    "slow_start": "10s",
    "endpoints": ["127.0.0.1:1"],
}


def checked(tmp_path, made):
    file = tmp_path / "weir.yaml"
    file.write_text(to_yaml(made))
    return subprocess.run([WEIR, "check", str(file)], capture_output=True, text=True)


@pytest.mark.parametrize("key", NEEDS_ENDPOINTS)
def test_what_needs_endpoints_is_refused(tmp_path, key):
    done = checked(tmp_path, settings(**{key: NEEDS_ENDPOINTS[key]}))
    assert done.returncode == 1, done.stdout + done.stderr
    assert key in done.stdout + done.stderr


def test_what_holds_without_endpoints_is_accepted(tmp_path):
    done = checked(
        tmp_path,
        settings(
            connect_timeout="100ms",
            keepalive={"idle_timeout": "5s", "max_idle": 4},
            circuit_breakers={"max_requests": 10, "max_connections": 10},
            breaker={"failure_percent": 50},
            proxy_protocol="v1",
        ),
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("value", ["original-destination", "dns", {"original_destination": True}])
def test_only_the_word_means_the_original_destination(tmp_path, value):
    assert checked(tmp_path, settings(discovery=value)).returncode == 1
