"""Builds a real Apache Mesos 1.11.0 for tests, from package registries only, in a few seconds; nothing is installed.

PyPI's mesos.scheduler 1.11.0 holds all of libmesos in one shared object, linked for CPython 2.7 on Ubuntu 16.04. What that
system had and this one lacks is stood in for: OpenSSL 1.0 (nothing in the tests uses TLS), Python 2, and libcurl under its
old version name, which is passed on to the libcurl of today.

Needs pip, gcc, binutils, apt-get and libcurl3-gnutls on the machine, and a registry to download from the first time.
"""

import collections
import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

REQUIREMENT = "mesos.scheduler==1.11.0.linux-x86_64"
PIP = "pip==24.0"  # later ones refuse the version's form
DEBIAN_LIBRARIES = ("libsvn1", "libaprutil1", "libutf8proc2", "libapr1", "libsasl2-2")
LIBRARY_FILES = ("libsvn_delta-1", "libsvn_subr-1", "libaprutil-1", "libutf8proc", "libapr-1", "libsasl2")

# As long as the name that it replaces inside the binary.
CURL_LINKED = b"\0libcurl.so.4\0"
CURL_SHIM = b"\0libcurM.so.4\0"

# Objects, not functions, among what Python 2 exports and the module asks for.
PYTHON_OBJECTS = ("_Py_NoneStruct", "PyExc_Exception", "PyExc_TypeError")

CURL_FUNCTIONS = {
    "curl_easy_cleanup": "void F(void *a) { ((void (*)(void *))real(N))(a); }",
    "curl_easy_init": "void *F(void) { return ((void *(*)(void))real(N))(); }",
    "curl_easy_perform": "int F(void *a) { return ((int (*)(void *))real(N))(a); }",
    "curl_easy_setopt": "int F(void *a, int b, void *v) { return ((int (*)(void *, int, void *))real(N))(a, b, v); }",
    "curl_easy_getinfo": "int F(void *a, int b, void *v) { return ((int (*)(void *, int, void *))real(N))(a, b, v); }",
    "curl_easy_strerror": "const char *F(int a) { return ((const char *(*)(int))real(N))(a); }",
    "curl_global_init": "int F(long a) { return ((int (*)(long))real(N))(a); }",
}

CURL_HEAD = """
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
static void *library;
static void *real(const char *name) {
  if (!library) library = dlopen("libcurl-gnutls.so.4", RTLD_NOW);
  void *found = library ? dlsym(library, name) : 0;
  if (!found) { fprintf(stderr, "libcurl-gnutls.so.4 has no %s\\n", name); abort(); }
  return found;
}
"""

STUB_HEAD = "#include <stdio.h>\n#include <stdlib.h>\n"


class BuildError(Exception):
    """The real Mesos could not be built: one line that says what failed and what to do."""


def cache_directory() -> Path:
    """Where built servers are kept between runs: $DROMOS_TEST_CACHE, or ~/.cache/dromos-tests."""
    return Path(os.environ.get("DROMOS_TEST_CACHE") or Path.home() / ".cache" / "dromos-tests")


def built_mesos() -> Path:
    """The directory of libmesos and its libraries, built first where it is missing. Several processes may ask at once.

    Raises BuildError.
    """
    cache = cache_directory()
    cache.mkdir(parents=True, exist_ok=True)
    done = cache / "mesos-1.11.0"
    with _locked(cache / "mesos.lock"):
        if not done.exists():
            with tempfile.TemporaryDirectory(dir=cache, prefix="mesos-build-") as work:
                _build(Path(work))
                (Path(work) / "lib").rename(done)
    return done


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(work: Path) -> None:
    lib = work / "lib"
    lib.mkdir()
    module = _download_module(work)
    _download_libraries(work, lib)
    binary = module.read_bytes()
    if binary.count(CURL_LINKED) != 1:
        raise BuildError(f"{REQUIREMENT} is not the expected file: it does not link libcurl exactly once")
    target = lib / "libmesos.so"
    target.write_bytes(binary.replace(CURL_LINKED, CURL_SHIM))
    target.chmod(0o755)
    openssl, python = _undefined_symbols(module)
    _compile_openssl(
        "ssl", {version: [n for n in names if _is_ssl(n)] for version, names in openssl.items()}, work, lib
    )
    _compile_openssl(
        "crypto", {version: [n for n in names if not _is_ssl(n)] for version, names in openssl.items()}, work, lib
    )
    _compile_curl(work, lib)
    _compile_python(python, work, lib)


def _download_module(work: Path) -> Path:
    """pip cannot install this kind of file, and ends with an error; asked not to clean up, it leaves what it unpacked."""
    download, pip = work / "download", work / "pip"
    download.mkdir()
    _run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(pip), PIP])
    flags = ["-q", "--no-deps", "--no-clean", "--no-build-isolation", "--no-binary", ":all:", "-d", str(download)]
    result = subprocess.run(
        [sys.executable, "-m", "pip", "download", *flags, REQUIREMENT],
        env={**os.environ, "TMPDIR": str(download), "PYTHONPATH": str(pip)},
        capture_output=True,
        text=True,
    )
    found = next(download.rglob("_scheduler.so"), None)
    if found is None:
        last = (result.stderr.strip().splitlines() or ["no output"])[-1]
        raise BuildError(f"{REQUIREMENT} could not be downloaded by pip: {last}")
    return found


def _download_libraries(work: Path, lib: Path) -> None:
    packages = work / "packages"
    packages.mkdir()
    _run(["apt-get", "download", "-q", *DEBIAN_LIBRARIES], cwd=packages)
    for package in packages.glob("*.deb"):
        _run(["dpkg", "-x", str(package), str(packages / "root")])
    for name in LIBRARY_FILES:
        files = list((packages / "root" / "usr" / "lib").glob(f"*/{name}.so.*"))
        if not files:
            raise BuildError(f"no Debian package of {', '.join(DEBIAN_LIBRARIES)} holds {name}.so")
        for file in files:
            shutil.copy2(file, lib / file.name, follow_symlinks=False)


def _undefined_symbols(module: Path) -> tuple[dict[str, list[str]], list[str]]:
    """What the module wants of OpenSSL, by symbol version, and of Python."""
    openssl: dict[str, list[str]] = collections.defaultdict(list)
    python = []
    for line in _run(["nm", "-D", "--undefined-only", str(module)]).splitlines():
        symbol = line.split()[-1]
        if "@OPENSSL_" in symbol:
            name, version = symbol.split("@")
            openssl[version].append(name)
        elif symbol.startswith(("Py", "_Py")):
            python.append(symbol)
    return openssl, python


def _is_ssl(name: str) -> bool:
    return name.startswith(("SSL", "TLS"))


def _stub(name: str) -> str:
    return f'void {name}(void) {{ fputs("{name} is not there\\n", stderr); abort(); }}\n'


def _compile_openssl(library: str, symbols: dict[str, list[str]], work: Path, lib: Path) -> None:
    source, versions = STUB_HEAD, ""
    for version, names in sorted(symbols.items()):
        marker = f"version_{library}_{version.replace('.', '_')}"  # a version node must export something
        source += f"int {marker};\n" + "".join(map(_stub, names))
        versions += f"{version} {{ global: {' '.join(f'{name};' for name in [marker, *names])} }};\n"
    _compile(f"lib{library}.so.1.0.0", source, work, lib, versions=versions)


def _compile_curl(work: Path, lib: Path) -> None:
    source = CURL_HEAD
    for name, code in CURL_FUNCTIONS.items():
        source += code.replace("F(", f"{name}(", 1).replace("(N)", f'("{name}")') + "\n"
    versions = f"CURL_OPENSSL_3 {{ global: {' '.join(f'{name};' for name in CURL_FUNCTIONS)} local: *; }};\n"
    _compile("libcurM.so.4", source, work, lib, versions=versions, flags=["-ldl"])


def _compile_python(names: Sequence[str], work: Path, lib: Path) -> None:
    code = [f"char {name}[256];\n" if name in PYTHON_OBJECTS else _stub(name) for name in names]
    _compile("libpython2.so", STUB_HEAD + "".join(code), work, lib)


def _compile(soname: str, source: str, work: Path, lib: Path, *, versions: str = "", flags: Sequence[str] = ()) -> None:
    code = work / f"{soname}.c"
    code.write_text(source)
    script = []
    if versions:
        (work / f"{soname}.map").write_text(versions)
        script = [f"-Wl,--version-script={work / f'{soname}.map'}"]
    output = ["-o", str(lib / soname), str(code)]
    _run(["gcc", "-w", "-O1", "-fPIC", "-shared", f"-Wl,-soname,{soname}", *script, *output, *flags])


def _run(command: Sequence[str], cwd: Path | None = None) -> str:
    try:
        result = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    except FileNotFoundError:
        raise BuildError(f"{command[0]} is not installed: apt-get install gcc binutils") from None
    if result.returncode != 0:
        last = (result.stderr.strip().splitlines() or ["no output"])[-1]
        raise BuildError(f"`{' '.join(command[:3])} …` failed: {last}")
    return result.stdout
