"""Pictures for people: labels and predictions as rows of panels."""

from rock_d2.visualization.drawings import (
    class_title,
    draw_comparison,
    draw_item,
    draw_output,
    draw_predictions,
    draw_record,
    prediction_drawings,
)
from rock_d2.visualization.encodings import recorded_encodings
from rock_d2.visualization.panels import evenly_spaced, panel_row, write_picture, write_pictures

__all__ = [
    "class_title",
    "draw_comparison",
    "draw_item",
    "draw_output",
    "draw_predictions",
    "draw_record",
    "evenly_spaced",
    "panel_row",
    "prediction_drawings",
    "recorded_encodings",
    "write_picture",
    "write_pictures",
]
