#!/usr/bin/env python
"""Writes data sets into tar files, for disks that are slow with many small ones (extra `shards`).

    python tools/make_shards.py rooms_train rooms_val --output shards
    DETECTRON2_DATASETS=shards python tools/train_net.py --config-file configs/rock/rock_rooms.yaml

Below the output folder a set has the same name, the same JSON but for the names of files, which say
where in a tar file they are, and the same batches in a training. The tar files are WebDataset's, a
sample for each image; its own stream would have another order, which depends on the workers.
"""

import argparse
import json
import sys
import tarfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog
from tqdm import tqdm

from rock_d2.data.datasets.coco import data_path, read_coco_json
from rock_d2.data.loader import check_registered
from rock_d2.engine.command_line import one_line_errors, parse, tool_parser
from rock_d2.files import atomic_file
from rock_d2.image_files import content


def make_shards(name: str, output: Path, *, max_bytes: float) -> Path:
    """Write a registered set below a folder; return its JSON there."""
    try:
        import webdataset
    except ImportError:
        raise ImportError('tar files need webdataset: pip install -e ".[shards]"') from None
    json_file, root = MetadataCatalog.get(name).get("files") or ("/", "/")
    if Path(json_file).is_absolute() or Path(root).is_absolute():
        raise ValueError(
            f"{name}: can only be found in another folder if register_multitask_coco has its paths "
            "relative to $DETECTRON2_DATASETS"
        )
    target = output / json_file
    if target.exists():
        raise ValueError(f"{target} is there; remove it or choose another --output")
    # Raises an error for a set with faults.
    DatasetCatalog.get(name)
    document, folder = read_coco_json(data_path(json_file), name), output / root
    target.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    pattern = str(folder / f"{name}-%06d.tar")
    # Of an earlier or unfinished run, which may have had more.
    for shard in folder.glob(f"{name}-*.tar"):
        shard.unlink()
    with webdataset.ShardWriter(
        pattern, maxsize=max_bytes, verbose=0, encoder=False, mtime=0
    ) as writer:
        for sample in tqdm(samples(document, data_path(root)), desc=name, disable=None):
            writer.write(sample)
    places = {}
    for shard in sorted(folder.glob(f"{name}-*.tar")):
        with tarfile.open(shard) as tar:
            for part in tar:
                # As rock_d2/image_files.py reads it.
                places[part.name] = f"{shard.name}#{part.offset_data}+{part.size}"
    for number, image in enumerate(document["images"]):
        for field in file_fields(image):
            image[field] = f"{places[member_name(number, field)]}/{image[field]}"
    with atomic_file(target) as file:
        file.write(json.dumps(document).encode())
    return target


def samples(document: Mapping[str, Any], root: Path) -> Iterator[dict[str, Any]]:
    """Yield WebDataset's samples: the files of an image, and what the JSON says about it."""
    objects = defaultdict(list)
    for found in document["annotations"]:
        objects[found["image_id"]].append(found)
    for number, image in enumerate(document["images"]):
        facts = {"image": image, "annotations": objects[image["id"]]}
        sample = {"__key__": f"{number:08d}", "json": json.dumps(facts).encode()}
        for field in file_fields(image):
            extension = member_name(number, field).partition(".")[2]
            sample[extension] = content(root / image[field]).read()
        yield sample


def file_fields(image: Mapping[str, Any]) -> list[str]:
    return [field for field in image if field.endswith("file_name")]


def member_name(number: int, field: str) -> str:
    """Return the name in a tar file: 00000012.image for file_name, 00000012.x for x_file_name."""
    return f"{number:08d}.{field.removesuffix('file_name').rstrip('_') or 'image'}"


def main(args: argparse.Namespace) -> None:
    check_registered(args.datasets, "NAME")
    for name in args.datasets:
        print(make_shards(name, args.output, max_bytes=args.megabytes * 1e6))


def make_parser() -> argparse.ArgumentParser:
    parser = tool_parser(__doc__)
    add = parser.add_argument
    add("datasets", nargs="+", metavar="NAME", help="registered names of the data sets to write")
    output = "folder for the sets, which takes the place of $DETECTRON2_DATASETS"
    add("--output", type=Path, required=True, metavar="DIR", help=output)
    size = "megabytes of a tar file, at most (default: %(default)s)"
    add("--megabytes", type=float, default=1000, metavar="N", help=size)
    return parser


if __name__ == "__main__":
    with one_line_errors():
        sys.exit(main(parse(make_parser())))
