"""Writes the SSLConfig that `--ssl_config_file` reads, from PEM files, to standard output."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def ssl_config(key: Path, cert: Path, ca: Path | None) -> str:
    """The text of an SSLConfig.

    Args:
        key: PEM file of the server's private key.
        cert: PEM file of its certificate, with those between it and the authority's.
        ca: PEM file of the authority whose clients may connect; None: any client may.
    """

    def line(name: str, file: Path) -> str:
        text = file.read_text(encoding="ascii").replace("\\", "\\\\").replace('"', '\\"')
        return f'{name}: "{text}"\n'.replace("\r", "").replace("\n", "\\n").removesuffix("\\n") + "\n"

    text = line("server_key", key) + line("server_cert", cert)
    return text if ca is None else text + line("custom_ca", ca) + "client_verify: true\n"


def main() -> None:
    """Reads the command line and writes the config."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--key", type=Path, required=True, help="PEM file of the private key")
    parser.add_argument("--cert", type=Path, required=True, help="PEM file of the certificate and its chain")
    parser.add_argument("--ca", type=Path, help="PEM file of the authority that clients' certificates are of")
    options = parser.parse_args()
    try:
        sys.stdout.write(ssl_config(options.key, options.cert, options.ca))
    except (OSError, UnicodeDecodeError) as error:
        sys.exit(f"The PEM files cannot be read ({error}); check the paths.")


if __name__ == "__main__":
    main()
