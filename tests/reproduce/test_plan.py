"""From tables to command lines."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from reproduce.outcomes import check_stored_settings
from reproduce.plan import Plan, available, model_settings
from reproduce.rock_tables import ROCK_TABLES
from reproduce.settings import differences
from reproduce.tables import find_table
from rock_d2 import model_zoo
from rock_d2.tasks import PAPER_TASKS

# The paper's on NYUv2.
ALL = tuple(table.name for table in ROCK_TABLES if table.name.isdigit() and not table.datasets)


def plan_of(*tables: str, dataset: str = "rooms", seeds: int = 1, **options) -> Plan:
    detector = options.get("detector", "SSD")
    tables = [available(find_table(name), dataset, detector) for name in tables]
    options = {"output": Path("out")} | options
    return Plan(tables, dataset=dataset, seeds=range(1, seeds + 1), **options)


def test_a_model_is_trained_once_for_all_tables():
    # Table 1 has four models, table 2 six more, 5 three more, 6 three shares of ROCK; table 3
    # has none that is new but that which goes on from a pre-training, unless the data set has a
    # test set of its own.
    assert len(plan_of(*ALL, seeds=2).runs()) == 2 * (4 + 6 + 3 + 3 + 1) + 1
    runs = plan_of(*ALL, dataset="nyuv2", seeds=2).runs()
    assert len({run.folder for run in runs}) == len(runs) == 2 * (4 + 6 + 3 + 3 + 3 + 1) + 1


@pytest.mark.parametrize("name", ["1", "2", "5"])
def test_rows_are_their_yaml_files(name):
    """On the paper's data the run is the file, on others the file's difference to row 1."""
    table = find_table(name)
    base = model_zoo.get_config("rock/ssd_rooms.yaml")
    for row in table.rows:
        cfg = plan_of(name, dataset="nyuv2").run(table, row, seed=1)[0].config()
        assert differences(cfg, model_zoo.get_config(f"ablations/{row.config}.yaml")) == []
        cfg = plan_of(name).run(table, row, seed=1)[0].config()
        changed = {key for key, _, _ in differences(cfg, base)}
        assert changed == set(model_settings(row.config)[::2])


def test_shares_and_switched_off_decoders_are_settings():
    # Shares of what all models of the table see.
    few = plan_of("6", options=["DATASETS.TRAIN_FRACTION", "0.25"])
    shares = {r.name: r.config().DATASETS.TRAIN_FRACTION for r in few.runs()}
    assert shares["table1_rock_60"] == 0.15
    assert shares["table1_rock"] == shares["table1_baseline"] == 0.25
    evaluated = [run.config() for run in plan_of("decoders").runs() if run.trained is not None]
    off = [cfg.MODEL.ROCK.FUSION.SWITCHED_OFF for cfg in evaluated]
    assert off == [["Scene"], ["Depth"], ["Normals"], ["Scene", "Depth", "Normals"]]
    assert {cfg.MODEL.WEIGHTS for cfg in evaluated} == {"out/table1_rock/seed1/model_final.pth"}
    runs = plan_of("given").runs()
    evaluated = {r.name: r.config().MODEL for r in runs if r.trained is not None}
    given = {name: list(model.ROCK.GIVEN) for name, model in evaluated.items()}
    assert given == {
        "given_at_test_given_scene": ["Scene"],
        "given_at_test_given_depth": ["Depth"],
        "given_at_test_given_normals": ["Normals"],
        "given_at_test_given_nothing": [],
    }
    weights = {model.WEIGHTS for model in evaluated.values()}
    assert weights == {"out/given_at_test/seed1/model_final.pth"} and len(runs) == 3 + 4


def test_tables_of_our_own_differ_in_what_they_are_about():
    given = {r.name: r.config().MODEL.ROCK.GIVEN for r in plan_of("oracle").runs()}
    assert given.pop("table1_baseline") == given.pop("table1_rock") == []
    assert given.pop("oracle_all") == list(PAPER_TASKS)
    assert given.pop("oracle_geometry") == ["Depth", "Normals"]
    assert given == {f"oracle_{task.lower()}": [task] for task in PAPER_TASKS}
    # Boxes for 50, 100 and 200 of 800 images; as many iterations for all.
    runs = plan_of("unboxed").runs()
    pairs = [dict(zip(r.settings[::2], r.settings[1::2], strict=True)) for r in runs]
    seen = [p["DATASETS.TRAIN_FRACTION"] for p in pairs if "DATASETS.TRAIN_FRACTION" in p]
    boxed = [p["DATASETS.BOXED_FRACTION"] for p in pairs if "DATASETS.BOXED_FRACTION" in p]
    assert seen == [share for share in ("0.0625", "0.125", "0.25") for _ in range(2)]
    assert boxed == ["0.0625", "0.125", "0.25"]
    # As many of them in a batch.
    loaders = [(run.config().SOLVER, run.config().DATALOADER) for run in runs]
    sizes = {solver.IMS_PER_BATCH * (data.BOXED_SHARE or 1) for solver, data in loaders}
    assert len(sizes) == 1
    assert len({run.folder for run in runs}) == 9
    assert len({p.get("SOLVER.MAX_ITER") for p in pairs}) == 1
    before = ["MODEL.NECK.AT", "backbone"]
    runs = plan_of("deep_x", detector="RetinaNet", options=before).runs()
    shallow, _, deep, _ = (run.config().MODEL.FPN.IN_FEATURES for run in runs)
    assert shallow == deep[:2] != deep
    with pytest.raises(ValueError, match=r"shallow X: X must be in a feature pyramid"):
        plan_of("deep_x", detector="RetinaNet", dataset="nyuv2").runs()


def test_one_pretraining_serves_all_seeds():
    others = plan_of("3", seeds=3, iterations=0.1).runs()
    first = next(run for run in others if run.name == "pretrain_rooms_other")
    tuned = [run for run in others if run.pretrained is not None]
    assert len(tuned) == 3 and {run.pretrained for run in tuned} == {first}
    assert first.config().SOLVER.MAX_ITER == 100 and others.index(first) < others.index(tuned[0])
    rock = next(run for run in others if run.name == "table1_rock").config()
    changed = {key: here for key, here, _ in differences(tuned[0].config(), rock)}
    assert changed == {
        "MODEL.WEIGHTS": "out/pretrain_rooms_other/seed1/model_final.pth",
        "MODEL.WEIGHTS_BY_CLASS_NAME": True,
    }
    names = {r.name for r in plan_of("3", detector="RetinaNet").runs()}
    assert names == {"table1_baseline", "table1_rock", "table5_d_sum"}


def test_more_seeds_begin_with_the_pretraining_that_is_there(tmp_path):
    plan = Plan([find_table("3")], dataset="rooms", seeds=(1,), output=tmp_path)
    (first,) = (run for run in plan.runs() if run.name == "pretrain_rooms_other")
    # And what a training without --resume made of a folder that was taken.
    for folder in (first.folder, Path(f"{first.folder}-2")):
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(first.config().dump())
    runs = replace(plan, seeds=(4, 5)).runs()
    assert {run.pretrained.seed for run in runs if run.pretrained} == {1}
    # The whole folder may move.
    tuned = next(run for run in runs if run.pretrained)
    tuned.folder.mkdir(parents=True)
    moved = tuned.config()
    moved.MODEL.WEIGHTS = "elsewhere/model_final.pth"
    (tuned.folder / "config.yaml").write_text(moved.dump())
    check_stored_settings(runs)


def test_an_evaluation_of_an_earlier_training_is_not_finished(tmp_path):
    plan = Plan([find_table("decoders")], dataset="rooms", seeds=(1,), output=tmp_path)
    trained, *evaluated = plan.runs()
    for age, run in enumerate((trained, *evaluated)):
        run.folder.mkdir(parents=True)
        (run.folder / "results.json").write_text("{}")
        os.utime(run.folder / "results.json", (100 + age, 100 + age))
    assert all(run.finished for run in plan.runs())
    # It was trained again.
    os.utime(trained.folder / "results.json", (200, 200))
    assert [run.finished for run in (trained, *evaluated)] == [True] + [False] * len(evaluated)
    (trained.folder / "results.json").unlink()
    assert not any(run.finished for run in evaluated)


@pytest.mark.parametrize("dataset", ["nyuv2", "rooms", "rooms_plain"])
@pytest.mark.parametrize("detector", ["RetinaNet", "FasterRCNN"])
def test_every_data_set_has_the_rows_with_every_detector(dataset, detector):
    plans = plan_of("1", dataset=dataset), plan_of("1", dataset=dataset, detector=detector)
    for row in plans[0].tables[0].rows:
        ssd, cfg = (plan.run(plan.tables[0], row, seed=1)[0].config() for plan in plans)
        built = detector.replace("FasterRCNN", "GeneralizedRCNN")
        assert ("SSD", built) == (ssd.MODEL.DETECTOR, cfg.MODEL.DETECTOR)
        assert (cfg.MODEL.NECK.NAME, cfg.DATASETS) == (ssd.MODEL.NECK.NAME, ssd.DATASETS)
    name = "nyuv2_train673" if dataset == "nyuv2" else f"{dataset}_train"
    assert (name,) == cfg.DATASETS.TRAIN


def test_a_folder_of_other_settings_is_refused(tmp_path):
    plan = plan_of("1", output=tmp_path)
    run = plan.runs()[0]
    run.folder.mkdir(parents=True)
    stored = run.config()
    stored.TEST.EVAL_PERIOD = 7
    (run.folder / "config.yaml").write_text(stored.dump())
    # How a training is observed may change.
    check_stored_settings(plan.runs())
    stored.SOLVER.BASE_LR = 0.5
    (run.folder / "config.yaml").write_text(stored.dump())
    with pytest.raises(ValueError, match=r"seed1.config.yaml.*SOLVER.BASE_LR 0.5, not 0.0"):
        check_stored_settings(plan.runs())


def test_the_adaptation_is_its_yaml_file_and_of_the_rooms_alone():
    cfgs = {r.name: r.config() for r in plan_of("adaptation").runs()}
    adapted = cfgs["table1_rock_plain_and_depth"]
    assert differences(adapted, model_zoo.get_config("rock/adapt_rooms.yaml")) == []
    assert {cfg.DATASETS.TEST for cfg in cfgs.values()} == {("rooms_val",)}
    assert len({cfg.SOLVER.MAX_ITER for cfg in cfgs.values()}) == 1
    with pytest.raises(ValueError, match="table adaptation needs --dataset rooms"):
        plan_of("adaptation", dataset="nyuv2").runs()


def test_table_7_is_of_cityscapes_with_disparity():
    for detector in ("SSD", "RetinaNet"):
        baseline, rock = plan_of("7", dataset="cityscapes", detector=detector).runs()
        assert {key for key, _, _ in differences(rock.config(), baseline.config())} == {
            "MODEL.NECK.NAME"
        }
        cfg = rock.config()
        assert (cfg.MODEL.TASKS.AUXILIARY, cfg.SOLVER.MAX_ITER) == (["Disparity"], 60000)
        assert (cfg.DATASETS.TRAIN, cfg.DATASETS.TEST) == (
            ("cityscapes_train",),
            ("cityscapes_val",),
        )
    closest = "fcos_plain_cityscapes.yaml is no config; the closest are .*fcos_plain_nyuv2.yaml"
    with pytest.raises(FileNotFoundError, match=closest):
        plan_of("7", dataset="cityscapes", detector="FCOS").runs()
    with pytest.raises(ValueError, match="table 7 needs --dataset cityscapes"):
        plan_of("7").runs()
    with pytest.raises(ValueError, match="table 2 needs --dataset nyuv2 or rooms or"):
        plan_of("2", dataset="cityscapes").runs()
