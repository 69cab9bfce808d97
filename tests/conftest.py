"""Skips are honest: where CI promises to have everything (SENMEI_REQUIRE), a skip is a failure.

Allowed even then: real scans and GPUs, which no test machine is promised.
"""

import os
from collections.abc import Generator

import pytest

ALLOWED = ("real scans", "real series", "CUDA")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure when SENMEI_REQUIRE is set and the reason is not allowed."""
    report = yield
    if report.skipped and os.environ.get("SENMEI_REQUIRE") and not hasattr(report, "wasxfail"):
        reason = str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not any(word in reason for word in ALLOWED):
            report.outcome = "failed"
            report.longrepr = f"skipped, but SENMEI_REQUIRE is set: {reason}"
    return report
