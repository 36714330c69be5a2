"""How nano was made, as commands a reader can run: data, text tokenizer, video tokenizer, world model, reader."""
