"""cluster.yaml: Ray's cluster launcher accepts it, and it says what the platform needs."""

import copy
from pathlib import Path

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import validate_config

CLUSTER = Path(__file__).parents[2] / "cluster.yaml"


@pytest.fixture
def cluster() -> dict:
    return yaml.safe_load(CLUSTER.read_text())


def test_ray_accepts_it(cluster):
    validate_config(cluster)


def test_ray_would_not_accept_a_misspelt_key(cluster):
    wrong = copy.deepcopy(cluster) | {"head_nodetype": "head"}
    with pytest.raises(jsonschema.ValidationError):
        validate_config(wrong)


def test_the_head_takes_no_replicas(cluster):
    head = cluster["available_node_types"][cluster["head_node_type"]]
    assert head["resources"]["CPU"] == 0
    assert "--num-cpus=0" in cluster["head_start_ray_commands"][-1]


def test_there_is_always_a_node_that_answers_and_gpus_only_on_demand(cluster):
    types = cluster["available_node_types"]
    assert types["cpu_worker"]["min_workers"] >= 1
    assert types["gpu_worker"]["min_workers"] == 0
    assert types["gpu_worker"]["resources"]["GPU"] >= 1


@pytest.mark.parametrize("node", ["head", "worker"])
def test_every_node_starts_with_the_fast_ingress_and_a_token(cluster, node):
    start = cluster[f"{node}_start_ray_commands"][-1]
    assert "ray start" in start
    for setting in (
        "RAY_AUTH_MODE=token",
        "RAY_SERVE_ENABLE_HA_PROXY=1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED=1",
    ):
        assert start.index(setting) < start.index("ray start")


def test_the_dashboard_listens_on_loopback(cluster):
    assert "--dashboard-host=127.0.0.1" in cluster["head_start_ray_commands"][-1]


def test_every_node_installs_the_pinned_versions(cluster):
    assert any("constraints.txt" in command for command in cluster["setup_commands"])
