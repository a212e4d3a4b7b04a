"""The documented pattern that `bench_cells` compares with: a Tune trial starts a `TorchTrainer` with its own workers.

python tests/benchmarks/tune_and_train.py FOLDER WORKERS   # reads jobs.json there, writes told.json
"""

import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

SLOTS = 4


def is_poor(done: list[float], job: dict[str, Any]) -> bool:
    """Whether a rate trial is worse so far than half of the finished ones were, and may stop."""
    floor = job.get("floor", ())
    return len(done) <= len(floor) and max(done) < floor[len(done) - 1]


def work(job: dict[str, Any]) -> None:
    """Trains one cell or rate trial in each worker of a group."""
    from ray import train

    from sweeper.cell import Cell
    from sweeper.finetune import training
    from sweeper.finetune.loop import predict, prediction_table
    from sweeper.finetune.metrics import score
    from sweeper.site import Site

    folder = Path(job["told"]).with_suffix("")
    folder.mkdir(exist_ok=True)
    config = {"cell": Cell.from_json(job["cell"]), "site": Site.from_environment(), "folder": folder}
    course = training.Training(config | {"lr": job["lr"], "tags": {}, "parts": 1})
    began = time.perf_counter()
    done = list[float]()
    data, model = course.ready.data, course.ready.model
    for epoch in course.epochs():
        done.append(epoch.scores[data.metric])
        if is_poor(done, job):
            break
    model.load_state_dict(course.best_state)
    test = score(prediction_table(data.test, "test", predict(model, data.test, course.ready.view)), data.task)
    if train.get_context().get_world_rank() == 0:
        told = {"val": done, "test": test[data.metric]}
        Path(job["told"]).write_text(json.dumps(told | {"seconds": time.perf_counter() - began}))


def trial(config: dict[str, Any]) -> None:
    """One Tune trial: a worker group of its own."""
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    trainer = TorchTrainer(
        work,
        train_loop_config=config["job"],
        scaling_config=ScalingConfig(num_workers=config["workers"]),
        run_config=RunConfig(name=Path(config["job"]["told"]).stem + "-train", storage_path=config["folder"]),
    )
    trainer.fit()


def main() -> None:
    """Runs all jobs."""
    import ray
    from ray import tune

    folder, workers = Path(sys.argv[1]), int(sys.argv[2])
    jobs = json.loads((folder / "jobs.json").read_text())
    for number, job in enumerate(jobs):
        job["told"] = str(folder / f"{number}.json")
    ray.init("local", num_cpus=SLOTS, logging_level=logging.ERROR, log_to_driver=False)
    tune.Tuner(
        tune.with_resources(trial, {"memory": 2**20}),  # no CPU: its workers take those
        param_space={"job": tune.grid_search(jobs), "workers": workers, "folder": str(folder)},
        tune_config=tune.TuneConfig(max_concurrent_trials=SLOTS // workers),
        run_config=tune.RunConfig(storage_path=str(folder), name="tune", verbose=0),
    ).fit()
    told = [json.loads(Path(job["told"]).read_text()) for job in jobs]
    (folder / "told.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main()
