"""Key pairs made for a test, tokens signed with them, and tokens forged without them."""

import base64
import json
import time
from dataclasses import dataclass
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

_JWK = {"RS256": RSAAlgorithm, "ES256": ECAlgorithm, "EdDSA": OKPAlgorithm}


@dataclass(frozen=True)
class Signer:
    """Someone who signs tokens with a key pair."""

    algorithm: str
    private_key: Any
    key_id: str

    @property
    def pem(self) -> bytes:
        """The public key as a PEM file holds it."""
        public_key = self.private_key.public_key()
        pem: bytes = public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return pem

    @property
    def jwk(self) -> dict[str, Any]:
        """The public key as a JWKS holds it."""
        key = json.loads(_JWK[self.algorithm].to_jwk(self.private_key.public_key()))
        return {**key, "kid": self.key_id, "use": "sig"}

    def sign(self, headers: dict[str, Any] | None = None, **claims: object) -> str:
        """Sign a token that names its key; `claims` replace or, as None, remove."""
        return jwt.encode(
            claims_of(**claims),
            self.private_key,
            algorithm=self.algorithm,
            headers={"kid": self.key_id, **(headers or {})},
        )


@cache
def signer(algorithm: str, key_id: str = "key") -> Signer:
    """Make a key pair, one for each name in a test run."""
    if algorithm == "RS256":
        return Signer(algorithm, generate_rsa(65537, 2048), key_id)
    if algorithm == "ES256":
        return Signer(algorithm, generate_private_key(SECP256R1()), key_id)
    return Signer(algorithm, Ed25519PrivateKey.generate(), key_id)


def claims_of(**claims: object) -> dict[str, Any]:
    """Return the claims of a good token for alice; `claims` replace or, as None, remove."""
    now = int(time.time())
    good = {"iss": "wallet", "aud": "wallet", "sub": "alice", "iat": now, "exp": now + 3600}
    return {name: value for name, value in (good | claims).items() if value is not None}


def forge(header: object, claims: object, *, key: bytes = b"", algorithm: str = "HS256") -> str:
    """Put a token together from anything, signed by HMAC with any bytes, or by nothing."""
    signed = ".".join(_part(json.dumps(part).encode()) for part in (header, claims))
    hmac = jwt.get_algorithm_by_name(algorithm)
    signature = hmac.sign(signed.encode(), key) if key else b""
    return f"{signed}.{_part(signature)}"


def _part(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")
