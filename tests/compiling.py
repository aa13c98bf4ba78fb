"""How tests compile: their programs are tiny, so compiling them well would take longer than running them."""

from importlib import metadata

from packaging.version import Version

QUICKLY = "--xla_backend_optimization_level=0"
if Version(metadata.version("jaxlib")) < Version("0.11"):  # later ones end at flags that they do not know
    QUICKLY += " --xla_cpu_use_fusion_emitters=false"  # the older way to compile a fusion takes a third of the time
