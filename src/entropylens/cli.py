"""The command line: `entropylens run` executes notebooks, `entropylens build` publishes them.

Exit status: 0 done; 1 the work failed; 2 the request cannot be understood; 130 interrupted. Heavy modules are imported
inside the commands, so that `entropylens --help` answers at once.
"""

from __future__ import annotations

import importlib.util
import json
import locale
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from entropylens.bench import Contest, Measurement
    from entropylens.book.execute import Outcome
    from entropylens.book.project import Project
    from entropylens.results.publish import Order


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="entropylens")
def cli() -> None:
    """Two papers on transformers, taken apart claim by claim."""


@cli.command()
@click.argument("notebooks", nargs=-1, metavar="[NOTEBOOK]...")
@click.option("--profile", default="quick", show_default=True, help="quick (minutes) or full (what the book shows).")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@click.option("--jobs", type=int, default=None, help="Notebooks executed at a time.  [default: one per core]")
@click.option("-p", "parameters", multiple=True, metavar="NAME=VALUE", help="Set a notebook's parameter; repeatable.")
@click.option("--fresh", is_flag=True, help="Execute even what is current.")
@click.option("--cell-timeout", type=int, default=900, show_default=True, help="The most seconds one cell may take.")
def run(
    notebooks: tuple[str, ...],
    profile: str,
    device: str,
    jobs: int | None,
    parameters: tuple[str, ...],
    fresh: bool,
    cell_timeout: int,
) -> None:
    """Execute notebooks with papermill: all of them, or those named by path, stem or chapter number."""
    from entropylens.book.execute import cores
    from entropylens.book.execute import run as execute

    project = _project()
    jobs = cores() if jobs is None else jobs
    _at_least_one("--jobs", jobs)
    _at_least_one("--cell-timeout", cell_timeout)
    values = _parameters(project, notebooks, profile, device, parameters)
    outcomes = execute(project, values, jobs=jobs, fresh=fresh, timeout=cell_timeout)
    _report(outcomes)


@cli.command()
@click.option("--profile", default="quick", show_default=True, help="Which executed notebooks to publish.")
@click.option("--fresh", is_flag=True, help="Build even if nothing has changed.")
def build(profile: str, fresh: bool) -> None:
    """Build the site from the executed notebooks; refuse if one is missing or stale."""
    from entropylens.book.build import build as build_site
    from entropylens.book.project import PROFILES, check_choice

    project = _project()
    changed = build_site(project, check_choice("profile", profile, PROFILES), fresh=fresh)
    page = (project.site(profile) / "index.html").relative_to(project.root)
    click.echo(f"built {page}" if changed else f"{page} is up to date")


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects instead of a table.")
def claims(as_json: bool) -> None:
    """List every claim with its verdict, computed from the published results."""
    from entropylens.book.errors import BadInput
    from entropylens.results.ledger import as_text, ledger, tally

    try:
        entries = ledger(_project().root)
    except (ValueError, OSError) as error:
        raise BadInput(" ".join(str(error).split())) from error
    if as_json:
        click.echo(json.dumps([entry.as_dict() for entry in entries], indent=2, ensure_ascii=False))
        return
    click.echo(as_text(entries))
    click.echo(", ".join(f"{count} {word}" for word, count in tally(entries).items()))


@cli.command()
@click.argument("experiments", nargs=-1, metavar="[EXPERIMENT]...")
@click.option("--profile", default="quick", show_default=True, help="quick (minutes) or full (what the book shows).")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@click.option("--jobs", type=int, default=None, help="Populations computed at a time.  [default: one per core]")
@click.option("--fresh", is_flag=True, help="Compute even what is stored.")
@click.option("--scheduler", default=None, metavar="tcp://HOST:PORT", help="Compute on a Dask cluster.")
@click.option("--dry-run", is_flag=True, help="Say what would be computed, and how long it takes; compute nothing.")
def compute(
    experiments: tuple[str, ...],
    profile: str,
    device: str,
    jobs: int | None,
    fresh: bool,
    scheduler: str | None,
    dry_run: bool,
) -> None:
    """Fill the store: train and measure populations. The full profile's rows become those that the book shows."""
    from entropylens.book.project import DEVICES, PROFILES, check_choice
    from entropylens.experiments import EXPERIMENTS
    from entropylens.results.publish import Order, plan

    project = _project()
    check_choice("profile", profile, PROFILES)
    if check_choice("device", device, DEVICES) == "cuda":
        _need_a_gpu()
    if jobs is not None:
        _at_least_one("--jobs", jobs)
    for name in experiments:
        check_choice("experiment", name, tuple(EXPERIMENTS))
    for name in experiments or _here(project.root, device, everything=profile != "full"):
        order = Order(project.root, EXPERIMENTS[name], profile, device, fresh)
        click.echo(plan(order))
        if not dry_run:
            click.echo(_execute(order, jobs, scheduler))


@cli.command()
@click.argument("experiments", nargs=-1, metavar="[EXPERIMENT]...")
@click.option("--sample", type=int, default=None, help="Populations of each experiment.  [default: 1]")
@click.option("--budget", type=float, default=None, help="Core-seconds for each experiment: as many as fit.")
@click.option("--seed", type=int, default=None, help="Chooses the populations.  [default: others each time]")
@click.option("--jobs", type=int, default=None, help="Populations computed at a time.  [default: one per core]")
@click.option("--device", default=None, help="cpu or cuda.  [default: where the published rows were made]")
@click.option("--attest", "attesting", is_flag=True, help="If they agree, stamp the rows with today's code.")
@click.option("--beside", metavar="COMMIT", default=None, help="Compare with what the code of that commit gives here.")
def verify(
    experiments: tuple[str, ...],
    sample: int | None,
    budget: float | None,
    seed: int | None,
    jobs: int | None,
    device: str | None,
    attesting: bool,
    beside: str | None,
) -> None:
    """Compute random published rows again and compare; exit 1 if they differ."""
    from entropylens.book.errors import BookError
    from entropylens.book.project import check_choice
    from entropylens.experiments import EXPERIMENTS
    from entropylens.results.verify import attest
    from entropylens.results.verify import verify as recompute

    project = _project()
    _check_amounts(sample, jobs, budget)
    _check_where(device, beside)
    for name in experiments:
        check_choice("experiment", name, tuple(EXPERIMENTS))
    try:
        chosen = [EXPERIMENTS[name] for name in experiments or _here(project.root, device or "auto")]
        how = {"sample": sample, "seed": seed, "jobs": jobs}
        found = recompute(project.root, chosen, budget=budget, beside=beside, device=device, **how)
        for name, checks in found.items():
            for check in checks:
                click.echo(f"{name} {check}")
        if attesting:
            for name, checks in found.items():
                click.echo(f"{name}: attested, code {attest(project.root, EXPERIMENTS[name], checks)}")
        differing = [name for name, checks in found.items() if not all(check.agrees for check in checks)]
        if differing and not attesting:
            raise BookError(f"{', '.join(differing)}: what was computed again differs from what is published")
    except (LookupError, ValueError) as error:
        raise BookError(str(error)) from None


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects instead of a table.")
@click.option(
    "--width", "widths", type=int, multiple=True, help="A d_model to measure; repeatable.  [default: 8, 16, 32, 64]"
)
@click.option(
    "--versus",
    "rivals",
    multiple=True,
    help="naive, loop_on_trie, jax, floor, unlogged or one_by_one; repeatable.  [default: all]",
)
@click.option("--device", default="cpu", show_default=True, help="cpu, or cuda: our steps there against those here.")
@click.option("--seconds", type=float, default=10.0, show_default=True, help="The least time for one comparison.")
@click.option("--threads", type=int, default=None, help="PyTorch's threads.  [default: PyTorch's choice]")
def bench(
    as_json: bool, widths: tuple[int, ...], rivals: tuple[str, ...], device: str, seconds: float, threads: int | None
) -> None:
    """Time a training step against plain code that does the same, side by side; or on a GPU against the CPU."""
    import torch
    from tqdm import tqdm

    from entropylens.bench import WIDTHS, as_rows, planned, run_benchmarks
    from entropylens.book.errors import BadInput, BookError

    contests, known = _contests(device)
    _check_rivals(rivals, known)
    for width in widths:
        _at_least_one("--width", width)
        if width % 2:
            raise BadInput(f"--width must be even (the models have 2 heads), not {width}")
    if not seconds > 0:
        raise BadInput(f"--seconds must be above 0, not {seconds}")
    if threads is not None:
        _at_least_one("--threads", threads)
        torch.set_num_threads(threads)
    widths, chosen = widths or WIDTHS, rivals or known
    plans = [names for *_, names in planned(widths, chosen, contests)]
    if alone := sorted(set(rivals) - {name for names in plans for name in names}):
        raise BadInput(f"--versus {alone[0]} compares looped models, which are measured at --width 8 only")
    measurements = run_benchmarks(widths, chosen, seconds, contests)
    try:
        done = list(tqdm(measurements, total=sum(map(len, plans)), desc="comparisons", leave=False))
    except RuntimeError as error:
        raise BookError(str(error)) from None
    if as_json:
        click.echo(json.dumps(as_rows(done), indent=2))
        return
    click.echo("\n".join(map(_told, done)))


def _contests(device: str) -> tuple[Sequence[Contest], Sequence[str]]:
    """What is timed on a device, and whom it can be compared with."""
    from entropylens.bench import CONTESTS, VERSUS
    from entropylens.book.project import check_choice

    if check_choice("device", device, ("cpu", "cuda")) == "cpu":
        return CONTESTS, VERSUS
    _need_a_gpu()
    from entropylens.bench_devices import RIVAL, contests

    return contests(device), (RIVAL,)


def _check_rivals(rivals: tuple[str, ...], known: Sequence[str]) -> None:
    from entropylens.book.errors import BadInput
    from entropylens.book.project import check_choice

    for rival in rivals:
        check_choice("rival", rival, tuple(known))
    if "jax" in rivals and importlib.util.find_spec("jax") is None:
        raise BadInput("--versus jax needs the package jax: pip install jax")


def _told(m: Measurement) -> str:
    what = "ours / floor" if m.versus == "floor" else f"{m.versus} / ours"
    theirs = f"; {m.their_seconds * 1e3:.1f} ms on the CPU" if m.versus == "cpu" else ""
    return f"{m.name:16} d_model {m.d_model:3}  {what:20} {m.ratio:7.2f}   ({m.seconds * 1e3:.1f} ms a step{theirs})"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit; every error is one line on stderr."""
    # A shell that starts us in the background has SIGINT ignored, and Python would leave it so.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if arguments is None:
        _speak_utf8()
    from entropylens.book import faults
    from entropylens.book.errors import BadInput, BookError
    from entropylens.results.files import ForeignFileError

    try:
        cli.main(args=arguments, prog_name="entropylens", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
    except click.ClickException as error:
        _fail(error.format_message(), error.exit_code)
    except (BadInput, ForeignFileError) as error:
        _fail(str(error), 2)
    except BookError as error:
        _fail(str(error), 1)
    except (KeyboardInterrupt, click.Abort):
        _fail("interrupted", 130)
    except Exception as error:
        told = faults.describe(error)
        if told is None:
            raise
        _fail(told, 1)


def _execute(order: Order, jobs: int | None, scheduler: str | None) -> str:
    from entropylens.book.errors import BadInput
    from entropylens.results.cluster import NoClusterError
    from entropylens.results.publish import execute

    try:
        return execute(order, jobs, scheduler)
    except NoClusterError as error:
        raise BadInput(f"--scheduler {scheduler}: {error}") from None


def _fail(message: str, status: int) -> None:
    click.echo(f"entropylens: {message}", err=True)
    sys.exit(status)


def _speak_utf8() -> None:
    """Start over in Python's UTF-8 mode where the locale has another encoding: all our files are UTF-8."""
    if not sys.flags.utf8_mode and locale.getencoding().lower() not in ("utf-8", "utf8"):
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - ourselves, with our own words


def _project() -> Project:
    from entropylens.book.project import find_project

    project = find_project(Path.cwd())
    _find_a_home(project)
    return project


def _find_a_home(project: Project) -> None:
    """Let Jupyter, matplotlib and our compiled kernels keep their files in the book where the user's home refuses."""
    try:
        home = Path.home()
    except RuntimeError:  # neither HOME nor an entry in the list of users
        home = Path("~")
    if not os.access(home, os.W_OK | os.X_OK):
        own = project.build_folder / ".home"
        os.environ["HOME"] = str(own)
        click.echo(f"the home folder {home} cannot be written to: caches go to {own}", err=True)


def _check_amounts(sample: int | None, jobs: int | None, budget: float | None) -> None:
    from entropylens.book.errors import BadInput

    for option, value in (("--sample", sample), ("--jobs", jobs)):
        if value is not None:
            _at_least_one(option, value)
    if budget is not None and not budget > 0:
        raise BadInput(f"--budget must be above 0, not {budget}")


def _check_where(device: str | None, beside: str | None) -> None:
    from entropylens.book.errors import BadInput
    from entropylens.book.project import check_choice

    if device is not None and check_choice("device", device, ("cpu", "cuda")) == "cuda":
        _need_a_gpu()
    if device is not None and beside is not None:
        raise BadInput("--device and --beside exclude each other: the older code runs where its rows were made")


def _at_least_one(option: str, value: int) -> None:
    from entropylens.book.errors import BadInput

    if value < 1:
        raise BadInput(f"{option} must be at least 1, not {value}")


def _parameters(
    project: Project, names: tuple[str, ...], profile: str, device: str, pairs: tuple[str, ...]
) -> dict[Path, dict[str, Any]]:
    """Return what is injected into each selected notebook, or raise BadInput before anything is written."""
    from entropylens.book.parameters import declared, parse_overrides, resolve
    from entropylens.book.project import DEVICES, PROFILES, check_choice

    own = {
        "profile": check_choice("profile", profile, PROFILES),
        "device": check_choice("device", device, DEVICES),
    }
    if device == "cuda":
        _need_a_gpu()
    defaults = {notebook: declared(notebook) for notebook in project.select(names)}
    wanted = resolve(parse_overrides(pairs), defaults)
    return {notebook: {**own, **values} for notebook, values in wanted.items()}


def _need_a_gpu() -> None:
    import torch

    from entropylens.book.errors import BadInput

    if not torch.cuda.is_available():
        raise BadInput("--device cuda: PyTorch sees no GPU here; choose from: auto, cpu")


def _here(root: Path, device: str, *, everything: bool = False) -> list[str]:
    """All experiments; but not those whose rows were made on a GPU, if there is none: their full profile takes days."""
    from entropylens.experiments import EXPERIMENTS
    from entropylens.results.verify import device_of
    from entropylens.training.population import pick_device

    left_out = [
        name
        for name, experiment in EXPERIMENTS.items()
        if not everything and pick_device(device) != "cuda" and device_of(root, experiment) == "cuda"
    ]
    for name in left_out:
        click.echo(f"{name}: left out, its rows were made on a GPU; name it to compute it on this processor")
    return [name for name in EXPERIMENTS if name not in left_out]


def _report(outcomes: list[Outcome]) -> None:
    width = max(len(outcome.notebook.stem) for outcome in outcomes)
    for outcome in outcomes:
        state = "FAILED" if outcome.failure else "current" if outcome.cached else "executed"
        click.echo(f"{outcome.notebook.stem:{width}}  {state:8}  {outcome.seconds:7.1f} s")
    failed = [outcome for outcome in outcomes if outcome.failure]
    for outcome in failed:
        click.echo(f"entropylens: {outcome.notebook.name} failed: {outcome.failure}", err=True)
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    main()
