"""Whose tokens are believed, and the forgeries of RFC 8725 that are not."""

import time

import jwt
import pytest
from harness.signing import claims_of, forge, signer

from wallet_service.ledger.errors import (
    ScopeMissing,
    TokenExpired,
    TokenInvalid,
    TokenMissing,
    Unauthenticated,
)
from wallet_service.transport.auth import POLICIES, SCOPE_ACT_FOR_ANY, SCOPE_ADMIN, TokenVerifier
from wallet_service.transport.keys import VerificationKey, key_of_pem, key_of_secret

SECRET = b"a secret of the tests, long enough to pass for one"
HS256 = {"alg": "HS256", "typ": "JWT"}
ALGORITHMS = ["RS256", "ES256", "EdDSA"]


def verifier(*keys: VerificationKey) -> TokenVerifier:
    """Return a verifier of some keys; of the shared secret if none are named."""
    known = keys or (key_of_secret(SECRET),)
    return TokenVerifier(lambda: known, issuer="wallet", audience="wallet")


def bearer(token: str) -> list[tuple[str, str | bytes]]:
    """Return a call's metadata with a token among it."""
    return [("user-agent", "test"), ("authorization", f"Bearer {token}")]


def signed(headers: dict[str, object] | None = None, **claims: object) -> str:
    """Sign a token with the shared secret; `claims` replace or, as None, remove."""
    return forge({**HS256, **(headers or {})}, claims_of(**claims), key=SECRET)


def test_a_signed_token_names_its_caller_and_its_scopes() -> None:
    token = signed(sub="shop", scope=f"{SCOPE_ACT_FOR_ANY}  openid")

    caller = verifier().caller_of(bearer(token))

    assert caller.user_id == "shop"
    assert caller.scopes == {SCOPE_ACT_FOR_ANY, "openid"}
    assert caller.acts_for_any
    with pytest.raises(ScopeMissing):
        caller.require(SCOPE_ADMIN)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_token_signed_with_a_key_pair_is_believed(algorithm: str) -> None:
    someone = signer(algorithm)

    caller = verifier(key_of_pem(someone.pem)).caller_of(bearer(someone.sign()))

    assert caller.user_id == "alice"
    assert caller.scopes == frozenset()


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_schemes_name_is_read_in_any_case(scheme: str) -> None:
    assert verifier().caller_of([("authorization", f"{scheme} {signed()}")]).user_id == "alice"


@pytest.mark.parametrize("typ", ["JWT", "jwt", "at+jwt", "AT+JWT"])
def test_an_access_tokens_type_is_believed(typ: str) -> None:
    assert verifier().caller_of(bearer(signed({"typ": typ}))).user_id == "alice"


def test_a_token_for_several_audiences_is_believed_by_each() -> None:
    assert verifier().caller_of(bearer(signed(aud=["shop", "wallet"]))).user_id == "alice"


@pytest.mark.parametrize(
    "metadata",
    [
        [],
        [("authorization-bin", b"Bearer x")],
        [("authorization", "")],
        [("authorization", "Bearer")],
        [("authorization", "Bearer ")],
        [("authorization", "Basic YWxpY2U6cGFzcw==")],
        [("authorization", "Bearer\ttoken")],
        [("x-authorization", "Bearer token")],
    ],
)
def test_a_call_without_a_bearer_token_is_told_so(
    metadata: list[tuple[str, str | bytes]],
) -> None:
    with pytest.raises(TokenMissing):
        verifier().caller_of(metadata)


def test_two_tokens_are_none() -> None:
    with pytest.raises(TokenInvalid):
        verifier().caller_of(bearer(signed()) + bearer(signed(sub="bob")))
    with pytest.raises(Unauthenticated):
        verifier().caller_of([("authorization", "Basic x"), *bearer(signed())])


FORGED_CLAIMS: list[dict[str, object]] = [
    {"iss": None},
    {"iss": "wall"},
    {"iss": "wallet2"},
    {"iss": ["wallet"]},
    {"iss": ""},
    {"aud": None},
    {"aud": "shop"},
    {"aud": "wallet2"},
    {"aud": ["shop"]},
    {"aud": []},
    {"aud": 5},
    {"sub": None},
    {"sub": ""},
    {"sub": 5},
    {"sub": ["alice"]},
    {"sub": "@system"},
    {"sub": "@external"},
    {"sub": "a" * 129},
    {"sub": "alice bob"},
    {"sub": "alice\n"},
    {"sub": "al\0ice"},
    {"sub": "алиса"},
    {"exp": None},
    {"exp": "soon"},
    {"exp": "99999999999"},
    {"exp": [99999999999]},
    {"exp": {}},
    {"exp": 2**53 + 1},
    {"exp": 1e300},
    {"exp": 10**400},
    {"exp": float("inf")},
    {"exp": float("nan")},
    {"nbf": 99999999999},
    {"nbf": "soon"},
    {"iat": 99999999999},
    {"iat": "soon"},
    {"scope": ["wallet:admin"]},
    {"scope": {"wallet:admin": True}},
    {"scope": 1},
]


@pytest.mark.parametrize("claims", FORGED_CLAIMS, ids=lambda claims: str(claims)[:40])
def test_a_token_with_a_missing_or_odd_claim_is_refused(claims: dict[str, object]) -> None:
    with pytest.raises(TokenInvalid):
        verifier().caller_of(bearer(signed(**claims)))


@pytest.mark.parametrize("claim", ["nbf", "iat"])
def test_a_token_may_begin_a_few_seconds_ahead_and_no_more(claim: str) -> None:
    now = int(time.time())

    caller = verifier().caller_of(bearer(signed(None, **{claim: now + 8})))

    assert caller.user_id == "alice"
    with pytest.raises(TokenInvalid):
        verifier().caller_of(bearer(signed(None, **{claim: now + 60})))


@pytest.mark.parametrize(
    "exp",
    [0, 1, -1, -(2**63), pytest.param(int(time.time()) - 1, id="a second ago"), True, 0.5],
)
def test_a_token_whose_time_is_over_is_told_so(exp: int) -> None:
    with pytest.raises(TokenExpired):
        verifier().caller_of(bearer(signed(exp=exp)))


FORGED_HEADERS: list[dict[str, object]] = [
    {"alg": "HS384"},
    {"alg": "hs256"},
    {"alg": "RS256"},
    {"alg": "none"},
    {"alg": None},
    {"alg": ["HS256"]},
    {"alg": {}},
    {"typ": "dpop+jwt"},
    {"typ": "id+jwt"},
    {"typ": "secevent+jwt"},
    {"typ": []},
    {"crit": ["exp"]},
    {"crit": ["made-up"], "made-up": True},
    {"crit": "made-up"},
    {"b64": False, "crit": ["b64"]},
    {"kid": 5},
    {"kid": ["key"]},
]


@pytest.mark.parametrize("headers", FORGED_HEADERS, ids=str)
def test_a_token_with_an_odd_header_is_refused(headers: dict[str, object]) -> None:
    with pytest.raises(TokenInvalid):
        verifier().caller_of(bearer(signed(headers)))


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", ""])
@pytest.mark.parametrize("of_key", ["HS256", *ALGORITHMS])
def test_an_unsigned_token_is_refused(algorithm: str, of_key: str) -> None:
    keys = [] if of_key == "HS256" else [key_of_pem(signer(of_key).pem)]

    with pytest.raises(TokenInvalid):
        verifier(*keys).caller_of(bearer(forge({"alg": algorithm}, claims_of())))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_public_key_is_no_shared_secret(algorithm: str) -> None:
    someone = signer(algorithm)
    asymmetric = verifier(key_of_pem(someone.pem))

    for header in (HS256, {"alg": algorithm}, {"alg": "HS512"}):
        for key in (someone.pem, someone.pem.strip()):
            token = forge(header, claims_of(), key=key)
            with pytest.raises(TokenInvalid):
                asymmetric.caller_of(bearer(token))


@pytest.mark.parametrize(
    ("algorithm", "other"), [("RS256", "PS256"), ("RS256", "RS512"), ("RS256", "RS384")]
)
def test_a_key_has_one_algorithm_only(algorithm: str, other: str) -> None:
    someone = signer(algorithm)
    token = jwt.encode(claims_of(), someone.private_key, algorithm=other)

    with pytest.raises(TokenInvalid):
        verifier(key_of_pem(someone.pem)).caller_of(bearer(token))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_stranger_who_brings_their_own_key_is_refused(algorithm: str) -> None:
    known, stranger = signer(algorithm), signer(algorithm, "stranger")
    url = "https://keys.example.org/jwks.json"
    brought = {"jwk": stranger.jwk, "jku": url, "x5u": url, "x5c": ["MIIB"], "kid": known.key_id}

    with pytest.raises(TokenInvalid):
        verifier(key_of_pem(known.pem)).caller_of(bearer(stranger.sign(brought)))


@pytest.mark.parametrize("kid", ["../../etc/passwd", "' OR 1=1 --", "a\0b", "k" * 4000])
def test_an_odd_key_id_leads_nowhere(kid: str) -> None:
    someone = signer("EdDSA")
    named = VerificationKey("EdDSA", someone.private_key.public_key(), "key")

    with pytest.raises(TokenInvalid):
        verifier(named).caller_of(bearer(someone.sign({"kid": kid})))


@pytest.mark.parametrize(
    "token",
    [
        "x",
        "a.b",
        "a.b.c",
        "..",
        "a.b.c.d",
        "é.ü.ß",
        signed()[:-1] + "\n",
        signed() + "." + signed(),
        signed().rpartition(".")[0] + ".",
        signed().replace(".", ".."),
        forge([], claims_of(), key=SECRET),
        forge(HS256, [], key=SECRET),
        forge(HS256, "alice", key=SECRET),
        forge(HS256, None, key=SECRET),
        forge({}, claims_of(), key=SECRET),
        forge(HS256, claims_of(), key=SECRET + b"2"),
        "W1tb" * 1800 + ".e30.x",
    ],
    ids=lambda token: token[:12],
)
def test_garbage_is_no_token(token: str) -> None:
    with pytest.raises(TokenInvalid):
        verifier().caller_of(bearer(token))


def test_a_giant_token_is_refused_though_its_signature_is_good() -> None:
    with pytest.raises(TokenInvalid):
        verifier().caller_of(bearer(signed(padding="x" * 16 * 1024)))


def test_what_is_wrong_with_a_token_is_not_said() -> None:
    messages = set()
    for token in (signed(iss="other"), signed(aud="other"), forge(HS256, {}, key=b"k" * 32)):
        with pytest.raises(TokenInvalid) as invalid:
            verifier().caller_of(bearer(token))
        messages.add((str(invalid.value), *invalid.value.values))

    assert messages == {("the token is not valid here",)}


def test_admin_methods_need_the_admin_scope() -> None:
    for method, scope in POLICIES.items():
        assert scope == (SCOPE_ADMIN if "Admin" in method else None), method
