"""A signal ends a command like Ctrl-C; the same one a moment later is no second wish."""

import signal

import pytest

from autods.core import signals
from autods.core.signals import Interrupted, end_by_signals

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def handlers():
    # the tests themselves may run under nohup
    before = {number: signal.signal(number, signal.SIG_DFL) for number in NUMBERS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (signal.SIGINT, "interrupted"),
        (signal.SIGTERM, "ended by SIGTERM"),
        (signal.SIGHUP, "ended by SIGHUP"),
    ],
)
def test_a_signal_is_an_error_once(number, said):
    end_by_signals()
    with pytest.raises(Interrupted, match=f"^{said}$") as raised:
        signal.raise_signal(number)
    assert raised.value.number == number
    signal.raise_signal(number)  # from a wrapper, too: what is open is being closed


def test_a_later_signal_ends_the_process_at_once(monkeypatch):
    end_by_signals()
    with pytest.raises(Interrupted):
        signal.raise_signal(signal.SIGTERM)
    monkeypatch.setattr(signals, "TOGETHER", -1.0)
    ended = []
    monkeypatch.setattr(signal, "raise_signal", ended.append)
    signal.getsignal(signal.SIGTERM)(signal.SIGTERM, None)
    assert ended == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_signal_that_nohup_ignores_stays_ignored():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    end_by_signals()
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
