#!/bin/bash
#BSUB -P abc123
#BSUB -W 12:00
#BSUB -nnodes 1500
#BSUB -q batch
#BSUB -J replicas
#BSUB -o /gpfs/alpine/abc123/runs/replicas/logs/batch-%J.log
#BSUB -alloc_flags "smt1 gpudefault nvme"

# 1,500 nodes of summit for 12h:
# 9,000 slots, 6 on each node
# (22 cores of the first are for scheduler and driver)
# `hpcflow submit` wrote this script. Edit it as you like, and submit it by hand with
#   bsub /gpfs/alpine/abc123/runs/replicas/batch.sh

# What summit needs.
module load cuda
export PATH=/ccs/proj/abc123/venv/bin:"$PATH"
export HPCFLOW_RUN=/gpfs/alpine/abc123/runs/replicas
export HPCFLOW_SLOTS=gpu:9000
export HPCFLOW_ENDS_AT="$(($(date +%s) + 43200))"
export HPCFLOW_SCRATCH="/mnt/bb/$USER"
set -uo pipefail
cd -- /gpfs/alpine/abc123 || exit

# Only you can read what the steps print.
(umask 077 && mkdir -p "$HPCFLOW_RUN/logs" && touch "$HPCFLOW_RUN"/logs/step-{scheduler,workers-first-node,workers}.log)

# The scheduler, on the first node.
rm -f "$HPCFLOW_RUN"/scheduler*.json # an earlier batch job may have left its own
steps=()
jsrun --smpiargs off --nrs 1 --rs_per_host 1 --tasks_per_rs 1 --cpu_per_rs 20 --gpu_per_rs 0 --bind rs \
    hpcflow scheduler --run "$HPCFLOW_RUN" --interface ib0 \
    >> "$HPCFLOW_RUN/logs/step-scheduler.log" 2>&1 &
steps+=("$!")
end_steps() {
    kill "${steps[@]}" 2> /dev/null
    for _ in {1..100}; do # 20 s to end in order
        [[ -n "$(jobs -pr)" ]] || break
        sleep 0.2
    done
    kill -KILL "${steps[@]}" 2> /dev/null
    wait
}
trap end_steps EXIT
# jsrun places steps as they come: the scheduler's must have the first node.
until [[ -e "$HPCFLOW_RUN/scheduler.json" ]]; do
    kill -0 "${steps[0]}" 2> /dev/null || exit 1
    sleep 1
done

# One worker for each node.
jsrun --smpiargs off --nrs 1 --rs_per_host 1 --tasks_per_rs 1 --cpu_per_rs 20 --gpu_per_rs 6 --bind rs \
    hpcflow worker --run "$HPCFLOW_RUN" --interface ib0 --worker-per node \
    >> "$HPCFLOW_RUN/logs/step-workers-first-node.log" 2>&1 &
steps+=("$!")
jsrun --smpiargs off --nrs 1499 --rs_per_host 1 --tasks_per_rs 1 --cpu_per_rs 42 --gpu_per_rs 6 --bind rs \
    hpcflow worker --run "$HPCFLOW_RUN" --interface ib0 --worker-per node \
    >> "$HPCFLOW_RUN/logs/step-workers.log" 2>&1 &
steps+=("$!")

# The driver: it starts when nearly all slots are ready; its exit code is the job's.
jsrun --smpiargs off --nrs 1 --rs_per_host 1 --tasks_per_rs 1 --cpu_per_rs 2 --gpu_per_rs 0 --bind rs \
    hpcflow wait --run "$HPCFLOW_RUN" --slots 9000 --quorum 0.98 --limit 10m || exit
trap : INT TERM # from here on the driver stops in order, and then this script does
jsrun --smpiargs off --nrs 1 --rs_per_host 1 --tasks_per_rs 1 --cpu_per_rs 2 --gpu_per_rs 0 --bind rs \
    python /gpfs/alpine/abc123/driver.py
