"""The checks of `.ci/run` one by one, each in an environment of its own: `nox -s lint tests`; `nox -l` lists them."""

import nox

nox.options.sessions = ["lint", "types", "tests"]
nox.options.reuse_existing_virtualenvs = True


@nox.session
def lint(session: nox.Session) -> None:
    """Style and format."""
    session.install("ruff>=0.8")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session
def api(session: nox.Session) -> None:
    """The API pages, from the docstrings, into build/api; a warning is an error."""
    session.install("-e", ".[jax]", "pdoc>=16")
    session.run("python", ".ci/api.py", env={"KERAS_BACKEND": "jax"})


@nox.session
def types(session: nox.Session) -> None:
    """Types of the package, strictly."""
    session.install("-e", ".[test]")
    session.run("mypy")


@nox.session
def tests(session: nox.Session) -> None:
    """The quick lane: a few minutes, all three backends, the browser."""
    session.install("-e", ".[test]")
    session.run("pytest", *session.posargs)


@nox.session
def long(session: nox.Session) -> None:
    """What the quick lane leaves out: kills, resumes, slow pages, many random cases."""
    session.install("-e", ".[test]")
    session.run("pytest", "-m", "long", *session.posargs)


@nox.session
@nox.parametrize("backend", ["tensorflow", "jax", "torch"])
def backend(session: nox.Session, backend: str) -> None:
    """All that depends on the backend, on one of them."""
    session.install("-e", ".[test]")
    paths = session.posargs or ["tests/training", "tests/resume"]
    session.run("pytest", "-m", "", *paths, env={"KERAS_BACKEND": backend})


@nox.session
def lowest(session: nox.Session) -> None:
    """The oldest dependencies that pyproject.toml admits."""
    constraints = session.run("python", ".ci/lowest.py", silent=True)
    path = session.create_tmp() + "/lowest.txt"
    with open(path, "w", encoding="utf-8") as file:
        file.write(str(constraints))
    session.install("-e", ".[jax]", "-c", path, "hypothesis", "pytest", "pytest-xdist")
    session.run("python", "tests/lower_bound_smoke.py", env={"KERAS_BACKEND": "jax"})
