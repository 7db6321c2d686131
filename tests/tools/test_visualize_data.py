"""The pictures of the ground truth, through the command line."""

import cv2
from command_line import run, run_warm


def test_every_label_is_drawn(rooms_root, tmp_path):
    done = run(
        "tools/visualize_data.py",
        *("--dataset", "rooms_val", "--num-images", "4", "--output-dir", tmp_path),
        *("--contact-sheet", "--sheet-width", "1448"),
        root=rooms_root,
    )
    assert done.returncode == 0, done.stderr
    pictures = sorted(tmp_path.glob("*.png"))
    assert len(pictures) == 4
    # Three panels of 480 x 360 (objects, depth, normals), each below a caption of 26 pixels, with
    # 4 pixels between them.
    height, width = 360 + 26, 3 * 480 + 2 * 4
    picture = cv2.imread(str(pictures[0]))
    assert picture.shape == (height, width, 3)
    sheet = cv2.imread(str(tmp_path / "rooms_val_sheet.jpg"))
    assert sheet.shape == (height, width, 3)
    # Every panel shows something: its pixels differ from each other.
    assert all(panel[26:].std() > 5 for panel in (picture[:, i : i + 480] for i in (0, 484, 968)))


def test_loader_items_are_drawn(rooms_root, tmp_path):
    done = run_warm(
        "tools/visualize_data.py",
        *("--source", "dataloader", "--config-file", "configs/rock_rooms.yaml"),
        *("--num-images", "4", "--output-dir", tmp_path, "INPUT.SIZE", "[96, 128]", "SEED", "3"),
        root=rooms_root,
    )
    assert done.returncode == 0, done.stderr
    pictures = sorted(tmp_path.glob("*.png"))
    # The place in the loader, then the file.
    assert [picture.stem[:17] for picture in pictures] == [
        f"rooms_train_{i:04d}_" for i in range(4)
    ]
    assert all(cv2.imread(str(picture)).shape == (386, 1448, 3) for picture in pictures)
