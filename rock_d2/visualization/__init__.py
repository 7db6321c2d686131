"""Pictures for people: labels and predictions as rows of panels."""

from rock_d2.visualization.charts import confusion_chart, precision_recall_chart, training_chart
from rock_d2.visualization.drawings import (
    class_title,
    draw_comparison,
    draw_output,
    label_drawings,
    merge_captions,
    object_drawing,
    prediction_drawings,
    record_drawing,
)
from rock_d2.visualization.encodings import recorded_encodings
from rock_d2.visualization.panels import (
    evenly_spaced,
    panel_row,
    panel_size,
    resized,
    write_picture,
)
