"""Prints pip constraints: every base dependency, and JAX, at the oldest version that pyproject.toml admits."""

import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
for requirement in project["dependencies"] + project["optional-dependencies"]["jax"]:
    name, version = requirement.split(">=")
    print(f"{name}=={version}")
