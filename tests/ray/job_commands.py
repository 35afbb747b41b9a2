"""What the jobs of these tests run: small, but with every process a real one has.

    python -m tests.ray.job_commands --timeframe=1h --steps=30

Says who its processes are in `pids-TIMEFRAME.json` of the data folder, works for `--steps`
seconds, and prints what a training prints.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import ray

from finsight.settings import Settings


@ray.remote(num_cpus=1)
def work(seconds: float) -> None:
    time.sleep(seconds)


@ray.remote(num_cpus=1)
class Worker:
    """A Ray worker with a process of its own making."""

    def start(self) -> list[int]:
        child = subprocess.Popen(["sleep", "600"], start_new_session=True)
        return [os.getpid(), child.pid]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--timeframe")
    parser.add_argument("--steps", type=float, default=0)
    parser.add_argument("--trials", type=int, default=0)
    given, _ = parser.parse_known_args()
    if given.trials:
        print(*sys.argv, flush=True)
        print("training failed: no series has the 500 candles that training needs", file=sys.stderr)
        return 1
    settings = Settings.load()
    ray.init(log_to_driver=False)
    worker = Worker.remote()
    pids = [os.getpid(), *ray.get(worker.start.remote())]
    pids.append(subprocess.Popen(["sleep", "600"]).pid)
    (settings.data_dir / f"pids-{given.timeframe}.partial").write_text(json.dumps(pids))
    Path(settings.data_dir / f"pids-{given.timeframe}.partial").replace(
        settings.data_dir / f"pids-{given.timeframe}.json"
    )
    print(f"horizon {settings.forecasting.horizon}", flush=True)
    deadline = time.monotonic() + given.steps
    step = 0
    while time.monotonic() < deadline:
        step += 1
        print(f"step {step}", flush=True)
        time.sleep(0.5)
    print(json.dumps({"kind": f"forecaster-{given.timeframe}", "version": "7", "loss": 0.5}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
