"""The examples with what they depend on, packed; and programs that are run to their end.

Dependencies are installed once below `COLDFRAME_TOOLS`, and again when the example has changed.
"""

import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import support

TOOLS = Path(os.environ["COLDFRAME_TOOLS"]).absolute()
SUITES = Path(__file__).resolve().parent
EXAMPLES = SUITES.parents[2] / "examples"
# Debian's packages that compile aws-lambda-ric's native part.
COMPILERS = {
    "g++": "g++",
    "make": "make",
    "cmake": "cmake",
    "autoconf": "autoconf",
    "automake": "automake",
    "libtoolize": "libtool",
}


@functools.cache
def node_runtime():
    """The newest managed Node.js that the host can run."""
    names = [name for name in support.interpreters() if name.startswith("nodejs")]
    majors = sorted(int(name.removeprefix("nodejs").removesuffix(".x")) for name in names)
    assert majors, "the host has no Node.js: install the package nodejs"
    return f"nodejs{majors[-1]}.x"


def run(*command, check=True, **options):
    """Runs a program to its end; when it fails, what it said is the failure."""
    options = {"timeout": 600, "stdin": subprocess.DEVNULL, **options}
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, check=False, **options
    )
    if check and done.returncode != 0:
        raise AssertionError(f"exit {done.returncode}: {command}\n{done.stdout}\n{done.stderr}")
    return done


def once(name, key, make):
    """The directory that `make(directory)` has filled, once for each key."""
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]
    target = TOOLS / "examples" / f"{name}-{digest}"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        # What another content has left is of no use.
        for old in target.parent.glob(f"{name}-{'[0-9a-f]' * 16}"):
            shutil.rmtree(old)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix="new-") as new:
            made = Path(new) / "made"
            made.mkdir()
            make(made)
            made.rename(target)
    return target


def sources(directory):
    """What is committed of an example: no hidden and no installed files."""
    return sorted(path for path in directory.iterdir() if path.is_file() and path.name[0] != ".")


@functools.cache
def example(name):
    """The directory of an example with its dependencies in it."""
    files = sources(EXAMPLES / name)
    python = "/usr/bin/python3" if (EXAMPLES / name / "bootstrap").exists() else None
    versions = [python_version(python), node_runtime()]
    key = [[path.name, path.stat().st_mode, path.read_text()] for path in files]

    def make(directory):
        for path in files:
            shutil.copy(path, directory)
        if (directory / "requirements.txt").exists():
            install_python(directory, versions[0])
        if (directory / "package.json").exists():
            install_node(directory)

    return once(name, [versions, key], make)


def python_version(interpreter):
    """As in 3.12: of the interpreter, else of the runtime that the suites use."""
    if interpreter is None:
        return support.python_runtime().removeprefix("python")
    assert Path(interpreter).exists(), f"no {interpreter}: install the package python3"
    show = "import sys; print('%d.%d' % sys.version_info[:2])"
    return run(interpreter, "-c", show).stdout.strip()


def install_python(directory, version):
    """Wheels for that version, which need not be ours."""
    run(
        *[sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check"],
        *["--no-compile", "--only-binary=:all:", "--implementation", "cp"],
        *["--python-version", version, "--target", directory],
        *["-r", directory / "requirements.txt"],
    )


def install_node(directory):
    missing = [COMPILERS[program] for program in COMPILERS if not shutil.which(program)]
    native = "aws-lambda-ric" in (directory / "package.json").read_text()
    assert not (native and missing), f"to compile aws-lambda-ric, install {' '.join(missing)}"
    environment = dict(os.environ)
    if Path("/usr/include/node/node.h").exists():
        # The headers are here: they need not be fetched.
        environment["npm_config_nodedir"] = "/usr"
    npm = ["npm", "install", "--no-audit", "--no-fund", "--loglevel=error", "--prefix", directory]
    run(*npm, env=environment)
    # The sources of its native part: no function needs them, and they are large.
    shutil.rmtree(directory / "node_modules/aws-lambda-ric/deps", ignore_errors=True)


def hello_rust():
    return rust_example("hello-rust")


@functools.cache
def rust_example(name):
    """A native example as a package: the program is its bootstrap."""
    program = Path(support.BINARY).parent / name
    assert program.exists(), f"no {program}: cargo build --release --package {name}"
    directory = TOOLS / "examples" / name
    directory.mkdir(parents=True, exist_ok=True)
    shutil.copy(program, directory / "bootstrap")
    return directory


@functools.cache
def extension_rust():
    """The example extension-rust as a layer."""
    program = Path(support.BINARY).parent / "extension-rust"
    assert program.exists(), f"no {program}: cargo build --release --package extension-rust"
    directory = TOOLS / "examples" / "extension-rust" / "extensions"
    directory.mkdir(parents=True, exist_ok=True)
    shutil.copy(program, directory)
    return directory.parent


@functools.cache
def package(directory):
    """A directory as a zip, with modes and links, for `support.deploy`."""
    files = {}
    for path in sorted(directory.rglob("*")):
        name = str(path.relative_to(directory))
        if path.is_symlink():
            files[name] = (os.readlink(path), 0o120777)
        elif path.is_file():
            files[name] = (path.read_bytes(), path.stat().st_mode & 0o777 | 0o444)
    return support.zip_of(files)


def coldframe(*arguments, **options):
    """The binary's command line, run to its end."""
    return run(support.BINARY, *arguments, check=False, **options)
