"""The stage of a drill: four small origins, one proxy before them, and open-loop load."""

import http.client
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "Bench"))

import stand  # noqa: E402
from stand import Failure  # noqa: E402

SLOTS, SERVICE_MS, COUNT = 6, 10, 4
WORK = stand.ROOT / ".build" / "drill"
ORIGIN = os.environ.get("WEIR_ORIGIN_BIN") or str(stand.ROOT / ".build/release/weir-origin")
RECORD = struct.Struct("<IIBBH")
CUT, TIMED_OUT, UNFINISHED = 0, 1, 2


def build_load():
    """Compiles the generator when its source is newer."""
    WORK.mkdir(parents=True, exist_ok=True)
    built, sources = WORK / "openload", [HERE / "openload.c", HERE / "plan.h"]
    if built.exists() and built.stat().st_mtime > max(s.stat().st_mtime for s in sources):
        return
    flags = ["-O2", "-Wall", "-Wextra", "-D_GNU_SOURCE"]
    subprocess.run(["cc", *flags, "-o", built, sources[0], "-lm"], check=True)


class Origin:
    """One endpoint: a process of its own, so that it can be stopped, killed and started again."""

    def __init__(self, number):
        self.number, self.port = number, stand.free_port()
        self.child, self.asker, self.is_mute = None, None, False
        self.before, self.last = 0, 0

    def start(self):
        command = [ORIGIN, "--port", self.port, "--name", f"e{self.number}"]
        command += ["--seed", 100 + self.number, "--concurrency", SLOTS]
        command += ["--service-time", f"{SERVICE_MS}ms", "--service-law", "exp"]
        self.before, self.last, self.is_mute = self.before + self.last, 0, False
        self.child = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=stand.die_with_parent,
        )
        end = time.monotonic() + 10
        while self.requests() is None:
            if self.child.poll() is not None or time.monotonic() > end:
                raise Failure(f"the origin on port {self.port} did not start")
            time.sleep(0.02)
        return self

    def kill(self):
        self.is_mute = True
        if self.child and self.child.poll() is None:
            self.child.kill()
            self.child.wait()
        self._hang_up()

    def set(self, **settings):
        query = "&".join(f"{key}={value}" for key, value in settings.items())
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        connection.request("POST", f"/__set?{query}")
        answer = connection.getresponse()
        if answer.status != 200:
            raise Failure(f"the origin refuses {query}: {answer.read().decode()}")
        connection.close()

    def pause(self):
        self.is_mute = True
        os.kill(self.child.pid, signal.SIGSTOP)

    def go_on(self):
        os.kill(self.child.pid, signal.SIGCONT)
        self.is_mute = False

    def requests(self):
        """Clients' requests that reached it so far; None when it does not say."""
        if self.is_mute:
            return None
        try:
            if self.asker is None:
                self.asker = http.client.HTTPConnection("127.0.0.1", self.port, timeout=0.08)
            self.asker.request("GET", "/__stats")
            self.last = json.loads(self.asker.getresponse().read())["client_requests"]
        except (OSError, http.client.HTTPException):
            self._hang_up()
            return None
        return self.before + self.last

    def _hang_up(self):
        if self.asker:
            self.asker.close()
        self.asker = None


class _Governed:
    """What the proxies of a drill have in common."""

    configs = HERE / "configs"

    def _answers(self):
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as client:
                client.sendall(b"GET / HTTP/1.1\r\nHost: drill\r\nConnection: close\r\n\r\n")
                return client.recv(12) == b"HTTP/1.1 200"
        except OSError:
            return False


class Weir(_Governed, stand.Weir):
    pass


class Nginx(_Governed, stand.Nginx):
    pass


class HAProxy(_Governed, stand.HAProxy):
    pass


class Envoy(_Governed, stand.Envoy):
    def command(self, config):
        words = ["-c", config, "--concurrency", "2", "--use-dynamic-base-id", "-l", "error"]
        return [self.binary(), *words]


class RoundRobin(_Governed, stand.Nginx):
    name, template = "roundrobin", "roundrobin.conf"


PROXIES = {proxy.name: proxy for proxy in (Weir, Nginx, HAProxy, Envoy, RoundRobin)}


class Tape:
    """What came of one run: a record a request, and what had reached each origin when."""

    def __init__(self, records, summary, samples, costs):
        self.records, self.summary, self.samples, self.costs = records, summary, samples, costs


class Stage:
    """The origins, and one proxy at a time before them."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.origins = [Origin(number) for number in range(1, COUNT + 1)]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for origin in self.origins:
            origin.kill()

    def renew(self):
        """Fresh origins: nothing queued, nothing changed, the same chance."""
        for origin in self.origins:
            origin.kill()
            origin.start()

    def all(self, **settings):
        for origin in self.origins:
            origin.set(**settings)

    def play(self, proxy_name, plan, events=(), direct=False):
        """One run of `plan`, with `events` as (seconds, what to do) on the way."""
        self.renew()
        if direct:
            return self._run(None, [origin.port for origin in self.origins], plan, events)
        values = {f"E{origin.number}": origin.port for origin in self.origins}
        with PROXIES[proxy_name](self.folder, **values) as proxy:
            return self._run(proxy, [proxy.port], plan, events)

    def _run(self, proxy, ports, plan, events):
        path = self.folder / "records"
        text = "".join(f"port {port}\n" for port in ports) + plan
        load = subprocess.Popen(
            [WORK / "openload", path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=stand.die_with_parent,
        )
        before = self._costs(proxy)
        load.stdin.write(text)
        load.stdin.close()
        try:
            if load.stdout.readline() != "started\n":
                raise Failure("the load did not start")
            watch = _Watch(self.origins, events)
            watch.start()
            summary = json.loads(load.stdout.readline() or "{}")
            _, status, usage = os.wait4(load.pid, 0)
            load.returncode = os.waitstatus_to_exitcode(status)
        finally:
            if load.returncode is None:
                load.kill()
                load.wait()
            load.stdout.close()
        watch.finish()
        if load.returncode != 0:
            raise Failure("the load failed")
        if proxy and proxy.child.poll() is not None:
            raise Failure(f"{proxy.name} has ended: {proxy.folder}/output")
        costs = {key: value - before[key] for key, value in self._costs(proxy).items()}
        costs["load"] = usage.ru_utime + usage.ru_stime
        records = list(RECORD.iter_unpack(path.read_bytes()))
        return Tape(records, summary, watch.samples, costs)

    def _costs(self, proxy):
        """CPU seconds so far of the proxy and of the machine; time on the clock."""
        busy = [int(word) for word in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
        used = sum(busy) - busy[3] - busy[4]
        return {
            "proxy": proxy.cost()[0] / 1e9 if proxy else 0.0,
            "origins": sum(_cpu(origin.child.pid) for origin in self.origins),
            "machine": used / os.sysconf("SC_CLK_TCK"),
            "clock": time.monotonic(),
        }


def _cpu(pid):
    try:
        tasks = Path(f"/proc/{pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
    except OSError:
        return 0.0


class _Watch(threading.Thread):
    """Makes the events happen on time and counts what reaches the origins meanwhile."""

    STEP = 0.1

    def __init__(self, origins, events):
        super().__init__(daemon=True)
        self.origins, self.events = origins, sorted(events, key=lambda event: event[0])
        self.samples, self.problem = [], None
        self.ended = threading.Event()

    def run(self):
        try:
            self._watch(time.monotonic())
        except (OSError, http.client.HTTPException, Failure) as problem:
            self.problem = problem

    def _watch(self, began):
        events, sample = list(self.events), 0.0
        while True:
            passed = time.monotonic() - began
            if events and events[0][0] <= passed:
                events.pop(0)[1]()
                continue
            if sample <= passed:
                sample = passed + self.STEP
                self.samples.append((passed, [origin.requests() for origin in self.origins]))
            due = min([sample, *(event[0] for event in events[:1])])
            if self.ended.wait(max(due - (time.monotonic() - began), 0.001)):
                break
        # The load is over: what is left to happen, such as going on after a pause, may happen now.
        for _, happen in events:
            happen()

    def finish(self):
        self.ended.set()
        self.join(60)
        if self.problem:
            raise Failure(f"an event of the drill failed: {self.problem}")
