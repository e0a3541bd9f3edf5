#!/bin/bash
#BSUB -P abc123
#BSUB -W 2:00
#BSUB -nnodes 45
#BSUB -q batch
#BSUB -J steady_state
#BSUB -o /gpfs/alpine/abc123/runs/mixed/logs/batch-%J.log
#BSUB -alloc_flags "smt1 gpudefault nvme"

# 45 nodes of summit for 2h:
# 540 slots, 6 with a GPU and 6 without on each node
# (12 cores of the first are for scheduler and driver)
# `hpcflow submit` wrote this script. Edit it as you like, and submit it by hand with
#   bsub /gpfs/alpine/abc123/runs/mixed/batch.sh

# What summit needs.
module load cuda
export PATH=/gpfs/alpine/abc123/hpcflow/.venv/bin:"$PATH"
export HPCFLOW_RUN=/gpfs/alpine/abc123/runs/mixed
export HPCFLOW_SLOTS=gpu:270,cpu:270
export HPCFLOW_JOB="$LSB_JOBID"
export HPCFLOW_ENDS_AT="$(($(date +%s) + 7200))"
export HPCFLOW_SCRATCH="/mnt/bb/$USER"
set -uo pipefail
cd -- /gpfs/alpine/abc123/hpcflow || exit

# Only you can read what the steps print.
(umask 077 && mkdir -p "$HPCFLOW_RUN/logs" && touch "$HPCFLOW_RUN"/logs/step-{scheduler,workers-first-node,workers}.log &&
    true > "$HPCFLOW_RUN/logs/steps-ended.txt")

# The scheduler, on the first node.
rm -f "$HPCFLOW_RUN"/scheduler*.json # an earlier batch job may have left its own
declare -A steps=() # process ids of the steps that run, by name
jsrun --smpiargs off --nrs 1 --rs_per_host 1 --tasks_per_rs 1 --cpu_per_rs 10 --gpu_per_rs 0 --bind rs \
    hpcflow scheduler --run "$HPCFLOW_RUN" --interface ib0 \
    >> "$HPCFLOW_RUN/logs/step-scheduler.log" 2>&1 &
steps[scheduler]="$!"
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

# One worker for each node.
jsrun --smpiargs off --nrs 1 --rs_per_host 1 --tasks_per_rs 1 --cpu_per_rs 30 --gpu_per_rs 6 --bind rs \
    hpcflow worker --run "$HPCFLOW_RUN" --interface ib0 --worker-per node --cpu-slots 6 \
    >> "$HPCFLOW_RUN/logs/step-workers-first-node.log" 2>&1 &
steps[workers-first-node]="$!"
jsrun --smpiargs off --nrs 44 --rs_per_host 1 --tasks_per_rs 1 --cpu_per_rs 42 --gpu_per_rs 6 --bind rs \
    hpcflow worker --run "$HPCFLOW_RUN" --interface ib0 --worker-per node --cpu-slots 6 \
    >> "$HPCFLOW_RUN/logs/step-workers.log" 2>&1 &
steps[workers]="$!"

# The driver: it starts when nearly all slots are ready; its exit code is the job's.
jsrun --smpiargs off --nrs 1 --rs_per_host 1 --tasks_per_rs 1 --cpu_per_rs 2 --gpu_per_rs 0 --bind rs \
    hpcflow wait --run "$HPCFLOW_RUN" --slots 540 --steps workers-first-node:12,workers:528 --quorum 0.98 --limit 10m &
waiting="$!"
while kill -0 "$waiting" 2> /dev/null; do
    note_ends
    sleep 0.2
done
wait "$waiting" || exit 1
unset waiting
trap : INT TERM # from here on the driver stops in order, and then this script does
jsrun --smpiargs off --nrs 1 --rs_per_host 1 --tasks_per_rs 1 --cpu_per_rs 2 --gpu_per_rs 0 --bind rs \
    python /gpfs/alpine/abc123/hpcflow/examples/steady_state.py /gpfs/alpine/abc123/runs/mixed
