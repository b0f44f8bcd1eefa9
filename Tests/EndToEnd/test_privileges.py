"""Started as root, weir gives it up once its listeners are bound."""

import os
import pwd
import random
import re
import shutil
import tempfile
from pathlib import Path

import pytest

from harness import SLOWDOWN, cluster, configuration, listener

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="takes root to give it up"),
    pytest.mark.skipif(SLOWDOWN > 1, reason="sanitizers want rights that are given up"),
]
ONLY_LOW_PORTS = 1 << 10


@pytest.fixture
def admin():
    """The path of an admin socket that anybody may make."""
    folder = tempfile.mkdtemp(prefix="weir-e2e-")
    os.chmod(folder, 0o777)
    yield os.path.join(folder, "admin.sock")
    shutil.rmtree(folder)


def settings(behind, user, *listeners):
    return configuration([cluster("main", behind)], listeners=list(listeners), runtime={"user": user})


def rights(path):
    """Users, groups and capabilities of a process or a thread."""
    words = dict(re.findall(r"^(\w+):\s*(.*)$", Path(path, "status").read_text(), re.MULTILINE))
    capabilities = {int(words[name], 16) for name in ("CapEff", "CapPrm")}
    return set(words["Uid"].split()), set(words["Gid"].split()), capabilities, words["NoNewPrivs"]


def test_root_is_given_up_but_for_low_ports(weir, upstream, admin):
    behind = upstream()
    port = random.randrange(600, 1000)
    low, other = (listener(name, f"127.0.0.1:{port + more}") for more, name in enumerate(("low", "other")))
    running = weir(settings(behind, "nobody", listener(), low), admin=admin, log=False)
    user = pwd.getpwnam("nobody")
    wanted = {str(user.pw_uid)}, {str(user.pw_gid)}, {ONLY_LOW_PORTS}, "1"
    threads = list(Path(f"/proc/{running.pid}/task").iterdir())
    assert len(threads) > 1
    assert [rights(thread) for thread in threads] == [wanted] * len(threads)
    assert running.get().status == 200
    # The file has to be readable, as the log says.
    os.chmod(running.directory, 0o755)
    running.write(settings(behind, "nobody", listener(), low, other))
    code, text = running.ask("POST", "/reload")
    assert code == 200, text
    assert "other" in {entry["name"] for entry in running.status()["listeners"]}


def test_an_unknown_user_ends_the_start(weir, upstream):
    running = weir(settings(upstream(), "no-such-user", listener()), wait=False)
    assert running.wait_exit() == 1
    assert "runtime.user: there is no user 'no-such-user'" in running.stderr


def test_what_the_user_cannot_read_is_said(weir, upstream, admin):
    running = weir(settings(upstream(), "nobody", listener()), admin=admin, log=False)
    assert "a reload will be refused: the user cannot read a file" in running.stderr
    assert running.get().status == 200
    assert running.ask("POST", "/reload")[0] == 400


def test_a_log_that_the_user_cannot_write_ends_the_start(weir, upstream, admin):
    running = weir(settings(upstream(), "nobody", listener()), admin=admin, wait=False)
    assert running.wait_exit() == 1
    assert "the access log cannot be written" in running.stderr
