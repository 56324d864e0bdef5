"""A certificate authority of our own, and certificates for servers on loopback."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

OPENSSL: Final = shutil.which("openssl")


@dataclass(frozen=True, slots=True)
class Authority:
    """Its files.

    Attributes:
        folder: Where they are.
        certificate: Whom others may trust.
    """

    folder: Path
    certificate: Path

    def server(self, host: str) -> ssl.SSLContext:
        """What a server of that name shows; `IP:127.0.0.1` or `DNS:name`."""
        files = self.folder / host.replace(":", "-")
        key, wish, shown = (files.with_suffix(f".{end}") for end in ("key", "csr", "pem"))
        extension = files.with_suffix(".ext")
        extension.write_text(f"subjectAltName={host}\n")
        _openssl(
            "req", "-newkey", "ec", *_CURVE, "-nodes", "-keyout", key, "-out", wish, "-subj", "/CN=server"
        )
        _openssl(
            *("x509", "-req", "-in", wish, "-CA", self.certificate, "-CAkey", self.folder / "ca.key"),
            *("-CAcreateserial", "-days", "2", "-extfile", extension, "-out", shown),
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(shown, key)
        return context


def authority(folder: Path) -> Authority:
    """A new one, that nobody trusts yet."""
    certificate = folder / "ca.pem"
    _openssl(
        *("req", "-x509", "-newkey", "ec", *_CURVE, "-nodes", "-keyout", folder / "ca.key"),
        *("-out", certificate, "-days", "2", "-subj", "/CN=An authority of tests"),
        *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
    )
    return Authority(folder, certificate)


_CURVE: Final = ("-pkeyopt", "ec_paramgen_curve:P-256")


def _openssl(*arguments: str | Path) -> None:
    assert OPENSSL is not None
    subprocess.run([OPENSSL, *map(str, arguments)], check=True, capture_output=True)
