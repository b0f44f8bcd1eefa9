"""Tenants, their plans and rate limits: who is refused, for how long, and that nobody else is."""

import json
import threading

import pytest

from harness import cluster, configuration, forward, free_address, listener, ok, until

PLANS = {
    "free": {"rate": "1/h", "burst": 3},
    "pro": {"rate": "1/h", "burst": 6, "weight": 4},
}


def tenants(**options):
    return {"identify": [{"header": "x-api-key"}], "plans": PLANS, "default_plan": "free"} | options


def settings(behind, routes=None, listeners=None, **top):
    return configuration([cluster("main", behind)], routes, listeners) | top


def statuses(running, number, key=None, path="/", **options):
    headers = [f"x-api-key: {key}"] if key else []
    return [running.get(path, headers=headers, **options).status for _ in range(number)]


def test_each_tenant_has_a_budget_of_its_own(weir, upstream):
    behind = upstream()
    running = weir(settings(behind, tenants=tenants()))
    assert statuses(running, 5, "a") == [200] * 3 + [429] * 2
    assert statuses(running, 5, "b") == [200] * 3 + [429] * 2
    assert len(behind.requests) == 6, "what is refused reaches nobody"


def test_a_refusal_says_why_and_how_long(weir, upstream):
    running = weir(settings(upstream(), tenants=tenants(plans={"free": {"rate": "6/m", "burst": 1}})))
    assert statuses(running, 1, "a") == [200]
    refused = running.get(headers=["x-api-key: a"])
    assert refused.status == 429
    assert refused.reason == "rate_limited"
    assert refused.one("content-type") == "application/problem+json"
    # One token in ten seconds, of which little has passed.
    assert 9 <= int(refused.one("retry-after")) <= 10
    problem = json.loads(refused.body)
    assert problem["status"] == 429 and problem["reason"] == "rate_limited"
    assert problem["type"].endswith("quota-exceeded")
    line = running.wait_log(1, lambda line: line["reason"] == "rate_limited")[0]
    assert line["tenant"] == "a" and line["attempts"] == 0 and line["rule"] == "free"
    assert running.wait_total(1, "weir_refusals_total", reason="rate_limited") == 1


def test_answers_tell_what_is_left(weir, upstream):
    running = weir(settings(upstream(), tenants=tenants()))
    answer = running.get(headers=["x-api-key: a"])
    assert "r=2" in answer.one("ratelimit")
    assert "q=3" in answer.one("ratelimit-policy")


@pytest.mark.parametrize("style, names", [("x_ratelimit", {"x-ratelimit-remaining"}), ("none", set())])
def test_the_fields_are_a_choice(weir, upstream, style, names):
    running = weir(settings(upstream(), tenants=tenants(headers=style)))
    found = {name for name, _ in running.get(headers=["x-api-key: a"]).fields if "ratelimit" in name}
    assert names <= found and (names or not found)


def test_a_request_without_the_key_is_of_a_tenant_of_its_own(weir, upstream):
    running = weir(settings(upstream(), tenants=tenants()))
    assert statuses(running, 5) == [200] * 3 + [429] * 2
    assert statuses(running, 1, "a") == [200]


def test_plans_are_assigned_in_the_file_itself(weir, upstream):
    running = weir(settings(upstream(), tenants=tenants(assignments={"inline": {"gold": "pro"}})))
    assert statuses(running, 8, "gold") == [200] * 6 + [429] * 2


def test_a_file_of_assignments_is_watched(weir, upstream, tmp_path):
    file = tmp_path / "tenants.csv"
    file.write_text("# key,plan\ngold,pro\n")
    running = weir(settings(upstream(), tenants=tenants(assignments={"file": str(file)})))
    assert statuses(running, 7, "gold") == [200] * 6 + [429]
    before = running.generation
    file.write_text("gold,pro\nsilver,pro\n")
    running.wait_generation(before)
    assert statuses(running, 7, "silver") == [200] * 6 + [429]
    assert statuses(running, 1, "gold") == [429], "the reload gave nothing back"


def test_a_bad_line_of_the_file_leaves_everything_as_it_is(weir, upstream, tmp_path):
    file = tmp_path / "tenants.csv"
    file.write_text("gold,pro\n")
    running = weir(settings(upstream(), tenants=tenants(assignments={"file": str(file)})))
    file.write_text("gold,pro\nsilver,prro\n")
    status, text = running.ask("POST", "/reload")
    assert status == 400
    assert f"{file}:2:8: error: there is no plan 'prro'" in text
    assert statuses(running, 7, "gold") == [200] * 6 + [429]


@pytest.mark.parametrize(
    "source, one, other",
    [
        ({"path_segment": 2}, {"path": "/v1/a/x"}, {"path": "/v1/b/x"}),
        ({"query": "key"}, {"path": "/?x=1&key=a"}, {"path": "/?key=b"}),
    ],
)
def test_the_key_may_stand_elsewhere(weir, upstream, source, one, other):
    running = weir(settings(upstream(), tenants=tenants(identify=[source])))
    assert [running.get(**one).status for _ in range(4)] == [200] * 3 + [429]
    assert running.get(**other).status == 200


def test_behind_a_trusted_proxy_the_client_is_who_it_says(weir, upstream):
    running = weir(
        settings(
            upstream(),
            listeners=[listener(trusted=["127.0.0.0/8"])],
            tenants=tenants(identify=[{"client_ip": {"v4_prefix": 24, "v6_prefix": 64}}]),
        )
    )

    def status(chain):
        return running.get(headers=[f"x-forwarded-for: {chain}"]).status

    assert [status("9.9.9.9, 203.0.113.7") for _ in range(4)] == [200] * 3 + [429]
    assert status("203.0.113.99") == 429, "of the same prefix"
    assert status("203.0.114.7") == 200
    assert status("203.0.113.7, 198.51.100.1") == 200, "only the last untrusted one counts"


def test_limits_of_a_route_and_of_all(weir, upstream):
    rule = {"key": "client_ip", "rate": "1/h", "burst": 2}
    running = weir(
        settings(
            upstream(),
            [
                forward(name="limited", match={"path_prefix": "/limited"}, rate_limits=[rule]),
                forward(name="rest"),
            ],
            rate_limits=[{"key": "route", "rate": "1/h", "burst": 5}],
        )
    )
    assert statuses(running, 3, path="/limited") == [200, 200, 429]
    assert statuses(running, 6, path="/rest") == [200] * 5 + [429]


def test_a_request_may_cost_more_than_one(weir, upstream):
    rule = {"key": "route", "rate": "1/h", "burst": 10, "cost": 4}
    running = weir(settings(upstream(), [forward(rate_limits=[rule])]))
    assert statuses(running, 4) == [200, 200, 429, 429]


def test_what_one_limit_refuses_costs_nothing_at_the_others(weir, upstream):
    """The defect of most multi-level limiters: the parent pays for what the child refuses."""
    rules = [
        {"key": {"header": "x-user"}, "rate": "1/h", "burst": 1},
        {"key": "route", "rate": "1/h", "burst": 4},
    ]
    running = weir(settings(upstream(), [forward(rate_limits=rules)]))

    def status(user):
        return running.get(headers=[f"x-user: {user}"]).status

    assert [status("a") for _ in range(10)] == [200] + [429] * 9
    assert [status(user) for user in "bcde"] == [200, 200, 200, 429]


def test_shadow_counts_and_refuses_nobody(weir, upstream):
    rule = {"key": "route", "rate": "1/h", "burst": 2, "mode": "shadow"}
    running = weir(settings(upstream(), [forward(rate_limits=[rule])]))
    assert statuses(running, 5) == [200] * 5
    assert running.wait_total(3, "weir_would_refuse_total", reason="rate_limited") == 3
    assert running.total("weir_refusals_total") == 0
    lines = running.wait_log(5)
    assert sum(line.get("would_refuse") == "rate_limited" for line in lines) == 3


def test_a_tenant_has_only_so_many_requests_under_way(weir, upstream):
    release = threading.Event()

    def answer(request):
        if request.target == "/hold":
            assert release.wait(60)
        return ok()

    behind = upstream(answer)
    plans = {"free": {"concurrency": 2}}
    running = weir(settings(behind, tenants=tenants(plans=plans)))
    held = [running.client(), running.client()]
    try:
        for client in held:
            client.request(path="/hold", headers=["x-api-key: a"])
        behind.wait_requests(2)
        refused = running.get(headers=["x-api-key: a"])
        assert (refused.status, refused.reason) == (429, "tenant_concurrency")
        assert running.get(headers=["x-api-key: b"]).status == 200
        release.set()
        for client in held:
            assert client.read().status == 200
        until(lambda: running.get(headers=["x-api-key: a"]).status == 200, "the place is free again")
    finally:
        release.set()
        for client in held:
            client.close()


def test_a_flood_of_made_up_tenants_gives_nobody_a_fresh_budget(weir, upstream):
    """Envoy's buckets by tenant are evicted by the twenty-first, and come back full."""
    running = weir(settings(upstream(), tenants=tenants(max_tracked=1000)))
    assert statuses(running, 4, "victim") == [200] * 3 + [429]
    with running.client() as client:
        for number in range(5000):
            client.request(headers=[f"x-api-key: made-up-{number}"])
            client.read()
    assert statuses(running, 2, "victim") == [429] * 2
    names = [name for name, labels in running.metrics() if any("made-up" in v for _, v in labels)]
    assert not names, "tenants of a client's making are no labels"


def test_the_admin_page_of_a_tenant(weir, upstream):
    running = weir(settings(upstream(), tenants=tenants(assignments={"inline": {"gold one": "pro"}})))
    assert statuses(running, 2, "gold one") == [200, 200]
    status, text = running.ask("GET", "/tenants/gold%20one")
    assert status == 200
    page = json.loads(text)
    assert page["plan"] == "pro" and page["rate"]["tokens"] == 4 and page["rate"]["burst"] == 6
    assert json.loads(running.ask("GET", "/tenants/nobody")[1])["rate"]["tokens"] == 3


def test_the_admin_page_of_a_tenant_that_is_known_by_its_address(weir, upstream):
    identify = [{"header": "x-api-key"}, {"client_ip": {"v4_prefix": 24, "v6_prefix": 48}}]
    running = weir(
        settings(upstream(), listeners=[listener(trusted=["127.0.0.0/8"])], tenants=tenants(identify=identify))
    )

    def page(key):
        status, text = running.ask("GET", f"/tenants/{key}")
        assert status == 200, text
        found = json.loads(text)
        return found["tenant"], found["rate"]["tokens"], found["rate"]["tracked"]

    for number, chain in enumerate(["203.0.113.7", "203.0.113.9", "2001:db8:7:1::1"]):
        assert running.get(headers=[f"x-forwarded-for: {chain}"]).status == 200
        key = running.wait_log(number + 1)[number]["tenant"]
        assert key == ["203.0.113.0", "203.0.113.0", "2001:db8:7::"][number]
        assert page(key) == (key, [2, 1, 2][number], True), "the key is what the log shows"
    assert page("203.0.113.200") == ("203.0.113.0", 1, True), "another address of the same prefix"
    assert page("2001%3Adb8%3A7%3A2%3A%3A") == ("2001:db8:7::", 2, True)
    assert page("203.0.114.7") == ("203.0.114.0", 3, False), "nobody has come from there"
    assert statuses(running, 1, "a") == [200] and page("a") == ("a", 2, True)


def test_a_reload_keeps_every_budget(weir, upstream):
    """nginx, HAProxy and Envoy all refill on some reload: an edit of anything must not."""
    behind = upstream()
    address = free_address()
    made = settings(behind, [forward(timeout="5s")], [listener(address=address)], tenants=tenants())
    running = weir(made)
    assert statuses(running, 4, "a") == [200] * 3 + [429]
    edits = [
        {"routes": [forward(timeout="6s")]},
        {"listeners": [listener(address=address, limits={"idle_timeout": "61s"})]},
        {"clusters": [cluster("main", behind, connect_timeout="300ms")]},
        {"tenants": tenants(assignments={"inline": {"z": "pro"}})},
    ]
    for edit in edits:
        made = made | edit
        running.reload(made)
        assert statuses(running, 1, "a") == [429], edit


def test_a_changed_rate_rescales_the_budget(weir, upstream):
    behind = upstream()
    running = weir(settings(behind, tenants=tenants(plans={"free": {"rate": "1/h", "burst": 10}})))
    assert statuses(running, 10, "a") == [200] * 10
    # Half of the hourly tokens more would be there after half an hour: not now.
    running.reload(settings(behind, tenants=tenants(plans={"free": {"rate": "2/h", "burst": 10}})))
    assert statuses(running, 1, "a") == [429]
