"""The command line: ``python -m uhn capacity | reproduce | theory | info | verify | ...``."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import uhn
import uhn.io

__all__ = ["main"]

_DEFAULTS = {"similarity": ("gaussian", "max"), "separation": ("mask", "manhattan")}


def _list(convert: Callable[[str], Any], what: str) -> Callable[[str], list[Any]]:
    """An argparse type for values separated by commas."""

    def parse(text: str) -> list[Any]:
        try:
            return [convert(part.strip()) for part in text.split(",") if part.strip()]
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no list of {what}") from None

    return parse


def _parser() -> argparse.ArgumentParser:
    from uhn import datasets

    parser = argparse.ArgumentParser(
        prog="python -m uhn", description="uhn: associative memories as one equation."
    )
    parser.add_argument("--version", action="version", version=f"uhn {uhn.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    info = commands.add_parser(
        "info",
        help="version, processor, the tables, data sets and experiments; or what a file holds",
    )
    info.add_argument("file", nargs="?", metavar="FILE", help="a memory (*.uhn.safetensors)")
    info.add_argument("--json", action="store_true", help="print JSON instead of text")
    info.set_defaults(run=_info)

    capacity = commands.add_parser(
        "capacity",
        help="how many images can be stored before retrieval fails: table, CSV and plot",
        description="Stores growing numbers of images, asks for each with a damaged copy of "
        "it, and counts how many come back: by threshold on the squared error, and by index "
        "(the stored image nearest to the answer is the right one). Prints a table, writes "
        "JSON Lines, a CSV and a plot. Stopped and called again, it goes on from the last "
        "finished row.",
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
    _add_data(capacity)
    add("--split", choices=("train", "test"), default="train")
    add(
        "--grey",
        choices=datasets.GREY,
        default="replicate",
        help="what becomes of Tiny ImageNet's single-channel images (default: replicate)",
    )
    add(
        "--corruption",
        metavar="KIND",
        help="gaussian, mask, random-mask, inpaint, flip, permute-channels, with a level after "
        "a colon, one after another with +: mask:0.3+gaussian:0.1 (default: gaussian:0.5, or "
        "mask:0.5 for separations)",
    )
    add(
        "--level",
        type=float,
        metavar="X",
        help="level of the corruption: standard deviation, or fraction (default 0.5)",
    )
    add(
        "--sizes",
        type=_list(int, "whole numbers"),
        metavar="N,N,...",
        help="numbers of stored images (default 2,5,10,20,50,100,200,300,500,700,1000)",
    )
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
        "--criterion",
        choices=("both", "threshold", "index"),
        default="both",
        help="what the table and the plot show (the files have both)",
    )
    add(
        "--out",
        metavar="DIR/PREFIX",
        help="where to write PREFIX.jsonl, .csv and .png (default ./capacity-DATASET-VARY)",
    )
    add("--no-plot", action="store_true", help="write no PNG")
    _add_running(capacity, shared=False)
    capacity.set_defaults(run=_capacity)

    reproduce = commands.add_parser(
        "reproduce",
        help="the experiments of Millidge et al. 2022, as published and as the formulas say",
        description="Runs experiments of the paper again and writes JSON Lines, CSV, PNG, SVG "
        "and one self-contained HTML report. Stopped and called again, it goes on from the "
        "last finished row.",
    )
    add = reproduce.add_argument
    add(
        "experiments",
        nargs="*",
        metavar="EXPERIMENT",
        help="similarity, separation, noise, masking, random-mask, inpaint, threshold, hetero, "
        "reconstructions, or all (default)",
    )
    _add_data(reproduce)
    add(
        "--procedure",
        choices=("published", "clean", "both"),
        default="both",
        help="as the published code decides, defects included; as the formulas say; or both",
    )
    add("--out", metavar="DIR", help="where to write (default ./reproduce-DATASET)")
    _add_running(reproduce)
    reproduce.set_defaults(run=_reproduce)

    verify = commands.add_parser(
        "verify",
        help="check all of memories in files: headers, checksums, numbers",
        description="Reads all of each file. The exit status is 0 if all are good, 1 if one is "
        "damaged, 2 if one cannot be opened.",
    )
    verify.add_argument("files", nargs="+", metavar="FILE")
    _add_output(verify)
    verify.set_defaults(run=_verify)

    _add_convert(commands)

    theory = commands.add_parser(
        "theory",
        help="classical laws of capacity: simulations over theory",
        description="Simulates the memories whose capacity theory knows, and writes table, "
        "JSON Lines, CSV and a figure of both.",
    )
    add = theory.add_argument
    add("studies", nargs="*", metavar="STUDY", help="all by default; --list names them")
    add("--list", action="store_true", help="name the studies")
    add("--quick", action="store_true", help="small sizes, some ten seconds")
    add("--out", metavar="DIR", default="theory", help="where to write (default ./theory)")
    _add_running(theory, runs=False)
    theory.set_defaults(run=_theory)
    return parser


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    parser.add_argument(
        "--progress", action="store_true", help="show progress even if stderr is no terminal"
    )


def _add_convert(commands: Any) -> None:
    convert = commands.add_parser(
        "convert",
        help="numbers of a .npy, .npz, .csv or .safetensors file to a memory, or back",
        description="The endings say what SOURCE and DEST are; a memory is *.uhn.safetensors. "
        "Files larger than RAM are read and written in pieces.",
        epilog="A memory made from a memory has its keywords where none are given.",
    )
    add = convert.add_argument
    add("source", metavar="SOURCE")
    add("destination", metavar="DEST")
    add(
        "--array",
        metavar="NAME",
        help="patterns in a .npz or .safetensors (default: 'patterns', or the only one); or "
        "what of a memory to write: patterns (default), values or prior",
    )
    add("--values", metavar="NAME", help="values: a name in SOURCE, or a file of its kind")
    add("--prior", metavar="NAME", help="prior weights, likewise")
    add("--dtype", choices=("float32", "float64"), help="(default: that of SOURCE)")
    add("--skip", type=int, default=0, metavar="N", help="leave out N lines of a .csv")
    for name, kinds in uhn.io._KEYWORDS.items():
        flag = "--" + name.replace("_", "-")
        if bool in kinds:
            add(flag, action=argparse.BooleanOptionalAction, default=None)
        else:
            add(flag, type=float if float in kinds else kinds[0], default=None, metavar="X")
    _add_output(convert)
    convert.set_defaults(run=_convert)


def _add_data(parser: argparse.ArgumentParser) -> None:
    from uhn import datasets

    parser.add_argument(
        "--dataset",
        default="glyphs",
        metavar="NAME",
        help=", ".join(datasets.NAMES) + " (default glyphs, which is embedded)",
    )
    parser.add_argument(
        "--download",
        action="store_true",
        help="fetch the data set's files if they are not there (extra 'data'); see its terms",
    )
    parser.add_argument(
        "--data",
        metavar="DIR",
        help="where the data set's files are (default: $UHN_DATA, ./shared/data, "
        "../shared/data)",
    )


def _add_running(
    parser: argparse.ArgumentParser, *, runs: bool = True, shared: bool = True
) -> None:
    """Options of commands that run for a while. What is `shared` among processes by default has
    cells in plenty, much of whose time is not in the core's threads."""
    add = parser.add_argument
    # Each process has its own copy of the images.
    n_workers = min(uhn.get_num_threads(), 4) if shared else 1
    if runs:
        add(
            "--runs",
            type=int,
            default=5,
            metavar="N",
            help="runs on disjoint images (default 5)",
        )
    add("--seed", type=int, default=0, metavar="N")
    add(
        "--workers",
        type=int,
        default=n_workers,
        metavar="N",
        help=f"processes (default {n_workers})",
    )
    add(
        "--threads",
        type=int,
        metavar="N",
        help="threads to use (default: all, or UHN_NUM_THREADS)",
    )
    add("--fresh", action="store_true", help="compute all again: delete the rows of before")
    add("--json", action="store_true", help="print JSON instead of text")
    add("--progress", action="store_true", help="show progress even if stderr is no terminal")


def _check_running(options: argparse.Namespace) -> None:
    """What can be wrong with the shared arguments is found before a file is read or made."""
    for name in ("runs", "workers", "threads"):
        value = getattr(options, name, None)
        if value is not None and value < 1:
            raise ValueError(f"--{name} must be at least 1, not {value}")
    if options.seed < 0:
        raise ValueError(f"--seed must be at least 0, not {options.seed}")
    if options.threads is not None:
        uhn.set_num_threads(options.threads)


def _check_dataset(name: str) -> None:
    from uhn import datasets

    if name not in datasets.NAMES:
        raise ValueError(f"unknown data set {name!r}; there are: {', '.join(datasets.NAMES)}")


def _stopped(path: Path | None) -> int:
    """Says what Ctrl-C left in the file of a command that keeps its rows."""
    n = path.read_bytes().count(b"\n") if path and path.exists() else 0
    kept = f"{path} has the {n} finished rows; the same command goes on from there"
    print(f"stopped; {kept if n else 'nothing was finished'}", file=sys.stderr)
    return 130


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
    from uhn.experiments import capacity, corruption
    from uhn.experiments.capacity import SIZES
    from uhn.experiments.clean import SEPARATIONS, SIMILARITIES, equation

    kind, fixed = _DEFAULTS[options.vary]
    damage = corruption(options.corruption or kind)
    if options.level is not None:
        damage = damage.at(options.level)
    similarities: Sequence[str] = options.similarities or SIMILARITIES
    separations: Sequence[str] = options.separations or SEPARATIONS
    if options.vary == "similarity":
        separations = options.separations or (fixed,)
    else:
        similarities = options.similarities or (fixed,)
    sizes = options.sizes or SIZES

    _check_running(options)
    for similarity in similarities:
        equation(similarity)
    for separation in separations:
        equation(similarities[0], separation)
    _check_dataset(options.dataset)
    if min(sizes) < 1:
        raise ValueError(f"--sizes must be at least 1, not {min(sizes)}")
    try:
        data = datasets.load(
            options.dataset,
            data_dir=options.data,
            n_images=options.runs * max(sizes),
            split=options.split,
            grey=options.grey,
            download=options.download,
        )
    except datasets.TooFewImagesError as error:
        raise ValueError(
            f"{error}; --runs {options.runs} takes as many sets of {max(sizes)} images: take "
            "fewer runs or smaller --sizes"
        ) from None
    prefix = _prefix(options.out, f"capacity-{options.dataset}-{options.vary}")
    jsonl, csv, png = (
        prefix.with_name(prefix.name + end) for end in (".jsonl", ".csv", ".png")
    )
    if options.fresh:
        jsonl.unlink(missing_ok=True)

    options.rows = jsonl
    started = time.monotonic()
    result = capacity(
        data,
        similarities=similarities,
        separations=separations,
        sizes=sizes,
        corruption=damage,
        n_runs=options.runs,
        seed=options.seed,
        criterion=options.criterion,
        threshold=options.threshold,
        out=jsonl,
        n_workers=options.workers,
        progress=True if options.progress else None,
    )
    seconds = time.monotonic() - started

    result.to_csv(csv)
    written = {"jsonl": str(jsonl), "csv": str(csv)}
    if not options.no_plot:
        try:
            result.plot(png)
        except ImportError as error:
            print(f"no plot: {error}", file=sys.stderr)
        else:
            written["png"] = str(png)
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
        print(f"{seconds:.1f} s; wrote {', '.join(written.values())}")
    return 0


def _reproduce(options: argparse.Namespace) -> int:
    from uhn.experiments import EXPERIMENTS, reproduce

    names = options.experiments or ["all"]
    for name in names:
        if name not in (*EXPERIMENTS, "all"):
            there = ", ".join((*EXPERIMENTS, "all"))
            raise ValueError(f"unknown experiment {name!r}; there are: {there}")
    _check_running(options)
    _check_dataset(options.dataset)
    out = Path(options.out or f"reproduce-{options.dataset}")
    if options.fresh:
        (out / "results.jsonl").unlink(missing_ok=True)

    options.rows = out / "results.jsonl"
    started = time.monotonic()
    again = reproduce(
        names,
        dataset=options.dataset,
        procedure=options.procedure,
        out=out,
        n_runs=options.runs,
        seed=options.seed,
        n_workers=options.workers,
        progress=True if options.progress else None,
        data_dir=options.data,
        download=options.download,
    )
    again.settings["command"] = shlex.join(["python", "-m", "uhn", *options.arguments])
    written = [str(path) for path in again.write(out)]
    seconds = time.monotonic() - started
    if options.json:
        document = {
            "dataset": again.dataset.name,
            "note": again.dataset.note,
            "source": again.dataset.source,
            "terms": again.dataset.terms,
            "results": {name: result.to_dict() for name, result in again.results.items()},
            "differences": [vars(difference) for difference in again.differences],
            "seconds": round(seconds, 3),
            "version": uhn.__version__,
            "files": [str(out / "results.jsonl"), *written],
        }
        print(json.dumps(document, indent=1))
        return 0
    for result in again.results.values():
        print(f"== {result.experiment}\n{result.table()}\n")
    for one in again.differences:
        print(f"{one.name}: published {one.published:.4g}, clean {one.clean:.4g} ({one.unit})")
    n = len(written) + 1
    print(f"{seconds:.1f} s; wrote {n} files to {out}: see {out / 'report.html'}")
    return 0


def _theory(options: argparse.Namespace) -> int:
    from uhn.experiments import STUDIES, simulate

    if options.list:
        width = max(map(len, STUDIES))
        for name, line in STUDIES.items():
            print(f"{name.ljust(width)}  {line}")
        return 0
    for name in options.studies:
        if name not in STUDIES:
            raise ValueError(f"unknown study {name!r}; there are: {', '.join(STUDIES)}")
    _check_running(options)
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    jsonl = out / ("quick.jsonl" if options.quick else "theory.jsonl")
    if options.fresh:
        jsonl.unlink(missing_ok=True)

    options.rows = jsonl
    started = time.monotonic()
    simulations = simulate(
        options.studies or None,
        quick=options.quick,
        seed=options.seed,
        out=jsonl,
        n_workers=options.workers,
        progress=True if options.progress else None,
    )
    seconds = time.monotonic() - started
    csv = jsonl.with_suffix(".csv")
    simulations.to_csv(csv)
    written = [str(jsonl), str(csv)]
    try:
        for end in (".png", ".svg"):
            simulations.plot(jsonl.with_suffix(end))
            written.append(str(jsonl.with_suffix(end)))
    except ImportError as error:
        print(f"no plot: {error}", file=sys.stderr)
    if options.json:
        rows = [vars(row) for row in simulations.rows]
        print(
            json.dumps({"rows": rows, "files": written, "version": uhn.__version__}, indent=1)
        )
        return 0
    for name in simulations.names:
        print(simulations.table(name) + "\n")
    print(f"{seconds:.1f} s; wrote {', '.join(written)}")
    return 0


def _bytes(n: float) -> str:
    units = ["bytes", "KB", "MB", "GB", "TB"]
    while n >= 999.95 and len(units) > 1:
        n /= 1000
        del units[0]
    return f"{n:.0f} bytes" if units[0] == "bytes" else f"{n:.1f} {units[0]}"


def _describe(said: dict[str, Any]) -> None:
    print(f"{said['path']}: {_bytes(said['n_bytes'])}")
    print(f"format {said['format_version']}, written by uhn {said['library_version']}")
    print(", ".join(f"{name}={value!r}" for name, value in said["keywords"].items()))
    if not said["tensors"]:
        print("an empty memory")
    for name, tensor in said["tensors"].items():
        shape = " x ".join(map("{:,}".format, tensor["shape"]))
        print(
            f"{name.ljust(8)}  {shape} {said['dtype']}, {_bytes(tensor['n_bytes'])} at byte "
            f"{tensor['offset']}, SHA-256 {tensor['sha256']}"
        )
    if records := said["records"]:
        print(
            f"records   of a living memory, {_bytes(records['n_bytes'])} at byte "
            f"{records['offset']}, SHA-256 {records['sha256']}"
        )


def _info_file(options: argparse.Namespace) -> int:
    try:
        said = uhn.io.describe(options.file)
    except ValueError as error:
        return _bad_file(options, error)
    if options.json:
        print(json.dumps(said, indent=1))
    else:
        _describe(said)
    return 0


def _bad_file(options: argparse.Namespace, error: ValueError) -> int:
    """The arguments were good; what they name is not."""
    print(f"python -m uhn {options.command}: error: {error}", file=sys.stderr)
    return 1


def _verify(options: argparse.Namespace) -> int:
    from uhn.experiments.running import _bar

    rows: list[dict[str, Any]] = []
    statuses = set()
    for path in options.files:
        started = time.monotonic()
        problem = None
        try:
            with _bar(True if options.progress else None, path) as advance:
                uhn.io.verify(path, on_progress=_steps(advance))
        except ValueError as error:
            problem = str(error)
            statuses.add(1)
        except OSError as error:
            problem = f"{path}: {error.strerror or error}"
            statuses.add(2 if isinstance(error, FileNotFoundError) else 1)
        seconds = round(time.monotonic() - started, 3)
        rows.append({"path": path, "good": problem is None, "problem": problem})
        rows[-1]["seconds"] = seconds
        if not options.json:
            print(problem or f"{path}: good", flush=True)
    if options.json:
        print(json.dumps(rows, indent=1))
    return min(statuses, default=0)


def _steps(advance: Callable[[float], object]) -> Callable[[float], None]:
    """From the fraction that is done to what was done since the last time."""
    last = 0.0

    def on_progress(done: float) -> None:
        nonlocal last
        advance(done - last)
        last = done

    return on_progress


def _convert(options: argparse.Namespace) -> int:
    from uhn.convert import FileError, convert
    from uhn.experiments.running import _bar

    given = {name: getattr(options, name) for name in uhn.io._KEYWORDS}
    keywords = {name: value for name, value in given.items() if value is not None}
    started = time.monotonic()
    try:
        with _bar(True if options.progress else None, options.destination) as advance:
            said = convert(
                options.source,
                options.destination,
                array=options.array,
                values=options.values,
                prior=options.prior,
                dtype=options.dtype,
                skip=options.skip,
                on_progress=_steps(advance),
                **keywords,
            )
    except FileError as error:
        return _bad_file(options, error)
    seconds = time.monotonic() - started
    if options.json:
        print(json.dumps({**said, "seconds": round(seconds, 3)}, indent=1))
    elif "keywords" in said:
        _describe(said)
    else:
        arrays = "; ".join(
            f"{name} {' x '.join(map('{:,}'.format, shape))}"
            for name, shape in said["arrays"].items()
        )
        print(f"{said['path']}: {_bytes(said['n_bytes'])}, {said['dtype']}, {arrays}")
    return 0


def _info(options: argparse.Namespace) -> int:
    from uhn import datasets
    from uhn.experiments import EXPERIMENTS, STUDIES

    if options.file is not None:
        return _info_file(options)
    cpu = uhn.cpu_info()
    tables = {
        "similarities": uhn.similarities(),
        "separations": uhn.separations(),
        "datasets": {name: line for name, (line, _) in datasets.describe().items()},
        "experiments": EXPERIMENTS,
        "studies": STUDIES,
    }
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
    options.arguments = sys.argv[1:] if arguments is None else list(arguments)
    try:
        status: int = options.run(options)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return _stopped(getattr(options, "rows", None))
    except BrokenPipeError:
        # The reader of stdout has left. Nothing more can be said to it, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, FileNotFoundError) as error:
        print(f"python -m uhn {options.command}: error: {error}", file=sys.stderr)
        return 2
    except (OSError, ImportError, RuntimeError) as error:
        print(f"python -m uhn {options.command}: error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    raise SystemExit(main())
