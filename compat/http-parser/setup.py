from setuptools import setup

setup(
    name="http-parser",
    version="1.0",
    description="The part of http-parser's interface that pymesos uses, over httptools",
    python_requires=">=3.11",
    packages=["http_parser"],
    install_requires=["httptools>=0.6"],
)
