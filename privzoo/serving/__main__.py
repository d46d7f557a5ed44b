"""`python -m privzoo.serving`: the same as `privzoo serve`."""

from __future__ import annotations

import argparse
import sys

from privzoo.errors import PrivzooError
from privzoo.serving.flags import add_flags, main


def run() -> int:
    """Parses the command line and serves; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m privzoo.serving", description="Serves SavedModels over REST and gRPC."
    )
    add_flags(parser)
    try:
        return main(parser.parse_args())
    except PrivzooError as error:
        print(f"privzoo: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(run())
