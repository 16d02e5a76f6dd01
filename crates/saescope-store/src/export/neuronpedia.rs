//! Batches of features as SAEDashboard writes them and as Neuronpedia imports them.
//!
//! Both lack what a store does not keep, and have empty lists there: neurons, correlations and the histogram
//! of all logits. Bars of the histogram of activations are the store's own, eight for a factor of two.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use saescope::checkpoint::save_whole;
use saescope::{Error, Result};
use serde_json::{Value, json};

use crate::open::Store;
use crate::report::{Example, FeatureReport, ReportOptions, Window};

/// Features of a batch.
const DASHBOARD_BATCH: usize = 128;
const NEURONPEDIA_BATCH: usize = 1024;
/// Compression that Neuronpedia's own files have.
const GZIP: Compression = Compression::new(5);

/// The files of an export.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// The files, in order.
    pub files: Vec<PathBuf>,
    /// Features in them.
    pub features: usize,
    /// Examples in them.
    pub examples: usize,
}

/// The lists that an export has: 20 of the strongest examples, 5 of each band.
fn options() -> ReportOptions {
    ReportOptions {
        window: Window {
            before: 63,
            after: 64,
        },
        ..ReportOptions::default()
    }
}

/// Writes features as `batch-N.json` of SAEDashboard into a folder.
///
/// # Errors
/// When there is no such feature, the store is damaged, or a file cannot be written.
pub fn dashboard_batches(store: &Store, features: &[u32], folder: &Path) -> Result<Written> {
    std::fs::create_dir_all(folder).map_err(|error| Error::io(folder, error))?;
    let mut written = Written::default();
    for (number, chunk) in features.chunks(DASHBOARD_BATCH).enumerate() {
        let mut list = Vec::new();
        for &feature in chunk {
            let report = store.feature(feature, &options())?;
            let activations: Vec<Value> = grouped(&report).map(dashboard_activation).collect();
            written.examples += activations.len();
            list.push(dashboard_feature(store, &report, &activations));
        }
        written.features += list.len();
        let name = Name::of(store);
        let batch = json!({
            "model_id": name.model,
            "layer": name.layer,
            "sae_set": name.set,
            "sae_id_suffix": null,
            "features": list,
        });
        let path = folder.join(format!("batch-{number}.json"));
        save_whole(&path, |file| {
            let mut file = BufWriter::new(file);
            serde_json::to_writer(&mut file, &batch)?;
            file.flush()
        })?;
        written.files.push(path);
    }
    Ok(written)
}

/// Writes features, activations and labels as gzipped JSON Lines of Neuronpedia into a folder.
///
/// # Errors
/// As [`dashboard_batches`].
pub fn neuronpedia_batches(store: &Store, features: &[u32], folder: &Path) -> Result<Written> {
    let mut written = Written::default();
    let name = Name::of(store);
    for (number, chunk) in features.chunks(NEURONPEDIA_BATCH).enumerate() {
        let [mut rows, mut activations, mut explanations] = [const { Vec::new() }; 3];
        for &feature in chunk {
            let report = store.feature(feature, &options())?;
            rows.push(neuronpedia_feature(&name, &report));
            activations.extend(
                grouped(&report).map(|group| neuronpedia_activation(&name, feature, group)),
            );
            explanations.extend(report.label.as_ref().map(|label| {
                json!({
                    "modelId": name.model, "layer": name.source, "index": feature,
                    "description": label.label, "typeName": "saescope_label", "explanationModelName": null,
                    "notes": label.note, "createdAt": label.written,
                })
            }));
        }
        written.features += rows.len();
        written.examples += activations.len();
        for (kind, rows) in [
            ("features", rows),
            ("activations", activations),
            ("explanations", explanations),
        ] {
            let folder = folder.join(kind);
            std::fs::create_dir_all(&folder).map_err(|error| Error::io(&folder, error))?;
            let path = folder.join(format!("batch-{number}.jsonl.gz"));
            save_whole(&path, |file| {
                let mut file = GzEncoder::new(BufWriter::new(file), GZIP);
                for row in &rows {
                    serde_json::to_writer(&mut file, row)?;
                    file.write_all(b"\n")?;
                }
                file.finish()?.flush()
            })?;
            written.files.push(path);
        }
    }
    Ok(written)
}

/// The names by which Neuronpedia calls a model and an autoencoder.
struct Name {
    model: String,
    layer: usize,
    set: String,
    source: String,
}

impl Name {
    fn of(store: &Store) -> Name {
        let origin = &store.header().origin;
        let last = |reference: &str| {
            let name = reference
                .trim_end_matches('/')
                .rsplit('/')
                .next()
                .unwrap_or_default();
            name.to_lowercase()
                .replace(|c: char| !c.is_ascii_alphanumeric(), "-")
        };
        let set = origin
            .sae
            .as_deref()
            .map_or_else(|| "saescope".to_owned(), last);
        let layer = origin.site.and_then(|site| site.layer()).unwrap_or(0);
        Name {
            model: last(&origin.model),
            layer,
            source: format!("{layer}-{set}"),
            set,
        }
    }
}

/// An example with the band that it belongs to; none is the group of the strongest.
type Grouped<'a> = (Option<(f64, f64, f64)>, &'a Example);

fn grouped(report: &FeatureReport) -> impl Iterator<Item = Grouped<'_>> {
    let top = report.top.iter().map(|example| (None, example));
    let bands = report.intervals.iter().flat_map(|group| {
        let band = Some((group.from, group.to, group.contains));
        group.examples.iter().map(move |example| (band, example))
    });
    top.chain(bands)
}

fn dashboard_activation((band, example): Grouped) -> Value {
    let (min, max, contains) = band.unwrap_or((-1.0, report_max(example), -1.0));
    json!({
        "bin_min": min,
        "bin_max": max,
        "bin_contains": contains,
        "tokens": example.tokens,
        "values": example.activations,
        "qualifying_token_index": example.peak,
    })
}

fn report_max(example: &Example) -> f64 {
    example.activation.into()
}

fn dashboard_feature(store: &Store, report: &FeatureReport, activations: &[Value]) -> Value {
    let (values, heights) = bars(report);
    let [neg_str, pos_str] = [&report.suppressed, &report.promoted].map(|list| {
        let list = list.iter().map(|token| token.piece.as_str());
        list.collect::<Vec<_>>()
    });
    let [neg_values, pos_values] = [&report.suppressed, &report.promoted]
        .map(|list| list.iter().map(|token| token.effect).collect::<Vec<_>>());
    let config = &store.header().config;
    let names = store
        .header()
        .corpus
        .files
        .iter()
        .filter_map(|file| file.file_name());
    let dataset: Vec<String> = names
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    json!({
        "feature_index": report.feature,
        "neuron_alignment_indices": [],
        "neuron_alignment_values": [],
        "neuron_alignment_l1": [],
        "correlated_neurons_indices": [],
        "correlated_neurons_l1": [],
        "correlated_neurons_pearson": [],
        "correlated_features_indices": report.coactive.iter().map(|c| c.feature).collect::<Vec<_>>(),
        "correlated_features_l1": [],
        "correlated_features_pearson": [],
        "neg_str": neg_str,
        "neg_values": neg_values,
        "pos_str": pos_str,
        "pos_values": pos_values,
        "frac_nonzero": report.density,
        "freq_hist_data_bar_values": values,
        "freq_hist_data_bar_heights": heights,
        "logits_hist_data_bar_heights": [],
        "logits_hist_data_bar_values": [],
        "n_prompts_total": config.sequences,
        "n_tokens_in_prompt": store.header().corpus.context,
        "dataset": dataset.join(" "),
        "activations": activations,
        "decoder_weights_dist": [],
        "vector": [],
    })
}

/// Middle and height of each bar of the histogram.
fn bars(report: &FeatureReport) -> (Vec<f64>, Vec<f64>) {
    let bars = report.histogram.iter();
    bars.map(|bar| (0.5 * (bar.from + bar.to), f64::from(bar.count)))
        .unzip()
}

fn neuronpedia_feature(name: &Name, report: &FeatureReport) -> Value {
    let (values, heights) = bars(report);
    let pieces = |list: &[crate::report::RoleToken]| -> Vec<String> {
        list.iter().map(|token| token.piece.clone()).collect()
    };
    let effects = |list: &[crate::report::RoleToken]| -> Vec<f32> {
        list.iter().map(|token| token.effect).collect()
    };
    json!({
        "modelId": name.model,
        "layer": name.source,
        "index": report.feature.to_string(),
        "sourceSetName": name.set,
        "maxActApprox": report.max,
        "hasVector": false,
        "vector": [],
        "vectorLabel": null,
        "vectorDefaultSteerStrength": 10,
        "hookName": null,
        "topkCosSimIndices": report.nearest.iter().map(|near| near.feature).collect::<Vec<_>>(),
        "topkCosSimValues": report.nearest.iter().map(|near| near.cosine).collect::<Vec<_>>(),
        "neuron_alignment_indices": [],
        "neuron_alignment_values": [],
        "neuron_alignment_l1": [],
        "correlated_neurons_indices": [],
        "correlated_neurons_pearson": [],
        "correlated_neurons_l1": [],
        "correlated_features_indices": [],
        "correlated_features_pearson": [],
        "correlated_features_l1": [],
        "neg_str": pieces(&report.suppressed),
        "neg_values": effects(&report.suppressed),
        "pos_str": pieces(&report.promoted),
        "pos_values": effects(&report.promoted),
        "frac_nonzero": report.density,
        "freq_hist_data_bar_heights": heights,
        "freq_hist_data_bar_values": values,
        "logits_hist_data_bar_heights": [],
        "logits_hist_data_bar_values": [],
        "decoder_weights_dist": [],
    })
}

fn neuronpedia_activation(name: &Name, feature: u32, (band, example): Grouped) -> Value {
    let largest = example.activations.iter().copied().fold(0.0, f32::max);
    let smallest = example
        .activations
        .iter()
        .copied()
        .fold(f32::INFINITY, f32::min);
    let (min, max, contains) = band.unwrap_or((-1.0, f64::from(example.activation), -1.0));
    let position = example
        .activations
        .iter()
        .position(|value| *value == largest);
    json!({
        "modelId": name.model,
        "layer": name.source,
        "index": feature.to_string(),
        "tokens": example.tokens,
        "values": example.activations,
        "maxValue": largest,
        "maxValueTokenIndex": position.unwrap_or(0),
        "minValue": smallest,
        "dataIndex": example.sequence.to_string(),
        "dataSource": example.source,
        "dfaValues": [],
        "dfaTargetIndex": null,
        "dfaMaxValue": null,
        "lossValues": [],
        "logitContributions": null,
        "binMin": min,
        "binMax": max,
        "binContains": contains,
        "qualifyingTokenIndex": example.peak,
        "zIndices": [],
        "zValues": [],
    })
}
