"""First match wins: host, path, method, headers, query; rewriting, redirects and direct answers."""

import json
from urllib.parse import urljoin

import pytest

from harness import Client, cluster, configuration, forward, free_address, get, listener, ok, patience
from harness.http2 import Http2Client


def named(name):
    return lambda request: ok(name.encode(), X_Target=request.target)


@pytest.fixture(scope="module")
def table(module_weir, module_upstream):
    """One instance with a route of every kind; each cluster answers with its own name."""
    names = [
        "exact-host",
        "suffix-host",
        "two-hosts",
        "exact-path",
        "prefix",
        "prefix-slash",
        "regex",
        "method",
        "header",
        "header-exact",
        "header-regex",
        "header-absent",
        "query",
        "query-exact",
        "rewrite",
        "rewrite-root",
        "both",
        "first",
    ]
    match = {
        "exact-host": {"host": "exact.test"},
        "suffix-host": {"host": "*.suffix.test"},
        "two-hosts": {"host": ["one.test", "*.two.test"]},
        "exact-path": {"path": "/exact"},
        "prefix": {"path_prefix": "/prefix"},
        "prefix-slash": {"path_prefix": "/slash/"},
        "regex": {"path_regex": "/item/[0-9]+(/edit)?"},
        "method": {"path_prefix": "/m", "methods": ["PUT", "DELETE"]},
        "header": {"path_prefix": "/h", "headers": [{"name": "x-any", "present": True}]},
        "header-exact": {"path_prefix": "/h", "headers": [{"name": "X-Env", "exact": "canary"}]},
        "header-regex": {"path_prefix": "/h", "headers": [{"name": "x-v", "regex": "v[0-9]+"}]},
        "header-absent": {
            "path_prefix": "/h",
            "headers": [{"name": "cookie", "present": True, "invert": True}],
        },
        "query": {"path_prefix": "/q", "query": [{"name": "debug", "present": True}]},
        "query-exact": {
            "path_prefix": "/q",
            "query": [{"name": "a", "exact": "1"}, {"name": "b", "prefix": "x"}],
        },
        "rewrite": {"path_prefix": "/old"},
        "rewrite-root": {"path_prefix": "/strip"},
        "both": {"host": "both.test", "path_prefix": "/api", "methods": ["POST"]},
        "first": {"path_prefix": "/prefixed"},
    }
    routes = []
    for name in names:
        extra = {"rewrite": {"prefix_rewrite": "/new"}, "rewrite-root": {"prefix_rewrite": "/"}}.get(name, {})
        routes.append(forward(name, match=match[name], **extra))
    routes += [
        {
            "name": "moved",
            "match": {"path_prefix": "/moved"},
            "redirect": {"status": 308, "prefix_rewrite": "/here"},
        },
        {
            "name": "secure",
            "match": {"path": "/secure"},
            "redirect": {"scheme": "https", "host": "safe.test", "port": 8443},
        },
        {
            "name": "gone",
            "match": {"path": "/strip-query"},
            "redirect": {"status": 302, "path": "/to", "strip_query": True},
        },
        {
            "name": "direct",
            "match": {"path": "/direct"},
            "direct_response": {"status": 418, "body": "teapot\n"},
        },
        {
            "name": "json",
            "match": {"path": "/json"},
            "direct_response": {"status": 200, "body": "{}", "content_type": "application/json"},
        },
    ]
    clusters = [cluster(name, module_upstream(named(name))) for name in names]
    return module_weir(configuration(clusters, routes))


@pytest.mark.parametrize(
    "expected, path, options",
    [
        ("exact-host", "/x", {"host": "exact.test"}),
        ("exact-host", "/x", {"host": "EXACT.test:8080"}),
        ("suffix-host", "/x", {"host": "a.suffix.test"}),
        ("suffix-host", "/x", {"host": "a.b.Suffix.Test"}),
        (None, "/x", {"host": "suffix.test"}),
        (None, "/x", {"host": "notsuffix.test"}),
        (None, "/x", {"host": "a.exact.test"}),
        (None, "/x", {"host": "exact.test.evil"}),
        ("two-hosts", "/x", {"host": "one.test"}),
        ("two-hosts", "/x", {"host": "a.two.test"}),
        ("exact-path", "/exact", {}),
        ("exact-path", "/exact?q", {}),
        (None, "/exact/", {}),
        (None, "/exactly", {}),
        (None, "/Exact", {}),
        ("prefix", "/prefix", {}),
        ("prefix", "/prefix/a/b", {}),
        ("prefix", "/prefix?x=/prefixed", {}),
        ("first", "/prefixed", {}),
        (None, "/prefixes", {}),
        ("prefix-slash", "/slash/a", {}),
        ("prefix-slash", "/slash/", {}),
        (None, "/slash", {}),
        ("regex", "/item/42", {}),
        ("regex", "/item/42/edit?x", {}),
        (None, "/item/42/editor", {}),
        (None, "/x/item/42", {}),
        ("method", "/m", {"method": "PUT"}),
        ("method", "/m", {"method": "DELETE"}),
        (None, "/m", {}),
        (None, "/m", {"method": "put"}),
        ("header", "/h", {"headers": ["X-Any:"]}),
        ("header-exact", "/h", {"headers": ["x-env: canary"]}),
        ("header-absent", "/h", {"headers": ["x-env: canaryx"]}),
        ("header-regex", "/h", {"headers": ["X-V: v12"]}),
        ("header-absent", "/h", {"headers": ["X-V: v12x"]}),
        ("header-absent", "/h", {}),
        (None, "/h", {"headers": ["Cookie: a"]}),
        ("query", "/q?debug", {}),
        ("query", "/q?a=1&debug=&b=2", {}),
        ("query-exact", "/q?b=xyz&a=1", {}),
        (None, "/q?a=1", {}),
        (None, "/q?a=12&b=x", {}),
        (None, "/q?xdebug=1", {}),
        (None, "/q", {}),
        ("both", "/api/x", {"host": "both.test", "method": "POST", "body": b"x"}),
        (None, "/api/x", {"host": "both.test"}),
        (None, "/", {}),
    ],
)
def test_choice(table, expected, path, options):
    response = get(table.edge, path, **options)
    if expected is None:
        assert (response.status, response.reason) == (404, "route_missing")
        assert json.loads(response.body)["reason"] == "route_missing"
    else:
        assert response.body.decode() == expected


@pytest.mark.parametrize(
    "path, target",
    [
        ("/old", "/new"),
        ("/old/", "/new/"),
        ("/old/a?b=c", "/new/a?b=c"),
        ("/old?x", "/new?x"),
        ("/strip/a", "/a"),
        ("/strip", "/"),
        ("/strip?x", "/?x"),
        ("/old//a%20b", "/new//a%20b"),
    ],
)
def test_prefix_rewrite(table, path, target):
    assert get(table.edge, path).one("x-target") == target


@pytest.mark.parametrize(
    "path, status, location",
    [
        ("/moved/a?b=c", 308, "http://shop.test/here/a?b=c"),
        ("/moved", 308, "http://shop.test/here"),
        ("/secure?x", 301, "https://safe.test:8443/secure?x"),
        ("/strip-query?x", 302, "http://shop.test/to"),
    ],
)
def test_redirect(table, path, status, location):
    response = get(table.edge, path, host="shop.test")
    assert response.status == status
    assert urljoin(f"http://shop.test{path}", response.one("location")) == location


def test_direct_answers(table):
    response = get(table.edge, "/direct")
    assert (response.status, response.body) == (418, b"teapot\n")
    assert response.one("content-type").startswith("text/plain")
    response = get(table.edge, "/json")
    assert (response.status, response.body, response.one("content-type")) == (200, b"{}", "application/json")


def test_direct_answers_and_404_keep_the_connection(table):
    with Client(table.edge) as client:
        for path, status in (("/direct", 418), ("/nowhere", 404), ("/exact", 200), ("/direct", 418)):
            client.request(path=path)
            assert client.read().status == status


def test_direct_answer_to_head_has_no_body(table):
    with Client(table.edge) as client:
        client.request("HEAD", "/direct")
        response = client.read("HEAD")
        assert (response.status, response.one("content-length")) == (418, "7")
        client.request("GET", "/direct")
        assert client.read().body == b"teapot\n"


def test_body_of_a_request_that_weir_answers_itself_is_not_the_next_request(table):
    inner = b"GET /exact HTTP/1.1\r\nHost: a\r\n\r\n"
    with Client(table.edge) as client:
        client.request("POST", "/direct", body=inner)
        assert client.read().status == 418
        client.request(path="/json")
        second = client.read()
        assert second is None or second.body == b"{}", "the body was taken for a request"


def test_a_route_of_some_listeners(weir):
    def answer(name, **match):
        return {"name": name, "match": match, "direct_response": {"status": 200, "body": name}}

    def settings(*names, wanted):
        routes = [
            answer("private", listeners=wanted, path_prefix="/a"),
            answer("both", listeners=[*names], path="/both"),
            answer("public", path_prefix="/a"),
        ]
        places = zip(names, addresses)
        return configuration([], routes, [listener(name, place) for name, place in places])

    addresses = [free_address(), free_address()]
    inside, outside = addresses
    running = weir(settings("inside", "outside", wanted=["inside"]))
    for version in (Client, Http2Client):
        with version(inside) as near, version(outside) as far:
            assert body_of(near, "/a") == b"private"
            assert body_of(far, "/a") == b"public"
            assert body_of(near, "/both") == body_of(far, "/both") == b"both"
            # Names move, addresses and connections stay: what counts is the name now.
            running.reload(settings("outside", "inside", wanted=["inside"]))
            assert body_of(near, "/a") == b"public"
            assert body_of(far, "/a") == b"private"
            running.reload(settings("inside", "outside", wanted=["inside"]))
    running.write(settings("inside", "outside", wanted=["insde"]))
    status, text = running.ask("POST", "/reload")
    assert status == 400 and "did you mean 'inside'" in text, text
    assert get(inside, "/a").body == b"private"


def body_of(client, path):
    if isinstance(client, Http2Client):
        return client.get(path).body
    client.request(path=path)
    return client.read().body


def test_ten_thousand_routes(weir, upstream):
    # Fewer under a sanitizer: reading the file takes most of the time.
    count = 10_000 // int(patience(1))
    behind = upstream(named("found"))
    routes = [
        forward("main", name=f"r{n}", match={"host": f"h{n}.test", "path_prefix": f"/p{n}"})
        for n in range(count)
    ]
    running = weir(configuration([cluster("main", behind)], routes))
    for number in (0, 1, count // 2, count - 1):
        assert get(running.edge, f"/p{number}/x", host=f"h{number}.test").status == 200
        assert get(running.edge, f"/p{number}x", host=f"h{number}.test").status == 404
    assert running.wait_log(1, lambda line: line["route"] == f"r{count - 1}")
