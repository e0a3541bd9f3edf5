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
# (12 cores of the first are for scheduler and driver)
# `hpcflow submit` wrote this script. Edit it as you like, and submit it by hand with
#   bsub /gpfs/alpine/abc123/runs/replicas/batch.sh

# What summit needs.
module load cuda
export PATH=/ccs/proj/abc123/venv/bin:"$PATH"
export HPCFLOW_RUN=/gpfs/alpine/abc123/runs/replicas
export HPCFLOW_SLOTS=gpu:18
export HPCFLOW_JOB="$LSB_JOBID"
export HPCFLOW_ENDS_AT="$(($(date +%s) + 3600))"
export HPCFLOW_SCRATCH="/mnt/bb/$USER"
set -uo pipefail
cd -- /gpfs/alpine/abc123 || exit

# Only you can read what the steps print.
(umask 077 && mkdir -p "$HPCFLOW_RUN/logs" && touch "$HPCFLOW_RUN"/logs/step-{scheduler,workers-first-node,workers}.log &&
    true > "$HPCFLOW_RUN/logs/steps-ended.txt")

# The scheduler, on the first node.
rm -f "$HPCFLOW_RUN"/scheduler*.json # an earlier batch job may have left its own
declare -A steps=() # process ids of the steps that run, by name
{
    echo "cpu_index_using: logical"
    for host in {1..1}; do
        echo "rank: $(((host - 1) * 1 + 0)): { host: $host; cpu: {0-9} }"
    done
} > "$HPCFLOW_RUN/scheduler.erf"
jsrun --smpiargs off --erf_input "$HPCFLOW_RUN/scheduler.erf" \
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

# One worker for each slot.
{
    echo "cpu_index_using: logical"
    for host in {1..1}; do
        echo "rank: $(((host - 1) * 6 + 0)): { host: $host; cpu: {12-16}; gpu: {0} }"
        echo "rank: $(((host - 1) * 6 + 1)): { host: $host; cpu: {17-21}; gpu: {1} }"
        echo "rank: $(((host - 1) * 6 + 2)): { host: $host; cpu: {22-26}; gpu: {2} }"
        echo "rank: $(((host - 1) * 6 + 3)): { host: $host; cpu: {27-31}; gpu: {3} }"
        echo "rank: $(((host - 1) * 6 + 4)): { host: $host; cpu: {32-36}; gpu: {4} }"
        echo "rank: $(((host - 1) * 6 + 5)): { host: $host; cpu: {37-41}; gpu: {5} }"
    done
} > "$HPCFLOW_RUN/workers-first-node.erf"
jsrun --smpiargs off --erf_input "$HPCFLOW_RUN/workers-first-node.erf" \
    hpcflow worker --run "$HPCFLOW_RUN" --interface ib0 --worker-per slot \
    >> "$HPCFLOW_RUN/logs/step-workers-first-node.log" 2>&1 &
steps[workers-first-node]="$!"
{
    echo "cpu_index_using: logical"
    for host in {2..3}; do
        echo "rank: $(((host - 2) * 6 + 0)): { host: $host; cpu: {0-6}; gpu: {0} }"
        echo "rank: $(((host - 2) * 6 + 1)): { host: $host; cpu: {7-13}; gpu: {1} }"
        echo "rank: $(((host - 2) * 6 + 2)): { host: $host; cpu: {14-20}; gpu: {2} }"
        echo "rank: $(((host - 2) * 6 + 3)): { host: $host; cpu: {21-27}; gpu: {3} }"
        echo "rank: $(((host - 2) * 6 + 4)): { host: $host; cpu: {28-34}; gpu: {4} }"
        echo "rank: $(((host - 2) * 6 + 5)): { host: $host; cpu: {35-41}; gpu: {5} }"
    done
} > "$HPCFLOW_RUN/workers.erf"
jsrun --smpiargs off --erf_input "$HPCFLOW_RUN/workers.erf" \
    hpcflow worker --run "$HPCFLOW_RUN" --interface ib0 --worker-per slot \
    >> "$HPCFLOW_RUN/logs/step-workers.log" 2>&1 &
steps[workers]="$!"

# The driver: it starts when nearly all slots are ready; its exit code is the job's.
{
    echo "cpu_index_using: logical"
    for host in {1..1}; do
        echo "rank: $(((host - 1) * 1 + 0)): { host: $host; cpu: {10-11} }"
    done
} > "$HPCFLOW_RUN/driver.erf"
jsrun --smpiargs off --erf_input "$HPCFLOW_RUN/driver.erf" \
    hpcflow wait --run "$HPCFLOW_RUN" --slots 18 --steps workers-first-node:6,workers:12 --quorum 0.98 --limit 10m &
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
