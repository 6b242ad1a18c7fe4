"""Plots of what was measured."""

from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.ticker import EngFormatter, ScalarFormatter

mpl.use("Agg")


def plot_concurrency(path: Path, points: dict[int, dict[str, float]]) -> None:
    """Draw throughput and latency percentiles against how many callers wait at a time."""
    figure, (speed, latency) = plt.subplots(2, sharex=True, figsize=(7, 7))
    callers = list(points)
    speed.plot(callers, [each["per_s"] for each in points.values()], marker="o")
    speed.set_ylabel("transfers a second")
    for name in ("p50_ms", "p95_ms", "p99_ms"):
        values = [each[name] for each in points.values()]
        latency.plot(callers, values, marker="o", label=name.removesuffix("_ms"))
    latency.set_ylabel("latency, ms")
    latency.set_xlabel("concurrent callers")
    latency.set_xscale("log", base=2)
    latency.xaxis.set_major_formatter(ScalarFormatter())
    speed.set_title("Transfers between 10,000 accounts, PostgreSQL")
    latency.legend()
    _save(figure, path)


def plot_stored(path: Path, points: dict[int, float]) -> None:
    """Draw throughput against how many transactions are stored."""
    figure, speed = plt.subplots(figsize=(7, 4))
    speed.plot(list(points), list(points.values()), marker="o")
    speed.set_title("Transfers between 10,000 accounts, PostgreSQL")
    speed.xaxis.set_major_formatter(EngFormatter())
    speed.set_xlabel("transactions stored")
    speed.set_ylabel("transfers a second")
    _save(figure, path)


def plot_soak(path: Path, samples: list[dict[str, float]]) -> None:
    """Draw a worker's memory over time."""
    figure, memory = plt.subplots(figsize=(7, 4))
    memory.plot([each["minutes"] for each in samples], [each["worker_mib"] for each in samples])
    memory.set_xlabel("minutes under load")
    memory.set_ylabel("memory of the worker, MiB")
    _save(figure, path)


def _save(figure: plt.Figure, path: Path) -> None:
    for axes in figure.axes:
        axes.set_ylim(bottom=0)
        axes.grid(visible=True, alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    plt.close(figure)
