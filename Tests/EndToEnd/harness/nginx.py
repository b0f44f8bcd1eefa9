"""A real nginx, with a configuration of its own in a temporary folder, as upstream or stand-in."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

from .client import Client
from .patience import patience, until

PROGRAM = shutil.which("nginx") or next((p for p in ("/usr/sbin/nginx",) if os.access(p, os.X_OK)), None)


class Nginx:
    """`server` is what stands in the server block; files are served from `root`."""

    def __init__(self, server="", http=""):
        self.directory = Path(tempfile.mkdtemp(prefix="weir-nginx-"))
        self.root = self.directory / "root"
        self.root.mkdir()
        self.root.chmod(0o755)
        self.directory.chmod(0o755)
        for _ in range(20):
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.port = probe.getsockname()[1]
            if self.start(server, http):
                return
        raise AssertionError(f"nginx does not start: {self.log}")

    def start(self, server, http):
        (self.directory / "nginx.conf").write_text(f"""
            daemon off; worker_processes 1; pid {self.directory}/pid; error_log {self.directory}/error.log;
            events {{ worker_connections 2048; }}
            http {{
                access_log off; default_type application/octet-stream; keepalive_requests 1000000;
                client_max_body_size 0; client_body_temp_path {self.directory}/body; proxy_temp_path {self.directory}/proxy;
                fastcgi_temp_path {self.directory}/f; uwsgi_temp_path {self.directory}/u; scgi_temp_path {self.directory}/s;
                {http}
                server {{ listen 127.0.0.1:{self.port} backlog=1024; root {self.root}; {server} }}
            }}""")
        self.process = subprocess.Popen(
            [
                PROGRAM,
                "-e",
                f"{self.directory}/error.log",
                "-c",
                f"{self.directory}/nginx.conf",
                "-p",
                f"{self.directory}/",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

        def is_up():
            if self.process.poll() is not None:
                return "down"
            try:
                Client(self.address, seconds=1).close()
                return "up"
            except OSError:
                return None

        return until(is_up, "nginx is up") == "up"

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    @property
    def log(self):
        file = self.directory / "error.log"
        return file.read_text() if file.exists() else ""

    def put(self, name, data):
        (self.root / name).write_bytes(data)

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(patience(10))
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)
