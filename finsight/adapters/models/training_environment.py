"""What a model was made with: our code, Python, and the packages that decide the outcome."""

from __future__ import annotations

import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import finsight

PACKAGES = (
    "ray",
    "torch",
    "transformers",
    "tokenizers",
    "peft",
    "neuralforecast",
    "onnxruntime",
    "numpy",
    "scipy",
    "pyarrow",
    "mlflow-skinny",
    "mlflow",
)
_COMMIT = re.compile(r"^[0-9a-f]{40}([0-9a-f]{24})?$")


def code_tags(package: Path = Path(finsight.__file__).parent) -> dict[str, str]:
    """Return the package's version, Python's, and the commit where it runs from a checkout."""
    tags = {"finsight_version": finsight.__version__, "python": platform.python_version()}
    commit = checked_out_commit(package.parent)
    return tags | ({"git_commit": commit} if commit else {})


def requirements() -> str:
    """Return the packages that are here, one a line, as pip reads them."""
    lines = [f"# Python {platform.python_version()}, {platform.platform()}"]
    lines.append(f"finsight=={finsight.__version__}")
    for name in PACKAGES:
        try:
            lines.append(f"{name}=={version(name)}")
        except PackageNotFoundError:
            continue
    return "\n".join(lines) + "\n"


def checked_out_commit(folder: Path) -> str | None:
    """Return the commit that `folder` has checked out, read from git's files; None without git."""
    try:
        git = _git_folder(folder)
        head = (git / "HEAD").read_text().strip()
        if head.startswith("ref: "):
            head = _commit_of(git, head.removeprefix("ref: "))
    except (OSError, UnicodeDecodeError):
        return None
    return head if _COMMIT.match(head) else None


def _git_folder(folder: Path) -> Path:
    """In a second worktree `.git` is a file that names the folder."""
    git = folder / ".git"
    if git.is_file():
        return folder / git.read_text().strip().removeprefix("gitdir: ")
    return git


def _commit_of(git: Path, ref: str) -> str:
    """Raises: OSError (no such file)."""
    shared = git / "commondir"
    places = [git, git / shared.read_text().strip()] if shared.is_file() else [git]
    for place in places:
        if (place / ref).is_file():
            return (place / ref).read_text().strip()
    for line in (places[-1] / "packed-refs").read_text().splitlines():
        commit, _, name = line.partition(" ")
        if name == ref:
            return commit
    return ""
