"""Ctrl-C, the last journey: the other files of this folder use the platform before it."""

import signal

import psutil
import pytest

from tests.journeys.whole_platform import WholePlatform

pytestmark = pytest.mark.timeout(120)


def test_ctrl_c_stops_every_process_that_was_started(platform: WholePlatform) -> None:
    children = psutil.Process(platform.process.pid).children(recursive=True)
    assert children
    platform.process.send_signal(signal.SIGINT)
    platform.process.wait(60)
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not [process.pid for process in alive if process.is_running()]
    assert "Traceback" not in platform.log.read_text()
