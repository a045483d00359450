"""Pools of threads, when Ctrl-C comes while they are waited for."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from safehold.core.pools import Pool


def test_a_job_whose_submitting_was_interrupted_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    pool, ended = Pool(2, "test"), []
    begin = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        begin(thread)
        raise KeyboardInterrupt

    def work() -> None:
        time.sleep(0.2)
        ended.append(1)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pool.submit(work)
    time.sleep(0.05)
    pool.shutdown(cancel_futures=True)
    assert ended == [1]


def test_after_an_interrupted_wait_the_next_one_waits() -> None:
    pool, ended = Pool(1, "test"), []

    def work() -> None:
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
        time.sleep(0.3)
        ended.append(1)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        pool.submit(work)
        never = pool.submit(ended.append, 2)
        with pytest.raises(KeyboardInterrupt):
            pool.shutdown()
        pool.shutdown(cancel_futures=True)
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended == [1] and never.cancelled()
