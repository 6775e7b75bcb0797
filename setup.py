"""Dromos' distribution: nine packages, one command. What needs which library, and why: docs/architecture.md."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent


def requirements(name: str) -> list[str]:
    """Lines of a requirements file, less comments, options and local paths."""
    lines = (line.split("#")[0].strip() for line in (HERE / name).read_text().splitlines())
    return [line for line in lines if line and not line.startswith(("-", "./"))]


setup(
    name="dromos",
    version="0.1.0",
    description="Runs long-lived containers on Apache Mesos, and the service discovery around them",
    long_description=(HERE / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(exclude=["tests*", "compat*", "bench*", "scripts*"]),
    package_data={
        "framework": ["ui/dist/**/*", "ui/dist/*", "py.typed"],
        "nginx": ["templates/*", "lua/*"],
        "autoscale": ["assets/*"],
    },
    install_requires=[*requirements("requirements.txt"), "http-parser>=1.0"],
    entry_points={"console_scripts": ["dromos=dromos.cli:main"]},
)
