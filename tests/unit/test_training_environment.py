"""The commit is read from git's own files, and right wherever git keeps it."""

import subprocess
from pathlib import Path

import pytest

from finsight.adapters.models.training_environment import checked_out_commit, requirements

GIT = ("git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [*GIT, *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    git(folder, "commit", "-q", "--allow-empty", "-m", "one")
    return folder


def test_a_branch_a_packed_branch_and_a_bare_commit(checkout: Path) -> None:
    commit = git(checkout, "rev-parse", "HEAD")
    assert checked_out_commit(checkout) == commit
    git(checkout, "pack-refs", "--all")
    assert not (checkout / ".git" / "refs" / "heads" / "main").exists()
    assert checked_out_commit(checkout) == commit
    git(checkout, "checkout", "-q", "--detach")
    assert checked_out_commit(checkout) == commit


def test_a_second_worktree_has_its_own(checkout: Path) -> None:
    other = checkout.parent / "other"
    git(checkout, "worktree", "add", "-q", "-b", "side/branch", str(other))
    git(other, "commit", "-q", "--allow-empty", "-m", "two")
    assert checked_out_commit(other) == git(other, "rev-parse", "HEAD")
    assert checked_out_commit(other) != checked_out_commit(checkout)


def test_without_git_there_is_none(tmp_path: Path, checkout: Path) -> None:
    assert checked_out_commit(tmp_path) is None
    (checkout / ".git" / "HEAD").write_text("ref: refs/heads/unborn")
    assert checked_out_commit(checkout) is None


def test_the_packages_that_matter_are_listed_as_pip_reads_them() -> None:
    lines = requirements().splitlines()
    assert lines[0].startswith("# Python 3.")
    assert all("==" in line for line in lines[1:])
    assert {line.split("==")[0] for line in lines[1:]} >= {"finsight", "torch", "ray", "mlflow"}
