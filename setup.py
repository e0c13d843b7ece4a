"""What the package needs; the tools are configured in pyproject.toml. Reasons for each dependency:
docs/decisions.md."""

from pathlib import Path

from setuptools import find_packages, setup

pictures = ["jinja2>=3.1,<4", "matplotlib>=3.8,<4"]
download = ["aiolimiter>=1.3,<2", "anyio>=4,<5", "httpx>=0.27,<0.29", "stamina>=26,<27"]
imports = ["pycocotools>=2.0.11,<3", "scipy>=1.13,<2"]
serving = ["grpcio>=1.60,<2", "httpx>=0.27,<0.29"]
faiss = ["faiss-cpu>=1.9,<2"]
notebooks = [*pictures, *serving, *faiss, "ipykernel>=6.29,<8", "nbclient>=0.10,<0.12"]
milvus = ["milvus-lite>=2.5,<4; platform_system != 'Windows'", "pymilvus>=2.5,<4"]
beam = ["apache-beam>=2.60,<3"]
web = ["gradio>=6,<7"]
browser = ["axe-playwright-python>=0.1.5,<0.2", "playwright>=1.49,<2"]
docs = ["mkdocs>=1.6,<2", "mkdocs-material>=9.6,<10", "mkdocstrings[python]>=1,<2"]
test = [
    *pictures,
    *download,
    *imports,
    *serving,
    *faiss,
    "hypothesis>=6.100,<7",
    "jsonschema>=4.20,<5",
    "pytest>=8,<10",
    "pytest-xdist>=3.5,<4",
    "pyyaml>=6,<7",
]
lint = ["griffelib>=2,<3", "mypy>=2,<3", "ruff>=0.17,<0.18"]

setup(
    name="ctl-keras",
    version="0.1.0",
    description=(
        "Complete the Look for Keras and TensorFlow Serving: which products complete a scene"
    ),
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(include=["ctl_keras", "ctl_keras.*"]),
    package_data={"ctl_keras": ["py.typed", "*.pyi", "pictures/*.html", "serving/templates/*"]},
    python_requires=">=3.10,<3.14",
    install_requires=[
        "filelock>=3.30,<5",
        "h5py>=3.10,<4",
        "keras>=2.15,<4",
        "lazy-loader>=0.4,<0.6",
        "numpy>=1.26,<3",
        "pillow>=10.3,<14",
        "pyarrow>=17,<27",
        "rich>=13.7,<16",
        "tensorflow>=2.15,<2.22",
        "tensorflow-serving-api>=2.15,<2.22",
        "tomli>=2,<3; python_version < '3.11'",
        "typer>=0.15,<0.30",
        "wrapt>=1.14,<3",
    ],
    extras_require={
        # Keras 2 and TensorFlow Addons, for teams that still serve them; Python 3.11
        "addons": [
            "keras==2.15.*",
            "pyarrow>=17,<24",  # 24 needs numpy 2, TensorFlow 2.15 numpy 1
            "tensorflow==2.15.*",
            "tensorflow-addons==0.23.*",
            "tensorflow-serving-api==2.15.*",
        ],
        "pictures": pictures,
        "download": download,
        "import": imports,
        "serving": serving,
        "faiss": faiss,
        "milvus": milvus,
        "beam": beam,
        "web": web,
        "notebooks": notebooks,
        "docs": docs,
        "browser": browser,
        "test": test,
        "lint": lint,
    },
    entry_points={"console_scripts": ["ctl-keras = ctl_keras.cli:main"]},
    classifiers=[
        "License :: OSI Approved :: Apache Software License",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
