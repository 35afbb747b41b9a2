"""A Ray cluster with its dashboard and a retraining watch, in a process of its own.

    python -m tests.ray.job_cluster DATA_DIR

The tests' own process belongs to another cluster, which has no dashboard; and this one is
to be killed. As `finsight up` does, it asks for a token.
"""

import sys
import time

from finsight.commands.agent_port import take_any_agent_port
from finsight.commands.local_platform import (
    _stop_jobs,
    set_ray_environment,
)
from finsight.commands.stopping import end_on_signals, no_process_left
from finsight.domain.job_options import JobKind
from finsight.settings import NAMESPACE, ForecastingSettings, Settings, TrainingSettings

MODULES = {
    JobKind.TRAIN_FORECASTER: "tests.ray.job_commands",
    JobKind.TUNE_FORECASTER: "tests.ray.job_commands",
    JobKind.PROMOTE: "this",  # prints a poem, and succeeds
}


def main(folder: str) -> None:
    """Run until Ctrl-C, which stops the jobs as the platform's Ctrl-C does."""
    set_ray_environment()
    import ray

    from finsight.actors.retraining_watch import RETRAINING_WATCH, RetrainingWatch

    take_any_agent_port()
    settings = Settings(
        data_dir=folder,
        forecasting=ForecastingSettings(horizon=13),
        training=TrainingSettings(max_running=2),
    )
    ray.init(
        address="local",
        num_cpus=4,
        namespace=NAMESPACE,
        dashboard_host="127.0.0.1",
        log_to_driver=False,
    )
    end_on_signals()
    watch = (
        ray.remote(RetrainingWatch)
        .options(name=RETRAINING_WATCH, num_cpus=0, max_restarts=-1, max_task_retries=-1)
        .remote(settings, MODULES)
    )
    try:
        while True:
            try:
                print(*ray.get(watch.ensure_running.remote(), timeout=60), flush=True)
            except ray.exceptions.RayError as exc:
                print(exc, flush=True)
            time.sleep(0.5)
    except KeyboardInterrupt:
        pass
    finally:
        with no_process_left():
            _stop_jobs()
            ray.shutdown()


if __name__ == "__main__":
    main(sys.argv[1])
