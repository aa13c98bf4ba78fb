"""Weight files to parameters and back: where models are (`source`), names (`keymap`, data only), which part of a file a
shard is made of (`pieces`), formats (`hf`: safetensors, `gguf`), and on top of them `load` and `export`."""
