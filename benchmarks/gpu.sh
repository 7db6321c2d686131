#!/bin/sh
# What only a GPU can show, in ten minutes, in the order of its worth:
#
#   sh benchmarks/gpu.sh output/gpu
#
# the tests on a GPU; images/s of rock_nyuv2.yaml's training step, beside Detectron2's trainer and
# RetinaNet, and with its data; then as many runs of table 1 as fit, four side by side. It needs the
# rooms (make rooms); they stand in for NYUv2, enlarged to its 480 x 640. Not run on a GPU yet.
set -u
out=${1:?name a folder for the results}
python=${PYTHON:-.venv/bin/python}
mkdir -p "$out"
rooms="DATASETS.TRAIN ('rooms_train',) DATASETS.TEST ('rooms_val',)"

limited() { # seconds, a name for the log, a command
    seconds=$1 log="$out/$2.txt"
    shift 2
    echo "== $*" | tee "$log"
    timeout -k 5 "$seconds" "$@" >>"$log" 2>&1 || echo "ended with $?" | tee -a "$log"
    tail -n 12 "$log"
}

limited 80 tests "$python" -m pytest -q -m gpu $(grep -rl mark.gpu tests)
for batch in 8 32; do
    step="$python tools/benchmark.py train --device cuda --config rock_nyuv2.yaml --batch-size $batch"
    limited 45 "step_$batch" $step $rooms
    limited 60 "step_${batch}_compiled" $step $rooms SOLVER.COMPILE default
    limited 45 "with_data_$batch" "$python" tools/train_net.py --config-file configs/rock_nyuv2.yaml \
        $rooms MODEL.WEIGHTS "" DATASETS.TEST "()" SOLVER.IMS_PER_BATCH "$batch" SOLVER.MAX_ITER 100 \
        SOLVER.AMP.ENABLED True DATALOADER.NUM_WORKERS 12 OUTPUT_DIR "$out/with_data_$batch"
    echo "images/s with data: $batch divided by the last 'time' of with_data_$batch.txt"
done
table1="$python tools/reproduce.py 1 --dataset rooms --seeds 5 --first-seed 51 --output $out/rooms"
gpu="MODEL.DEVICE cuda DATALOADER.NUM_WORKERS 3"
limited 150 table1 $table1 --jobs 4 $gpu
# Of those that have come to their end.
limited 30 collect $table1 --collect $gpu
