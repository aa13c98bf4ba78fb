"""JAX where its devices are not."""

import os

import jax
import pytest

from moral_jax.runtime import jax_setup
from moral_jax.types import UserError


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("Unable to initialize backend 'cuda': no\nmore"), "Unable .* no"),
        (AssertionError(), "no such device"),
    ],
)
@pytest.mark.fault("JAX_PLATFORMS names devices that are not there", promise="one message, exit code 2")
def test_a_platform_that_is_not_there_is_one_message(error, said, monkeypatch, tmp_path):
    def none():
        raise error

    monkeypatch.setenv("MORAL_JAX_CACHE", str(tmp_path))
    monkeypatch.setattr(jax, "default_backend", none)
    with pytest.raises(
        UserError, match=rf"JAX_PLATFORMS=.*: JAX finds no device \({said}.*\); unset JAX_PLATFORMS, or"
    ):
        jax_setup.configure()


@pytest.mark.parametrize(("given", "taken"), [(None, str(jax_setup.GPU_SHARE)), ("0.5", "0.5")])
def test_a_process_takes_its_share_of_a_gpu_unless_told_otherwise(given, taken, monkeypatch, tmp_path):
    monkeypatch.setenv("MORAL_JAX_CACHE", str(tmp_path))
    monkeypatch.setenv("XLA_PYTHON_CLIENT_MEM_FRACTION", "")  # put back at the end
    monkeypatch.delenv("XLA_PYTHON_CLIENT_MEM_FRACTION")
    if given:
        monkeypatch.setenv("XLA_PYTHON_CLIENT_MEM_FRACTION", given)
    jax_setup.configure()
    assert os.environ["XLA_PYTHON_CLIENT_MEM_FRACTION"] == taken
