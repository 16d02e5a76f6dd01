//! A harvest against a plain computation over all activations, and its parts against the whole.

use std::path::Path;

use saescope_kernels::{Precision, SparseRows, norm};
use tempfile::TempDir;

use super::*;
use crate::corpus::{Chats, Corpus, CorpusConfig, Layout, TextUnit};
use crate::hook::Capture;
use crate::model::Model;
use crate::sae::Sae;
use crate::tokenizer::{Bos, Tokenizer};

/// A model, its autoencoder and texts of two moods.
struct Subject {
    model: Model,
    sae: Sae,
    tokenizer: Tokenizer,
    corpus: Corpus,
    _folder: TempDir,
}

impl Subject {
    fn new(layout: Layout) -> Subject {
        let data = Path::new("../../tests/data");
        let model = data.join("stories260K");
        let tokenizer = Tokenizer::of_model(&model).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut records = String::new();
        for mood in ["happy", "sad"] {
            let texts = std::fs::read_to_string(data.join(format!("{mood}.txt"))).unwrap();
            for text in texts.lines() {
                let record = serde_json::json!({"text": text, "mood": [mood]});
                records.push_str(&format!("{record}\n"));
            }
        }
        let labelled = folder.path().join("moods.jsonl");
        std::fs::write(&labelled, records).unwrap();
        let config = CorpusConfig {
            files: vec![labelled, data.join("text/stories-en.txt")],
            template: None,
            labels: Some("mood".to_owned()),
            text: TextUnit::Line,
            chats: Chats::default(),
            layout,
            context: 40,
            bos: Bos::Auto,
            seed: 0,
        };
        Subject {
            corpus: Corpus::open(&config, &tokenizer, None, &mut |_| ()).unwrap(),
            model: Model::open(&model, Precision::F32).unwrap(),
            sae: Sae::open(&data.join("sae")).unwrap(),
            tokenizer,
            _folder: folder,
        }
    }

    fn config(&self, sequences: u32) -> HarvestConfig {
        let site = self.sae.site().unwrap();
        let bos = self.tokenizer.bos();
        HarvestConfig {
            limits: Limits {
                top: 3,
                sample: 5,
                per_bin: 1,
                around: 2,
                seed: 1,
            },
            sequences,
            block: 7,
            bos,
            norm_limit: Some(norm_limit(&self.model, site, &self.corpus, bos).unwrap()),
            indexed: 0.5,
            classes: self.corpus.label_names(),
        }
    }

    fn reader<'a>(&'a self, config: &'a HarvestConfig) -> BlockReader<'a> {
        BlockReader {
            model: &self.model,
            sae: &self.sae,
            corpus: &self.corpus,
            config,
        }
    }

    fn no_evidence(&self, config: &HarvestConfig) -> CorpusEvidence {
        CorpusEvidence::new(
            config.limits,
            self.sae.d_sae(),
            self.tokenizer.d_vocab(),
            config.classes.len(),
        )
    }

    fn harvest(
        &self,
        config: &HarvestConfig,
        blocks: impl IntoIterator<Item = u32>,
    ) -> CorpusEvidence {
        let reader = self.reader(config);
        let mut evidence = self.no_evidence(config);
        for number in blocks {
            evidence.add(&reader.read(number).unwrap());
        }
        evidence.trim();
        evidence
    }

    /// The tokens of every sequence, the features of each token, and whether it is left out.
    fn plain(&self, config: &HarvestConfig) -> Plain {
        let site = self.sae.site().unwrap();
        let of_sequence = |sequence: u32| {
            let tokens = self.corpus.sequence(sequence as usize);
            let mut capture = Capture::new([site]);
            self.model.run(&[&tokens], &mut capture).unwrap();
            let x = capture.take(site).unwrap();
            let features = self.sae.encode(&x).unwrap().features;
            let left_out = tokens.iter().enumerate().map(|(position, &token)| {
                config.bos == Some(token)
                    || config
                        .norm_limit
                        .is_some_and(|limit| norm(x.row(position)) > limit)
            });
            (left_out.collect(), features)
        };
        Plain((0..config.sequences).map(of_sequence).collect())
    }
}

/// For every sequence the positions that are left out, and the features of each token.
struct Plain(Vec<(Vec<bool>, SparseRows)>);

impl Plain {
    /// Every activation above 0 of one feature, and whether it is left out, sequence after sequence.
    fn all(&self, feature: u32) -> Vec<(Firing, bool)> {
        let mut all = Vec::new();
        for (sequence, (left_out, features)) in (0..).zip(&self.0) {
            for (position, &left_out) in left_out.iter().enumerate() {
                let activation = features.value(position, feature);
                if activation > 0.0 {
                    let position = position as u32;
                    all.push((
                        Firing {
                            sequence,
                            position,
                            activation,
                        },
                        left_out,
                    ));
                }
            }
        }
        all
    }
}

/// The features that fire, a few of them.
fn some_features(evidence: &CorpusEvidence) -> Vec<u32> {
    let fired = (0..)
        .zip(&evidence.features)
        .filter(|(_, f)| f.counted.count > 0);
    fired
        .map(|(feature, _)| feature)
        .step_by(9)
        .take(25)
        .collect()
}

/// Compares the positions that are kept of a feature with a full sort of all of its firings.
fn check_chosen(
    subject: &Subject,
    config: &HarvestConfig,
    (feature, of): (u32, &FeatureEvidence),
    counted: &[Firing],
    evidence: &CorpusEvidence,
) {
    let chosen = of.chosen(feature, &config.limits, |s| evidence.key(s));
    let places = |chosen: &[usize]| chosen.iter().map(|&at| of.firings[at]).collect::<Vec<_>>();
    // A full sort of the peaks.
    let mut peaks: Vec<Firing> = counted
        .chunk_by(|a, b| a.sequence == b.sequence)
        .map(|s| {
            s.iter()
                .copied()
                .reduce(|a, b| if b.activation > a.activation { b } else { a })
                .unwrap()
        })
        .collect();
    peaks.sort_by(|a, b| b.activation.total_cmp(&a.activation));
    peaks.truncate(config.limits.top);
    assert_eq!(places(&chosen.top), peaks, "{feature}");

    let draw = Draw::of_feature(config.limits.seed, feature);
    let number = |f: &Firing| {
        draw.at(
            sequence_key(f.sequence, &subject.corpus.sequence(f.sequence as usize)),
            f.position,
        )
    };
    let mut drawn = counted.to_vec();
    drawn.sort_by_key(number);
    let sample: Vec<Firing> = drawn.iter().take(config.limits.sample).copied().collect();
    assert_eq!(places(&chosen.sample), sample, "{feature}");
    for bar in of.histogram.bars() {
        let inside =
            |f: &&Firing| bar.from <= f.activation.into() && f64::from(f.activation) < bar.to;
        let expected: Vec<Firing> = drawn.iter().filter(inside).take(1).copied().collect();
        let all: Vec<Firing> = places(&chosen.bins)
            .iter()
            .filter(inside)
            .copied()
            .collect();
        assert_eq!(all, expected, "{feature}");
    }
    // Around every chosen position all activations are there.
    for at in chosen.top.iter().chain(&chosen.sample).chain(&chosen.bins) {
        let centre = of.firings[*at];
        let near = |f: &&Firing| {
            f.sequence == centre.sequence && f.position.abs_diff(centre.position) <= 2
        };
        let kept = of.firings.iter().filter(near).count();
        assert_eq!(kept, counted.iter().filter(near).count());
    }
}

#[test]
fn a_harvest_equals_a_plain_computation() {
    let subject = Subject::new(Layout::Packed);
    let config = subject.config(60);
    let blocks = subject.reader(&config).blocks();
    let evidence = subject.harvest(&config, 0..blocks);
    assert!(
        evidence.counts.left_out >= 60,
        "every sequence begins with BOS"
    );
    assert_eq!(evidence.counts.counted + evidence.counts.left_out, 60 * 40);
    let features = some_features(&evidence);
    assert!(features.len() > 10, "{features:?}");
    let plain = subject.plain(&config);
    let mut frequent = 0;
    for feature in features {
        let of = &evidence.features[feature as usize];
        let all = plain.all(feature);
        let counted: Vec<Firing> = all
            .iter()
            .filter(|(_, out)| !out)
            .map(|(f, _)| *f)
            .collect();
        let values: Vec<f64> = counted.iter().map(|f| f.activation.into()).collect();
        assert_eq!(of.counted.count, values.len() as u64, "{feature}");
        assert_eq!(of.left_out.count, (all.len() - counted.len()) as u64);
        let near = |a: f64, b: f64| (a - b).abs() <= 1e-9 * b.abs();
        assert!(near(of.counted.sum.value(), values.iter().sum()));
        assert!(near(
            of.counted.squares.value(),
            values.iter().map(|x| x * x).sum()
        ));
        assert_eq!(
            f64::from(of.counted.max),
            values.iter().copied().fold(0.0, f64::max)
        );
        for bar in of.histogram.bars() {
            let inside = values
                .iter()
                .filter(|&&x| bar.from <= x && x < bar.to)
                .count();
            assert_eq!(bar.count as usize, inside, "{feature} {bar:?}");
        }

        check_chosen(&subject, &config, (feature, of), &counted, &evidence);
        frequent += usize::from(counted.len() > 3 * of.firings.len() / 2);
    }
    assert!(
        frequent > 2,
        "some features have more firings than are kept"
    );
}

#[test]
fn parts_and_any_order_equal_the_whole() {
    let subject = Subject::new(Layout::Rows);
    let config = subject.config(90);
    let blocks = subject.reader(&config).blocks();
    let whole = subject.harvest(&config, 0..blocks);
    let backwards = subject.harvest(&config, (0..blocks).rev());
    assert_eq!(whole.features, backwards.features);
    assert_eq!(whole.counts, backwards.counts);

    let mut merged = subject.no_evidence(&config);
    for number in 1..=3 {
        let part = Part { number, of: 3 };
        let part = subject.harvest(&config, part.blocks(blocks));
        merged.merge(&part);
    }
    merged.trim();
    assert_eq!(whole.features, merged.features);
    assert_eq!(whole.counts, merged.counts);

    let one_thread = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .unwrap();
    let alone = one_thread.install(|| subject.harvest(&config, 0..blocks));
    assert_eq!(whole.features, alone.features);
    assert!(whole.features.iter().any(|f| f.firings.len() > 20));
}

#[test]
fn classes_are_separated_as_a_comparison_of_all_texts_says() {
    let subject = Subject::new(Layout::Rows);
    let config = subject.config(u32::try_from(subject.corpus.sequences()).unwrap());
    let blocks = subject.reader(&config).blocks();
    let evidence = subject.harvest(&config, 0..blocks);
    assert_eq!(config.classes, ["happy", "sad"]);
    let texts = &evidence.counts.texts;
    assert_eq!(texts[0], texts[1] + texts[2]);
    let plain = subject.plain(&config);
    for feature in some_features(&evidence) {
        let all = plain.all(feature);
        // The largest activation on each text, by class.
        let mut maxima = [Vec::new(), Vec::new()];
        for sequence in 0..config.sequences {
            for piece in subject.corpus.pieces(sequence as usize) {
                let Some(label) = subject.corpus.origin(piece.document).labels.first() else {
                    continue;
                };
                let inside = |f: &&(Firing, bool)| {
                    let position = f.0.position as usize;
                    f.0.sequence == sequence
                        && !f.1
                        && (piece.position..piece.position + piece.len).contains(&position)
                };
                let max = all
                    .iter()
                    .filter(inside)
                    .map(|f| f.0.activation)
                    .fold(0.0, f32::max);
                maxima[usize::from(label == "sad")].push(max);
            }
        }
        let found = evidence.features[feature as usize].separations(texts);
        for (class, found) in found.iter().enumerate() {
            let (own, rest) = (&maxima[class], &maxima[1 - class]);
            assert_eq!(
                (own.len() as u64, rest.len() as u64),
                (texts[class + 1], texts[2 - class])
            );
            let mean = |v: &[f32]| v.iter().copied().map(f64::from).sum::<f64>() / v.len() as f64;
            assert!(
                (found.mean - mean(own)).abs() < 1e-6
                    && (found.mean_rest - mean(rest)).abs() < 1e-6
            );
            let rank = |x: f32| if x > 0.0 { i32::from(bin(x)) } else { -1 };
            let mut wins = 0.0;
            for &a in own {
                for &b in rest {
                    wins += match rank(a).cmp(&rank(b)) {
                        std::cmp::Ordering::Greater => 1.0,
                        std::cmp::Ordering::Equal => 0.5,
                        std::cmp::Ordering::Less => 0.0,
                    };
                }
            }
            let expected = wins / (own.len() * rest.len()) as f64;
            assert!(
                (found.auroc - expected).abs() < 1e-9,
                "{feature} {found:?} {expected}"
            );
        }
    }
}

#[test]
fn roles_are_those_that_are_computed_one_by_one() {
    let subject = Subject::new(Layout::Packed);
    let all = roles(&subject.model, &subject.sae, 4, 3, &mut |_| ()).unwrap();
    assert_eq!(all.len(), subject.sae.d_sae());
    for feature in [0, 5, 269, 300] {
        let one =
            crate::features::role(&subject.model, &subject.tokenizer, &subject.sae, feature, 4)
                .unwrap();
        let role = &all[feature as usize];
        let ids = |effects: &[crate::features::LogitEffect]| {
            effects.iter().map(|e| e.token).collect::<Vec<_>>()
        };
        let promoted: Vec<u32> = role.promoted.iter().map(|p| p.0).collect();
        assert_eq!(promoted, ids(&one.promotes));
        assert_eq!(
            role.suppressed.iter().map(|p| p.0).collect::<Vec<_>>(),
            ids(&one.suppresses)
        );
        for (a, b) in role.nearest.iter().zip(&one.nearest) {
            assert_eq!(a.row, b.feature);
            assert!((a.cosine - b.cosine).abs() < 1e-5);
        }
        assert_eq!(
            (role.encoder_norm, role.decoder_norm),
            (one.encoder_norm, one.decoder_norm)
        );
        assert_eq!(Some(role.cosine), one.cosine);
    }
}

#[test]
fn parts_cover_all_blocks_once() {
    for of in 1..6 {
        let parts = (1..=of).flat_map(|number| Part { number, of }.blocks(17));
        assert!(parts.eq(0..17));
    }
    assert_eq!("2/4".parse::<Part>().unwrap(), Part { number: 2, of: 4 });
    for wrong in ["0/4", "5/4", "2", "a/b", "1/0"] {
        assert!(wrong.parse::<Part>().is_err(), "{wrong}");
    }
}
