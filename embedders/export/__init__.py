"""ONNX folders from checkpoints, without torch."""
