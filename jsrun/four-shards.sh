#!/bin/bash
#BSUB -P abc123
#BSUB -W 24:00
#BSUB -nnodes 4000
#BSUB -q batch
#BSUB -J static_fan_out
#BSUB -o /gpfs/alpine/abc123/runs/four-shards/logs/batch-%J.log
#BSUB -alloc_flags "smt1 gpudefault nvme"

# 4,000 nodes of summit for 24h:
# 24,000 slots, 6 on each node
# (22 cores of the first are for schedulers and driver)
# in 4 shards, each with a scheduler of its own: 6,000 slots each
# `hpcflow submit` wrote this script. Edit it as you like, and submit it by hand with
#   bsub /gpfs/alpine/abc123/runs/four-shards/batch.sh

# What summit needs.
module load cuda
export PATH=/gpfs/alpine/abc123/hpcflow/.venv/bin:"$PATH"
export HPCFLOW_RUN=/gpfs/alpine/abc123/runs/four-shards
export HPCFLOW_SLOTS=gpu:24000
export HPCFLOW_SHARDS=4
export HPCFLOW_JOB="$LSB_JOBID"
export HPCFLOW_ENDS_AT="$(($(date +%s) + 86400))"
export HPCFLOW_SCRATCH="/mnt/bb/$USER"
set -uo pipefail
cd -- /gpfs/alpine/abc123/hpcflow || exit

# Only you can read what the steps print.
(umask 077 && mkdir -p "$HPCFLOW_RUN/logs" && touch "$HPCFLOW_RUN"/logs/step-{scheduler,scheduler-2,scheduler-3,scheduler-4,workers-first-node,workers,workers-2,workers-3,workers-4}.log &&
    true > "$HPCFLOW_RUN/logs/steps-ended.txt")

# The schedulers, one for each shard, on the first node.
rm -f "$HPCFLOW_RUN"/scheduler*.json # an earlier batch job may have left its own
declare -A steps=() # process ids of the steps that run, by name
jsrun --smpiargs off --nrs 1 --rs_per_host 1 --tasks_per_rs 1 --cpu_per_rs 5 --gpu_per_rs 0 --bind rs \
    hpcflow scheduler --run "$HPCFLOW_RUN" --interface ib0 --shard 1 \
    >> "$HPCFLOW_RUN/logs/step-scheduler.log" 2>&1 &
steps[scheduler]="$!"
jsrun --smpiargs off --nrs 1 --rs_per_host 1 --tasks_per_rs 1 --cpu_per_rs 5 --gpu_per_rs 0 --bind rs \
    hpcflow scheduler --run "$HPCFLOW_RUN" --interface ib0 --shard 2 \
    >> "$HPCFLOW_RUN/logs/step-scheduler-2.log" 2>&1 &
steps[scheduler-2]="$!"
jsrun --smpiargs off --nrs 1 --rs_per_host 1 --tasks_per_rs 1 --cpu_per_rs 5 --gpu_per_rs 0 --bind rs \
    hpcflow scheduler --run "$HPCFLOW_RUN" --interface ib0 --shard 3 \
    >> "$HPCFLOW_RUN/logs/step-scheduler-3.log" 2>&1 &
steps[scheduler-3]="$!"
jsrun --smpiargs off --nrs 1 --rs_per_host 1 --tasks_per_rs 1 --cpu_per_rs 5 --gpu_per_rs 0 --bind rs \
    hpcflow scheduler --run "$HPCFLOW_RUN" --interface ib0 --shard 4 \
    >> "$HPCFLOW_RUN/logs/step-scheduler-4.log" 2>&1 &
steps[scheduler-4]="$!"
end_steps() {
    [[ -z "${waiting-}" ]] || kill "$waiting" 2> /dev/null
    kill "${steps[@]}" 2> /dev/null
    for _ in {1..100}; do # 20 s to end in order
        [[ -n "$(jobs -pr)" ]] || break
        sleep 0.2
    done
    kill -KILL "${steps[@]}" 2> /dev/null
    wait
}
trap end_steps EXIT
note_ends() { # of steps, and their exit codes: `hpcflow wait` heeds them
    local name
    for name in "${!steps[@]}"; do
        if ! kill -0 "${steps[$name]}" 2> /dev/null; then
            wait "${steps[$name]}"
            echo "$name $?" >> "$HPCFLOW_RUN/logs/steps-ended.txt"
            unset "steps[$name]"
        fi
    done
}
# jsrun places steps as they come: the first node must be the schedulers' before others.
until [[ -e "$HPCFLOW_RUN/scheduler.json" ]]; do
    if ! kill -0 "${steps[scheduler]}" 2> /dev/null; then
        tail -n 20 "$HPCFLOW_RUN/logs/step-scheduler.log" >&2
        exit 1
    fi
    sleep 1
done
until [[ -e "$HPCFLOW_RUN/scheduler-2.json" ]]; do
    if ! kill -0 "${steps[scheduler-2]}" 2> /dev/null; then
        tail -n 20 "$HPCFLOW_RUN/logs/step-scheduler-2.log" >&2
        exit 1
    fi
    sleep 1
done
until [[ -e "$HPCFLOW_RUN/scheduler-3.json" ]]; do
    if ! kill -0 "${steps[scheduler-3]}" 2> /dev/null; then
        tail -n 20 "$HPCFLOW_RUN/logs/step-scheduler-3.log" >&2
        exit 1
    fi
    sleep 1
done
until [[ -e "$HPCFLOW_RUN/scheduler-4.json" ]]; do
    if ! kill -0 "${steps[scheduler-4]}" 2> /dev/null; then
        tail -n 20 "$HPCFLOW_RUN/logs/step-scheduler-4.log" >&2
        exit 1
    fi
    sleep 1
done

# One worker for each node.
jsrun --smpiargs off --nrs 1 --rs_per_host 1 --tasks_per_rs 1 --cpu_per_rs 20 --gpu_per_rs 6 --bind rs \
    hpcflow worker --run "$HPCFLOW_RUN" --interface ib0 --shard 1 --worker-per node \
    >> "$HPCFLOW_RUN/logs/step-workers-first-node.log" 2>&1 &
steps[workers-first-node]="$!"
jsrun --smpiargs off --nrs 999 --rs_per_host 1 --tasks_per_rs 1 --cpu_per_rs 42 --gpu_per_rs 6 --bind rs \
    hpcflow worker --run "$HPCFLOW_RUN" --interface ib0 --shard 1 --worker-per node \
    >> "$HPCFLOW_RUN/logs/step-workers.log" 2>&1 &
steps[workers]="$!"
jsrun --smpiargs off --nrs 1000 --rs_per_host 1 --tasks_per_rs 1 --cpu_per_rs 42 --gpu_per_rs 6 --bind rs \
    hpcflow worker --run "$HPCFLOW_RUN" --interface ib0 --shard 2 --worker-per node \
    >> "$HPCFLOW_RUN/logs/step-workers-2.log" 2>&1 &
steps[workers-2]="$!"
jsrun --smpiargs off --nrs 1000 --rs_per_host 1 --tasks_per_rs 1 --cpu_per_rs 42 --gpu_per_rs 6 --bind rs \
    hpcflow worker --run "$HPCFLOW_RUN" --interface ib0 --shard 3 --worker-per node \
    >> "$HPCFLOW_RUN/logs/step-workers-3.log" 2>&1 &
steps[workers-3]="$!"
jsrun --smpiargs off --nrs 1000 --rs_per_host 1 --tasks_per_rs 1 --cpu_per_rs 42 --gpu_per_rs 6 --bind rs \
    hpcflow worker --run "$HPCFLOW_RUN" --interface ib0 --shard 4 --worker-per node \
    >> "$HPCFLOW_RUN/logs/step-workers-4.log" 2>&1 &
steps[workers-4]="$!"

# The driver: it starts when nearly all slots are ready; its exit code is the job's.
jsrun --smpiargs off --nrs 1 --rs_per_host 1 --tasks_per_rs 1 --cpu_per_rs 2 --gpu_per_rs 0 --bind rs \
    hpcflow wait --run "$HPCFLOW_RUN" --slots 24000 --shards 4 --steps workers-first-node:6,workers:5994,workers-2:6000,workers-3:6000,workers-4:6000 --quorum 0.98 --limit 10m &
waiting="$!"
while kill -0 "$waiting" 2> /dev/null; do
    note_ends
    sleep 0.2
done
wait "$waiting" || exit 1
unset waiting
trap : INT TERM # from here on the driver stops in order, and then this script does
jsrun --smpiargs off --nrs 1 --rs_per_host 1 --tasks_per_rs 1 --cpu_per_rs 2 --gpu_per_rs 0 --bind rs \
    python /gpfs/alpine/abc123/hpcflow/examples/static_fan_out.py /gpfs/alpine/abc123/runs/four-shards
