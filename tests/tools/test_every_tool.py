"""What holds for all command lines: one line names what is wrong."""

import argparse
import runpy
import sys

import pytest
from command_line import ROOT
from detectron2.data import DatasetCatalog, MetadataCatalog

QUICK = ("--config-file", f"{ROOT}/configs/quick_schedules/rock_rooms_quick.yaml")
NO_SET = "'room' is not registered"


@pytest.fixture
def call(rooms_root, monkeypatch):
    """Run a tool as the main program; return the code or the line that it exits with."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(rooms_root))

    def run(tool, *words):
        path = ROOT / "tools" / f"{tool}.py"
        monkeypatch.setattr(sys, "argv", [str(path), *map(str, words)])
        try:
            runpy.run_path(str(path), run_name="__main__")
        except SystemExit as end:
            return end.code
        return None

    yield run
    if "overfitted" in DatasetCatalog:
        DatasetCatalog.remove("overfitted")
        MetadataCatalog.remove("overfitted")


@pytest.mark.parametrize(
    ("tool", "words", "message"),
    [
        (
            "analyze_model",
            ("--config-file", "no.yaml"),
            "no.yaml is no config: Config file 'no.yaml' does not exist",
        ),
        ("overfit", (*QUICK, "--num-images", 0), "--num-images is 0; rooms_train has 15"),
        ("visualize_data", ("--dataset", "room"), f"--dataset: {NO_SET}"),
        ("check_dataset", ("room",), f"NAME: {NO_SET}"),
        ("make_shards", ("room", "--output", "o"), f"NAME: {NO_SET}"),
        ("benchmark", ("train", "--config", "no.yaml"), "no.yaml is no config; the closest are "),
        ("export_weights", ("no.pth", "a.safetensors"), "no.pth: is no file"),
    ],
)
def test_one_line_says_what_is_wrong(tool, words, message, call):
    line = call(tool, *words)
    assert line.startswith(f"{tool}: {message}")
    assert "\n" not in line


TOOLS = {path.stem for path in (ROOT / "tools").glob("*.py")} - {
    "cli",
    "contact_sheet",
    "untrusted_images",
}


@pytest.mark.parametrize("tool", sorted(TOOLS))
def test_every_argument_has_a_help_text_of_its_own(tool, call, monkeypatch, capsys):
    texts = {}

    def add(parser, *names, **options):
        texts[names[-1]] = options["help"]
        return add_argument(parser, *names, **options)

    add_argument = argparse.ArgumentParser.add_argument
    monkeypatch.setattr(argparse.ArgumentParser, "add_argument", add)
    assert call(tool, "--help") == 0 and "usage: " in capsys.readouterr().out
    # No fragments, such as "of the model".
    assert [text for text in texts.values() if text.startswith(("of ", "that ", "("))] == []


def test_training_on_two_images_lowers_their_loss(call, tmp_path, capsys):
    options = ("--num-images", 2, "--iterations", 25, *QUICK)
    call("overfit", *options, "INPUT.SIZE", "[48,64]", "OUTPUT_DIR", tmp_path)
    lines = capsys.readouterr().out.splitlines()
    first, last = (
        sum(float(loss.split()[-1]) for loss in line.split(": ")[1].split(", "))
        for line in lines
        if ": loss_cls" in line
    )
    assert last < 0.7 * first
    ((_, before, after),) = [line.split() for line in lines if line.startswith("depth/rmse ")]
    assert float(after) < float(before)
