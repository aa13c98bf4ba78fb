"""Weight files to parameters: `keymap` (names, data only), `hf` (safetensors), `gguf`, and `load` on top of them."""
