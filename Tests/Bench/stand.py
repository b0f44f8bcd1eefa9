"""The stand: an upstream and the proxies before it, on one CPU and on free ports."""

import ctypes
import glob
import os
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
WORK = ROOT / ".build" / "bench"
CERTIFICATE = WORK / "tls.pem"
FILES = {"/1k": 1 << 10, "/100k": 100 << 10, "/10m": 10 << 20}


class Failure(Exception):
    """What makes a measurement impossible or wrong, in words for the person at the terminal."""


def pin(cpu):
    """This process and all it starts: one CPU, SCHED_BATCH, as many descriptors as allowed.

    On one CPU with SCHED_BATCH every proxy sees requests in batches. Otherwise a fast proxy goes to
    sleep after each request while a slow one never does, and CPU per request says more about
    wake-ups than about work.
    """
    os.sched_setaffinity(0, {cpu})
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 20000), hard))


def free_port():
    """A port below the ephemeral range, so that no outgoing connection can take it meanwhile."""
    low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for _ in range(200):
        port = random.randrange(10000, max(low, 11000))
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise Failure("no free port found")


def build_tools():
    """Compiles the load generator and the allocation counter when their source is newer."""
    WORK.mkdir(parents=True, exist_ok=True)
    for source, target, flags in (
        ("loadgen.c", "loadgen", ["-D_GNU_SOURCE"]),
        ("mallocs.c", "mallocs.so", ["-shared", "-fPIC"]),
    ):
        built = WORK / target
        if not built.exists() or built.stat().st_mtime < (HERE / source).stat().st_mtime:
            subprocess.run(
                ["cc", "-O2", "-Wall", "-Wextra", *flags, "-o", built, HERE / source], check=True
            )


def load(port, requests, path="/1k", connections=64, *more):
    """Sends exactly `requests` and returns the generator's figures; any wrong answer fails."""
    command = [WORK / "loadgen", "-n", requests, "-c", connections, "-p", path]
    command += ["-l", FILES["/" + path.rsplit("/", 1)[1]], *more, port]
    run = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=150
    )
    if run.returncode != 0:
        raise Failure(f"load on {path} failed: {run.stdout.strip()} {run.stderr.strip()}")
    return figures(run.stdout)


def load_over_tls(port, requests, path="/1k", connections=64):
    """As `load`, over TLS 1.3 with h2load; the handshakes of the connections are in it."""
    return h2load("https", port, requests, path, ["--h1", "-c", connections])


def load_h2(port, requests, path="/1k", connections=8, streams=8, scheme="http"):
    """As `load`, over HTTP/2 with h2load: by prior knowledge, or over TLS 1.3."""
    return h2load(scheme, port, requests, path, ["-c", connections, "-m", streams])


def h2load(scheme, port, requests, path, options):
    """Sends exactly `requests`; figures as those of `load`."""
    times = WORK / "h2load.times"
    times.unlink(missing_ok=True)
    command = ["h2load", "-n", requests, *options, f"--log-file={times}"]
    run = subprocess.run(
        [str(word) for word in [*command, f"{scheme}://127.0.0.1:{port}{path}"]],
        capture_output=True,
        text=True,
        timeout=150,
    )
    done = re.search(r"^finished in ([\d.]+)(ms|s),", run.stdout, re.MULTILINE)
    body = re.search(r"\((\d+)\) data$", run.stdout, re.MULTILINE)
    right = f"status codes: {requests} 2xx, 0 3xx, 0 4xx, 0 5xx" in run.stdout
    # h2load has no option that asks for a version; what it got must be the one that is meant.
    right = right and (scheme == "http" or "TLS Protocol: TLSv1.3" in run.stdout)
    if not (run.returncode == 0 and done and body and right) or int(body[1]) != requests * FILES[path]:
        raise Failure(f"load of h2load on {path} failed: {run.stdout.strip()} {run.stderr.strip()}")
    taken = sorted(int(line.split()[2]) for line in times.read_text().splitlines())
    return {
        "seconds": float(done[1]) / (1000 if done[2] == "ms" else 1),
        "p50_us": taken[len(taken) // 2],
        "p99_us": taken[len(taken) * 99 // 100],
    }


def shake_hands(port, seconds, is_resumed):
    """One request a connection for so long, one connection after the other; how many they were."""
    # It asks by HTTP/1.0 without a Host, unless the path brings along what it leaves out.
    path = "/1k HTTP/1.1\r\nHost: bench\r\nConnection: close\r\nX-Rest:"
    command = ["openssl", "s_time", "-connect", f"127.0.0.1:{port}", "-www", path, "-time", seconds]
    command += ["-reuse" if is_resumed else "-new"]
    run = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=seconds + 60
    )
    found = re.search(r"(\d+) connections in \d+ real seconds, (\d+) bytes read", run.stdout)
    if run.returncode != 0 or not found or int(found[2]) < FILES["/1k"]:
        raise Failure(f"handshakes failed: {run.stdout.strip()} {run.stderr.strip()}")
    return int(found[1])


def load_by_tenants(port, requests, tenants=100):
    """As `load`, from so many tenants in turn."""
    return load(port, requests, "/1k", 64, "-f", "x-api-key: tenant-%d", "-s", tenants)


def figures(line):
    return {key: float(value) for key, value in (pair.split("=") for pair in line.split())}


def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


class Process:
    """A server made from a template in configs/, in a folder of its own."""

    name = template = None
    #: What the template says where it speaks TLS, or HTTP/2 without it.
    secure, clear_http2 = {}, {}
    configs = HERE / "configs"
    patience = 20

    def __init__(self, folder, tls=False, http2=False, **values):
        self.scheme = "https" if tls else "http"
        self.http2 = http2
        self.folder = Path(folder) / f"{self.name}-{random.randrange(1 << 32):08x}"
        self.folder.mkdir(parents=True)
        self.port, self.control = free_port(), free_port()
        self.prefix, self.environment = [], {}
        self.values = {
            "DIR": self.folder,
            "PORT": self.port,
            "CONTROL": self.control,
            "NOFILE": min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 20000) - 500,
            "USER": "user root;" if os.geteuid() == 0 else "",
            "SINGLE": "",
            "FILES": WORK / "files",
            "SSL": "",
            "TLS": "",
            "SCHEME": self.scheme,
            **(self.secure if tls else self.clear_http2 if http2 else {}),
            "ALPN": "h2" if http2 else "http/1.1",
            **values,
        }
        self.child = None

    def command(self, config):
        raise NotImplementedError

    def counter(self):
        """Requests that this server says it has answered."""
        raise NotImplementedError

    def start(self):
        text = (self.configs / self.template).read_text()
        for key, value in self.values.items():
            text = text.replace(f"@{key}@", str(value))
        config = self.folder / self.template
        config.write_text(text)
        with open(self.folder / "output", "wb") as output:
            self.child = subprocess.Popen(
                [str(word) for word in [*self.prefix, *self.command(config)]],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "SWIFT_BACKTRACE": "enable=no", **self.environment},
                preexec_fn=die_with_parent,
            )
        end = time.monotonic() + self.patience
        while not self._answers():
            if self.child.poll() is not None or time.monotonic() > end:
                self.stop()
                said = (self.folder / "output").read_text(errors="replace")[-2000:]
                raise Failure(f"{self.name} did not start:\n{said}")
            time.sleep(0.05)
        return self

    def _answers(self):
        version = "--http1.1" if not self.http2 else "--http2-prior-knowledge"
        if self.http2 and self.scheme == "https":
            version = "--http2"
        url = f"{self.scheme}://127.0.0.1:{self.port}/1k"
        run = subprocess.run(["curl", "-sSk", "-m", "2", version, url], capture_output=True)
        return run.returncode == 0 and len(run.stdout) == FILES["/1k"]

    def stop(self):
        if self.child is None or self.child.poll() is not None:
            return
        self.child.terminate()
        try:
            self.child.wait(self.patience)
        except subprocess.TimeoutExpired:
            for pid in reversed(self.pids()):
                os.kill(pid, signal.SIGKILL)
            self.child.wait()

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    def pids(self):
        found = [self.child.pid]
        for pid in found:
            for children in glob.glob(f"/proc/{pid}/task/*/children"):
                try:
                    found += [int(word) for word in Path(children).read_text().split()]
                except OSError:
                    pass
        return found

    def cost(self):
        """CPU nanoseconds and context switches so far, of all threads of all its processes."""
        cpu = switches = 0
        for pid in self.pids():
            for task in glob.glob(f"/proc/{pid}/task/*"):
                cpu += int(Path(task, "schedstat").read_text().split()[0])
                for line in Path(task, "status").read_text().splitlines():
                    if "ctxt_switches" in line:
                        switches += int(line.split()[1])
        return cpu, switches

    def anonymous_memory(self):
        """Bytes of anonymous resident memory of all its processes."""
        total = 0
        for pid in self.pids():
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("RssAnon:"):
                    total += int(line.split()[1]) * 1024
        return total

    def get(self, path):
        url = f"http://127.0.0.1:{self.control}{path}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return answer.read().decode()
        except OSError as error:
            raise Failure(f"{self.name} does not answer {url}: {error}") from error


class Nginx(Process):
    name, template = "nginx", "nginx.conf"
    secure = {
        "SSL": " ssl",
        "TLS": f"        ssl_certificate {CERTIFICATE};\n        ssl_certificate_key {CERTIFICATE};\n"
        "        ssl_protocols TLSv1.2 TLSv1.3;\n",
    }
    clear_http2 = {"SSL": " http2"}
    asked = 0

    def __init__(self, folder, tls=False, http2=False, **values):
        if tls and http2:
            values["SSL"] = " ssl http2"
        super().__init__(folder, tls, http2, **values)

    def command(self, config):
        return ["nginx", "-p", self.folder, "-c", config]

    def counter(self):
        # Its own question is among the requests that it counts.
        self.asked += 1
        return int(self.get("/counters").splitlines()[2].split()[2]) - self.asked

    def under(self, prefix):
        self.prefix = prefix
        self.values["SINGLE"] = "master_process off;"
        return self

    @staticmethod
    def version():
        return _first_line(["nginx", "-v"]).split("/")[-1]


class Upstream(Nginx):
    name, template = "upstream", "upstream.conf"


class HAProxy(Process):
    name, template = "haproxy", "haproxy.cfg"
    secure = {"TLS": f" ssl crt {CERTIFICATE} alpn @ALPN@"}
    clear_http2 = {"TLS": " proto h2"}

    def command(self, config):
        return ["haproxy", "-db", "-f", config]

    def counter(self):
        with socket.socket(socket.AF_UNIX) as control:
            control.connect(str(self.folder / "control.sock"))
            control.sendall(b"show stat\n")
            text = b""
            while more := control.recv(65536):
                text += more
        lines = text.decode().splitlines()
        column = lines[0].split(",").index("req_tot")
        return next(int(l.split(",")[column]) for l in lines if l.startswith("edge,FRONTEND,"))

    def under(self, prefix):
        self.prefix = prefix
        return self

    @staticmethod
    def version():
        return _first_line(["haproxy", "-v"]).split()[2]


class Envoy(Process):
    name, template = "envoy", "envoy.yaml"
    secure = {
        "TLS": f""" transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            alpn_protocols: [@ALPN@]
            tls_params: {{ tls_maximum_protocol_version: TLSv1_3 }}
            tls_certificates:
            - certificate_chain: {{ filename: {CERTIFICATE} }}
              private_key: {{ filename: {CERTIFICATE} }}
     """
    }

    @staticmethod
    def binary():
        found = glob.glob(
            str(ROOT / ".build/bench-venv/lib/python3*/site-packages/envoy/_bin/envoy")
        )
        return found[0] if found else None

    def command(self, config):
        words = ["-c", config, "--concurrency", "1", "--use-dynamic-base-id", "-l", "warning"]
        return [self.binary(), *words]

    def counter(self):
        text = self.get("/stats?filter=http.edge.downstream_rq_total")
        return int(text.split(":")[1])

    @classmethod
    def version(cls):
        word = _first_line([cls.binary(), "--version"]).split("version:")[-1].split("/")
        return word[1] if len(word) > 1 else word[0].strip()


class Weir(Process):
    name, template = "weir", "weir.yaml"
    secure = {
        "TLS": f"    tls: {{ certificates: [{{ chain: {CERTIFICATE}, key: {CERTIFICATE} }}] }}\n"
    }

    def __init__(self, folder, routes=None, **values):
        if routes is None:
            routes = "  - { name: all, match: { path_prefix: / }, cluster: origin }"
        super().__init__(folder, ROUTES=routes, **values)

    @staticmethod
    def binary():
        return os.environ.get("WEIR_BIN") or str(ROOT / ".build/release/weir")

    def command(self, config):
        if not self.prefix:
            return [self.binary(), "run", config]
        # Valgrind 3.19 gives up on some of Swift's debug information.
        stripped = Path(self.folder) / "weir-stripped"
        subprocess.run(["strip", "-g", "-o", stripped, self.binary()], check=True)
        return [stripped, "run", config]

    def counter(self):
        samples = [line for line in self.get("/metrics").splitlines() if line[:1] not in ("#", "")]
        for name in (
            "weir_requests_total",
            "http_requests_total",
            "http_request_duration_seconds_count",
        ):
            found = [line.rsplit(" ", 1)[1] for line in samples if re.match(rf"{name}[{{ ]", line)]
            if found:
                return sum(int(float(value)) for value in found)
        raise Failure("weir's /metrics counts no requests")

    def under(self, prefix):
        self.prefix = prefix
        # Seeds that differ from run to run would be counted as work.
        self.environment["SWIFT_DETERMINISTIC_HASHING"] = "1"
        return self

    @classmethod
    def version(cls):
        return _first_line([cls.binary(), "version"])


class GovernedWeir(Weir):
    """Every governor at work; to be loaded with `load_by_tenants`."""

    template = "weir-governed.yaml"

    def __init__(self, folder, **values):
        usual = {"RATE": "100000/s", "BURST": 100000, "TRACKED": 100000}
        super().__init__(folder, **{**usual, **values})

    def ejections(self):
        """Endpoints that were put out of balancing so far."""
        lines = re.findall(r"^weir_ejections_total\{.* (\d+)$", self.get("/metrics"), re.MULTILINE)
        return sum(map(int, lines))


class LimitedEnvoy(Envoy):
    """With its local rate limit, by tenant."""

    template = "envoy-limited.yaml"


PROXIES = {proxy.name: proxy for proxy in (Weir, Nginx, HAProxy, Envoy)}
# nginx and HAProxy stay plain: the question is what governing costs beside not governing.
GOVERNED = {**PROXIES, "weir": GovernedWeir, "envoy": LimitedEnvoy}


def available(name):
    """Why a proxy cannot be run here, or None."""
    if name == "weir":
        path = Weir.binary()
        return (
            None if os.access(path, os.X_OK) else f"{path} does not exist (WEIR_BIN names another)"
        )
    if name == "envoy":
        return None if Envoy.binary() else "not in .build/bench-venv; run `make bench-setup`"
    return None if shutil.which(name) else "not installed; run `make bench-setup`"


def write_files():
    """What the upstream serves. Random, so that nothing on the way could gain from its pattern."""
    folder = WORK / "files"
    folder.mkdir(parents=True, exist_ok=True)
    for path, size in FILES.items():
        file = folder / path[1:]
        if not file.exists() or file.stat().st_size != size:
            file.write_bytes(os.urandom(size))


def write_certificate():
    """What the proxies speak TLS with: P-256, as most do."""
    if CERTIFICATE.exists():
        return
    key, certificate = WORK / "tls.key", WORK / "tls.crt"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-keyout", key, "-out", certificate, "-days", 3650, "-subj", "/CN=bench"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([str(word) for word in command], capture_output=True, check=True)
    CERTIFICATE.write_bytes(certificate.read_bytes() + key.read_bytes())


def _first_line(command):
    run = subprocess.run(command, capture_output=True, text=True, timeout=20)
    return (run.stdout + run.stderr).strip().splitlines()[0]
