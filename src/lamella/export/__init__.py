"""Trained networks as files that run without the training code: ONNX and ``torch.export``."""

REVISION = 2
