"""The real binary: started with a file of its own, watched through its admin socket, stopped by pid."""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

from .client import Client, get
from .patience import patience, until
from .settings import to_yaml

REPOSITORY = Path(__file__).resolve().parents[3]
WEIR = os.environ.get("WEIR_BIN", str(REPOSITORY / ".build/debug/weir"))
#: What a sanitizer or the Swift runtime writes when something is wrong inside.
ALARM = re.compile(r"AddressSanitizer|ThreadSanitizer|LeakSanitizer|Fatal error|Crash:|SUMMARY: ")
#: What lives as long as the process is not freed at its end; growth is what the tests look for.
ENVIRONMENT = {
    "SWIFT_BACKTRACE": "enable=no",
    "ASAN_OPTIONS": "detect_leaks=0",
    "TSAN_OPTIONS": f"suppressions={Path(__file__).parents[1] / 'tsan.suppressions'}",
}
SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? ([-+0-9.eE]+|NaN|[+-]Inf)(?: [0-9]+)?\Z")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)",?')


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=patience(15))
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Weir:
    """One running instance. `settings` is a configuration without its admin section, or text."""

    def __init__(self, settings, open_files=None, wait=True, log=True, config_map=False, admin=None):
        self.directory = Path(tempfile.mkdtemp(prefix="weir-e2e-"))
        self.file = self.directory / "weir.yaml"
        self.log_file = self.directory / "access.ndjson"
        self.has_log = log
        self.admin = admin or str(self.directory / "admin.sock")
        if config_map:
            self.swap_config_map(settings)
            self.file.symlink_to(Path("..data", self.file.name))
        else:
            self.write(settings)
        self.stderr_file = open(self.directory / "stderr", "wb+")
        command = [WEIR, "run", str(self.file)]
        if open_files:
            command = ["sh", "-c", f'ulimit -n {open_files} && exec "$@"', "sh", *command]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self.stderr_file,
            env=ENVIRONMENT | os.environ,
        )
        self.pid = self.process.pid
        self.is_expected_to_run = True
        if wait:
            self.wait_ready()

    # Configuration

    def complete(self, settings):
        """Adds what every test needs: the admin socket and the access log."""
        if isinstance(settings, str):
            return settings
        runtime = dict(settings.get("runtime", {}))
        if self.has_log:
            runtime.setdefault("access_log", {"path": str(self.log_file)})
        return settings | {"admin": {"address": f"unix:{self.admin}"}, "runtime": runtime}

    def write(self, settings):
        """Writes the file in place."""
        self.file.write_text(to_yaml(self.complete(settings)))

    def swap(self, settings):
        """Writes a new file and renames it over the old one."""
        new = self.file.with_suffix(".new")
        new.write_text(to_yaml(self.complete(settings)))
        os.replace(new, self.file)

    def swap_config_map(self, settings):
        """Puts the file in a new folder and renames a link to it over `..data`."""
        folder = Path(tempfile.mkdtemp(prefix="..v", dir=self.directory))
        (folder / self.file.name).write_text(to_yaml(self.complete(settings)))
        link = self.directory / "..new"
        link.symlink_to(folder.name)
        os.replace(link, self.directory / "..data")

    # Life

    def wait_ready(self):
        def is_ready():
            if self.process.poll() is not None:
                raise AssertionError(f"weir ended with {self.process.returncode}: {self.stderr}")
            try:
                return self.ask("GET", "/ready")[0] == 200
            except OSError:
                return False

        until(is_ready, "weir is ready", 30)

    def signal(self, number):
        os.kill(self.pid, number)

    @contextlib.contextmanager
    def stopped(self):
        """Meanwhile not one of its threads runs: what comes is there at once when they go on."""

        def is_stopped():
            threads = Path(f"/proc/{self.pid}/task").glob("*/stat")
            return all(thread.read_text().rsplit(")", 1)[1].split()[0] == "T" for thread in threads)

        self.signal(signal.SIGSTOP)
        try:
            until(is_stopped, "it is stopped")
            yield
        finally:
            self.signal(signal.SIGCONT)

    def wait_exit(self, seconds=30):
        """The exit code."""
        self.is_expected_to_run = False
        return self.process.wait(patience(seconds))

    def stop(self):
        """Ends the process and says what was wrong with it, if anything."""
        wrong = []
        if self.process.poll() is not None and self.is_expected_to_run:
            wrong.append(f"weir ended by itself with {self.process.returncode}")
        for number, seconds in ((signal.SIGTERM, 0.3), (signal.SIGTERM, patience(10)), (signal.SIGKILL, 10)):
            if self.process.poll() is not None:
                break
            if number == signal.SIGKILL:
                wrong.append("weir did not end after a second SIGTERM")
            self.process.send_signal(number)
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                continue
        if ALARM.search(self.stderr):
            wrong.append("an alarm on stderr")
        text = self.stderr
        self.stderr_file.close()
        return "\n".join([*wrong, text[:2000], text[-6000:]]) if wrong else ""

    @property
    def stderr(self):
        return (self.directory / "stderr").read_text(errors="replace")

    # The admin listener

    def ask(self, method, path, body=None, headers=None):
        """(status, text) from the admin listener."""
        connection = UnixConnection(self.admin)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def status(self):
        status, text = self.ask("GET", "/status")
        assert status == 200, text
        return json.loads(text)

    @property
    def generation(self):
        return self.status()["generation"]

    def address(self, name="edge"):
        """Where the listener really is."""
        for entry in self.status()["listeners"]:
            if entry["name"] == name:
                return entry["address"]
        raise AssertionError(f"no listener {name} in {self.status()['listeners']}")

    @property
    def edge(self):
        if not hasattr(self, "_edge"):
            self._edge = self.address()
        return self._edge

    def reload(self, settings):
        """Swaps the file in and reloads through the admin listener; must be accepted."""
        self.swap(settings)
        status, text = self.ask("POST", "/reload")
        assert status == 200, text
        return text

    def wait_generation(self, beyond):
        return until(
            lambda: self.generation > beyond and self.generation,
            f"a generation beyond {beyond}; stderr: {self.stderr[-2000:]}",
        )

    def metrics(self):
        """{(name, frozenset of label pairs): value}; every line must be well-formed."""
        status, text = self.ask("GET", "/metrics")
        assert status == 200
        samples = {}
        for line in text.splitlines():
            if not line or line.startswith("#"):
                assert not line or re.match(r"# (HELP|TYPE) [a-zA-Z_:][a-zA-Z0-9_:]* \S", line), line
                continue
            match = SAMPLE.match(line)
            assert match, f"not a Prometheus sample: {line!r}"
            labels = match[2] or ""
            assert not LABEL.sub("", labels), f"ill-formed labels: {line!r}"
            key = match[1], frozenset(LABEL.findall(labels))
            assert key not in samples, f"twice: {line!r}"
            samples[key] = float(match[3])
        return samples

    def total(self, name, **labels):
        """The sum over all samples of `name` that have these labels."""
        wanted = {(key, str(value)) for key, value in labels.items()}
        return sum(v for (n, have), v in self.metrics().items() if n == name and wanted <= have)

    def wait_total(self, least, name, **labels):
        """The sum, once it is `least` or more: a request is counted a moment after its answer left."""

        def reached():
            found = self.total(name, **labels)
            return (found,) if found >= least else None

        return until(reached, f"{name} is {least}")[0]

    # What it leaves and takes

    def log(self):
        """The access log so far."""
        if not self.log_file.exists():
            return []
        text = self.log_file.read_text()
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def wait_log(self, count=1, where=lambda line: True):
        """The log lines that satisfy `where`, once there are `count`."""

        def enough():
            lines = [line for line in self.log() if where(line)]
            return lines if len(lines) >= count else None

        return until(enough, f"{count} log lines")

    @property
    def open_files(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    @property
    def room_for_files(self):
        """Descriptors that the kernel's table of them has room for."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"^FDSize:\s*(\d+)$", status, re.MULTILINE)[1])

    @property
    def resident(self):
        """Bytes of memory in use."""
        text = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", text)[1]) << 10

    # Shorthands

    def client(self, **options):
        return Client(self.edge, **options)

    def get(self, path="/", **options):
        return get(self.edge, path, **options)
