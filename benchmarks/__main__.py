"""
Measure everything and print one table of ratios.

    make bench
    make bench BENCH="--rounds 5 --stored 10000000"

Each round takes every figure once, one right after the other, and each ratio is of figures of one
round: a machine whose speed drifts slows both sides alike. Medians of the rounds are printed.
"""

import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress, TaskID
from rich.table import Table

from benchmarks import figures, walk
from benchmarks.deployment import POSTGRES_SETTINGS, Databases, serving
from benchmarks.drive import generator
from benchmarks.figures import Bench, Figures
from benchmarks.plots import plot_concurrency, plot_soak, plot_stored
from benchmarks.soak import soak
from benchmarks.stored import Filler

_LONG_HISTORY = 1_000_000
_SOAK_PARTS = 12
_CALLERS = (1, 2, 4, 8, 16, 32, 64, 128, 256)

#: What is compared, and how much it should be at least (or at most, where it is negative).
RATIOS = {
    "uniform / one transaction a request": ("uniform", "uniform single", 2.2),
    "hot / one transaction a request": ("hot", "hot single", 4.0),
    "merchant / one transaction a request": ("merchant", "merchant single", None),
    "hot / uniform": ("hot", "uniform", 0.85),
    "uniform / 16 transactions at a time": ("uniform", "uniform parallel", None),
    "hot / 16 transactions at a time": ("hot", "hot parallel", None),
    "uniform / no-op": ("uniform", "no-op", 0.60),
    "hot / pgbench hot": ("hot", "pgbench hot", 1.5),
    "hot / pgbench hot, 2 clients": ("hot", "pgbench hot 2 clients", None),
    "uniform / pgbench uniform": ("uniform", "pgbench uniform", None),
    "batch of 1000 / uniform": ("batch 1000", "uniform", 4.0),
    "batch of 1000 / bulk limit": ("batch 1000", "bulk limit", 0.65),
    "coalescing client / plain client": ("client coalescing", "client plain", 3.0),
    "GetBalance / no-op": ("balance", "no-op", 0.65),
    "SQLite uniform / PostgreSQL uniform": ("sqlite uniform", "uniform", 1.0),
    "unloaded Transfer / (fsync + no-op)": ("unloaded ms", "fsync + no-op ms", -3.0),
}


#: What is written to the disk as JSON, by part.
Report = dict[str, Any]

_UNITS = "calls a second, in batches and by clients transfers, unless a name ends in s, ms or MiB"


def main(
    *,
    rounds: Annotated[int, typer.Option(min=1)] = 5,
    scale: Annotated[float, typer.Option(min=0.01, help="Multiplies how much is sent.")] = 1.0,
    stored: Annotated[
        int, typer.Option(min=0, help="Transactions stored for the last part; 0: without it.")
    ] = 10**7,
    soak_minutes: Annotated[
        float, typer.Option(min=0, help="How long to watch a worker's memory.")
    ] = 0,
    output: Annotated[Path, typer.Option(file_okay=False, help="Where JSON and plots go.")] = Path(
        "var/bench"
    ),
) -> None:
    """Measure the wallet."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))  # ends what was started
    output.mkdir(parents=True, exist_ok=True)
    console = Console()
    console.print(f"load by {generator()}, {rounds} rounds")
    report: Report = {
        "environment": _environment(),
        "rounds": rounds,
        "scale": scale,
        "units": _UNITS,
        "bars": {name: bar for name, (_, _, bar) in RATIOS.items()},
    }
    unfinished = output / "unfinished.json"
    with (
        tempfile.TemporaryDirectory(prefix="wallet-bench-") as name,
        Databases(Path(name)) as databases,
        Progress(console=console) as progress,
    ):
        bench = Bench(databases, Path(name), scale)
        measured: list[Figures] = []
        task = progress.add_task("rounds", total=rounds * len(figures.PARTS))
        for number in range(1, rounds + 1):
            measured.append(_round(bench, progress, task, number))
            report |= {"figures": measured, "ratios": _ratios(measured)}
            unfinished.write_text(json.dumps(report, indent=2))
        report |= _sweep(bench, progress)
        if stored:
            report |= _stored(bench, stored, progress) | {"walk": _walk(bench)}
        if soak_minutes:
            report |= _soak(bench, soak_minutes)
    _draw(report, output)
    unfinished.write_text(json.dumps(report, indent=2))
    unfinished.replace(output / "figures.json")
    console.print(_table(measured))
    console.print(_ratio_table(report))
    if "walk" in report:
        console.print("walk", report["walk"])
    if "soak" in report:
        console.print(_soak_table(report["soak"]))


def _environment() -> dict[str, Any]:
    """Tell what was measured, when and where."""
    command = ["git", "describe", "--always", "--dirty"]
    version = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "version": version or "unknown",
        "python": platform.python_version(),
        "processors": os.cpu_count(),
        "postgresql": POSTGRES_SETTINGS,
        "generator": generator(),
        "callers": figures.CALLERS,
        "pgbench clients": figures.PGBENCH_CLIENTS,
    }


def _advance(progress: Progress, task: TaskID, what: str) -> None:
    """Show that a part is done: as a line where there is no terminal."""
    progress.advance(task)
    if not progress.console.is_terminal:
        print(f"done: {what}", flush=True)


def _round(bench: Bench, progress: Progress, task: TaskID, number: int) -> Figures:
    found: Figures = {}
    for part in figures.PARTS:
        found |= part(bench)
        _advance(progress, task, f"round {number}, {part.__name__}")
    return found


def _sweep(bench: Bench, progress: Progress) -> Report:
    task = progress.add_task("callers", total=len(_CALLERS))
    points = {}
    with bench.databases.opened("postgresql") as url, serving(bench.directory, url) as server:
        for callers in _CALLERS:
            points[callers] = figures.transfers(bench, server, callers=callers)._asdict()
            _advance(progress, task, f"{callers} callers")
    return {"concurrency": points}


def _stored(bench: Bench, stored: int, progress: Progress) -> Report:
    """Measure while a database fills; at the end in turn with an empty one, for the ratio."""
    steps = [stored * part // 4 for part in range(5)]
    task = progress.add_task("stored", total=len(steps) + 5)
    points = {}
    loaded = []
    with (
        bench.databases.opened("postgresql") as full,
        bench.databases.opened("postgresql") as empty,
    ):
        filler = Filler(full)
        for step in steps:
            filler.fill(step)
            with serving(bench.directory, full) as server:
                points[step] = figures.transfers(bench, server).per_s
            _advance(progress, task, f"{step} transactions stored")
        filler.close()
        for number in range(1, 6):
            speeds = []
            for url in (full, empty):
                with serving(bench.directory, url) as server:
                    speeds.append(figures.transfers(bench, server).per_s)
            loaded.append(speeds[0] / speeds[1])
            _advance(progress, task, f"full and empty, {number}")
    return {"stored": points, "loaded": loaded}


def _walk(bench: Bench) -> Figures:
    """Measure the pages of a very long history."""
    with bench.databases.opened("postgresql") as url:
        walk.fill(url, _LONG_HISTORY)
        with serving(bench.directory, url) as server:
            return walk.walk(server, _LONG_HISTORY)


def _soak(bench: Bench, minutes: float) -> Report:
    with bench.databases.opened("postgresql") as url, serving(bench.directory, url) as server:
        return {"soak": [sample._asdict() for sample in soak(bench, server, minutes)]}


def _draw(report: Report, output: Path) -> None:
    """Draw all there is to draw, and leave no plot of an earlier run beside it."""
    for part, draw in (
        ("concurrency", plot_concurrency),
        ("stored", plot_stored),
        ("soak", plot_soak),
    ):
        path = output / f"{part}.png"
        path.unlink(missing_ok=True)
        if part in report:
            draw(path, report[part])


def _ratios(measured: list[Figures]) -> dict[str, list[float]]:
    return {
        name: [each[above] / each[below] for each in measured]
        for name, (above, below, _) in RATIOS.items()
    }


def _table(measured: list[Figures]) -> Table:
    table = Table("figure", "median", "least", "most", title="Figures (this machine, this run)")
    for name in measured[0]:
        values = [each[name] for each in measured]
        row = (statistics.median(values), min(values), max(values))
        table.add_row(name, *(f"{value:,.2f}" for value in row))
    return table


def _ratio_table(report: Report) -> Table:
    table = Table("ratio", "median", "least", "most", "bar", title="Ratios within a round")
    ratios = dict(report["ratios"])
    bars = dict(report["bars"])
    if "loaded" in report:
        ratios["with all that is stored / empty"] = report["loaded"]
        bars["with all that is stored / empty"] = 0.9
    for name, values in ratios.items():
        bar = bars[name]
        text = "" if bar is None else f"≥ {bar}" if bar > 0 else f"≤ {-bar}"
        row = (statistics.median(values), min(values), max(values))
        table.add_row(name, *(f"{value:.2f}" for value in row), text)
    return table


def _soak_table(samples: list[dict[str, float]]) -> Table:
    table = Table("from minute", "to", "worker MiB", title="Memory under calls of all kinds")
    length = samples[-1]["minutes"] / _SOAK_PARTS
    for part in range(_SOAK_PARTS):
        start, end = part * length, (part + 1) * length
        inside = [each["worker_mib"] for each in samples if start < each["minutes"] <= end]
        if inside:
            table.add_row(f"{start:.1f}", f"{end:.1f}", f"{statistics.mean(inside):.1f}")
    return table


if __name__ == "__main__":
    typer.run(main)
