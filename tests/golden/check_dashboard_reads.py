"""Reads an export of a store with the classes of SAEDashboard and of Neuronpedia's client.

    saescope store export STORE --sae-dashboard DIR/batches
    saescope store export STORE --neuronpedia DIR/neuronpedia
    python tests/golden/check_dashboard_reads.py DIR

Needs the Python packages sae-dashboard (0.8.0 was used) and neuronpedia (1.2.1). Their classes refuse a key that
they do not know; what they hold is written again and compared with the file, key by key.
"""

import gzip
import json
import sys
from pathlib import Path

from neuronpedia.np_activation import Activation
from sae_dashboard.neuronpedia.neuronpedia_dashboard import NeuronpediaDashboardBatch


def check_batches(folder):
    features = examples = 0
    for path in sorted(folder.glob("batch-*.json")):
        written = json.loads(path.read_text())
        read = NeuronpediaDashboardBatch(**written)
        assert read.to_dict() == written, path
        for feature in read.features:
            assert len(feature.pos_str) == len(feature.pos_values)
            assert len(feature.freq_hist_data_bar_values) == len(feature.freq_hist_data_bar_heights)
            for activation in feature.activations:
                assert len(activation.tokens) == len(activation.values)
                peak = activation.values[activation.qualifying_token_index]
                low = max(activation.bin_min, 0)
                assert low < peak * 1.00001 and peak <= activation.bin_max * 1.00001
            examples += len(feature.activations)
        features += len(read.features)
    return features, examples


def rows(folder, kind):
    for path in sorted((folder / kind).glob("batch-*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            yield from map(json.loads, lines)


def check_neuronpedia(folder):
    features = {row["index"] for row in rows(folder, "features")}
    examples = 0
    for row in rows(folder, "activations"):
        assert row["index"] in features
        fraction = row["binContains"]
        # The client refuses the -1 of the strongest group, which the database has.
        read = Activation.from_np_db_json(row | {"source": row["layer"], "binContains": max(fraction, 0)})
        assert read.tokens == row["tokens"] and read.values == row["values"]
        assert row["values"][row["maxValueTokenIndex"]] == row["maxValue"]
        examples += 1
    return len(features), examples


folder = Path(sys.argv[1])
batches = check_batches(folder / "batches")
neuronpedia = check_neuronpedia(folder / "neuronpedia")
print(f"SAEDashboard reads {batches[0]} features and {batches[1]} examples")
print(f"Neuronpedia's client reads {neuronpedia[0]} features and {neuronpedia[1]} examples")
assert batches == neuronpedia and batches[0] > 0
