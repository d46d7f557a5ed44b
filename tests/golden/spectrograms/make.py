"""Writes the golden recordings, their clips' hashes and spectrograms: `python tests/golden/spectrograms/make.py`."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import soundfile
from scipy.signal import resample_poly

from privzoo import audio
from privzoo.audio.synthesis import words

HERE = Path(__file__).parent


def main() -> None:
    """Makes one recording for each rule of docs/spectrogram.md."""
    one, two, three, four, five = words(5, seed=1)
    half = one[4_000:12_001]
    stereo = np.stack([resample_poly(two / 32_768, 441, 160), 0.3 * resample_poly(three / 32_768, 441, 160)], axis=1)
    recordings = {
        "second.wav": (one, audio.RATE),
        "short.flac": (half, audio.RATE),
        "long.wav": (np.concatenate([five // 8, four, five // 4])[: 2 * audio.SAMPLES + 77], audio.RATE),
        "quiet.wav": (four // 64, audio.RATE),
        "stereo_44100.flac": (stereo, 44_100),
    }
    cases = []
    for name, (samples, rate) in recordings.items():
        soundfile.write(HERE / name, samples, rate, subtype="PCM_16")
        clip = audio.second(audio.decode(HERE / name))
        spectrogram = f"{name.partition('.')[0]}.f32"
        audio.spectrogram(clip).astype("<f4").tofile(HERE / spectrogram)
        digest = hashlib.sha256(clip.astype("<i2").tobytes()).hexdigest()
        cases.append(
            {"recording": name, "clip_sha256": digest, "resampled": rate != audio.RATE, "spectrogram": spectrogram}
        )
    (HERE / "cases.json").write_text(json.dumps(cases, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
