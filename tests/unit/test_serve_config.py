"""serve_config.yaml: Ray accepts it, it names what exists, and it fits a laptop."""

from pathlib import Path

import pytest
import yaml
from ray._common.utils import import_attr
from ray.serve._private.build_app import build_app
from ray.serve.schema import ServeDeploySchema

from finsight.deployments.gateway import GatewayTuning
from finsight.deployments.sentiment import SentimentTuning
from finsight.settings import APP_NAME, Settings

CONFIG = Path(__file__).parents[2] / "serve_config.yaml"
LAPTOP_CPUS = 2.0
TRAINING_CPUS = 1.0


@pytest.fixture(scope="module")
def schema() -> ServeDeploySchema:
    return ServeDeploySchema.model_validate(yaml.safe_load(CONFIG.read_text()))


@pytest.fixture(scope="module")
def application(schema):
    [application] = schema.applications
    return application


@pytest.fixture(scope="module")
def deployments() -> dict[str, dict]:
    """What the file says of each deployment, as written: Ray's schema fills in the rest."""
    [application] = yaml.safe_load(CONFIG.read_text())["applications"]
    return {deployment["name"]: deployment for deployment in application["deployments"]}


@pytest.fixture(scope="module")
def built(application) -> list[str]:
    """The names of the deployments that the file's import path really makes."""
    made = build_app(
        import_attr(application.import_path)(application.args),
        name=APP_NAME,
        make_deployment_handle=lambda deployment, app: deployment.name,
    )
    return [deployment.name for deployment in made.deployments]


def test_it_starts_on_loopback(schema):
    assert schema.http_options.host == "127.0.0.1"


def test_it_names_our_application_and_a_builder_that_exists(application):
    assert application.name == APP_NAME
    assert callable(import_attr(application.import_path))


def test_its_args_are_settings(application):
    settings = Settings.load(application.args)
    assert len({s.exchange for s in settings.series}) >= 3
    assert {feed.name for feed in settings.feeds} == {"coindesk", "cointelegraph", "decrypt"}


def test_its_deployments_are_those_that_are_built(application, built):
    assert sorted(d.name for d in application.deployments) == sorted(built)


def test_what_is_tuned_live_is_what_the_deployments_know(deployments):
    tuned = {name: d["user_config"] for name, d in deployments.items() if "user_config" in d}
    GatewayTuning.model_validate(tuned.pop("Gateway"))
    tuning = SentimentTuning.model_validate(tuned.pop("Sentiment"))
    assert tuned == {}
    # Otherwise a batch could never fill.
    assert deployments["Sentiment"]["max_ongoing_requests"] >= 2 * tuning.max_batch_size


def test_a_first_training_fits_beside_everything_on_a_laptop(deployments):
    taken = sum(
        d.get("autoscaling_config", {}).get("max_replicas", d.get("num_replicas", 1))
        * d["ray_actor_options"]["num_cpus"]
        for d in deployments.values()
    )
    assert taken <= LAPTOP_CPUS - TRAINING_CPUS


def test_streams_leave_most_request_slots_to_requests(deployments):
    gateway = deployments["Gateway"]
    assert gateway["user_config"]["max_open_streams"] <= gateway["max_ongoing_requests"] / 2


@pytest.mark.parametrize("name", ["Gateway", "Sentiment", "Forecaster"])
def test_a_request_too_many_is_refused_and_not_kept_waiting(deployments, name):
    assert deployments[name]["max_queued_requests"] > 0
