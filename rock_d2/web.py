"""A page in the browser: upload an image, see what the model makes of it."""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

try:
    import gradio as gr
except ImportError:
    raise ImportError('the page needs Gradio: pip install -e ".[demo]"') from None

from rock_d2.image_files import read_color_image
from rock_d2.predictor import Predictor
from rock_d2.visualization import detection_drawing, panel_row, task_drawings

MAX_FILE_SIZE = "10mb"
FORMATS = ("BMP", "JPEG", "PNG", "WEBP")
# A small file can hold a picture that fills the memory.
MAX_PIXELS = 12_000_000
# Panels have the image's proportions and at least 480 columns: one of 1 x 10,000 would be huge.
MAX_ELONGATION = 8
# Answers come within this time, or not at all; one request is worked on, these many wait.
MAX_SECONDS = 30
MAX_QUEUE = 16
# Uploads and pictures are removed after an hour.
FILE_SECONDS = 3600
RANKED = 5
COLUMNS = 3


def serve(
    predictor: Predictor,
    host: str,
    port: int,
    *,
    score_threshold: float,
    baseline: Predictor | None = None,
) -> None:
    """Shows the page until Ctrl-C; only this machine sees it unless ``host`` says otherwise."""
    page = build_page(predictor, score_threshold, baseline)
    page.queue(max_size=MAX_QUEUE, default_concurrency_limit=1)
    print(f"the page: http://{host}:{port}", flush=True)
    page.launch(
        server_name=host,
        server_port=port,
        share=False,
        quiet=True,
        max_file_size=MAX_FILE_SIZE,
        footer_links=[],
        # Fonts of the system: the page needs nothing from elsewhere.
        theme=gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
    )


def build_page(
    predictor: Predictor, score_threshold: float, baseline: Predictor | None = None
) -> gr.Blocks:
    """Upload and threshold, panels, and a ranking for each task that classifies."""

    def predict(image: np.ndarray, score: float) -> Look:
        return look_at(image, predictor, score, baseline)

    # What comes of any image tells which rankings and panels there are.
    example = predict(np.zeros((120, 160, 3), np.uint8), score_threshold)
    cells = [None, *example.detections, *example.rankings, *example.maps]
    found = []
    with gr.Blocks(
        title="rock_d2", analytics_enabled=False, delete_cache=(FILE_SECONDS, FILE_SECONDS)
    ) as page:
        gr.Markdown("# rock_d2\nThe objects of an image, and what else the detector has learnt.")
        threshold = gr.Slider(0, 1, score_threshold, step=0.05, label="score threshold")
        for start in range(0, len(cells), COLUMNS):
            with gr.Row():
                for cell in cells[start : start + COLUMNS]:
                    if cell is None:
                        upload = upload_box()
                    elif isinstance(cell, str):
                        found.append(gr.Label(label=cell))
                    else:
                        found.append(gr.Image(show_label=False, interactive=False, buttons=[]))
        answer = answer_within(MAX_SECONDS, predict, num_outputs=len(found))
        # The pixels are read by `answer`, which is careful, and not by Gradio.
        inputs = {"inputs": [upload, threshold], "outputs": found, "preprocess": False}
        upload.change(answer, **inputs, show_progress="minimal", api_name="look")
        threshold.release(answer, **inputs, show_progress="hidden", api_name=False)
    return page


def upload_box() -> gr.Image:
    """Takes files that a browser sends, and nothing else."""
    upload = gr.Image(label="image", type="filepath", sources=["upload"], height=320)
    take = upload.async_move_resource_to_block_cache

    async def take_upload(path: str) -> str | None:
        # A hand-made request can name an address, which Gradio would fetch whatever its size.
        if path.startswith(("http:", "https:")):
            raise gr.Error("upload a file", print_exception=False)
        return await take(path)

    upload.async_move_resource_to_block_cache = take_upload
    return upload


def answer_within(
    seconds: float, predict: Callable[[np.ndarray, float], "Look"], num_outputs: int
) -> Callable[..., list[Any]]:
    """The page's reply to an upload and a threshold; what cannot be shown becomes a message."""
    worker = ThreadPoolExecutor(max_workers=1)

    def work(upload: Any, score: Any) -> list[Any]:
        seen = predict(read_bounded(path_of(upload)), threshold_of(score))
        return [*seen.detections, *seen.rankings.values(), *seen.maps]

    def answer(upload: Any, score: Any) -> list[Any]:
        if not upload:
            return [None] * num_outputs
        reply = worker.submit(work, upload, score)
        try:
            return reply.result(timeout=seconds)
        except TimeoutError:
            # It never begins; one that has begun cannot be stopped, and those behind it wait.
            reply.cancel()
            message = f"no answer within {seconds} s: the machine is busy"
        except ValueError as error:
            message = str(error)
        raise gr.Error(message, print_exception=False)

    return answer


def path_of(upload: Any) -> str:
    """Where Gradio has put an upload; requests that are made by hand may say anything."""
    path = upload.get("path") if isinstance(upload, dict) else None
    if not isinstance(path, str):
        raise ValueError("the request names no upload")
    return path


def threshold_of(score: Any) -> float:
    if not isinstance(score, int | float) or math.isnan(score):
        raise ValueError("the threshold must be a number from 0 to 1")
    return min(max(float(score), 0.0), 1.0)


class Look(NamedTuple):
    """What the page shows of an image.

    Attributes:
        detections: RGB pictures, the baseline's first if there is one.
        rankings: probabilities by class, by task.
        maps: RGB pictures of what each task predicts.
    """

    detections: Sequence[np.ndarray]
    rankings: dict[str, dict[str, float]]
    maps: Sequence[np.ndarray]


def look_at(
    image: np.ndarray,
    predictor: Predictor,
    score_threshold: float,
    baseline: Predictor | None = None,
) -> Look:
    output = predictor(image, encodings=True)
    metadata = predictor.metadata
    models = [("", output)]
    if baseline is not None:
        models.insert(0, ("baseline: ", baseline(image)))
    found = [
        detection_drawing(image, result["instances"], metadata, score_threshold, title=title)
        for title, result in models
    ]
    maps = task_drawings(output, predictor.tasks, metadata, labels={})
    return Look(
        detections=[panel_row(image, [drawing]) for drawing in found],
        rankings=predictor.rankings(output, RANKED),
        maps=[panel_row(image, [drawing]) for drawing in maps if drawing.image is not None],
    )


def read_bounded(path: str) -> np.ndarray:
    """RGB pixels of an upload, which are decoded only if they are not too many.

    Messages do not repeat the file's name, which is whatever its sender wants to be shown.
    """
    kinds = f"it must be one of {', '.join(FORMATS)}"
    try:
        with Image.open(path, formats=FORMATS) as header:
            width, height = header.size
    except Image.DecompressionBombError:
        raise ValueError(f"the image has more than {MAX_PIXELS:,} pixels") from None
    except (UnidentifiedImageError, OSError):
        raise ValueError(f"the file is no image that this page reads; {kinds}") from None
    if width * height > MAX_PIXELS:
        raise ValueError(f"the image has {width} x {height} pixels; {MAX_PIXELS:,} are the limit")
    if max(width, height) > MAX_ELONGATION * min(width, height):
        raise ValueError(
            f"the image has {width} x {height} pixels; one side may be {MAX_ELONGATION} times "
            "the other"
        )
    try:
        return read_color_image(path)
    except ValueError:
        raise ValueError(f"the file's pixels cannot be read; {kinds}") from None
