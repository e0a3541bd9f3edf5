#!/bin/bash

#BSUB -J hpcflow-w7
#BSUB -q batch
#BSUB -P "abc123"
#BSUB -W 2:31
#BSUB -nnodes 1
#BSUB -o /gpfs/alpine/abc123/runs/replicas/logs/w7.log
#BSUB -alloc_flags "smt1 gpudefault nvme"
# Worker w7 of an elastic farm on summit. Its driver submits this script.
module load cuda
export HPCFLOW_RUN=/gpfs/alpine/abc123/runs/replicas
export HPCFLOW_SLOTS=gpu:160
export HPCFLOW_ENDS_AT="$(($(date +%s) + 9001))"
export HPCFLOW_SCRATCH="/mnt/bb/$USER"
exec jsrun --smpiargs off --nrs 1 --rs_per_host 1 --tasks_per_rs 1 --cpu_per_rs 42 --gpu_per_rs 6 --bind rs /ccs/proj/abc123/venv/bin/python -m hpcflow worker --run "$HPCFLOW_RUN" --farm 0123abcd --name w7 --interface ib0
