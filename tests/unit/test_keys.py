"""Keys that come and go: rotation, a source that is down, and how long a token is remembered."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa
from harness.patience import eventually
from harness.signing import Signer, claims_of, forge, signer

from wallet_service.credentials import token_keys
from wallet_service.ledger.errors import KeysUnavailable, TokenExpired, TokenInvalid
from wallet_service.settings import Settings
from wallet_service.transport import auth
from wallet_service.transport.auth import TokenVerifier
from wallet_service.transport.keys import (
    KEYS_AGE_S_MAX,
    RECHECK_S,
    FetchedKeys,
    Keys,
    VerificationKey,
    key_of_pem,
    key_of_secret,
    keys_of_jwks,
    keys_of_jwks_file,
)

OLD, NEW = signer("ES256", "old"), signer("EdDSA", "new")
SECRET = b"a secret of the tests, long enough to pass for one"

Clock = Callable[[float], None]


class Source:
    """Where a JWKS is fetched from: it can change, fail, and counts how often it was asked."""

    def __init__(self, *signers: Signer) -> None:
        self.answer: Any = jwks(*signers)
        self.asked = 0

    def fetch(self) -> Any:
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class SlowSource(Source):
    """A source that answers once it may."""

    def __init__(self, *signers: Signer) -> None:
        super().__init__(*signers)
        self.is_asked = threading.Event()
        self.may_answer = threading.Event()

    def fetch(self) -> Any:
        self.is_asked.set()
        assert self.may_answer.wait(60)
        return super().fetch()


def jwks(*signers: Signer) -> dict[str, Any]:
    """Return the JWKS of some signers."""
    return {"keys": [each.jwk for each in signers]}


def caller_of(keys: Keys, token: str) -> str:
    """Check a token with a verifier that remembers nothing yet."""
    verifier = TokenVerifier(keys, issuer="wallet", audience="wallet")
    return verifier.caller_of([("authorization", f"Bearer {token}")]).user_id


@pytest.fixture
def go_forward(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Moves the monotonic clock on, which no token and no key can do by itself."""

    def move(seconds: float) -> None:
        then = time.monotonic() + seconds
        monkeypatch.setattr(time, "monotonic", lambda: then)

    return move


def test_old_and_new_keys_are_good_together() -> None:
    keys = FetchedKeys(Source(OLD, NEW).fetch)

    assert caller_of(keys, OLD.sign()) == caller_of(keys, NEW.sign()) == "alice"


def test_two_keys_under_one_id_are_both_tried() -> None:
    twin = signer("ES256", "twin")
    renamed = Signer(twin.algorithm, twin.private_key, OLD.key_id)
    keys = FetchedKeys(Source(OLD, renamed).fetch)

    assert caller_of(keys, OLD.sign()) == caller_of(keys, renamed.sign()) == "alice"


def test_unknown_key_ids_do_not_make_the_source_be_asked() -> None:
    source = Source(OLD)
    keys = FetchedKeys(source.fetch)

    for kid in ("new", "newer", "newest"):
        with pytest.raises(TokenInvalid):
            caller_of(keys, NEW.sign({"kid": kid}))

    assert source.asked == 1


def test_a_rotated_key_is_taken_up_and_the_removed_one_refused(go_forward: Clock) -> None:
    source = Source(OLD)
    keys = FetchedKeys(source.fetch)
    assert caller_of(keys, OLD.sign()) == "alice"
    source.answer = jwks(NEW)

    go_forward(RECHECK_S)

    assert caller_of(keys, NEW.sign()) == "alice"
    with pytest.raises(TokenInvalid):
        caller_of(keys, OLD.sign())
    assert source.asked == 2


@pytest.mark.parametrize(
    "answer", [OSError("down"), ValueError("no JSON"), {}, [], None, "gateway error"]
)
def test_the_last_good_keys_serve_while_the_source_fails(go_forward: Clock, answer: object) -> None:
    source = Source(OLD)
    keys = FetchedKeys(source.fetch)
    assert caller_of(keys, OLD.sign()) == "alice"
    source.answer = answer

    go_forward(RECHECK_S)

    assert caller_of(keys, OLD.sign()) == "alice"
    assert source.asked == 2


@pytest.mark.parametrize("none", [[], [{"kty": "oct", "k": "c2VjcmV0"}]], ids=["none", "of no use"])
def test_keys_that_are_all_withdrawn_serve_nobody_until_there_are_others(
    go_forward: Clock, none: list[object]
) -> None:
    source = Source(OLD)
    keys = FetchedKeys(source.fetch)
    assert caller_of(keys, OLD.sign()) == "alice"
    source.answer = {"keys": none}

    go_forward(RECHECK_S)
    with pytest.raises(KeysUnavailable):
        caller_of(keys, OLD.sign())
    source.answer = jwks(NEW)
    go_forward(RECHECK_S)

    assert caller_of(keys, NEW.sign()) == "alice"


def test_a_failing_source_is_not_asked_for_every_token(go_forward: Clock) -> None:
    source = Source(OLD)
    source.answer = OSError("down")
    keys = FetchedKeys(source.fetch)

    for _ in range(3):
        with pytest.raises(KeysUnavailable):
            caller_of(keys, OLD.sign())
    asked_at_first = source.asked
    source.answer = jwks(OLD)
    go_forward(RECHECK_S)

    assert asked_at_first == 1
    assert caller_of(keys, OLD.sign()) == "alice"


def test_keys_too_old_to_trust_are_not_used(go_forward: Clock) -> None:
    source = Source(OLD)
    keys = FetchedKeys(source.fetch)
    assert caller_of(keys, OLD.sign()) == "alice"
    source.answer = OSError("down")

    go_forward(KEYS_AGE_S_MAX + 1)

    with pytest.raises(KeysUnavailable):
        caller_of(keys, OLD.sign())


def test_keys_that_are_read_again_in_time_do_not_grow_too_old(go_forward: Clock) -> None:
    keys = FetchedKeys(Source(OLD).fetch)
    assert caller_of(keys, OLD.sign()) == "alice"

    for _ in range(2):
        go_forward(KEYS_AGE_S_MAX)
        assert caller_of(keys, OLD.sign()) == "alice"


def test_a_source_that_failed_is_asked_again_soon(go_forward: Clock) -> None:
    source = Source(OLD)
    source.answer = OSError("down")
    keys = FetchedKeys(source.fetch)
    with pytest.raises(KeysUnavailable):
        caller_of(keys, OLD.sign())
    source.answer = jwks(OLD)

    go_forward(RECHECK_S / 3)

    assert caller_of(keys, OLD.sign()) == "alice"


def test_the_last_keys_serve_while_the_source_takes_its_time(go_forward: Clock) -> None:
    source = SlowSource(OLD)
    keys = FetchedKeys(source.fetch)
    source.may_answer.set()
    known = keys()
    source.is_asked.clear()
    source.may_answer.clear()
    go_forward(RECHECK_S)

    with ThreadPoolExecutor() as pool:
        looking = pool.submit(keys)
        assert source.is_asked.wait(10)
        try:
            assert pool.submit(keys).result(timeout=10) is known
        finally:
            source.may_answer.set()

        assert looking.result(timeout=10) is not known


def test_who_comes_before_there_are_keys_waits_for_one_answer_with_all_others() -> None:
    source = SlowSource(OLD)
    keys = FetchedKeys(source.fetch)

    with ThreadPoolExecutor(4) as pool:
        looking = [pool.submit(keys) for _ in range(4)]
        done = wait(looking, timeout=0.2, return_when=FIRST_COMPLETED).done
        source.may_answer.set()

    assert not done
    assert [each.key_id for future in looking for each in future.result()] == ["old"] * 4
    assert source.asked == 1


@pytest.mark.parametrize(
    "answer", [OSError("down"), {"keys": []}, {"keys": [5]}, [], None, "<html>"]
)
def test_without_any_keys_nobody_is_believed_and_nobody_called_a_liar(answer: object) -> None:
    source = Source()
    source.answer = answer

    with pytest.raises(KeysUnavailable):
        caller_of(FetchedKeys(source.fetch), OLD.sign())


def test_secrets_and_encryption_keys_in_a_jwks_are_left_out() -> None:
    secret = {"kty": "oct", "k": "c2VjcmV0" * 8, "kid": "oct"}
    encryption = {**NEW.jwk, "use": "enc", "kid": "enc"}

    found = keys_of_jwks({"keys": [secret, encryption, OLD.jwk]})

    assert [(key.algorithm, key.key_id) for key in found] == [("ES256", "old")]


@pytest.mark.parametrize(
    "odd",
    [
        {"kty": "oct"},
        {"use": ["sig"]},
        {"use": {}},
        {"alg": ["ES256"]},
        {"kid": ["odd"]},
        {"kid": {}},
        {"x": 5},
        {"crv": None},
        "a key",
        None,
    ],
    ids=repr,
)
def test_odd_members_of_a_jwks_are_left_out(odd: Any) -> None:
    member = {**NEW.jwk, **odd} if isinstance(odd, dict) else odd

    found = keys_of_jwks({"keys": [member, OLD.jwk]})

    assert [(key.algorithm, key.key_id) for key in found] == [("ES256", "old")]


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"null", b"{}", b'{"keys":[]}', b'{"keys":5}', b"x"]
)
def test_a_file_that_is_no_jwks_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        keys_of_jwks_file(content)


def test_a_jwks_file_is_read_again(tmp_path: Path, go_forward: Clock) -> None:
    file = tmp_path / "jwks.json"
    file.write_bytes(orjson.dumps(jwks(OLD)))
    keys = token_keys(Settings(jwt_jwks_file=file))
    assert caller_of(keys, OLD.sign()) == "alice"
    file.write_bytes(orjson.dumps(jwks(NEW)))

    go_forward(RECHECK_S)

    assert caller_of(keys, NEW.sign()) == "alice"
    with pytest.raises(TokenInvalid):
        caller_of(keys, OLD.sign())


def test_the_keys_of_a_jwks_file_serve_on_though_it_went_before_the_first_token(
    tmp_path: Path,
) -> None:
    file = tmp_path / "jwks.json"
    file.write_bytes(orjson.dumps(jwks(OLD)))
    keys = token_keys(Settings(jwt_jwks_file=file))

    file.unlink()

    assert caller_of(keys, OLD.sign()) == "alice"


@pytest.mark.parametrize("someone", [signer("RS256"), OLD, NEW], ids=lambda one: one.algorithm)
def test_a_public_keys_kind_fixes_its_algorithm(someone: Signer) -> None:
    key = key_of_pem(someone.pem)

    assert (key.algorithm, key.key_id) == (someone.algorithm, None)


@pytest.mark.parametrize(
    "private_key",
    [generate_rsa(65537, 1024), generate_private_key(SECP384R1())],
    ids=["RSA of 1024 bits", "P-384"],
)
def test_weak_and_unknown_keys_are_refused(private_key: Any) -> None:
    with pytest.raises(ValueError, match="not an RSA"):
        key_of_pem(Signer("", private_key, "").pem)


@pytest.mark.parametrize("pem", [b"", b"secret", b"-----BEGIN PUBLIC KEY-----\n"])
def test_what_is_no_key_is_refused(pem: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        key_of_pem(pem)


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="32"):
        key_of_secret(b"x" * 31)
    assert key_of_secret(b"x" * 32).algorithm == "HS256"


class Remembering:
    """A verifier, and the number of times that it checked a token against the keys."""

    def __init__(self) -> None:
        self.checked = 0
        self._verifier = TokenVerifier(self._keys, issuer="wallet", audience="wallet")

    def _keys(self) -> list[VerificationKey]:
        self.checked += 1
        return [key_of_secret(SECRET)]

    def caller_of(self, token: str) -> str:
        return self._verifier.caller_of([("authorization", f"Bearer {token}")]).user_id


def token_of(**claims: object) -> str:
    """Sign a token with the shared secret."""
    return forge({"alg": "HS256"}, claims_of(**claims), key=SECRET)


def test_a_remembered_token_is_refused_once_it_expires() -> None:
    verifier = Remembering()
    expires_at = time.time() + 1
    token = token_of(exp=expires_at)
    assert verifier.caller_of(token) == verifier.caller_of(token) == "alice"
    checked_while_good = verifier.checked

    eventually(lambda: time.time() > expires_at)

    with pytest.raises(TokenExpired):
        verifier.caller_of(token)
    assert checked_while_good == 1


def test_a_remembered_token_is_checked_again_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    verifier = Remembering()
    token = token_of()
    now = time.time()

    for seconds, checked in ((0, 1), (RECHECK_S - 1, 1), (RECHECK_S, 2), (2 * RECHECK_S - 1, 2)):
        monkeypatch.setattr(time, "time", lambda then=now + seconds: then)
        assert verifier.caller_of(token) == "alice"
        assert verifier.checked == checked


def test_only_so_many_tokens_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "_KNOWN_TOKENS_MAX", 2)
    verifier = Remembering()
    first, second, third = (token_of(sub=sub) for sub in ("ann", "ben", "cid"))

    for token, checked in (
        (first, 1),
        (second, 2),
        (third, 3),
        (second, 3),
        (third, 3),
        (first, 4),
    ):
        verifier.caller_of(token)
        assert verifier.checked == checked


def test_one_callers_remembered_token_is_not_anothers() -> None:
    verifier = TokenVerifier(lambda: [key_of_secret(SECRET)], issuer="wallet", audience="wallet")
    tokens = [token_of(sub=sub) for sub in ("ann", "ben")]

    for token, sub in [*zip(tokens, ("ann", "ben"), strict=True)] * 2:
        assert verifier.caller_of([("authorization", f"Bearer {token}")]).user_id == sub
