"""A page in the browser: upload an image, see what the model makes of it."""

from typing import Any, NamedTuple

import numpy as np
from PIL import Image

try:
    import gradio as gr
except ImportError:
    raise ImportError('the page needs Gradio: pip install -e ".[demo]"') from None

from rock_d2.predictor import Predictor, read_rgb
from rock_d2.visualization import panel_row, prediction_drawings

MAX_FILE_SIZE = "10mb"
# A small file can hold a picture that fills the memory.
MAX_PIXELS = 12_000_000
# Requests that wait while one is worked on.
MAX_QUEUE = 16
RANKED = 5


def serve(predictor: Predictor, host: str, port: int, *, score_threshold: float) -> None:
    """Shows the page until Ctrl-C; only this machine sees it unless ``host`` says otherwise."""
    page = build_page(predictor, score_threshold)
    page.queue(max_size=MAX_QUEUE)
    print(f"the page: http://{host}:{port}", flush=True)
    page.launch(
        server_name=host,
        server_port=port,
        share=False,
        max_file_size=MAX_FILE_SIZE,
        footer_links=[],
        # Fonts of the system: the page needs nothing from elsewhere.
        theme=gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
    )


def build_page(predictor: Predictor, score_threshold: float) -> gr.Blocks:
    """Upload and threshold, a ranking for each task that classifies, and a row of panels."""
    # What comes of any image tells which rankings and panels there are.
    example = look_at(np.zeros((120, 160, 3), np.uint8), predictor, score_threshold)
    with gr.Blocks(title="rock_d2", analytics_enabled=False) as page:
        gr.Markdown("# rock_d2\nThe objects of an image, and what else the detector has learnt.")
        with gr.Row():
            with gr.Column():
                upload = gr.Image(
                    label="image", type="filepath", image_mode=None, sources=["upload"], height=300
                )
                threshold = gr.Slider(0, 1, score_threshold, step=0.05, label="score threshold")
            rankings = [gr.Label(label=name) for name in example.rankings]
        with gr.Row():
            panels = [
                gr.Image(show_label=False, interactive=False, min_width=280, buttons=[])
                for _ in example.panels
            ]

        def look(path: str | None, score: float) -> list[Any]:
            if path is None:
                return [None] * (len(rankings) + len(panels))
            try:
                seen = look_at(read_bounded(path), predictor, score)
            except (OSError, ValueError) as error:
                raise gr.Error(str(error)) from None
            return [*seen.rankings.values(), *seen.panels]

        found = [*rankings, *panels]
        upload.change(look, [upload, threshold], found, show_progress="minimal")
        threshold.release(look, [upload, threshold], found, show_progress="hidden")
    return page


class Look(NamedTuple):
    """What the page shows of an image.

    Attributes:
        rankings: probabilities by class, by task.
        panels: RGB pictures of what is predicted.
    """

    rankings: dict[str, dict[str, float]]
    panels: list[np.ndarray]


def look_at(image: np.ndarray, predictor: Predictor, score_threshold: float) -> Look:
    output = predictor(image, encodings=True)
    _, *drawings = prediction_drawings(
        image, output, predictor.tasks, predictor.metadata, score_threshold
    )
    rankings = {
        task.name: task.ranking(output[task.name].numpy(), predictor.metadata, count=RANKED)
        for task in predictor.tasks
        if task.name in output
    }
    return Look(
        rankings={name: ranking for name, ranking in rankings.items() if ranking},
        panels=[panel_row(image, [drawing]) for drawing in drawings],
    )


def read_bounded(path: str) -> np.ndarray:
    """RGB pixels, which are decoded only if they are not too many."""
    with Image.open(path) as header:
        width, height = header.size
    if width * height > MAX_PIXELS:
        raise ValueError(f"the image has {width} x {height} pixels; {MAX_PIXELS:,} are the limit")
    return read_rgb(path)
