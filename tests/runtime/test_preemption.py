"""SIGTERM is noted while somebody listens, for as long, and not for the next one."""

import os
import signal

from moral_jax.runtime import preemption


def test_a_signal_is_noted_by_whoever_listens_and_forgotten_for_the_next():
    before = signal.getsignal(signal.SIGTERM)
    with preemption.listening():
        assert not preemption.noticed()
        os.kill(os.getpid(), signal.SIGTERM)
        assert preemption.noticed()
    assert preemption.noticed(), "what follows may still ask"
    assert signal.getsignal(signal.SIGTERM) == before
    with preemption.listening():
        assert not preemption.noticed()
