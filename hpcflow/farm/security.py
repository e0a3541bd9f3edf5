"""Mutual TLS for one session of one run.

A certificate authority is made in memory, signs one key pair, and is forgotten: its key is never
written, so nobody can join later with a certificate of their own making. The key pair (mode 0600 in
the 0700 run directory) is what scheduler, workers and client show each other.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hpcflow.private import check_own, write_private

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from distributed import Security

LIFE_DAYS = 8
"""Validity of a session's certificates [days]: longer than any batch job."""


def _certificate(
    subject: str,
    key: ec.EllipticCurvePrivateKey,
    *,
    issuer: str,
    signer: ec.EllipticCurvePrivateKey,
) -> x509.Certificate:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import NameOID

    now = datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    authority = subject == issuer
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=LIFE_DAYS))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .sign(signer, hashes.SHA256())
    )


def create_credentials(directory: Path) -> None:
    """Write a new authority's certificate and one key pair signed by it into `directory`.

    Raises
    ------
    JournalError
        If they cannot be written.
    RequestError
        If the directory is not the user's own.
    """
    check_own(directory, what="place of a session's keys", remedy="Choose another run directory.")
    # workers and clients, who only use the credentials, do without these imports
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    authority_key = ec.generate_private_key(ec.SECP256R1())
    leaf_key = ec.generate_private_key(ec.SECP256R1())
    authority = _certificate(
        "hpcflow run", authority_key, issuer="hpcflow run", signer=authority_key
    )
    leaf = _certificate("hpcflow", leaf_key, issuer="hpcflow run", signer=authority_key)
    pem = serialization.Encoding.PEM
    private = leaf_key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with _alone_in(directory):
        write_private(directory / "ca.pem", authority.public_bytes(pem))
        write_private(directory / "pair.pem", leaf.public_bytes(pem) + private)


def load_security(directory: Path) -> Security:
    """Return Dask's security settings for the credentials in `directory`."""
    from distributed import Security

    authority, pair = str(directory / "ca.pem"), str(directory / "pair.pem")
    roles = {
        f"tls_{role}_{part}": pair
        for role in ("scheduler", "worker", "client")
        for part in ("cert", "key")
    }
    return Security(require_encryption=True, tls_ca_file=authority, **roles)


def security_for(directory: Path, *, insecure: bool) -> Security:
    """Return Dask's security settings of a farm: mutual TLS, unless it was asked to do without."""
    from distributed import Security

    return Security(require_encryption=False) if insecure else load_security(directory)


def warn_insecure(address: str) -> None:
    """Say on standard error what it means to do without TLS."""
    click.echo(
        f"warning: the farm at {address} is insecure: whoever can reach that address can run code"
        " as you, and read and change what travels. Leave out `insecure` for mutual TLS.",
        err=True,
    )


def credentials_id(directory: Path) -> str | None:
    """Return a digest that tells one session's credentials from another's; None without any."""
    try:
        content = (directory / "pair.pem").read_bytes()
    except FileNotFoundError:
        return None
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def remove_credentials(directory: Path, own: str | None = None) -> None:
    """Delete the session's certificates and keys.

    Parameters
    ----------
    directory
        Where they are.
    own
        Their `credentials_id`: those of a session that has begun since are left alone. None
        deletes what is there.
    """
    with contextlib.suppress(FileNotFoundError), _alone_in(directory):
        if own in (None, credentials_id(directory)):
            for name in ("ca.pem", "pair.pem"):
                (directory / name).unlink(missing_ok=True)


@contextlib.contextmanager
def _alone_in(directory: Path) -> Iterator[None]:
    """Let no session write its credentials while another, which ends, looks whose they are.

    Where a file system cannot lock a directory, that is a matter of luck.
    """
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
