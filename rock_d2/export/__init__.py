"""Trained models outside of PyTorch: ONNX and other files, and merged layers."""
