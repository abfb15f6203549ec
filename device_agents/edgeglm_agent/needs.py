"""What inputs, results and operations need that `edgeglm-agent` alone does not bring: libraries of extras, programs."""

from __future__ import annotations

import msgspec


class Need(msgspec.Struct, frozen=True):
    """One of these libraries or programs has to be installed; nothing is imported or run to see whether one is."""

    called: str
    hint: str  # how it is installed
    modules: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()

    @property
    def met(self) -> bool:
        """Whether it is installed."""
        import shutil  # the supervisor, which reads the settings of inputs, never asks
        from importlib.util import find_spec

        return any(find_spec(name) for name in self.modules) or any(shutil.which(name) for name in self.programs)


PILLOW = Need("Pillow", "pip install 'edgeglm-agent[image]'", modules=("PIL",))
TOKENIZERS = Need("tokenizers", "pip install 'edgeglm-agent[text]'", modules=("tokenizers",))
PYAV = Need("PyAV", "pip install 'edgeglm-agent[camera]'", modules=("av",))
UVICORN = Need("uvicorn", "pip install 'edgeglm-agent[http]'", modules=("uvicorn",))
# its name since bookworm's first updates, and before
RPICAM = Need("rpicam-vid", "apt-get install rpicam-apps-lite", programs=("rpicam-vid", "libcamera-vid"))
GSTREAMER = Need("gst-launch-1.0", "apt-get install gstreamer1.0-tools", programs=("gst-launch-1.0",))
RTSP = Need("ffmpeg or gst-launch-1.0", "apt-get install ffmpeg", programs=("ffmpeg", "gst-launch-1.0"))
