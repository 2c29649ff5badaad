"""Builds the extension module uhn._core; everything else is in pyproject.toml.

Environment variables, all for development:

UHN_SANITIZE  comma-separated list of address, undefined and thread
UHN_COVERAGE  1: count executed lines (gcov), without optimisation
UHN_DEBUG     1: debug information, without optimisation
UHN_WERROR    1: warnings are errors
"""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
CSRC = Path("csrc")

# The kernels are one template compiled once for each CPU path; cpu.c chooses at run time.
X86_FLAGS = {
    "kernels_avx2": ["-mavx2", "-mfma"],
    "kernels_avx512": ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma"],
}
X86_FLAGS["kernels_avx512popcnt"] = [*X86_FLAGS["kernels_avx512"], "-mavx512vpopcntdq"]
ARM_FLAGS: dict[str, list[str]] = {"kernels_neon": []}
ALL_PATHS = {*X86_FLAGS, *ARM_FLAGS}


def target_flags() -> dict[str, list[str]]:
    """Flags of the kernel files that the target machine can run."""
    machine = os.environ.get("_PYTHON_HOST_PLATFORM") or platform.machine()
    # A build for macOS may be for another machine than the one it runs on (but not for two).
    machine = os.environ.get("ARCHFLAGS", machine).lower()
    if any(name in machine for name in ("x86_64", "amd64")):
        return X86_FLAGS
    if any(name in machine for name in ("aarch64", "arm64")):
        return ARM_FLAGS
    return {}


def switched_on(name: str) -> bool:
    """True if an environment variable is set to something other than 0."""
    return os.environ.get(name, "0") not in ("", "0")


def development_flags() -> tuple[list[str], list[str]]:
    """Compiler and linker flags that the environment asks for."""
    compile_flags: list[str] = []
    link_flags: list[str] = []
    if switched_on("UHN_DEBUG"):
        compile_flags += ["-O1", "-g", "-UNDEBUG", "-fno-omit-frame-pointer"]
    if switched_on("UHN_COVERAGE"):
        compile_flags += ["-O0", "-g", "--coverage", "-fprofile-update=atomic"]
        link_flags += ["--coverage"]
    sanitizers = [name for name in os.environ.get("UHN_SANITIZE", "").split(",") if name]
    for name in sanitizers:
        if name not in ("address", "undefined", "thread"):
            raise SystemExit(f"UHN_SANITIZE: {name!r} is not one of address, undefined, thread")
    if sanitizers:
        joined = f"-fsanitize={','.join(sanitizers)}"
        compile_flags += ["-O1", "-g", joined, "-fno-omit-frame-pointer"]
        link_flags += [joined]
        if "undefined" in sanitizers:
            compile_flags += ["-fno-sanitize-recover=undefined"]
    if switched_on("UHN_WERROR"):
        compile_flags += ["-Werror"]
    return compile_flags, link_flags


class BuildExt(build_ext):
    """Compiles with flags of its own for each kernel file, and several files at once."""

    def build_extension(self, ext: Extension) -> None:
        flags = target_flags()
        compiler = self.compiler
        command = shlex.split(os.environ.get("CC", "")) or compiler.compiler_so[:1]
        version = subprocess.run(
            [*command, "--version"], capture_output=True, text=True, check=False
        ).stdout.lower()
        if "kernels_avx512" in flags and "clang" not in version:
            wide = "-mprefer-vector-width=512"
            flags = {
                name: [*own, wide] if "avx512" in name else own for name, own in flags.items()
            }

        compile_one = compiler._compile

        def compile_with_flags(
            obj: str, src: str, ext_: str, cc_args: Any, extra: Any, pp_opts: Any
        ) -> None:
            compile_one(
                obj, src, ext_, cc_args, [*extra, *flags.get(Path(src).stem, [])], pp_opts
            )

        def compile_all(
            sources: list[str],
            output_dir: str | None = None,
            macros: Any = None,
            include_dirs: Any = None,
            debug: bool = False,
            extra_preargs: Any = None,
            extra_postargs: Any = None,
            depends: Any = None,
        ) -> list[str]:
            macros, objects, extra_postargs, pp_opts, build = compiler._setup_compile(
                output_dir, macros, include_dirs, sources, depends, extra_postargs
            )
            cc_args = compiler._get_cc_args(pp_opts, debug, extra_preargs)
            # The kernels take longest: they go first.
            order = sorted(build, key=lambda obj: "kernels" not in obj)
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                jobs = [
                    pool.submit(
                        compile_with_flags, obj, *build[obj], cc_args, extra_postargs, pp_opts
                    )
                    for obj in order
                ]
                for job in jobs:
                    job.result()
            return objects

        compiler.compile = compile_all
        super().build_extension(ext)


def extension() -> Extension:
    """The one extension module: the core and the binding."""
    skipped = ALL_PATHS - set(target_flags())
    sources = [
        path.relative_to(ROOT).as_posix()
        for folder in (ROOT / CSRC, ROOT / CSRC / "python")
        for path in sorted(folder.glob("*.c"))
        if path.stem not in skipped
    ]
    depends = [
        path.relative_to(ROOT).as_posix()
        for pattern in ("*.h", "*.def", "python/*.h")
        for path in sorted((ROOT / CSRC).glob(pattern))
    ]
    compile_flags, link_flags = development_flags()
    return Extension(
        "uhn._core",
        sources=sources,
        depends=[*depends, "setup.py"],
        include_dirs=[np.get_include()],
        define_macros=[
            ("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION"),
            ("NPY_TARGET_VERSION", "NPY_2_0_API_VERSION"),
        ],
        extra_compile_args=[
            "-std=c11",
            *([] if "-O" in os.environ.get("CFLAGS", "") else ["-O3"]),
            "-ffp-contract=off",
            "-fno-math-errno",
            "-fvisibility=hidden",
            "-pthread",
            "-Wall",
            "-Wextra",
            *compile_flags,
        ],
        extra_link_args=["-pthread", *link_flags],
        libraries=["m"],
    )


setup(ext_modules=[extension()], cmdclass={"build_ext": BuildExt})
