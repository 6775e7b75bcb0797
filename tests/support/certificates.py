"""Certificates that tests sign themselves."""

import ipaddress
import subprocess
from pathlib import Path


def make_certificate(path: Path, name: str, *, ca: Path | None = None) -> Path:
    """A certificate for a host name or an IP address, and its key, both in the file `path`; self-signed, or by `ca`, such a file too."""
    try:
        alternative = f"IP:{ipaddress.ip_address(name)}"
    except ValueError:
        alternative = f"DNS:{name}"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", f"/CN={name}", "-addext", f"subjectAltName={alternative}"]
    command += ["-keyout", "-", "-out", "-"]
    if ca:
        command += ["-CA", str(ca), "-CAkey", str(ca)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(done.stdout)
    return path
