"""``fleetembed report``: a run's report as a page, or two of them side by side."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.cli.app import App
from pipelines.cli.consoles import make_console
from pipelines.cli.job import exit_code
from pipelines.errors import ConfigError

app = App()


@app.command()
def report(
    reports: Annotated[
        list[str], typer.Argument(metavar="RUN.json", help="Report of a run; a second one is compared with it.")
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", help="The page's file or URL. Default: beside the first report, as its name says."
        ),
    ] = None,
    price_per_hour: Annotated[
        float | None,
        typer.Option(
            "--price-per-hour", min=0, help="What the machines cost an hour, in any currency: tells the cost."
        ),
    ] = None,
) -> None:
    """Make an HTML page of a run's report, or one that compares the reports of two runs.

    A report in an object store is named by its URL. The page of x/run.json is x/run.html, that of two reports
    x/run_compared.html. Exit codes: 0 all well; 1 the page cannot be written; 2 bad usage, or no report.
    """
    # What --help does without is imported by need.
    from pipelines.run.report.page.files import read_report, write_page
    from pipelines.run.report.page.page import page_of, priced
    from pipelines.urls import page_place, without_credentials

    def act() -> None:
        if len(reports) > 2:
            raise ConfigError(f"{len(reports)} reports: give one, or two to compare")
        found = [priced(read_report(path), price_per_hour) for path in reports]
        if len(found) == 1:
            page, place = page_of(found[0]), page_place(reports[0])
        else:
            from pipelines.run.report.page.comparison import comparison_of

            page = comparison_of(found[0], found[1], (without_credentials(reports[0]), without_credentials(reports[1])))
            place = page_place(reports[0], "_compared")
        write_page(output or place, page, "--output")
        # For pipes, on standard output.
        print(f"wrote {without_credentials(output or place)}")

    raise typer.Exit(exit_code(act, make_console(stderr=True)))
