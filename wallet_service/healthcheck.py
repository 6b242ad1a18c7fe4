"""Asking a server how it is, whatever it presents."""

import contextlib
import socket
import ssl

import grpc
from cryptography import x509
from cryptography.x509.oid import NameOID
from grpc_health.v1 import health_pb2, health_pb2_grpc

from wallet_service.settings import Settings, read_file

_TIMEOUT_S = 3
_HOST = "127.0.0.1"


def ask_health(settings: Settings) -> str:
    """
    Ask the server that listens as the settings say how it is.

    Returns:
        `SERVING`, or why not.
    """
    host, _, port = settings.listen.rpartition(":")
    # A server that listens everywhere answers here.
    host = _HOST if host in {"0.0.0.0", "[::]"} else host  # noqa: S104
    target = f"{host}:{port}"
    try:
        with _channel(settings, host, int(port)) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            response = stub.Check(health_pb2.HealthCheckRequest(), timeout=_TIMEOUT_S)
    except grpc.RpcError as error:
        return f"no answer from {target}: {error.details()}"
    except OSError as error:
        return f"no answer from {target}: {error}"
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(response.status))


def _channel(settings: Settings, host: str, port: int) -> grpc.Channel:
    """Open a channel to whoever answers there: asked is whether it serves, not who it is."""
    target, options = f"{host}:{port}", [("grpc.enable_http_proxy", 0)]
    cert_file, key_file = settings.tls_cert_file, settings.tls_key_file
    if cert_file is None or key_file is None:
        return grpc.insecure_channel(target, options)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])  # without it the server would log a broken handshake
    own: tuple[bytes, ...] = ()
    if settings.tls_client_ca_file:
        # Where client certificates are demanded, the server's own has to do.
        own = read_file("tls_key_file", key_file), read_file("tls_cert_file", cert_file)
        context.load_cert_chain(cert_file, key_file)
    presented = _presented(context, host.strip("[]"), port)
    credentials = grpc.ssl_channel_credentials(presented, *own)
    name = ("grpc.ssl_target_name_override", _name_in(presented))
    return grpc.secure_channel(target, credentials, [*options, name])


def _presented(context: ssl.SSLContext, host: str, port: int) -> bytes:
    """Ask a server for its certificate: after half a rotation it is not what lies in the files."""
    with (
        socket.create_connection((host, port), timeout=_TIMEOUT_S) as connection,
        context.wrap_socket(connection) as tls,
    ):
        certificate = tls.getpeercert(binary_form=True)
    assert certificate, "a server always presents one"
    return ssl.DER_cert_to_PEM_cert(certificate).encode()


def _name_in(certificate: bytes) -> str:
    """Return a name that a certificate is good for: its server is called by address here."""
    parsed = x509.load_pem_x509_certificate(certificate)
    with contextlib.suppress(x509.ExtensionNotFound):
        names = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        hosts = names.get_values_for_type(x509.DNSName)
        if hosts:
            return hosts[0].replace("*", "wallet")
        addresses = names.get_values_for_type(x509.IPAddress)
        if addresses:
            return str(addresses[0])
    subjects = parsed.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(subjects[0].value) if subjects else _HOST
