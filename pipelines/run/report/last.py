"""The last report of a run: on its place, as a page, and on the console, whatever ended the run."""

from __future__ import annotations

import logging
import threading
from contextlib import suppress

from rich.console import Console
from rich.text import Text

from embedders.retrying import Patience
from pipelines.config.job import JobConfig
from pipelines.run.progress import is_notebook
from pipelines.run.report.file import WHILE_RUNNING, RunningReport, make_room
from pipelines.run.report.report import RunReport, Status
from pipelines.stopping import begin_act
from pipelines.urls import without_credentials

log = logging.getLogger("fleetembed")

# How long a signal waits for the report that tells of it.
SECONDS_TO_TELL = 1.0
# How long the last report of a stopped run may take, and the one before it that tells of the signal.
STOPPED_REPORT = Patience(5)
# How long a store is asked to take the report's page.
PAGE_PATIENCE = Patience(5)
STOPPED: tuple[Status, str] = ("interrupted", "stopped by a signal")


class LastReport:
    """Writes and shows a run's report when the run is over; ``running`` is what refreshes its file until then."""

    def __init__(self, config: JobConfig, report: RunReport, console: Console) -> None:
        self._report, self._console = report, console
        self._path, self._page = config.report, config.report_page
        self._telling: threading.Thread | None = None
        self.running: RunningReport | None = None

    def tell_stopped(self) -> None:
        """Write at once what the report will say: closing takes seconds, and whoever sent a SIGTERM may not wait."""
        self._report.status, self._report.error = STOPPED
        self._telling = begin_act(self._write_stopped, SECONDS_TO_TELL, "stopped")

    def _write_stopped(self) -> None:
        # The run is over as it is, and its last report is written in the end.
        with suppress(Exception):
            if self.running is not None:
                self.running.stop(SECONDS_TO_TELL)
            self._report.try_to_save(self._path, WHILE_RUNNING)

    def settle(self, *, summary: bool) -> None:
        """Write the report, and with ``summary`` show it; neither can change how the run ends, nor hide its error.

        On a full disk the report of a moment ago, which says that the run goes on, makes room for the last one.
        """
        report, path = self._report, self._path
        patience = STOPPED_REPORT if report.status == "interrupted" else None
        if self._telling is not None:
            # What it writes must not come after the last report.
            self._telling.join(STOPPED_REPORT.seconds)
        unwritten = report.try_to_save(path, patience)
        if unwritten is not None and make_room(path):
            unwritten = report.try_to_save(path, patience)
        if unwritten is not None:
            report.notices.append(f"the report could not be written to {without_credentials(path)}: {unwritten}")
        page = unwritten is None and report.write_page(self._page, PAGE_PATIENCE) is None
        if summary:
            self._show(page=page)
        elif unwritten is not None:
            # There is no summary, which would show it.
            log.error(report.notices[-1])

    def _show(self, *, page: bool) -> None:
        try:
            self._report.show(self._console)
            if page and not is_notebook(self._console):
                shown = without_credentials(self._page)
                self._console.print(Text(f"the report as a page: {shown}"), soft_wrap=True)
        # A terminal that is gone, or lacks the characters.
        except (OSError, ValueError) as error:
            log.error("the summary could not be shown: %s", error)
