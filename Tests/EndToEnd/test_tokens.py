"""Tenants named by signed tokens: who is believed, and what becomes of who is not."""

import base64
import hashlib
import hmac
import json
import time

import pytest

from harness import cluster, configuration

SECRET = b"a secret of thirty-two bytes, one"
OTHER = b"another secret of 32 bytes or more"


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def part(value):
    return encode(json.dumps(value).encode())


def token(claims, secret=SECRET, algorithm="HS256"):
    text = f"{part({'alg': algorithm})}.{part(claims)}"
    return f"{text}.{encode(hmac.new(secret, text.encode(), hashlib.sha256).digest())}"


@pytest.fixture
def key_file(tmp_path):
    file = tmp_path / "tokens.key"
    file.write_bytes(SECRET + b"\n")
    return file


def claim(file, algorithm="HS256"):
    return {"jwt_claim": {"claim": "sub", "verify": {"algorithm": algorithm, "key_file": str(file)}}}


def settings(behind, *sources):
    tenants = {
        "identify": [*sources, {"header": "x-api-key"}],
        "plans": {"free": {"rate": "1/h", "burst": 2}},
        "default_plan": "free",
    }
    return configuration([cluster("main", behind)]) | {"tenants": tenants}


def tenants(running, values):
    """Whose each request is, by the access log."""
    known = len(running.log())
    for number, value in enumerate(values):
        running.get(f"/{number}", headers=[f"authorization: {value}", "x-api-key: fallen"])
    # Workers write their lines in turns.
    found = {line["path"]: line["tenant"] for line in running.wait_log(known + len(values))[known:]}
    return [found[f"/{number}"] for number in range(len(values))]


def test_a_signed_token_names_the_tenant(weir, upstream, key_file):
    running = weir(settings(upstream(), claim(key_file)))
    good = [f"authorization: Bearer {token({'sub': 'ann'})}"]
    assert [running.get(headers=good).status for _ in range(3)] == [200, 200, 429]
    assert running.wait_log(1)[0]["tenant"] == "ann"
    other = [f"authorization: Bearer {token({'sub': 'bob', 'exp': time.time() + 3600})}"]
    assert running.get(headers=other).status == 200


def test_a_token_that_does_not_hold_falls_to_the_next_source(weir, upstream, key_file):
    running = weir(settings(upstream(), claim(key_file)))
    good = token({"sub": "ann"})
    head, body, signature = good.split(".")
    forged = [
        token({"sub": "ann"}, OTHER),
        f"{head}.{part({'sub': 'eve'})}.{signature}",
        f"{head}.{body}.",
        f"{head}.{body}",
        token({"sub": "ann"}, algorithm="HS512"),
        f"{part({'alg': 'none'})}.{body}.",
        f"{part({'alg': 'none'})}.{body}.{signature}",
        good[:-1],
        "x" * 10_000,
    ]
    found = tenants(running, [f"Bearer {value}" for value in [*forged, good]])
    assert found == ["fallen"] * len(forged) + ["ann"]


def test_a_token_out_of_its_times_falls_to_the_next_source(weir, upstream, key_file):
    running = weir(settings(upstream(), claim(key_file)))
    now = int(time.time())
    late = [{"exp": now - 600}, {"nbf": now + 600}, {"exp": str(now + 600)}, {"exp": None}]
    fine = [{"exp": now + 600, "nbf": now - 600}, {"exp": now - 20}, {"nbf": now + 20}]
    values = [f"Bearer {token({'sub': 'ann'} | times)}" for times in late + fine]
    assert tenants(running, values) == ["fallen"] * len(late) + ["ann"] * len(fine)


def test_a_token_for_somebody_else_falls_to_the_next_source(weir, upstream, key_file):
    source = claim(key_file)
    source["jwt_claim"]["verify"] |= {"issuer": "https://login", "audiences": ["api", "https://api"]}
    running = weir(settings(upstream(), source))
    fine = [{"aud": "api"}, {"aud": ["other", "https://api"]}]
    bad = [{}, {"aud": "other"}, {"aud": []}, {"aud": "api", "iss": "https://elsewhere"}, {"aud": "api", "iss": None}]
    values = [f"Bearer {token({'sub': 'ann', 'iss': 'https://login'} | claims)}" for claims in fine + bad]
    assert tenants(running, values) == ["ann"] * len(fine) + ["fallen"] * len(bad)
    forged = token({"sub": "ann", "iss": "https://login", "aud": "api"}, OTHER)
    assert tenants(running, [f"Bearer {forged}"]) == ["fallen"]


def test_unverified_believes_whoever(weir, upstream):
    running = weir(settings(upstream(), {"jwt_claim": {"claim": "sub", "unverified": True}}))
    values = [f"Bearer {token({'sub': 'ann', 'exp': 1}, OTHER)}", "Bearer nonsense"]
    assert tenants(running, values) == ["ann", "fallen"]


def test_a_new_key_is_taken_up_by_a_reload(weir, upstream, key_file):
    running = weir(settings(upstream(), claim(key_file)))
    values = [f"Bearer {token({'sub': 'old'})}", f"Bearer {token({'sub': 'new'}, OTHER)}"]
    assert tenants(running, values) == ["old", "fallen"]
    key_file.write_bytes(OTHER)
    before = running.generation
    status, text = running.ask("POST", "/reload")
    assert status == 200 and "key file has changed" in text
    running.wait_generation(before)
    assert tenants(running, values) == ["fallen", "new"]


@pytest.mark.parametrize("change", ["gone", "short", "of another kind"])
def test_an_unusable_key_refuses_the_reload_and_the_old_one_stays(weir, upstream, key_file, change):
    running = weir(settings(upstream(), claim(key_file)))
    before = running.generation
    if change == "gone":
        key_file.unlink()
    elif change == "short":
        key_file.write_bytes(b"short")
    else:
        key_file.write_bytes(b"-----BEGIN PUBLIC KEY-----\n" + b"A" * 64)
    status, text = running.ask("POST", "/reload")
    assert status == 400 and str(key_file) in text
    assert running.generation == before
    assert tenants(running, [f"Bearer {token({'sub': 'ann'})}"]) == ["ann"]


def test_weir_does_not_start_without_the_key(weir, upstream, tmp_path):
    running = weir(settings(upstream(), claim(tmp_path / "missing.key", "ES256")), wait=False)
    assert running.wait_exit() == 1
    assert "missing.key" in running.stderr
