"""The C tests of ``tests/c``, built and run from here without any build system.

By default they are built once, by the C compiler at hand. ``UHN_C_CONFIGS`` names more
configurations, separated by commas, or ``all``:

======== ==========================================================================
gcc      all programs; the hashes of ``bits_print`` on every CPU path of this machine
clang    the same
asan     all programs under AddressSanitizer, UndefinedBehaviorSanitizer and, at exit,
         LeakSanitizer
msan     answers and their bits under MemorySanitizer (clang)
tsan     the threaded program under ThreadSanitizer
aarch64  the NEON and generic paths, cross-compiled and emulated by qemu
======== ==========================================================================

What cannot run on a machine is skipped with the reason. The objects of a configuration are
compiled once and shared by its programs, two compilers at a time.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CSRC = ROOT / "csrc"
HERE = ROOT / "tests" / "c"

BASE_FLAGS = ["-std=c11", "-Wall", "-Wextra", "-Werror"]
BASE_FLAGS += ["-ffp-contract=off", "-fno-math-errno", "-pthread", f"-I{CSRC}"]
AVX512 = ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma"]
#: Flags of the files that hold one CPU path each; the architectures that have it.
KERNELS: dict[str, tuple[str, list[str]]] = {
    "kernels_avx2.c": ("x86_64", ["-mavx2", "-mfma"]),
    "kernels_avx512.c": ("x86_64", AVX512),
    "kernels_avx512popcnt.c": ("x86_64", [*AVX512, "-mavx512vpopcntdq"]),
    "kernels_neon.c": ("aarch64", []),
}
#: Of these the allocation test replaces the library's calls.
WRAPPED = ["malloc", "calloc", "realloc", "free", "posix_memalign", "aligned_alloc"]
WRAPPED += ["pthread_create"]
PROGRAMS = [
    "test_scalar",
    "test_landscape",
    "test_retrieve",
    "test_bits",
    "test_errors",
    "test_threads",
    "test_network",
    "test_alloc",
    "test_dense",
    "test_sdm",
    "test_edit",
    "example",
]
ASAN = "-fsanitize=address,undefined"
SAN_FLAGS = ["-O1", "-g", "-fno-omit-frame-pointer", "-fno-sanitize-recover=all"]


def machine() -> str:
    name = platform.machine().lower()
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(name, name)


@dataclass
class Config:
    """How to compile, how to run, and what."""

    name: str
    compiler: str
    flags: list[str]
    programs: list[str]
    arch: str = field(default_factory=machine)
    static: bool = False
    launcher: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    arguments: dict[str, list[str]] = field(default_factory=dict)
    needs: list[str] = field(default_factory=list)
    #: CPU paths besides the default one on which the programs named here run again.
    paths: dict[str, list[str]] = field(default_factory=dict)


def find_compiler() -> str:
    for name in (os.environ.get("CC", ""), "gcc", "clang", "cc"):
        if name and shutil.which(name.split()[0]):
            return name.split()[0]
    return "cc"


def configs() -> list[Config]:
    gcc, cross = "gcc", "aarch64-linux-gnu-gcc"
    # Between instrumented loads GCC loses sight of what has been written.
    blind = "-Wno-maybe-uninitialized"
    asan = Config("asan", gcc, [*SAN_FLAGS, ASAN, blind], PROGRAMS)
    # A hostile size may ask for more than there is; that must be an error of ours, not its.
    asan.env = {
        "ASAN_OPTIONS": "detect_leaks=1:allocator_may_return_null=1",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }
    tsan = Config("tsan", gcc, [*SAN_FLAGS, "-fsanitize=thread", blind], ["test_threads"])
    tsan.programs += ["test_edit"]
    tsan.env = {"TSAN_OPTIONS": "exitcode=66"}
    msan = Config("msan", "clang", [*SAN_FLAGS, "-fsanitize=memory"], ["test_retrieve"])
    msan.programs += ["test_bits"]
    msan.arguments = {"test_bits": ["--quick"]}
    msan.paths = {"test_retrieve": ["generic", "avx2"], "test_bits": ["generic", "avx2"]}
    arm = Config("aarch64", cross, ["-O2"], ["test_bits", "example", "bits_print"], "aarch64")
    arm.static = True
    arm.launcher = ["qemu-aarch64"]
    arm.arguments = {"test_bits": ["--quick"]}
    arm.needs = ["qemu-aarch64"]
    plain = [*PROGRAMS, "bits_print"]
    with_gcc = Config("gcc", gcc, ["-O2"], plain)
    with_gcc.paths = {"test_retrieve": ["generic", "avx2"], "test_bits": ["generic", "avx2"]}
    with_gcc.paths["test_sdm"] = ["generic", "avx2"]
    return [
        Config("cc", find_compiler(), ["-O2"], plain),
        with_gcc,
        Config("clang", "clang", ["-O2"], plain),
        asan,
        msan,
        tsan,
        arm,
    ]


def wanted_configs() -> list[Config]:
    wanted = [name for name in os.environ.get("UHN_C_CONFIGS", "cc").split(",") if name]
    every = {config.name: config for config in configs()}
    if wanted == ["all"]:
        return [config for config in every.values() if config.name != "cc"]
    unknown = set(wanted) - set(every)
    if unknown:
        raise ValueError(f"UHN_C_CONFIGS knows {sorted(every)}, not {sorted(unknown)}")
    return [every[name] for name in wanted]


def run(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, text=True, capture_output=True, check=False, **options)  # type: ignore[call-overload, no-any-return]


class Build:
    """The programs of one configuration in a directory of their own."""

    def __init__(self, config: Config, directory: Path) -> None:
        self.config = config
        self.directory = directory

    def compile_all(self) -> None:
        sources = []
        for path in sorted(CSRC.glob("*.c")):
            arch, flags = KERNELS.get(path.name, (self.config.arch, []))
            if arch != self.config.arch:
                continue
            if path.name.startswith("kernels_avx512") and "gcc" in self.config.compiler:
                flags = [*flags, "-mprefer-vector-width=512"]
            sources.append((path, flags))
        library = [path.stem for path, _ in sources]
        sources += [(HERE / f"{name}.c", []) for name in self.config.programs]
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda source: self.compile(*source), sources))
            list(pool.map(lambda name: self.link(name, library), self.config.programs))

    def compile(self, path: Path, flags: list[str]) -> None:
        command = [self.config.compiler, *BASE_FLAGS, *self.config.flags, *flags]
        command += ["-c", str(path), "-o", str(self.directory / f"{path.stem}.o")]
        done = run(command)
        if done.returncode:
            pytest.fail(f"{' '.join(command)}\n{done.stderr}", pytrace=False)

    def link(self, name: str, library: list[str]) -> None:
        objects = [str(self.directory / f"{stem}.o") for stem in [name, *library]]
        command = [self.config.compiler, *self.config.flags, *objects]
        if self.config.static:
            command.append("-static")
        if name == "test_alloc":
            command.append("-Wl," + ",".join(f"--wrap={function}" for function in WRAPPED))
        command += ["-pthread", "-lm", "-o", str(self.directory / name)]
        done = run(command)
        if done.returncode:
            pytest.fail(f"{' '.join(command)}\n{done.stderr}", pytrace=False)

    def run(self, name: str, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        command = [*self.config.launcher, str(self.directory / name), *arguments]
        return run(command, env={**os.environ, **self.config.env, **env}, timeout=1200)


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Build]:
    return {}


def build_of(
    config: Config, builds: dict[str, Build], factory: pytest.TempPathFactory
) -> Build:
    for tool in [config.compiler, *config.needs]:
        if not shutil.which(tool):
            pytest.skip(f"{tool} is not installed")
    if not sys.platform.startswith("linux"):
        pytest.skip("the C tests use Linux's mmap and the GNU linker's --wrap")
    missing = no_runtime(config, factory)
    if missing:
        pytest.skip(missing)
    if config.name not in builds:
        build = Build(config, factory.mktemp(f"c_{config.name}"))
        build.compile_all()
        builds[config.name] = build
    return builds[config.name]


def no_runtime(config: Config, factory: pytest.TempPathFactory) -> str:
    """Why a configuration's sanitizer is not to be had; "" if it is, or if there is none."""
    sanitizer = next((flag for flag in config.flags if flag.startswith("-fsanitize=")), None)
    if sanitizer is None:
        return ""
    directory = factory.mktemp("runtime")
    (directory / "nothing.c").write_text("int main(void) { return 0; }\n", encoding="utf-8")
    command = [config.compiler, sanitizer, str(directory / "nothing.c")]
    done = run([*command, "-o", str(directory / "nothing")])
    return f"{config.compiler} {sanitizer} does not link" if done.returncode else ""


CASES = [
    pytest.param(config, name, path, id="-".join(filter(None, [config.name, name, path])))
    for config in wanted_configs()
    for name in config.programs
    for path in ["", *config.paths.get(name, [])]
    if name != "bits_print"
]


@pytest.mark.parametrize(("config", "name", "path"), CASES)
def test_program(
    config: Config,
    name: str,
    path: str,
    builds: dict[str, Build],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    build = build_of(config, builds, tmp_path_factory)
    env = {"UHN_CPU": path} if path else {}
    done = build.run(name, *config.arguments.get(name, []), **env)
    if path and "is not a path" in done.stderr:
        pytest.skip(done.stderr.strip())
    print(done.stdout)
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    if name != "example":
        last = done.stdout.strip().splitlines()[-1]
        assert last.endswith(" passed, 0 failed") and not last.startswith("0 "), last


def test_every_path_and_compiler_gives_the_same_bits(
    builds: dict[str, Build], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Hashes of every row's answers, over all paths of all configurations that can run."""
    outputs: dict[str, str] = {}
    for config in wanted_configs():
        if "bits_print" not in config.programs:
            continue
        if any(not shutil.which(tool) for tool in [config.compiler, *config.needs]):
            print(f"{config.name}: left out, {config.compiler} or an emulator is missing")
            continue
        build = build_of(config, builds, tmp_path_factory)
        available = build.run("bits_print", "--available").stdout.split()
        assert available, config.name
        for path in available:
            done = build.run("bits_print", UHN_CPU=path)
            assert done.returncode == 0, f"{config.name} {path}: {done.stderr}"
            assert f"path {path} " in done.stderr, done.stderr
            outputs[f"{config.name}/{path}"] = done.stdout
    if not outputs:
        pytest.skip("no configuration prints hashes")
    first = next(iter(outputs))
    lines = outputs[first].splitlines()
    assert len(lines) > 1000
    for name, output in outputs.items():
        wrong = [
            f"{mine}   ({first}: {theirs.split()[-1]})"
            for mine, theirs in zip(output.splitlines(), lines, strict=True)
            if mine != theirs
        ]
        assert not wrong, f"{name} differs from {first}:\n" + "\n".join(wrong[:40])
    print(f"{len(lines)} hashes equal on {len(outputs)} builds: {', '.join(outputs)}")


def test_an_unknown_cpu_path_is_fatal(
    builds: dict[str, Build], tmp_path_factory: pytest.TempPathFactory
) -> None:
    config = wanted_configs()[0]
    if "example" not in config.programs:
        pytest.skip(f"{config.name} has no program that may fail")
    build = build_of(config, builds, tmp_path_factory)
    done = build.run("example", UHN_CPU="abacus")
    assert done.returncode != 0
    assert "abacus" in done.stderr and "generic" in done.stderr, done.stderr


@pytest.mark.parametrize(
    ("compiler", "standard"), [("gcc", "c++17"), ("clang", "c++17"), ("gcc", "c11")]
)
def test_header_stands_alone(compiler: str, standard: str, tmp_path: Path) -> None:
    """``uhn.h`` needs no other header, in C and in C++."""
    language = "c++" if standard.startswith("c++") else "c"
    driver = {"gcc": "g++", "clang": "clang++"}[compiler] if language == "c++" else compiler
    if not shutil.which(driver):
        pytest.skip(f"{driver} is not installed")
    source = tmp_path / ("only.cc" if language == "c++" else "only.c")
    source.write_text(
        '#include "uhn.h"\nint main(void) { return (int)uhn_equation_default().separation; }\n'
    )
    flags = [f"-std={standard}", "-Wall", "-Wextra", "-pedantic", "-Werror", "-fsyntax-only"]
    done = run([driver, *flags, "-I", str(CSRC), str(source)])
    assert done.returncode == 0, done.stderr
