"""The command line: ``python -m uhn capacity`` and ``python -m uhn info``."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import uhn

__all__ = ["main"]

_DEFAULTS = {"similarity": ("noise", "max"), "separation": ("mask", "manhattan")}


def _list(convert: Callable[[str], Any], what: str) -> Callable[[str], list[Any]]:
    """An argparse type for values separated by commas."""

    def parse(text: str) -> list[Any]:
        try:
            return [convert(part.strip()) for part in text.split(",") if part.strip()]
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no list of {what}") from None

    return parse


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m uhn", description="uhn: associative memories as one equation."
    )
    parser.add_argument("--version", action="version", version=f"uhn {uhn.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    info = commands.add_parser("info", help="version, processor, and the two tables")
    info.add_argument("--json", action="store_true", help="print JSON instead of text")
    info.set_defaults(run=_info)

    capacity = commands.add_parser(
        "capacity",
        help="how many images can be stored before retrieval fails: table, CSV and plot",
        description="Stores growing numbers of images, asks for each with a damaged copy of "
        "it, and counts how many come back: by threshold on the squared error, and by index "
        "(the stored image nearest to the answer is the right one). Prints a table, writes a "
        "CSV and a plot.",
        epilog="Everything has a default; the default data set is embedded.",
    )
    add = capacity.add_argument
    add(
        "--vary",
        choices=tuple(_DEFAULTS),
        default="similarity",
        help="what the curves differ in (default: similarity, with separation max and noise; "
        "separation: with 1/manhattan and a mask)",
    )
    add(
        "--dataset",
        default="glyphs",
        metavar="NAME",
        help="glyphs (embedded), mnist, fashion-mnist, cifar10, tiny-imagenet",
    )
    add("--split", choices=("train", "test"), default="train")
    add(
        "--data",
        metavar="DIR",
        help="where the data set's files are (default: $UHN_DATA, ./shared/data, "
        "../shared/data)",
    )
    add(
        "--corruption",
        choices=("noise", "mask"),
        help="default: noise, or mask for separations",
    )
    add(
        "--level",
        type=float,
        metavar="X",
        help="standard deviation of the noise, or fraction of rows masked (default 0.5)",
    )
    add(
        "--sizes",
        type=_list(int, "whole numbers"),
        metavar="N,N,...",
        help="numbers of stored images (default 2,5,10,20,50,100,200,300,500,700,1000)",
    )
    add("--runs", type=int, default=5, metavar="N", help="runs on disjoint images (default 5)")
    add("--seed", type=int, default=0, metavar="N")
    add(
        "--threshold",
        type=float,
        metavar="X",
        help="largest squared error that counts as correct (default 60 * 784 / values per "
        "image; for images of fewer than 784 values 60 * values / 784)",
    )
    add("--similarities", type=_list(str, "names"), metavar="A,B,...")
    add(
        "--separations",
        type=_list(str, "names"),
        metavar="A,B,...",
        help="with a parameter after a colon, as in polynomial:10,softmax:1000,topk:5",
    )
    add(
        "--out",
        metavar="DIR/PREFIX",
        help="where to write PREFIX.csv and PREFIX.png (default ./capacity-DATASET-VARY)",
    )
    add(
        "--threads",
        type=int,
        metavar="N",
        help="threads to use (default: all, or UHN_NUM_THREADS)",
    )
    add("--json", action="store_true", help="print JSON instead of the table")
    add("--no-plot", action="store_true", help="write no PNG")
    add("--progress", action="store_true", help="show progress even if stderr is no terminal")
    capacity.set_defaults(run=_capacity)
    return parser


class _Progress:
    """One line on stderr, rewritten in place, with the time left."""

    def __init__(self, shown: bool, unit: str = "capacity") -> None:
        self._shown = shown
        self._in_place = sys.stderr.isatty()
        self._unit = unit
        self._start = time.monotonic()
        self._last = -math.inf
        self._done = False
        self._width = 0

    def __call__(self, fraction: float, what: str) -> None:
        now = time.monotonic()
        # Four times a second in place; a line of a log file every five seconds.
        pause = 0.25 if self._in_place else 5.0
        if not self._shown or self._done or (now - self._last < pause and fraction < 1):
            return
        self._done = fraction >= 1
        self._last = now
        left = ""
        if 0.02 < fraction < 1:
            seconds = (now - self._start) * (1 - fraction) / fraction
            left = f", {_duration(seconds)} left"
        line = f"{self._unit}: {100 * fraction:3.0f} %{left}, {what}"
        if self._in_place:
            sys.stderr.write("\r" + line.ljust(self._width))
            self._width = len(line)
        else:
            sys.stderr.write(line + "\n")
        sys.stderr.flush()

    def clear(self) -> None:
        if self._shown and self._in_place and self._width:
            sys.stderr.write("\r" + " " * self._width + "\r")
            sys.stderr.flush()


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def _prefix(out: str | None, default: str) -> Path:
    """The path without ending that the files share."""
    if out is None:
        return Path(default)
    path = Path(out)
    if out.endswith(("/", "\\")) or path.is_dir():
        path = path / default
    return path


def _capacity(options: argparse.Namespace) -> int:
    from uhn import datasets
    from uhn.experiments import capacity
    from uhn.experiments.capacity import (
        SEPARATIONS,
        SIMILARITIES,
        SIZES,
        Row,
        RowWriter,
        equation,
    )

    corruption, fixed = _DEFAULTS[options.vary]
    corruption = options.corruption or corruption
    similarities: Sequence[str] = options.similarities or SIMILARITIES
    separations: Sequence[str] = options.separations or SEPARATIONS
    if options.vary == "similarity":
        separations = options.separations or (fixed,)
    else:
        similarities = options.similarities or (fixed,)
    sizes = options.sizes or SIZES
    level = 0.5 if options.level is None else options.level

    # What can be wrong with the arguments is found before a file is read or made.
    for similarity in similarities:
        equation(similarity)
    for separation in separations:
        equation(similarities[0], separation)
    if options.dataset not in datasets.NAMES:
        raise ValueError(
            f"unknown data set {options.dataset!r}; there are: {', '.join(datasets.NAMES)}"
        )
    if min(sizes) < 1:
        raise ValueError(f"--sizes must be at least 1, not {min(sizes)}")
    if options.runs < 1:
        raise ValueError(f"--runs must be at least 1, not {options.runs}")
    if options.threads is not None:
        if options.threads < 1:
            raise ValueError(f"--threads must be at least 1, not {options.threads}")
        uhn.set_num_threads(options.threads)
    try:
        data = datasets.load(
            options.dataset,
            data_dir=options.data,
            n_images=options.runs * max(sizes),
            split=options.split,
        )
    except datasets.TooFewImagesError as error:
        raise ValueError(
            f"{error}; --runs {options.runs} takes as many sets of {max(sizes)} images: take "
            "fewer runs or smaller --sizes"
        ) from None
    prefix = _prefix(options.out, f"capacity-{options.dataset}-{options.vary}")
    csv_path, png_path = (
        prefix.with_name(prefix.name + ".csv"),
        prefix.with_name(prefix.name + ".png"),
    )

    progress = _Progress(options.progress or sys.stderr.isatty())
    writer = None
    n_rows = 0

    def on_row(row: Row, fraction: float) -> None:
        # The file is made when there is something to keep: wrong arguments leave none behind.
        nonlocal writer, n_rows
        if writer is None:
            csv_path.parent.mkdir(parents=True, exist_ok=True)
            file = csv_path.open("w", newline="", encoding="utf-8")
            writer = RowWriter(stack.enter_context(file))
        writer.write(row)
        n_rows += 1
        progress(fraction, f"{row.n_patterns} patterns, run {row.run + 1}/{options.runs}")

    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        try:
            result = capacity(
                data,
                similarities=similarities,
                separations=separations,
                sizes=sizes,
                corruption=corruption,
                level=level,
                n_runs=options.runs,
                seed=options.seed,
                threshold=options.threshold,
                on_row=on_row,
            )
        except KeyboardInterrupt:
            progress.clear()
            kept = f"{csv_path} has the {n_rows} rows that were finished"
            print(f"stopped; {kept if n_rows else 'nothing was finished'}", file=sys.stderr)
            return 130
    progress.clear()
    seconds = time.monotonic() - started

    written = {"csv": str(csv_path)}
    if not options.no_plot:
        try:
            result.plot(png_path)
        except ImportError as error:
            print(f"no plot: {error}", file=sys.stderr)
        else:
            written["png"] = str(png_path)
    if options.json:
        document = {
            **result.to_dict(),
            "source": data.source,
            "terms": data.terms,
            "seconds": round(seconds, 3),
            "version": uhn.__version__,
            "files": written,
        }
        print(json.dumps(document, indent=1))
    else:
        print(result.table())
        print()
        print("; ".join(filter(None, (f"{data.name}: {data.source}", data.note, data.terms))))
        print(f"{seconds:.1f} s; wrote {' and '.join(written.values())}")
    return 0


def _info(options: argparse.Namespace) -> int:
    cpu = uhn.cpu_info()
    tables = {"similarities": uhn.similarities(), "separations": uhn.separations()}
    if options.json:
        print(json.dumps({"version": uhn.__version__, "cpu": cpu, **tables}, indent=1))
        return 0
    print(f"uhn {uhn.__version__}")
    for key, value in cpu.items():
        text = ", ".join(map(str, value)) if isinstance(value, (tuple, list)) else value
        if key != "version":
            print(f"{key}: {text}")
    for title, rows in tables.items():
        print(f"\n{title}")
        width = max(map(len, rows))
        for name, line in rows.items():
            print(f"  {name.ljust(width)}  {line}")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status.

    0: done. 1: something outside went wrong (a file, a missing package). 2: bad arguments. 130:
    interrupted, with the finished rows kept.
    """
    options = _parser().parse_args(arguments)
    try:
        status: int = options.run(options)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of stdout has left. Nothing more can be said to it, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, FileNotFoundError) as error:
        print(f"python -m uhn {options.command}: error: {error}", file=sys.stderr)
        return 2
    except (OSError, ImportError) as error:
        print(f"python -m uhn {options.command}: error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    raise SystemExit(main())
