"""Figure 3, through the command line."""

from itertools import pairwise

import cv2
import pytest
import visualize_predictions
from command_line import run
from tiny_model import BASELINE_CONFIG, CONFIG, OPTS, THRESHOLD

pytest_plugins = ("tiny_weights",)


def test_figure_with_baseline(rooms_root, tiny_weights, tmp_path):
    done = run(
        "tools/visualize_predictions.py",
        *("--config-file", CONFIG, "--weights", tiny_weights["rock"]),
        *("--baseline-config-file", BASELINE_CONFIG, "--baseline-weights", tiny_weights["ssd"]),
        *("--num-images", "3", "--output-dir", tmp_path, "--contact-sheet"),
        *("--confidence-threshold", THRESHOLD, "--sheet-width", "1448", *OPTS),
        root=rooms_root,
    )
    assert done.returncode == 0, done.stderr
    pictures = sorted(tmp_path.glob("*.png"))
    # Every third image of nine.
    assert [picture.stem for picture in pictures] == [f"rooms_val_{i:06d}" for i in (15, 18, 21)]
    # Two rows of six panels: input, baseline, detections and three tasks.
    height, width = 2 * (360 + 26), 6 * 480 + 5 * 4
    picture = cv2.imread(str(pictures[0]))
    assert picture.shape == (height, width, 3)
    panels = [picture[26:386, i * 484 :][:, :480] for i in range(6)]
    assert all(panel.std() > 2 for panel in panels)
    # Both models find something, and not the same.
    assert all((a != b).any() for a, b in pairwise(panels[:3]))
    sheet = cv2.imread(str(tmp_path / "rooms_val_sheet.jpg"))
    assert sheet.shape == (round(3 * height * 1448 / width), 1448, 3)


def test_baseline_weights_need_their_config(monkeypatch, capsys):
    arguments = ["--config-file", CONFIG, "--baseline-weights", "somewhere.pth"]
    monkeypatch.setattr("sys.argv", ["visualize_predictions.py", *arguments])
    with pytest.raises(SystemExit):
        visualize_predictions.parse_args()
    assert "--baseline-weights needs --baseline-config-file" in capsys.readouterr().err
