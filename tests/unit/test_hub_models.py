"""Models of a hub: the real client against a local server that answers as a hub does."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tiny_classifier import save_tiny_classifier
from tests.web_server import Asked, Reply, WebServer, a_web_server

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAME = "somebody/tiny"
SERVES = """
import sys
from pathlib import Path
from finsight.settings import Settings
from finsight.wiring import load_sentiment_model
model = load_sentiment_model(Settings(data_dir=Path(sys.argv[1])), demanded="somebody/tiny")
print(model.name, model.version, round(model.score(["profit rose"])[0].positive, 6))
"""
LEARNS = """
from finsight.training.sentiment_network import open_network
print(sum(weight.numel() for weight in open_network("somebody/tiny", None, 0).parameters()))
"""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[WebServer]:
    """A hub with one model."""
    folder = save_tiny_classifier(tmp_path / "model", hidden=16, wide=32)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    with a_web_server() as server:
        listed = {"id": NAME, "sha": COMMIT, "siblings": [{"rfilename": one} for one in files]}
        tree = [
            {"type": "file", "path": one, "size": len(content), "oid": "0"}
            for one, content in files.items()
        ]
        as_json = {"Content-Type": "application/json"}
        server.replies |= {
            f"/api/models/{NAME}/revision/main": Reply(200, json.dumps(listed).encode(), as_json),
            f"/api/models/{NAME}/tree/{COMMIT}?recursive=true&expand=false": Reply(
                200, json.dumps(tree).encode(), as_json
            ),
        }

        def file(asked: Asked) -> Reply:
            content = files[asked.path.rsplit("/", 1)[1]]
            tag = hashlib.sha256(content).hexdigest()
            return Reply(200, content, {"ETag": f'"{tag}"', "X-Repo-Commit": COMMIT})

        for name in files:
            server.replies[f"/{NAME}/resolve/{COMMIT}/{name}"] = file
        yield server


def run(code: str, endpoint: str, home: Path) -> subprocess.CompletedProcess[str]:
    """In a process of its own: the client reads where its hub is as it is imported."""
    hidden = {"HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"}
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    return subprocess.run(
        [sys.executable, "-c", code, str(home / "data")],
        env={**kept, "HF_ENDPOINT": endpoint, "HF_HOME": str(home / "hub")},
        capture_output=True,
        text=True,
        timeout=110,
    )


def test_a_model_is_fetched_once_and_then_is_there_without_the_hub(
    hub: WebServer, tmp_path: Path
) -> None:
    first = run(SERVES, hub.url(""), tmp_path)
    assert first.stdout.startswith(f"{NAME} {COMMIT[:12]} 0."), first.stderr
    asked = len(hub.asked)
    # Nobody answers on port 1.
    again = run(SERVES, "http://127.0.0.1:1", tmp_path)
    assert again.stdout == first.stdout, again.stderr
    assert len(hub.asked) == asked
    learnt = run(LEARNS, "http://127.0.0.1:1", tmp_path)
    assert int(learnt.stdout) > 400_000, learnt.stderr


def test_a_hub_that_can_not_be_reached_is_said_at_once(tmp_path: Path) -> None:
    for code, said in ((SERVES, "Connect once"), (LEARNS, "can't be read here")):
        failed = run(code, "http://127.0.0.1:1", tmp_path)
        assert said in failed.stderr
        # What transformers does by itself: two thirds of a minute before a word.
        assert "Retrying" not in failed.stderr
