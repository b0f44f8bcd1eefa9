"""Live reload: every trigger, every refusal, and nothing dropped."""

import asyncio
import os
import signal
import threading

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve

from harness import Client, cluster, configuration, forward, free_address, get, listener, ok, patience, until


def answers(text, **options):
    """A configuration whose only route answers `text` itself."""
    return configuration(
        [],
        [{"name": "direct", "match": {"path_prefix": "/"}, "direct_response": {"status": 200, "body": text}}],
        **options,
    )


def says(running, text):
    until(lambda: running.get().body == text.encode(), f"weir says {text}; {running.stderr[-1500:]}")


def test_edit_in_place(weir):
    running = weir(answers("one"))
    generation = running.generation
    running.write(answers("two"))
    says(running, "two")
    assert running.generation > generation


def test_rename_over_the_file(weir):
    running = weir(answers("one"))
    for number in range(5):
        running.swap(answers(f"v{number}"))
        says(running, f"v{number}")


def test_editor_that_deletes_and_writes_anew(weir):
    running = weir(answers("one"))
    running.file.unlink()
    running.write(answers("two"))
    says(running, "two")


def test_symlink_swap_as_a_config_map_does_it(weir):
    """file -> ..data/file, ..data -> ..v1; an update renames a new ..data over the old one."""
    running = weir(answers("old"), config_map=True)
    says(running, "old")
    for number in range(3):
        running.swap_config_map(answers(f"v{number}"))
        says(running, f"v{number}")


def test_sighup(weir):
    running = weir(answers("one"))
    running.write(answers("two"))
    running.signal(signal.SIGHUP)
    says(running, "two")


def test_post_answers_with_the_difference(weir, upstream):
    behind = upstream()
    running = weir(configuration([cluster("main", behind)]))
    text = running.reload(
        configuration([cluster("main", behind)], [forward(name="renamed", match={"path_prefix": "/x"})])
    )
    assert "route" in text
    assert running.get("/x").status == 200
    assert running.get("/").status == 404
    assert running.status()["last_reload"]["ok"] is True


BROKEN = {
    "syntax": "version: 1\nlisteners: [\n",
    "unknown key": "version: 1\nlisteners: []\nroutes: []\nclusterz: []\n",
    "empty": "",
    "not a mapping": "- 1\n- 2\n",
    "binary": "\0\1\2\3",
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_edit_keeps_the_old(weir, name):
    running = weir(answers("old"))
    generation = running.generation
    with running.client() as client:
        client.request()
        assert client.read().body == b"old"
        running.write(BROKEN[name])
        status, text = running.ask("POST", "/reload")
        assert status == 400, text
        client.request()
        assert client.read().body == b"old"
    assert running.generation == generation
    assert running.status()["last_reload"]["ok"] is False
    assert running.ask("GET", "/ready")[0] == 200
    running.write(answers("new"))
    says(running, "new")
    assert running.status()["last_reload"]["ok"] is True


def test_all_faults_are_reported_with_their_places(weir):
    running = weir(answers("old"))
    running.write(
        "version: 1\nlisteners:\n  - { name: a, address: 127.0.0.1:0 }\n"
        "routes:\n  - { name: r, clustr: x }\n  - { name: s, cluster: nowhere }\n"
    )
    status, text = running.ask("POST", "/reload")
    assert status == 400
    assert ":5:" in text and ":6:" in text, text
    assert "clustr" in text and "nowhere" in text


def test_address_that_is_taken_refuses_the_whole_reload(weir, upstream):
    taken = upstream()
    running = weir(answers("old"))
    running.write(answers("new", listeners=[listener(), listener("second", taken.address)]))
    status, text = running.ask("POST", "/reload")
    assert status == 400 and taken.address in text, text
    assert running.get().body == b"old"


@pytest.mark.parametrize("port", ["chosen", "any"])
def test_listeners_come_and_go_live(weir, port):
    running = weir(answers("x"))
    edge = running.edge
    extra = listener("second", free_address() if port == "chosen" else "127.0.0.1:0")
    for _ in range(5):
        running.reload(answers("x", listeners=[listener(), extra]))
        assert running.address("edge") == edge, "an unchanged listener keeps its port"
        second = running.address("second")
        assert second != edge
        assert get(second).status == 200
        assert get(edge).status == 200
        running.reload(answers("x"))
        until(lambda: is_refused(second), "the removed listener refuses connections")
        assert get(edge).status == 200


def is_refused(address):
    try:
        Client(address, seconds=1).close()
    except OSError:
        return True
    return False


def test_request_on_a_removed_listener_is_finished(weir, upstream):
    go = threading.Event()

    def answer(_):
        assert go.wait(patience(30))
        return ok(b"done")

    behind = upstream(answer)
    settings = configuration([cluster("main", behind)])
    running = weir(settings | {"listeners": [listener(), listener("second", free_address())]})
    with Client(running.address("second")) as client:
        client.request()
        behind.wait_requests(1)
        running.reload(settings)
        go.set()
        assert client.read().body == b"done"


def test_request_ends_under_the_generation_it_began_with(weir, upstream):
    go = threading.Event()

    def answer(_):
        assert go.wait(patience(30))
        return ok(b"from the old endpoint")

    old, new = upstream(answer), upstream(lambda request: ok(b"new"))
    running = weir(
        configuration([cluster("main", old)], [forward(response_headers={"set": {"x-config": "1"}})])
    )
    with running.client() as client:
        client.request()
        old.wait_requests(1)
        running.reload(
            configuration([cluster("main", new)], [forward(response_headers={"set": {"x-config": "2"}})])
        )
        assert running.get().body == b"new"
        go.set()
        response = client.read()
        assert (response.body, response.one("x-config")) == (b"from the old endpoint", "1")
        client.request()
        response = client.read()
        assert (response.body, response.one("x-config")) == (b"new", "2"), (
            "the kept connection sees the new file"
        )
    old.wait(lambda: old.connections[0].is_closed.is_set(), "the pool of the removed endpoint is emptied")


def test_kept_upstream_connections_survive(weir, upstream):
    behind = upstream()
    settings = configuration([cluster("main", behind)], runtime={"workers": 1})
    running = weir(settings)
    for number in range(5):
        assert running.get().status == 200
        running.reload(settings | {"routes": [forward(name=f"r{number}")]})
    assert running.get().status == 200
    assert len(behind.connections) == 1


@pytest.mark.slow
def test_200_reloads_under_load_lose_nothing(weir, upstream):
    """Keep-alive clients, new connections and POST bodies run while the file changes 200 times."""
    first, second = (
        upstream(lambda request: ok(request.body or b"-")),
        upstream(lambda request: ok(request.body or b"-")),
    )

    second_address = free_address()

    def settings(number):
        endpoints = [first, second] if number % 2 else [second]
        return configuration(
            [cluster("main", *endpoints), cluster(f"extra{number}", "127.0.0.1:9")],
            [
                forward("main", name=f"r{number}", match={"path_prefix": "/"}),
                forward(f"extra{number}", match={"path_prefix": "/never"}),
            ],
            listeners=[listener()] + ([listener("second", second_address)] if number % 3 == 0 else []),
        )

    running = weir(settings(0))
    stop, failures, served = threading.Event(), [], [0] * 6

    def check(response, wanted):
        if response is None or (response.status, response.body) != (200, wanted):
            failures.append(response)

    def kept(slot, body):
        with Client(running.edge) as client:
            while not stop.is_set():
                client.request("POST" if body else "GET", body=body)
                check(client.read(), body or b"-")
                served[slot] += 1

    def fresh(slot):
        while not stop.is_set():
            check(get(running.edge), b"-")
            served[slot] += 1

    def guarded(work, *arguments):
        try:
            work(*arguments)
        except Exception as error:
            failures.append(error)

    work = [
        (kept, 0, None),
        (kept, 1, None),
        (kept, 2, b"x" * 3000),
        (kept, 3, b"y" * 50_000),
        (fresh, 4),
        (fresh, 5),
    ]
    threads = [threading.Thread(target=guarded, args=one) for one in work]
    for thread in threads:
        thread.start()
    try:
        before = running.generation
        for number in range(1, 201):
            running.reload(settings(number))
            assert not failures, failures[:3]
    finally:
        stop.set()
        for thread in threads:
            thread.join(patience(15))
    assert not failures, failures[:3]
    assert running.generation >= before + 200
    assert min(served) > 50, served
    descriptors = running.open_files
    for number in range(201, 221):
        running.reload(settings(number))
    until(lambda: running.open_files <= descriptors + 8, "reloads leave no descriptors open")


def test_websocket_survives_reloads(weir):
    async def echo(socket):
        async for message in socket:
            await socket.send(message)

    async def main():
        async with serve(echo, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            settings = configuration([cluster("main", f"127.0.0.1:{port}")])
            running = await asyncio.to_thread(weir, settings)
            async with connect(f"ws://{running.edge}/", open_timeout=patience(10)) as socket:
                for number in range(10):
                    await asyncio.to_thread(
                        running.reload, settings | {"routes": [forward(name=f"r{number}")]}
                    )
                    await socket.send(str(number))
                    assert await asyncio.wait_for(socket.recv(), patience(15)) == str(number)

    asyncio.run(main())


def test_rapid_writes_end_with_the_last(weir):
    running = weir(answers("0"))
    for number in range(1, 101):
        running.write(answers(str(number)))
    says(running, "100")


def test_file_that_vanishes_changes_nothing(weir):
    running = weir(answers("still here"))
    os.unlink(running.file)
    status, _ = running.ask("POST", "/reload")
    assert status == 400
    assert running.get().body == b"still here"
