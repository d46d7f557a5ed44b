"""The server's command line, with TF Serving's names of flags."""

from __future__ import annotations

import argparse
import signal
from pathlib import Path

from privzoo.errors import MissingExtraError
from privzoo.serving import settings


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the server's flags to a parser.

    Args:
        parser: of `privzoo serve` or `python -m privzoo.serving`.
    """
    add = parser.add_argument
    add("--model_base_path", required=True, metavar="DIR", help="folder with <version>/saved_model.pb in it")
    add("--model_name", default=settings.MODEL_NAME, metavar="NAME", help="name for clients (default: %(default)s)")
    add(
        "--rest_api_port",
        type=int,
        default=settings.REST_API_PORT,
        metavar="PORT",
        help="port of the REST interface, 0 for any free one (default: %(default)s)",
    )
    add(
        "--host",
        default=settings.HOST,
        metavar="ADDRESS",
        help="address to listen on, 0.0.0.0 for every interface (default: %(default)s)",
    )
    add(
        "--rest_api_num_threads",
        type=_positive,
        metavar="N",
        help="threads that run requests (default: four for each processor)",
    )
    add(
        "--max_body_bytes",
        type=_positive,
        default=settings.MAX_BODY_BYTES,
        metavar="N",
        help="largest body of a request (default: %(default)s)",
    )
    add(
        "--demo_page",
        nargs="?",
        const=str(Path(__file__).resolve().parents[2] / "tflite"),
        metavar="DIR",
        help="serve the browser page too, at /demo/web/ (default folder: tflite of the checkout)",
    )
    add("--stop_on_eof", action="store_true", help="stop when standard input ends, as when the parent process is gone")


def main(args: argparse.Namespace) -> int:
    """Serves until it is stopped; the process is meant to end after it.

    Args:
        args: parsed flags of `add_flags`; others in it are ignored.

    Returns:
        Exit code 0.

    Raises:
        PrivzooError: the server cannot start.
    """
    try:
        from privzoo.serving.server import serve
    except ImportError as error:
        raise MissingExtraError(f"The server needs {error.name}; run: pip install 'privzoo[cloud]'") from None
    serve(
        model_base_path=args.model_base_path,
        model_name=args.model_name,
        host=args.host,
        rest_api_port=args.rest_api_port,
        rest_api_num_threads=args.rest_api_num_threads,
        max_body_bytes=args.max_body_bytes,
        stop_on_eof=args.stop_on_eof,
        demo_page=args.demo_page,
    )
    # TensorFlow takes its time to leave; a second signal meanwhile is not to turn code 0 into another.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    return 0


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is below 1")
    return number
