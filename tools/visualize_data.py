#!/usr/bin/env python
"""Draws the ground truth of a registered data set: objects, and the label of every task.

python tools/visualize_data.py --dataset rooms_train --num-images 16 --contact-sheet
"""

import argparse
from pathlib import Path

import cv2
from detectron2.data import DatasetCatalog, MetadataCatalog
from tqdm import tqdm

from rock_d2.tasks import AUX_TASK_REGISTRY
from rock_d2.visualization import contact_sheet, draw_record


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="rooms_train", help="its registered name")
    parser.add_argument("--output-dir", type=Path, default=Path("output/visualize_data"))
    parser.add_argument("--num-images", type=int, default=16, help="evenly spaced over the set")
    parser.add_argument("--contact-sheet", action="store_true", help="one picture of all, too")
    parser.add_argument("--columns", type=int, default=2, help="of the contact sheet")
    parser.add_argument("--sheet-width", type=int, default=1600, help="of the contact sheet")
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    records = DatasetCatalog.get(args.dataset)
    metadata = MetadataCatalog.get(args.dataset)
    tasks = [task() for _, task in AUX_TASK_REGISTRY]
    count = min(args.num_images, len(records))
    chosen = [records[i * len(records) // count] for i in range(count)]
    args.output_dir.mkdir(parents=True, exist_ok=True)
    pictures = []
    for record in tqdm(chosen, desc="drawing"):
        pictures.append(draw_record(record, tasks, metadata)[..., ::-1])
        name = f"{args.dataset}_{Path(record['file_name']).stem}.png"
        cv2.imwrite(str(args.output_dir / name), pictures[-1])
    if args.contact_sheet:
        sheet = args.output_dir / f"{args.dataset}_sheet.jpg"
        grid = contact_sheet(pictures, columns=args.columns)
        size = (args.sheet_width, round(grid.shape[0] * args.sheet_width / grid.shape[1]))
        cv2.imwrite(str(sheet), cv2.resize(grid, size, interpolation=cv2.INTER_AREA))
        print(f"contact sheet: {sheet}")
    print(f"{count} of {len(records)} images of {args.dataset} drawn in {args.output_dir}")


if __name__ == "__main__":
    main(parse_args())
