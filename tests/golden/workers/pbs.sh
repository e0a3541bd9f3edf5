#!/bin/bash

#PBS -N hpcflow-w7
#PBS -q batch
#PBS -A abc123
#PBS -l select=1:ncpus=32:ngpus=4
#PBS -l walltime=02:30:01
#PBS -l place=excl
#PBS -j oe
#PBS -o /dev/null
#PBS -r n
#PBS -l filesystems=home:eagle
# Worker w7 of an elastic farm on polaris. Its driver submits this script.
exec >> /gpfs/alpine/abc123/runs/replicas/logs/w7.log 2>&1
export CUDA_VISIBLE_DEVICES="${CUDA_VISIBLE_DEVICES:-0,1,2,3}"
export HPCFLOW_RUN=/gpfs/alpine/abc123/runs/replicas
export HPCFLOW_SLOTS=gpu:160
export HPCFLOW_ENDS_AT="$(($(date +%s) + 9001))"
export HPCFLOW_SCRATCH="/tmp"
exec /ccs/proj/abc123/venv/bin/python -m hpcflow worker --run "$HPCFLOW_RUN" --farm 0123abcd --name w7 --interface ib0
