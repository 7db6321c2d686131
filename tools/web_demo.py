#!/usr/bin/env python
r"""Shows a trained model in a page of the browser: choose an image, see its predictions.

    rock-d2 page
    python tools/web_demo.py --config-file configs/rock/rock_rooms.yaml \
        --weights output/rock_rooms/model_final.pth

The first, `python tools/web_demo.py` in a checkout, takes the model that comes with the project,
which was trained on rendered rooms. Only this machine sees the page, unless --host says otherwise.
"""

import argparse
import json
import os
import signal
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

try:
    import gradio as gr
except ImportError:
    raise SystemExit('web_demo: the page needs Gradio: pip install -e ".[demo]"') from None
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from untrusted_images import read_untrusted_image

from rock_d2 import model_zoo
from rock_d2.engine.command_line import add_model_options, one_line_errors, parse, tool_parser
from rock_d2.predictor import Predictor
from rock_d2.results import Result
from rock_d2.tasks.base import Drawing
from rock_d2.visualization import panel_size, prediction_drawings, resized

MAX_FILE = 20 * 2**20
# The form around a file, and all requests without one.
MAX_REQUEST = 64 * 2**10
# Uploads and pictures together; the oldest are deleted for new ones, and all after an hour.
MAX_VOLUME = 500 * 2**20
FILE_SECONDS = 3600
# Even an empty file takes a block of the disk.
BLOCK = 4096
EXAMPLES = Path(model_zoo.__file__).resolve().parent / "examples"
INTRODUCTION = """# rock_d2
The objects of an image, and the other tasks of the network.
The model that comes with the project has seen rendered rooms only, and finds next to nothing in
photos, as the two among the examples show.
"""
# Of the table of objects; boxes in pixels of the image.
COLUMNS = ["object", "score", "left", "top", "width", "height"]


def make_parser() -> argparse.ArgumentParser:
    parser = tool_parser(__doc__)
    add = parser.add_argument
    add_model_options(parser)
    score = "score from which an object is shown before the slider is moved (default: %(default)s)"
    add("--confidence-threshold", type=float, default=0.5, metavar="SCORE", help=score)
    host = "address to listen at; 0.0.0.0 needs --allowed-host (default: %(default)s)"
    add("--host", default="127.0.0.1", help=host)
    add("--port", type=int, default=7860, help="port to listen at (default: %(default)s)")
    names = "name by which browsers reach the page, if it is not --host (repeatable)"
    add("--allowed-host", action="append", default=[], metavar="NAME", help=names)
    add("opts", nargs="*", metavar="KEY VALUE", help="settings, such as MODEL.DEVICE cuda")
    return parser


class Guard(BaseHTTPMiddleware):
    """Refuses requests of other sites, without a bound of their size, or for files of the server.

    Gradio itself opens any image of the server that a hand-made request names, fetches addresses,
    and bounds single files only, not their number.
    """

    def __init__(self, app: Any, *, folder: Path):
        super().__init__(app)
        # Of uploads and pictures; and the bytes that are on their way to it.
        self.folder, self.arriving = folder, 0

    async def dispatch(self, request: Request, call_next: Callable) -> Response:
        origin = request.headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
            return PlainTextResponse("the request comes from another site", 403)
        if request.method != "POST":
            return await call_next(request)
        is_upload = request.url.path.endswith("/upload")
        length = request.headers.get("content-length", "")
        if not length.isdecimal():
            return PlainTextResponse("the request has no content-length", 411)
        if int(length) > MAX_REQUEST + MAX_FILE * is_upload:
            return PlainTextResponse("the request is too large", 413)
        if not is_upload and not self.names_uploads_only(await request.body()):
            return PlainTextResponse("the request names a file that was not uploaded", 403)
        self.arriving += int(length)
        try:
            make_room(self.folder, self.arriving)
            return await call_next(request)
        finally:
            self.arriving -= int(length)

    def names_uploads_only(self, body: bytes) -> bool:
        def check(item: dict[str, Any]) -> None:
            if "path" in item:
                path = Path(item["path"]).resolve()
                if path.parent != EXAMPLES:
                    path.relative_to(self.folder)

        try:
            json.loads(body or "{}", object_hook=check)
        except (ValueError, TypeError, OSError, RecursionError):
            return False
        return True


def make_room(folder: Path, size: int) -> None:
    """Delete the oldest files in a folder until ``size`` bytes fit below MAX_VOLUME."""
    files = []
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            stat = path.lstat()
            files.append((stat.st_mtime, max(stat.st_size, BLOCK), path))
    for _, taken, path in sorted(files, reverse=True):
        size += taken
        if size > MAX_VOLUME and not path.is_dir():
            path.unlink(missing_ok=True)


def build_page(predictor: Predictor, score_threshold: float) -> gr.Blocks:
    """Return the page: what one chooses, and below it what the model sees."""

    @lru_cache(maxsize=4)
    def predict(path: str) -> Result:
        # The name of an upload has the hash of its content.
        return predictor(read_untrusted_image(path), encodings=True)

    def look(path: str | None, score: float, classes: list[str]) -> list[Any]:
        try:
            return answer(predict(path), score, classes) if path else [None] * len(outputs)
        except ValueError as error:
            raise gr.Error(str(error), print_exception=False) from None

    example = predictor(np.zeros((120, 160, 3), np.uint8), encodings=True)
    gr.set_static_paths([EXAMPLES])
    with gr.Blocks(
        title="rock_d2", analytics_enabled=False, delete_cache=(FILE_SECONDS, FILE_SECONDS)
    ) as page:
        gr.Markdown(INTRODUCTION)
        inputs = add_inputs(predictor.metadata.get("thing_classes", []), score_threshold)
        why = gr.Markdown()
        with gr.Row():
            pictures = [part for drawing in drawings_of(example) for part in add_picture(drawing)]
        with gr.Row():
            with gr.Column(scale=2):
                objects = gr.Dataframe(label="objects", headers=COLUMNS, interactive=False)
                download = gr.DownloadButton("Download as JSON")
            with gr.Column():
                rankings = [gr.Label(label=name) for name in example.rankings()]
        outputs = [why, objects, download, *pictures, *rankings]
        gr.on(
            [part.change for part in inputs],
            look,
            inputs,
            outputs,
            api_name="look",
            trigger_mode="always_last",
            show_progress="minimal",
        )
    return page.queue(max_size=16, default_concurrency_limit=1)


def answer(found: Result, score: float, classes: Sequence[str]) -> list[Any]:
    """Return what the page shows of a result, in the order of its parts."""
    shown = found.threshold(score, classes)
    # One look at a time writes it, and Gradio serves a copy.
    file = Path(tempfile.gettempdir(), "predictions.json")
    shown.save(file)
    pictures = [
        part
        for drawing in drawings_of(shown)
        for part in (caption(drawing), resized(drawing.image, panel_size(shown.image)))
    ]
    facts = [found.describe(score, classes), table(shown), str(file)]
    return [*facts, *pictures, *shown.rankings().values()]


def add_inputs(classes: Sequence[str], score_threshold: float) -> list[gr.components.Component]:
    """Add the image, the examples, the threshold and the choice of classes."""
    with gr.Row():
        with gr.Column():
            # A path is passed on as it is: only `read_untrusted_image` decodes.
            image = gr.Image(
                label="image",
                type="filepath",
                image_mode=None,
                sources=["upload", "webcam", "clipboard"],
                height=300,
            )
        with gr.Column():
            files = sorted(map(str, EXAMPLES.glob("*.jpg")))
            gr.Examples(files, image, label="rendered rooms, and two photos", cache_examples=False)
            threshold = gr.Slider(0, 1, score_threshold, step=0.05, label="score threshold")
            choice = gr.Dropdown(
                list(classes), multiselect=True, label="classes of objects (none chosen: all)"
            )
    return [image, threshold, choice]


def add_picture(drawing: Drawing) -> tuple[gr.HTML, gr.Image]:
    """Add a caption and the place of its picture: one in a row on phones, two on wide screens."""
    name = drawing.caption.split(":")[0]
    with gr.Column(min_width=420):
        text = gr.HTML()
        picture = gr.Image(
            label=name,
            alt_text=name,
            show_label=False,
            interactive=False,
            buttons=["download", "fullscreen"],
        )
    return text, picture


def drawings_of(found: Result) -> list[Drawing]:
    drawings = prediction_drawings(
        found.image, found, found.tasks, found.metadata, found.score_threshold
    )
    return [drawing for drawing in drawings if drawing.image is not None]


def caption(drawing: Drawing) -> str:
    """Return a drawing's caption and its scale of colours as HTML."""
    text = f"<b>{escape(drawing.caption)}</b>"
    if drawing.scale is None:
        return text
    low, high, colours = drawing.scale
    stops = ", ".join(f"rgb{tuple(map(int, colour))}" for colour in colours[::16])
    bar = f"display:inline-block;width:8em;height:.8em;background:linear-gradient(90deg,{stops})"
    scale = f'{escape(low)} <span style="{bar}"></span> {escape(high)}'
    return f'{text} <span style="white-space:nowrap">{scale}</span>'


def table(found: Result) -> list[list[Any]]:
    """Return the rows of COLUMNS."""
    objects = [] if found.instances is None else found.objects()
    return [
        [thing["category"], round(thing["score"], 2), *map(round, thing["bbox"])]
        for thing in objects
    ]


def serve(page: gr.Blocks, folder: Path, *, hosts: list[str], **options: Any) -> None:
    """Show the page to those who reach it by one of ``hosts``; ``options`` are of ``launch``."""
    trusted = Middleware(TrustedHostMiddleware, allowed_hosts=hosts)
    page.launch(
        share=False,
        quiet=True,
        max_file_size=MAX_FILE,
        footer_links=[],
        ssr_mode=False,
        mcp_server=False,
        # Fonts of the system: the page needs nothing from elsewhere.
        theme=gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
        app_kwargs={"middleware": [trusted, Middleware(Guard, folder=folder)]},
        **options,
    )


def main(args: argparse.Namespace) -> None:
    if args.host in ("0.0.0.0", "::") and not args.allowed_host:
        raise ValueError(
            f"--host {args.host}: name this machine as other ones do, for instance --allowed-host "
            "192.168.1.5"
        )
    # Ends the server as Ctrl-C does, so that the folder is removed.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="rock_d2_page_") as folder:
        # Unfinished uploads, uploads and pictures lie in one place, which is bounded.
        tempfile.tempdir = os.environ["GRADIO_TEMP_DIR"] = str(Path(folder).resolve())
        predictor = Predictor(args.config_file, args.weights, opts=args.opts)
        page = build_page(predictor, args.confidence_threshold)
        print(f"the page: http://{args.host}:{args.port}", flush=True)
        hosts = ["localhost", "127.0.0.1", args.host, *args.allowed_host]
        where = {"server_name": args.host, "server_port": args.port}
        serve(page, Path(tempfile.tempdir), hosts=hosts, **where)


if __name__ == "__main__":
    with one_line_errors():
        main(parse(make_parser()))
