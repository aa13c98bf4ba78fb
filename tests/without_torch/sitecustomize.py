"""Read by every Python that has this folder on its path: torch is not there, as on most machines. Nothing of ours needs
it, and transformers would take seconds to import it."""

import sys

sys.modules["torch"] = None
