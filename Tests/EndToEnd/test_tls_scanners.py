"""What scanners say about TLS as it is offered: nothing, but that nobody has signed the test's certificate."""

import json
import subprocess
import sys

import pytest

from harness import SLOWDOWN, Authority, cluster, configuration, listener, patience

pytestmark = [
    pytest.mark.skipif(SLOWDOWN > 1, reason="scanners look at what is offered, which no sanitizer changes"),
    pytest.mark.timeout(300),
]


@pytest.fixture
def served(weir, upstream, tmp_path):
    certificates = [
        Authority(tmp_path / kind).issue("DNS:shop.test", "IP:127.0.0.1", kind=kind).files for kind in ("ec", "rsa")
    ]
    return weir(configuration([cluster("main", upstream())], listeners=[listener(tls={"certificates": certificates})]))


def test_sslyze_finds_mozillas_intermediate_profile(served):
    done = subprocess.run(
        [sys.executable, "-m", "sslyze", "--mozilla_config=intermediate", served.edge],
        capture_output=True,
        text=True,
        timeout=patience(120),
    )
    verdict = done.stdout.partition("COMPLIANCE AGAINST")[2]
    assert "Mozilla's \"intermediate\" configuration" in verdict, done.stdout + done.stderr
    findings = [line for line in verdict.splitlines() if line.strip().startswith("* ")]
    assert findings, "an unknown authority is a finding, so that there are none says that nothing was looked at"
    assert all("certificate_path_validation" in line for line in findings), verdict


def test_testssl_finds_nothing(served, tmp_path):
    report = tmp_path / "testssl.json"
    done = subprocess.run(
        ["testssl", "--quiet", "--color", "0", "--jsonfile", report, "-p", "-s", "-f", "-U", served.edge],
        capture_output=True,
        text=True,
        timeout=patience(240),
    )
    findings = json.loads(report.read_text())
    assert len(findings) > 30, done.stdout + done.stderr
    # The first is of the scanner's own OpenSSL. ALPN is not offered by this listener's certificates
    # alone, and the scanner would rather not see that in the wild.
    known = {"engine_problem", "NPN", "ALPN_HTTP2", "ALPN"}
    bad = [found for found in findings if found["severity"] not in ("OK", "INFO") and found["id"] not in known]
    assert not bad, bad
