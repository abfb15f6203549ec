"""An LSTM autoencoder: it gives back the vibration of a healthy machine, and cannot give back what it never heard.

Source: Malhotra et al. 2016, "LSTM-based Encoder-Decoder for Multi-sensor Anomaly Detection", arXiv:1607.00148. There
one code stands for the whole window; here each frame has its own, so that windows may hold any phase of any tone.
"""

from __future__ import annotations

from torch import Tensor, nn


class Autoencoder(nn.Module):
    """Frames of a window, an LSTM, a few numbers for each frame, another LSTM, the frames again."""

    def __init__(self, samples: int, frame: int, hidden: int, code: int) -> None:
        super().__init__()
        self.shape = (samples // frame, frame)
        self.encoder = nn.LSTM(frame, hidden, batch_first=True)
        self.code = nn.Linear(hidden, code)
        self.decoder = nn.LSTM(code, hidden, batch_first=True)
        self.head = nn.Linear(hidden, frame)

    def forward(self, vibration: Tensor) -> Tensor:
        """Take acceleration (B, samples), return the same shape: what a healthy machine would have done."""
        frames = vibration.unflatten(1, self.shape)  # (B, frames, frame)
        heard, _ = self.encoder(frames)  # (B, frames, hidden)
        told, _ = self.decoder(self.code(heard))
        return self.head(told).flatten(1)


def build(samples: int = 512, frame: int = 32, hidden: int = 96, code: int = 4) -> nn.Module:
    """Return the network with random weights; edgeglm loads those that the recipe names."""
    return Autoencoder(samples, frame, hidden, code)
