"""What the contract tests share."""

from collections.abc import Iterator

import boto3
import pytest

from tests.mlflow_server import MlflowServer, running_mlflow_server
from tests.postgresql_server import running_postgresql
from tests.s3_server import running_s3_server


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """One real server for the session: PostgreSQL behind it, its artifacts in a real bucket."""
    with (
        running_s3_server(tmp_path_factory.mktemp("s3")) as s3,
        running_postgresql(tmp_path_factory.mktemp("postgresql")) as database,
    ):
        keys = s3.environment
        client = boto3.client(
            "s3",
            endpoint_url=s3.url,
            aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
            region_name=keys["AWS_DEFAULT_REGION"],
        )
        client.create_bucket(Bucket="mlflow")
        client.close()
        environment = keys | {"MLFLOW_S3_ENDPOINT_URL": s3.url}
        folder = tmp_path_factory.mktemp("mlflow-server")
        artifacts = "s3://mlflow/models"
        with running_mlflow_server(folder, database, artifacts, environment) as server:
            yield server
