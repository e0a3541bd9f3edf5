#!/bin/bash
#BSUB -P abc123
#BSUB -W 1:00
#BSUB -nnodes 3
#BSUB -q batch
#BSUB -J replicas
#BSUB -o /gpfs/alpine/abc123/runs/replicas/logs/batch-%J.log
#BSUB -alloc_flags "smt1 gpudefault nvme"

# 3 nodes of summit for 1h:
# 18 slots, 6 on each node
# (12 cores of the first are for schedulers and driver)
# in 3 shards, each with a scheduler of its own: 6 slots each
# `hpcflow submit` wrote this script. Edit it as you like, and submit it by hand with
#   bsub /gpfs/alpine/abc123/runs/replicas/batch.sh

# What summit needs.
module load cuda
export PATH=/ccs/proj/abc123/venv/bin:"$PATH"
export HPCFLOW_RUN=/gpfs/alpine/abc123/runs/replicas
export HPCFLOW_SLOTS=gpu:18
export HPCFLOW_SHARDS=3
export HPCFLOW_JOB="$LSB_JOBID"
export HPCFLOW_ENDS_AT="$(($(date +%s) + 3600))"
export HPCFLOW_SCRATCH="/mnt/bb/$USER"
set -uo pipefail
cd -- /gpfs/alpine/abc123 || exit

# Only you can read what the steps print.
(umask 077 && mkdir -p "$HPCFLOW_RUN/logs" && touch "$HPCFLOW_RUN"/logs/step-{scheduler,scheduler-2,scheduler-3,workers-first-node,workers-2,workers-3}.log &&
    true > "$HPCFLOW_RUN/logs/steps-ended.txt")

# The schedulers, one for each shard, on the first node.
rm -f "$HPCFLOW_RUN"/scheduler*.json # an earlier batch job may have left its own
declare -A steps=() # process ids of the steps that run, by name
{
    echo "cpu_index_using: logical"
    for host in {1..1}; do
        echo "rank: $(((host - 1) * 1 + 0)): { host: $host; cpu: {0-2} }"
    done
} > "$HPCFLOW_RUN/scheduler.erf"
jsrun --smpiargs off --erf_input "$HPCFLOW_RUN/scheduler.erf" \
    hpcflow scheduler --run "$HPCFLOW_RUN" --interface ib0 --shard 1 \
    >> "$HPCFLOW_RUN/logs/step-scheduler.log" 2>&1 &
steps[scheduler]="$!"
{
    echo "cpu_index_using: logical"
    for host in {1..1}; do
        echo "rank: $(((host - 1) * 1 + 0)): { host: $host; cpu: {3-5} }"
    done
} > "$HPCFLOW_RUN/scheduler-2.erf"
jsrun --smpiargs off --erf_input "$HPCFLOW_RUN/scheduler-2.erf" \
    hpcflow scheduler --run "$HPCFLOW_RUN" --interface ib0 --shard 2 \
    >> "$HPCFLOW_RUN/logs/step-scheduler-2.log" 2>&1 &
steps[scheduler-2]="$!"
{
    echo "cpu_index_using: logical"
    for host in {1..1}; do
        echo "rank: $(((host - 1) * 1 + 0)): { host: $host; cpu: {6-8} }"
    done
} > "$HPCFLOW_RUN/scheduler-3.erf"
jsrun --smpiargs off --erf_input "$HPCFLOW_RUN/scheduler-3.erf" \
    hpcflow scheduler --run "$HPCFLOW_RUN" --interface ib0 --shard 3 \
    >> "$HPCFLOW_RUN/logs/step-scheduler-3.log" 2>&1 &
steps[scheduler-3]="$!"
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

# One worker for each node.
{
    echo "cpu_index_using: logical"
    for host in {1..1}; do
        echo "rank: $(((host - 1) * 1 + 0)): { host: $host; cpu: {12-41}; gpu: {0-5} }"
    done
} > "$HPCFLOW_RUN/workers-first-node.erf"
jsrun --smpiargs off --erf_input "$HPCFLOW_RUN/workers-first-node.erf" \
    hpcflow worker --run "$HPCFLOW_RUN" --interface ib0 --shard 1 --worker-per node \
    >> "$HPCFLOW_RUN/logs/step-workers-first-node.log" 2>&1 &
steps[workers-first-node]="$!"
{
    echo "cpu_index_using: logical"
    for host in {2..2}; do
        echo "rank: $(((host - 2) * 1 + 0)): { host: $host; cpu: {0-41}; gpu: {0-5} }"
    done
} > "$HPCFLOW_RUN/workers-2.erf"
jsrun --smpiargs off --erf_input "$HPCFLOW_RUN/workers-2.erf" \
    hpcflow worker --run "$HPCFLOW_RUN" --interface ib0 --shard 2 --worker-per node \
    >> "$HPCFLOW_RUN/logs/step-workers-2.log" 2>&1 &
steps[workers-2]="$!"
{
    echo "cpu_index_using: logical"
    for host in {3..3}; do
        echo "rank: $(((host - 3) * 1 + 0)): { host: $host; cpu: {0-41}; gpu: {0-5} }"
    done
} > "$HPCFLOW_RUN/workers-3.erf"
jsrun --smpiargs off --erf_input "$HPCFLOW_RUN/workers-3.erf" \
    hpcflow worker --run "$HPCFLOW_RUN" --interface ib0 --shard 3 --worker-per node \
    >> "$HPCFLOW_RUN/logs/step-workers-3.log" 2>&1 &
steps[workers-3]="$!"

# The driver: it starts when nearly all slots are ready; its exit code is the job's.
{
    echo "cpu_index_using: logical"
    for host in {1..1}; do
        echo "rank: $(((host - 1) * 1 + 0)): { host: $host; cpu: {10-11} }"
    done
} > "$HPCFLOW_RUN/driver.erf"
jsrun --smpiargs off --erf_input "$HPCFLOW_RUN/driver.erf" \
    hpcflow wait --run "$HPCFLOW_RUN" --slots 18 --shards 3 --steps workers-first-node:6,workers-2:6,workers-3:6 --quorum 0.98 --limit 10m &
waiting="$!"
while kill -0 "$waiting" 2> /dev/null; do
    note_ends
    sleep 0.2
done
wait "$waiting" || exit 1
unset waiting
trap : INT TERM # from here on the driver stops in order, and then this script does
jsrun --smpiargs off --erf_input "$HPCFLOW_RUN/driver.erf" \
    python /gpfs/alpine/abc123/driver.py
