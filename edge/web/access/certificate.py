"""The page's certificate: the one that station.toml names, or one that the page makes for itself at its first start."""

from __future__ import annotations

import hashlib
import ipaddress
import os
import socket
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edge.config.station import StationConfig
from edge.core.files import make_folder, write_atomically
from edge.core.types import EdgeError, one_line

OWN_CERTIFICATE, OWN_KEY = "page-certificate.pem", "page-key.pem"
LASTS = timedelta(days=820)  # some browsers take none that lasts longer than 825 days
RENEWED_BEFORE_END = timedelta(days=30)


class CertificateError(EdgeError):
    """The certificate or its key cannot be used; the message says what to do."""


def tls_context(config: StationConfig) -> tuple[ssl.SSLContext, str]:
    """Return what the server speaks TLS with, and the certificate's SHA-256 fingerprint.

    A certificate that the page makes for itself lies in page_dir, and is made anew when it is about to end. Raises
    CertificateError.
    """
    certificate, key = config.page.certificate, config.page.private_key
    if certificate is None or key is None:
        certificate, key = config.page_dir / OWN_CERTIFICATE, config.page_dir / OWN_KEY
        if not _good_for_a_while(certificate, key):
            _make(certificate, key, config.page.host)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        # A key with a passphrase would ask on the console; an empty one is refused instead.
        context.load_cert_chain(certificate, key, password=b"")
        return context, fingerprint(certificate.read_bytes())
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise CertificateError(
            f"page.certificate: {certificate} and {key} cannot be used ({one_line(error)}); give the certificate with"
            " its chain and its key without a passphrase, both in PEM and readable to the page"
        ) from error


def fingerprint(pem: bytes) -> str:
    """Return the SHA-256 of the first certificate of a PEM file, as browsers show it; raises ValueError."""
    der = x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)
    return ":".join(f"{byte:02X}" for byte in hashlib.sha256(der).digest())


def _good_for_a_while(certificate: Path, key: Path) -> bool:
    try:
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
        return key.is_file() and found.not_valid_after_utc - datetime.now(UTC) > RENEWED_BEFORE_END
    except (OSError, ValueError):
        return False


def _make(certificate: Path, key: Path, host: str) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Linewatch station")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))  # a tablet's clock may be behind
        .not_valid_after(now + LASTS)
        .add_extension(x509.SubjectAlternativeName(_names(host)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(private, hashes.SHA256())
    )
    secret = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    before = os.umask(0o077)
    try:
        make_folder(certificate.parent)
        write_atomically(key, secret)
        write_atomically(certificate, made.public_bytes(Encoding.PEM))
    except OSError as error:
        raise CertificateError(f"{key}: the page's certificate cannot be kept ({error.strerror}); make room") from error
    finally:
        os.umask(before)


def _names(host: str) -> list[x509.GeneralName]:
    """Return the names and addresses by which a browser may call this page."""
    own = socket.gethostname().lower()
    found: list[x509.GeneralName] = []
    local = f"{own.split('.')[0]}.local"
    for one in dict.fromkeys(("localhost", "127.0.0.1", "::1", host.strip("[]").lower(), own, local)):
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(one)))
        except ValueError:
            found.append(x509.DNSName(one.encode("idna").decode("ascii")))
    return found
