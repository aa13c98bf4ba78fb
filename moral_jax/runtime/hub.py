"""What errors of the Hugging Face hub mean, for models and data sets alike."""

import contextlib
from collections.abc import Iterator

from huggingface_hub import constants
from huggingface_hub import errors as hub_errors

from moral_jax.types import UserError

Exceptions = tuple[type[Exception], ...]
FAILED: Exceptions = (hub_errors.HTTPError, OSError, RuntimeError)  # the last is what hf_xet, which transfers, raises


@contextlib.contextmanager
def explained(named: str, page: str, remedy: str, also: Exceptions = ()) -> Iterator[None]:
    """Turns errors of the hub into a UserError.

    The hub's own error texts, and the exceptions that carry them, are dropped: they may contain a token.

    Args:
      named: the setting and its value.
      page: where the terms of what is named are accepted.
      remedy: what to do without a network.
      also: other exceptions that mean that nothing could be fetched.
    """
    try:
        yield
    except hub_errors.GatedRepoError:
        raise UserError(
            f"{named}: its terms must be accepted first, at {page}; then log in with `hf auth login`, or set HF_TOKEN"
        ) from None
    except FAILED + also as e:
        offline = "HF_HUB_OFFLINE is set; " if constants.HF_HUB_OFFLINE else ""
        raise UserError(
            f"{named}: could not be fetched from the Hugging Face hub ({type(e).__name__}); {offline}with no network, "
            f"{remedy}"
        ) from None
