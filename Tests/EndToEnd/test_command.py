"""The command's verbs, texts and exit codes: 0 is well, 1 a refused config, 2 wrong usage."""

import os
import socket
import subprocess
import tempfile

import pytest

from harness import REPOSITORY, WEIR, cluster, configuration, patience
from harness.settings import to_yaml


def weir(*arguments, **options):
    return subprocess.run(
        [WEIR, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=patience(20),
        stdin=subprocess.DEVNULL,
        **options,
    )


@pytest.fixture
def good(tmp_path):
    file = tmp_path / "good.yaml"
    file.write_text(to_yaml(configuration([cluster("main", "127.0.0.1:9")])))
    return file


def test_version():
    done = weir("version")
    assert done.returncode == 0
    assert done.stdout.startswith("weir ") and any(letter.isdigit() for letter in done.stdout)
    assert done.stderr == ""


@pytest.mark.parametrize("spelling", [["help"], ["--help"], ["-h"]])
def test_help_names_every_verb(spelling):
    done = weir(*spelling)
    assert done.returncode == 0
    for verb in ("run", "check", "version", "help"):
        assert verb in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize(
    "arguments",
    [[], ["fly"], ["run"], ["check"], ["run", "a", "b"], ["check", "--fast", "x"], ["version", "x"], [""]],
)
def test_wrong_usage(arguments):
    done = weir(*arguments)
    assert done.returncode == 2, (done.stdout, done.stderr)
    assert "weir" in done.stderr and done.stdout == ""


def test_unknown_verb_gets_the_nearest():
    assert "run" in weir("rnu").stderr


def test_check_accepts(good):
    done = weir("check", good)
    assert done.returncode == 0, done.stderr


def test_check_opens_no_port():
    """Checking a file whose port is in use is no fault of the file."""
    with socket.socket() as taken, tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        settings = configuration([cluster("main", "127.0.0.1:9")])
        settings["listeners"] = [{"name": "edge", "address": f"127.0.0.1:{taken.getsockname()[1]}"}]
        file.write(to_yaml(settings))
        file.flush()
        assert weir("check", file.name).returncode == 0


BAD = {
    "unknown key": ("routez: []", ":7:", "routes"),
    "not supported yet": ("shared_state: {}", ":7:", "not supported yet"),
}


@pytest.mark.parametrize("verb", ["check", "run"])
@pytest.mark.parametrize("name", BAD)
def test_refused_config(tmp_path, verb, name):
    line, place, said = BAD[name]
    file = tmp_path / "bad.yaml"
    file.write_text(
        "version: 1\nlisteners:\n  - { name: edge, address: 127.0.0.1:0 }\n"
        "routes:\n  - { name: r, cluster: main }\nclusters: [{ name: main, endpoints: [127.0.0.1:9] }]\n"
        + line
        + "\n"
    )
    done = weir(verb, file)
    text = done.stdout + done.stderr
    assert done.returncode == 1, text
    assert f"bad.yaml{place}" in text, text
    assert said in text
    assert "^" in text or verb == "run", "a caret shows the place"


def test_every_fault_is_reported_at_once(tmp_path):
    file = tmp_path / "bad.yaml"
    file.write_text(
        "version: 2\nlisteners:\n  - { name: edge, address: nowhere }\nroutes:\n  - { name: r, cluster: gone, timeout: 5 parsecs }\n"
    )
    done = weir("check", file)
    text = done.stdout + done.stderr
    assert done.returncode == 1
    for line in (1, 3, 5):
        assert f"bad.yaml:{line}:" in text, text
    assert "gone" in text and "parsecs" in text


@pytest.mark.parametrize("verb", ["check", "run"])
@pytest.mark.parametrize("kind", ["missing", "folder", "unreadable", "empty", "binary", "huge"])
def test_files_that_are_no_config(tmp_path, verb, kind):
    file = tmp_path / "x.yaml"
    if kind == "folder":
        file.mkdir()
    elif kind == "unreadable":
        if os.geteuid() == 0:
            pytest.skip("root reads everything")
        file.touch(mode=0)
    elif kind == "empty":
        file.write_text("")
    elif kind == "binary":
        file.write_bytes(bytes(range(256)))
    elif kind == "huge":
        file.write_text("version: 1\n" + "# padding\n" * 5_000_000)
    done = weir(verb, file)
    assert done.returncode == 1, (done.stdout, done.stderr)
    assert "x.yaml" in done.stdout + done.stderr


def test_shipped_configs_are_accepted():
    files = sorted((REPOSITORY / "configs").glob("*.yaml"))
    assert files, "configs/ has at least quickstart.yaml"
    for file in files:
        done = weir("check", file)
        assert done.returncode == 0, done.stdout + done.stderr
