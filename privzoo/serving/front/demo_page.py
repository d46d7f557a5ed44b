"""The browser page that runs a released head and asks this server: `privzoo serve --demo_page`."""

from __future__ import annotations

import mimetypes
import os
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.staticfiles import StaticFiles

from privzoo.edge.golden import read_list
from privzoo.errors import ConfigError
from privzoo.faces.blazeface import FILE

PATH = "/demo"
PAGE = f"{PATH}/web/"
RUNTIME = "web/node_modules/@litertjs/core/dist/index.js"
# Browsers refuse scripts and WebAssembly of other types, and some systems' tables lack them.
TYPES = {".js": "text/javascript", ".wasm": "application/wasm"}


def check_folder(folder: str | os.PathLike[str]) -> Path:
    """Refuses a folder that lacks part of the page.

    Args:
        folder: `tflite/` of a checkout: released heads, their list, and `web/` with npm's package.

    Returns:
        The folder.

    Raises:
        ConfigError: it holds no page, or npm's package was not fetched, or the list of heads is unreadable.
        WeightsError: there are no released heads in it.
    """
    folder = Path(folder)
    if not (folder / "web" / "index.html").is_file():
        raise ConfigError(f"{folder} holds no demo page; give --demo_page the folder tflite of a checkout.")
    if not (folder / RUNTIME).is_file():
        raise ConfigError(f"{folder} lacks LiteRT.js; fetch it once with: npm ci --omit=dev --prefix {folder / 'web'}")
    for entry in read_list(folder)["heads"]:
        if not (folder / entry["file"]).is_file():
            raise ConfigError(f"{folder} lacks the head {entry['file']} of its list; export it again.")
    return folder


def add_demo_page(app: Starlette, folder: str | os.PathLike[str]) -> None:
    """Serves the page, its heads and LiteRT.js below `/demo`, from the server that the page asks.

    Args:
        app: of `privzoo.serving.create_app`.
        folder: of `check_folder`.
    """
    for suffix, kind in TYPES.items():
        mimetypes.add_type(kind, suffix)
    app.add_route(f"{PATH}/detector/{FILE.name}", _detector)
    # Links in the folder are the operator's own; some npm clients create them.
    app.mount(PATH, StaticFiles(directory=folder, html=True, follow_symlink=True), name="demo page")


async def _detector(_: Request) -> FileResponse:
    """The face detector's file, the same one that Python uses."""
    if not FILE.exists():
        raise HTTPException(404, "the face detector is not installed")
    return FileResponse(FILE, media_type="application/octet-stream")
