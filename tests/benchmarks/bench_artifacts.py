"""Seconds to log and read back files of runs: through MLflow's server, against straight into the folder it names.

    python tests/benchmarks/bench_artifacts.py [--files 100] [--megabytes 1] [--rounds 3]

One server, two experiments. Prints median, minimum and maximum of the rounds, and the ratio within each round.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from driving import free_port, mlflow_server
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=100)
    parser.add_argument("--megabytes", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        with mlflow_server(folder / "server", port):
            client = MlflowClient(f"http://127.0.0.1:{port}")
            ways = {
                "through the server": client.create_experiment("proxied"),
                "straight": client.create_experiment("direct", artifact_location=(folder / "direct").as_uri()),
            }
            _measure(client, ways, options, folder)


def _measure(client: MlflowClient, ways: dict[str, str], options: argparse.Namespace, folder: Path) -> None:
    file = folder / "file.bin"
    file.write_bytes(os.urandom(options.megabytes * 2**20))
    took: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, experiment in ways.items():
            took[name].append(_round(client, experiment, file, options.files, folder))
    for name, seconds in took.items():
        print(
            f"{name}: {statistics.median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f}) for "
            f"{options.files} files of {options.megabytes} MB, logged and read back"
        )
    ratios = [proxied / direct for proxied, direct in zip(*took.values(), strict=True)]
    print(f"ratio: {statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})")


def _round(client: MlflowClient, experiment: str, file: Path, files: int, folder: Path) -> float:
    runs = [client.create_run(experiment) for _ in range(files)]
    began = time.perf_counter()
    for run in runs:
        client.log_artifact(run.info.run_id, str(file))
        with tempfile.TemporaryDirectory(dir=folder) as there:
            uri = f"{run.info.artifact_uri}/{file.name}"
            download_artifacts(artifact_uri=uri, dst_path=there, tracking_uri=client.tracking_uri)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
