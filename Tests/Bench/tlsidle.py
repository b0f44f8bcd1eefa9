"""Memory of idle TLS connections: weir's, its rivals', and what OpenSSL takes by itself."""

import socket
import ssl
import subprocess

import stand
from stand import Failure

CONNECTIONS = 2000


def floor():
    """Bytes of one idle session with nothing around it, of the machine's OpenSSL."""
    built, source = stand.WORK / "tlsfloor", stand.HERE / "tlsfloor.c"
    if not built.exists() or built.stat().st_mtime < source.stat().st_mtime:
        command = ["cc", "-O2", "-Wall", "-Wextra", "-o", built, source, "-lssl", "-lcrypto"]
        subprocess.run([str(word) for word in command], check=True)
    command = [built, CONNECTIONS, stand.CERTIFICATE]
    run = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=60)
    if run.returncode != 0:
        raise Failure(f"tlsfloor ended with {run.returncode}")
    return int(run.stdout)


def crowd(port, count):
    """So many connections, each of which has had one answer."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    made = []
    for _ in range(count):
        plain = socket.create_connection(("127.0.0.1", port), timeout=20)
        each = context.wrap_socket(plain)
        each.sendall(b"GET /1k HTTP/1.1\r\nHost: bench\r\n\r\n")
        answer = b""
        while len(answer) < stand.FILES["/1k"] or b"\r\n\r\n" not in answer:
            part = each.recv(65536)
            if not part:
                raise Failure("an idle connection was closed")
            answer += part
        made.append(each)
    return made


def bytes_each(make):
    """Anonymous memory that one idle TLS connection costs a fresh proxy."""
    with make() as proxy:
        # What the proxy needs anyhow.
        for each in crowd(proxy.port, 50):
            each.close()
        before = proxy.anonymous_memory()
        made = crowd(proxy.port, CONNECTIONS)
        after = proxy.anonymous_memory()
        for each in made:
            each.close()
    return (after - before) / CONNECTIONS
