#!/usr/bin/env bash
# A study inside an allocation of Slurm: Ray on all of its nodes, a driver on the first, and both end with it.
#   sbatch --nodes=4 --gpus-per-node=4 --time=8:00:00 slurm.sh search_spaces/full_grid.py
# From the project's folder, on a file system that all nodes share. Once before:
#   uv sync && uv run ray get-auth-token --generate > /dev/null && chmod 600 ~/.ray/auth_token
# The same command goes on where an allocation ended. Its exit code is that of `python -m sweeper.run`.
#SBATCH --job-name=sweeper
#SBATCH --ntasks-per-node=1
# Whole nodes; where a site shares them, delete this line and say --cpus-per-task and --mem.
#SBATCH --exclusive
#SBATCH --open-mode=append
# A minute before the time limit (Slurm may be one more early) the driver is told, as by Ctrl-C.
#SBATCH --signal=B:TERM@60
set -euo pipefail
: "${SWEEPER_STORAGE:?set it to a folder that all nodes share}" "${SWEEPER_DATA:?set it to a folder that all nodes share}"
if [[ ! -x .venv/bin/ray ]]; then
    echo "$PWD/.venv/bin/ray is not there: give the command in the project's folder, after uv sync" >&2
    exit 1
fi
export RAY_AUTH_MODE=token RAY_ENABLE_UV_RUN_RUNTIME_ENV=0 PATH="$PWD/.venv/bin:$PATH"
# Images are decoded once a node, on its own disk.
export SWEEPER_CACHE="${SWEEPER_CACHE:-${TMPDIR:-/tmp}/sweeper-cache-$USER}"
python -m sweeper.run "$@" --plan > /dev/null # a mistake is told before anything is started

# Slurm runs this script on the first node; where that has several addresses, name the one that the others reach.
export RAY_HEAD="${RAY_HEAD:-$(hostname -I | cut -d " " -f 1)}"
# No other job on the node has this port, and Ray gives it to none of its processes.
export RAY_PORT="${RAY_PORT:-$((20000 + SLURM_JOB_ID % 10000))}"
export RAY_ADDRESS="$RAY_HEAD:$RAY_PORT"
log="ray-$SLURM_JOB_ID.log"
# One step, of which Slurm ends every process. Each node offers the CPUs that Slurm gave, and the GPUs that Slurm shows.
srun --overlap --nodes="$SLURM_JOB_NUM_NODES" --ntasks="$SLURM_JOB_NUM_NODES" --kill-on-bad-exit=1 bash -c '
    if ((SLURM_PROCID == 0)); then
        place=(--head "--node-ip-address=$RAY_HEAD" "--port=$RAY_PORT" "--temp-dir=/tmp/ray-$USER")
    else
        until true 2> /dev/null < "/dev/tcp/$RAY_HEAD/$RAY_PORT"; do sleep 1; done
        place=("--address=$RAY_ADDRESS")
    fi
    exec env --unset=RAY_ADDRESS ray start "${place[@]}" "--num-cpus=$SLURM_CPUS_ON_NODE" --disable-usage-stats --block
' > "$log" 2>&1 &
ray=$!
python -m sweeper.cluster wait "$SLURM_JOB_NUM_NODES" &
driver=$!
trap 'kill "$driver"' TERM
if ! wait -n || ! kill -0 "$ray" 2> /dev/null; then
    tail -n 20 "$log" >&2
    exit 1
fi
setsid python -m sweeper.run "$@" & # a session of its own: Slurm tells the script's, and the script the driver
driver=$!
until wait "$driver" && code=0 || code=$?; ! kill -0 "$driver" 2> /dev/null; do :; done
((code != 130)) || echo "The allocation ends; the same sbatch command goes on from here."
kill "$ray" 2> /dev/null || true
wait "$ray" || true
exit "$code"
