"""Loads weight files into sharded parameters, and exports parameters to weight files.

`source` finds a model's files. `hf` (safetensors) and `gguf` read them, and `gguf_header` the headers of GGUF.
`shard_slices` computes which part of a file tensor each shard needs; tensor names are in `models.parameters`.
`load`, `export`, `peft` and `tokenizer` build on these; `published` holds the configs of common models.
"""
