"""
Measure everything and print one table of ratios.

    make bench
    make bench BENCH="--rounds 5 --stored 10000000"

Each round takes every figure once, one right after the other, and each ratio is of figures of one
round: a machine whose speed drifts slows both sides alike. Medians of the rounds are printed.
"""

import json
import statistics
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks import figures, walk
from benchmarks.deployment import Databases, serving
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
    "uniform / no-op": ("uniform", "no-op", 0.60),
    "hot / pgbench hot": ("hot", "pgbench hot", 1.5),
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


def main(
    *,
    rounds: Annotated[int, typer.Option(min=1)] = 5,
    scale: Annotated[float, typer.Option(help="Multiplies how much is sent.")] = 1.0,
    stored: Annotated[int, typer.Option(help="Transactions stored for the last part.")] = 10**7,
    soak_minutes: Annotated[float, typer.Option(help="How long to watch a worker's memory.")] = 0,
    output: Annotated[Path, typer.Option(help="Where JSON and plots go.")] = Path("var/bench"),
) -> None:
    """Measure the wallet."""
    output.mkdir(parents=True, exist_ok=True)
    console = Console()
    console.print(f"load by {generator()}, {rounds} rounds")
    report: Report = {"generator": generator(), "rounds": rounds, "scale": scale}
    with (
        tempfile.TemporaryDirectory(prefix="wallet-bench-") as name,
        Progress(console=console) as progress,
    ):
        databases = Databases(Path(name))
        bench = Bench(databases, Path(name), scale)
        try:
            measured = _rounds(bench, rounds, progress)
            report |= {"figures": measured, "ratios": _ratios(measured)}
            report |= _sweep(bench, output, progress)
            if stored:
                report |= _stored(bench, stored, output, progress) | {"walk": _walk(bench)}
            if soak_minutes:
                report |= _soak(bench, soak_minutes, output)
        finally:
            databases.close()
            (output / "figures.json").write_text(json.dumps(report, indent=2))
    console.print(_table(measured))
    console.print(_ratio_table(report))
    if "walk" in report:
        console.print("walk", report["walk"])
    if "soak" in report:
        console.print(_soak_table(report["soak"]))


def _rounds(bench: Bench, rounds: int, progress: Progress) -> list[Figures]:
    parts = figures.PARTS
    task = progress.add_task("rounds", total=rounds * len(parts))
    measured: list[Figures] = []
    for _ in range(rounds):
        found: Figures = {}
        for part in parts:
            found |= part(bench)
            progress.advance(task)
        measured.append(found)
    return measured


def _sweep(bench: Bench, output: Path, progress: Progress) -> Report:
    task = progress.add_task("callers", total=len(_CALLERS))
    points = {}
    with bench.databases.opened("postgresql") as url, serving(bench.directory, url) as server:
        for callers in _CALLERS:
            points[callers] = figures.transfers(bench, server, callers=callers)
            progress.advance(task)
    plot_concurrency(output / "concurrency.png", points)
    return {"concurrency": {callers: each._asdict() for callers, each in points.items()}}


def _stored(bench: Bench, stored: int, output: Path, progress: Progress) -> Report:
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
            progress.advance(task)
        filler.close()
        for _ in range(5):
            speeds = []
            for url in (full, empty):
                with serving(bench.directory, url) as server:
                    speeds.append(figures.transfers(bench, server).per_s)
            loaded.append(speeds[0] / speeds[1])
            progress.advance(task)
    plot_stored(output / "stored.png", points)
    return {"stored": points, "loaded": loaded}


def _walk(bench: Bench) -> Figures:
    """Measure the pages of a very long history."""
    with bench.databases.opened("postgresql") as url:
        walk.fill(url, _LONG_HISTORY)
        with serving(bench.directory, url) as server:
            return walk.walk(server, _LONG_HISTORY)


def _soak(bench: Bench, minutes: float, output: Path) -> Report:
    with bench.databases.opened("postgresql") as url, serving(bench.directory, url) as server:
        samples = soak(bench, server, minutes)
    plot_soak(output / "soak.png", samples)
    return {"soak": [sample._asdict() for sample in samples]}


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
    bars = {name: bar for name, (_, _, bar) in RATIOS.items()}
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
