"""Trained models outside of PyTorch: ONNX and other files, merged layers, sizes of models."""
