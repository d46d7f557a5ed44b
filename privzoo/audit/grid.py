"""The grid of models x attacks x seeds: each cell is computed once, kept as JSON, and may run anywhere.

Two kinds of JSON file lie in `--cache_dir`, each written under a temporary name and then renamed.

`results/<key>.json`, one cell, so that a killed run goes on where it stopped. `<key>` is `key(...)` of all that decides
the cell: head, data, attack, settings, seed:

    {"settings": {what was hashed}, "result": {what the attack returned}, "seconds": 12.3}

`audit/<model>.json`, one model, from which the report is made (`audit/raw_pixels.json`: the yardstick):

    {"format": 1,
     "model": "vgg16_gender_simple_conv5_3",          "raw_pixels" for the yardstick
     "network": "vgg16_gender", "task": "gender", "cut": "conv5_3", "embedding": "simple",   null for the yardstick
     "date": "2025-11-21", "git": "1a2b3c4d5e6f", "command": "tools/audit.py --model ...", "quick": false,
     "figures": [FIGURE, ...]}

    FIGURE = {
     "attack": "identity",         "identity", "race", "age", "gender"
     "metric": "top-1",            identity: "top-1", "top-5"; race, gender: "balanced accuracy"; age: "mean error"
     "variant": "float head",      "float head", "int8 TFLite head", "pixels"
     "feature": "features",        "features"; the floors: "label" (the predicted class), "logit" (log-probabilities);
                                   "chance" (nothing; its attacker is "chance")
     "noise": null,                or {"sigma": 0.4, "clip": 1.0, "epsilon": 4 or null}; null: the feature as it is
     "queries": 1,                 features of one image that the attacker averages: 1, 10, 100
     "attacker": "lda",            a name in attackers.ATTACKERS, or "deep", "cnn", "chance"
     "best": true,                 the highest of all attackers that differ in nothing else (for "age": the lowest)
     "value": 0.61, "low": 0.57, "high": 0.65,        95 % interval; shares in 0..1, for "age" years
     "count": 816,                 faces that were scored
     "seeds": [1, 2, 3],           of the attacker, and of the noise
     "data": "lfw100-test",        data set that was scored
     "sha256": "...",              of the head: float weights, or the .tflite's flatbuffer; "" for pixels
     "weak": false}                true: on raw pixels these attackers miss 80 % top-1, so that the figure says little
"""

from __future__ import annotations
