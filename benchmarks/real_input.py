"""Real input for networks of others and of our own, read from EDGEGLM_BENCH_DATA: functions that recipes name as entries."""

from __future__ import annotations

import os
import wave
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

DATA = Path(os.environ.get("EDGEGLM_BENCH_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
WORDNET = Path(os.environ.get("EDGEGLM_BENCH_WORDNET", "/usr/share/wordnet"))
WORDNET_TEXTS = 40_000
CONTEXT, CHUNK = 64, 512  # samples of silero's window at 16 kHz
PICTURES = {"train": slice(512, 18_000), "calibration": slice(0, 512), "eval": slice(18_000, 20_000)}
TAKES = {"eval": range(10), "calibration": range(10, 15), "train": range(15, 50)}
FRAMES = 49  # of a second, 40 ms each, as keyword spotting of MLPerf Tiny has them


def photos(
    split: str, *, size: int, low: float, high: float, layout: str = "NCHW", original: str = "", labelled: bool = False
) -> tuple:
    """Return CIFAR-10 images from ``low`` to ``high``, scaled up to a size.

    Targets are the true classes, or else the original's own answers: what is lost is then what is answered differently.
    """
    from PIL import Image

    images, classes = _loader().cifar10("test" if split == "eval" else "train")
    chosen = {"train": slice(0, 400), "calibration": slice(400, 900), "eval": slice(0, 500)}[split]
    images, classes = images[chosen], classes[chosen]
    if size != images.shape[1]:
        bicubic = Image.Resampling.BICUBIC
        images = np.stack([np.asarray(Image.fromarray(image).resize((size, size), bicubic)) for image in images])
    values = (images / 255 * (high - low) + low).astype(np.float32)
    values = values.transpose(0, 3, 1, 2) if layout == "NCHW" else values
    return values, classes if labelled else _answers(original, values)


DETECTOR = [
    {"boxes": {"format": "grid-tanh", "columns": ["objectness", "box", "scores"], "axis": 0, "strides": [16]}},
    "nms",
]


def scenes(split: str, *, original: str) -> tuple:
    """Return crops of one street scene, NCHW 0 to 1; what the original finds with a score above 0.4 are the targets."""
    from PIL import Image

    picture = Image.open(DATA / "onnx" / "FastestDet_3.jpg").convert("RGB")
    width, height = picture.size
    rng = np.random.default_rng({"train": 1, "calibration": 2, "eval": 3}[split])
    crops = []
    for _ in range(160 if split == "eval" else 48):
        share = rng.uniform(0.5, 1.0)
        left, top = rng.uniform(0, width * (1 - share)), rng.uniform(0, height * (1 - share))
        crop = picture.crop((int(left), int(top), int(left + width * share), int(top + height * share)))
        crops.append(np.asarray(crop.resize((352, 352), Image.Resampling.BILINEAR)))
    images = (np.stack(crops).transpose(0, 3, 1, 2) / 255).astype(np.float32)
    return images, _detections(original, images)


def speech(split: str) -> tuple:
    """Return windows of speech with the state that the network itself reached there, as silero-vad is used."""
    import onnxruntime

    audio = _audio()
    session = onnxruntime.InferenceSession(str(DATA / "onnx" / "silero_vad_16k_op15.onnx"))
    state, context = np.zeros((2, 1, 128), np.float32), np.zeros(CONTEXT, np.float32)
    windows, states = [], []
    for start in range(0, len(audio) - CHUNK, CHUNK):
        window = np.concatenate([context, audio[start : start + CHUNK]])
        windows.append(window)
        states.append(state[:, 0])
        _, state = session.run(None, {"input": window[None], "state": state, "sr": np.array(16000)})
        context = window[-CONTEXT:]
    rows = _part(len(windows), split)
    return {"input": np.stack(windows)[rows], "state": np.stack(states)[rows]}, None


def mels(split: str, *, original: str = "") -> tuple:
    """Return log-mel patches (1, 64, 96) of speech; targets are the original's own answers."""
    audio = _audio()
    frames = np.lib.stride_tricks.sliding_window_view(audio, 400)[::160] * np.hanning(400)
    power = np.abs(np.fft.rfft(frames, 512)) ** 2 @ _mel_filters(64, 512, 16000)
    log = np.log(power + 1e-3).astype(np.float32)
    patches = np.stack([log[start : start + 96].T for start in range(0, len(log) - 96, 24)])[:, None]
    patches = patches[_part(len(patches), split)]
    return patches, _answers(original, patches)


def machine_sounds(split: str) -> tuple:
    """Return five frames of 128 log-mel bands each, 640 numbers in dB, as the anomaly detector of MLPerf Tiny takes them."""
    frames = np.lib.stride_tricks.sliding_window_view(_audio(), 1024)[::512] * np.hanning(1024)
    power = np.abs(np.fft.rfft(frames, 1024)) ** 2 @ _mel_filters(128, 1024, 16000, lowest=0.0)
    log = (10 * np.log10(power + np.finfo(np.float64).eps)).astype(np.float32)
    windows = np.stack([log[start : start + 5].reshape(-1) for start in range(len(log) - 5)])
    return windows[_part(len(windows), split)], None


def keywords(split: str, *, original: str) -> tuple:
    """Return a second of speech each, 49 frames of 10 log-mel bands, as keyword spotting takes them (N, 49, 10, 1)."""
    frames = np.lib.stride_tricks.sliding_window_view(_audio(), 640)[::320] * np.hanning(640)
    power = np.abs(np.fft.rfft(frames, 1024)) ** 2 @ _mel_filters(10, 1024, 16000, lowest=20.0)
    log = np.log(power + 1e-6).astype(np.float32)
    seconds = np.stack([log[start : start + 49] for start in range(0, len(log) - 49, 10)])[..., None]
    seconds = seconds[_part(len(seconds), split)]
    return seconds, _answers(original, seconds)


def cifar10(split: str) -> tuple:
    """Return images (N, 32, 32, 3) uint8 and classes, to train a network and judge it by 2,500 images.

    2,000 of the first 20,000 training images are held out, and judge beside the 500 test images.
    """
    values, classes = (part[PICTURES[split]] for part in _loader().cifar10("train"))
    if split != "eval":
        return values, classes
    tested = _loader().cifar10("test")
    return np.concatenate([tested[0], values]), np.concatenate([tested[1], classes])


def digits(split: str) -> tuple:
    """Return spoken digits as ten cepstral coefficients of 49 frames, (N, 1, 49, 10) from about -3 to 5, and the digits.

    Each speaker said each digit fifty times. The published split judges by takes 0 to 4, this one by 0 to 9: every
    recording is in one part, every voice in all.

    Source of the coefficients: Davis and Mermelstein 1980, IEEE Trans. ASSP 28:357-366.
    """
    clips = _loader().spoken_digits()
    ends = clips["offsets"]
    chosen = np.flatnonzero(np.isin(clips["take"], list(TAKES[split])))
    seconds = np.stack([_middle_second(clips["audio"][ends[i] : ends[i + 1]], 8000) for i in chosen])
    frames = np.lib.stride_tricks.sliding_window_view(seconds, 320, axis=1)[:, ::160][:, :FRAMES] * np.hanning(320)
    power = np.abs(np.fft.rfft(frames, 512)) ** 2 @ _mel_filters(40, 512, 8000, lowest=20.0)
    order = np.arange(10)
    cosines = np.cos(np.pi / 40 * (np.arange(40)[:, None] + 0.5) * order) * np.sqrt(2 / 40)
    values = np.log(power + 1e-3) @ cosines / np.where(order == 0, 20.0, 5.0)  # the floor: silence is no outlier
    return values.astype(np.float32)[:, None], clips["digit"][chosen].astype(np.int64)


def play_otherwise(inputs: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Move each digit by up to 6 frames, play it up to a sixth faster or slower, louder or softer; (B, 1, 49, 10)."""
    import torch

    count, middle = len(inputs), (FRAMES - 1) / 2
    speed = 1 + (torch.rand(count, 1, generator=generator) - 0.5) / 3
    moved = torch.randint(-6, 7, (count, 1), generator=generator)
    frames = ((torch.arange(FRAMES) - middle) * speed + middle + moved).round().long().clamp(0, FRAMES - 1)  # (B, 49)
    played = inputs[torch.arange(count)[:, None], :, frames].transpose(1, 2)  # (B, 1, 49, 10), a copy
    played[..., 0] += 0.2 * torch.randn(count, 1, 1, generator=generator)
    return (played + 0.05 * torch.randn(played.shape, generator=generator)).contiguous()


def sentences(split: str, *, shipped: str) -> tuple:
    """Return texts: sentences to learn from, and the evaluation sentences that a recipe ships to judge by.

    Those to learn from are SST-2's training part and, where it is installed (Debian: ``wordnet-base``), what WordNet says
    of its words: definitions and examples are of every subject, film reviews are not.
    """
    if split == "eval":
        lines = (Path(shipped) / "sentences" / "eval.txt").read_text(encoding="utf-8").splitlines()
        return np.array([line for line in lines if line]), None
    texts = sorted(set(_loader().sst2("train")[0]))
    if split == "calibration":
        return np.array(texts[:256]), None
    return np.array(texts[256:] + wordnet()), None


def wordnet() -> list[str]:
    """Return definitions and examples of WordNet 3.0 (wndb(5WN): the gloss follows a bar), a part drawn by a fixed seed."""
    glosses: set[str] = set()
    for part in sorted(WORDNET.glob("data.*")):
        for line in part.read_text(encoding="latin-1").splitlines():
            if not line.startswith(" ") and "|" in line:
                pieces = line.split("|", 1)[1].split(";")
                glosses.update(text for piece in pieces if 3 <= len((text := piece.strip(' "')).split()) <= 40)
    chosen = np.random.default_rng(0).permutation(len(glosses))[:WORDNET_TEXTS]
    ordered = sorted(glosses)
    return [ordered[at] for at in chosen]


def bearing(split: str) -> tuple:
    """Return windows of 512 samples of a bearing at 12 kHz (CWRU), in tenths of a g; targets: whether it is damaged.

    The healthy recording is cut into parts in the order of time, with a gap of a window between them.
    """
    recordings = _loader().bearing()
    healthy = recordings.pop("Normal") * 10
    ends = {"train": (0.0, 0.6), "calibration": (0.6, 0.7), "eval": (0.7, 1.0)}[split]
    first, last = (int(end * len(healthy)) for end in ends)
    windows = _windows(healthy[first : last - 512])
    if split != "eval":
        return windows, np.zeros(len(windows), np.int64)
    damaged = np.concatenate([_windows(values * 10)[::4] for values in recordings.values()])
    return np.concatenate([windows, damaged]), np.repeat([0, 1], [len(windows), len(damaged)])


def _middle_second(clip: np.ndarray, rate: int) -> np.ndarray:
    """Return a clip of int16 in the middle of a second of silence, (rate,) in [-1, 1]; too long a one loses both ends."""
    clip = clip[max(0, (len(clip) - rate) // 2) :][:rate].astype(np.float32) / 32768
    before = (rate - len(clip)) // 2
    return np.pad(clip, (before, rate - len(clip) - before))


def _windows(values: np.ndarray) -> np.ndarray:
    return np.lib.stride_tricks.sliding_window_view(values, 512)[::256].astype(np.float32)


def _part(count: int, split: str) -> slice:
    """Return a third of a recording: parts that do not overlap, the last for judging."""
    third = count // 3
    return {"train": slice(0, third - 4), "calibration": slice(third, 2 * third - 4), "eval": slice(2 * third, count)}[
        split
    ]


def _audio() -> np.ndarray:
    with wave.open(str(DATA / "onnx" / "silero_test_16k.wav")) as file:
        return np.frombuffer(file.readframes(file.getnframes()), np.int16).astype(np.float32) / 32768


def _mel_filters(bands: int, size: int, rate: int, *, lowest: float = 125.0) -> np.ndarray:
    """Return triangular filters (size / 2 + 1, bands) up to half the rate (O'Shaughnessy's mel scale)."""
    edges = np.linspace(*(2595 * np.log10(1 + np.array([lowest, rate / 2]) / 700)), bands + 2)
    hertz = 700 * (10 ** (edges / 2595) - 1)
    bins = np.fft.rfftfreq(size, 1 / rate)[:, None]
    rising = (bins - hertz[:-2]) / (hertz[1:-1] - hertz[:-2])
    falling = (hertz[2:] - bins) / (hertz[2:] - hertz[1:-1])
    return np.clip(np.minimum(rising, falling), 0, None)


def _answers(original: str, values: np.ndarray) -> np.ndarray | None:
    """Return the class that a network names for each sample: what is lost is then what it answers differently."""
    if not original:
        return None
    from edgeglm_agent.engines import load_engine

    engine = load_engine(original, format=Path(original).suffix[1:], threads=1)
    name = engine.inputs[0].name
    return np.concatenate([next(iter(engine.run({name: row[None]}).values())).argmax(-1) for row in values])


def _detections(original: str, images: np.ndarray) -> np.ndarray:
    """Return what a detector finds, (N, M, 5): class and box in pixels of its input; rows of -1 where there is less.

    Classes that it finds fewer than 30 times are left out: as much as all the rest would hang on a single box of theirs.
    """
    from edgeglm_agent.engines import load_engine
    from edgeglm_agent.processing import Postprocess

    engine = load_engine(original, format="onnx", threads=1)
    name, postprocess = engine.inputs[0].name, Postprocess.of(DETECTOR)
    found = [
        [(one.index, *one.box) for one in postprocess.one(engine.run({name: image[None]})) if one.score > 0.4]
        for image in images
    ]
    count = Counter(thing[0] for things in found for thing in things)
    found = [[thing for thing in things if count[thing[0]] >= 30] for things in found]
    targets = np.full((len(images), max(map(len, found)), 5), -1, np.float32)
    for row, things in zip(targets, found, strict=True):
        if things:
            row[: len(things)] = things
    return targets


def _loader():
    import importlib.util

    spec = importlib.util.spec_from_file_location("bench_load", DATA / "load.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
