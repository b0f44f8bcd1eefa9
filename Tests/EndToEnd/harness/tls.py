"""Certificates for tests, made by the openssl command, and the contexts of clients and servers that use them."""

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path


def openssl(*arguments, **options):
    """Runs the command; its output."""
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, timeout=60, **options)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


@dataclass
class Certificate:
    """A certificate's files."""

    chain: Path
    key: Path

    @property
    def files(self):
        """As a configuration names them."""
        return {"chain": str(self.chain), "key": str(self.key)}

    def install(self, other):
        """Puts another certificate in this one's place, each file by a rename."""
        for mine, fresh in ((self.key, other.key), (self.chain, other.chain)):
            copy = mine.with_suffix(".new")
            copy.write_bytes(fresh.read_bytes())
            copy.replace(mine)


class Authority:
    """A certificate authority in a folder of its own."""

    def __init__(self, folder, name="test authority"):
        self.folder = Path(folder)
        self.folder.mkdir(exist_ok=True)
        self.count = 0
        self.certificate = self.folder / "ca.pem"
        self.key = self.folder / "ca.key"
        self.make_key(self.key)
        openssl(
            *("req", "-x509", "-new", "-key", self.key, "-out", self.certificate, "-days", 30),
            *("-subj", f"/CN={name}", "-addext", "basicConstraints=critical,CA:TRUE"),
        )

    @staticmethod
    def make_key(path, kind="ec"):
        algorithm = {
            "ec": ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"),
            "rsa": ("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"),
        }[kind]
        openssl("genpkey", *algorithm, "-out", path)

    def issue(self, *names, kind="ec", subject="/CN=test", days=7):
        """A certificate for these alternative names, such as `DNS:a.test` and `URI:spiffe://a`."""
        self.count += 1
        stem = self.folder / f"{self.count}"
        made = Certificate(stem.with_suffix(".pem"), stem.with_suffix(".key"))
        self.make_key(made.key, kind)
        request, extensions = stem.with_suffix(".csr"), stem.with_suffix(".ext")
        openssl("req", "-new", "-key", made.key, "-out", request, "-subj", subject)
        extensions.write_text("subjectAltName=" + ",".join(names) + "\n" if names else "basicConstraints=CA:FALSE\n")
        openssl(
            *("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.key),
            *("-set_serial", 1000 + self.count, "-days", days, "-extfile", extensions, "-out", made.chain),
        )
        return made

    def vouch(self, certificate, days=1):
        """An OCSP response that the certificate is good."""
        stem = certificate.chain.with_suffix("")
        index, asked, answer = (stem.with_suffix(end) for end in (".index", ".req", ".ocsp"))
        serial = openssl("x509", "-in", certificate.chain, "-noout", "-serial").decode().strip().partition("=")[2]
        subject = openssl("x509", "-in", certificate.chain, "-noout", "-subject", "-nameopt", "compat").decode()
        index.write_text(f"V\t400101000000Z\t\t{serial}\tunknown\t{subject.strip().partition('=')[2]}\n")
        openssl("ocsp", "-issuer", self.certificate, "-cert", certificate.chain, "-reqout", asked)
        openssl(
            *("ocsp", "-index", index, "-CA", self.certificate, "-rsigner", self.certificate, "-rkey", self.key),
            *("-reqin", asked, "-respout", answer, "-ndays", days),
        )
        return answer

    def client(self, certificate=None, versions=None, protocols=None, ciphers=None):
        """The context of a client that believes this authority."""
        context = ssl.create_default_context(cafile=self.certificate)
        if certificate:
            context.load_cert_chain(certificate.chain, certificate.key)
        if versions:
            context.minimum_version, context.maximum_version = versions
        if protocols:
            context.set_alpn_protocols(protocols)
        if ciphers:
            context.set_ciphers(ciphers)
        return context

    def server(self, certificate, demands=False):
        """The context of a server with this certificate; it may demand one of its clients."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.chain, certificate.key)
        if demands:
            context.load_verify_locations(self.certificate)
            context.verify_mode = ssl.CERT_REQUIRED
        return context
