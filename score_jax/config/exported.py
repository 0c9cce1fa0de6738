"""What an exported model is called inside, for those that write it and those that run it."""

FORMAT = 1  # of the metadata; raised when an older program could not use a newer file
METADATA = "score_jax"  # ONNX metadata key; its value is JSON, as in the file beside the artifact
INPUT, OUTPUT = "image", "logits"  # of the graph
