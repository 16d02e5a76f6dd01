//! Activations of a corpus: every token once, in a random order that the seed decides.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use saescope::activations::{Batch, Batches as _, Stream, StreamConfig};
use saescope::corpus::{Chats, Corpus, CorpusConfig, Layout, TextUnit};
use saescope::hook::Capture;
use saescope::model::Model;
use saescope::site::Site;
use saescope::tokenizer::{Bos, Tokenizer};
use saescope::{Matrix, Precision};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/data")
        .join(name)
}

/// The small model, and a corpus of 4,000 of its tokens.
pub(crate) fn subject(layout: Layout) -> (Model, Corpus) {
    let path = data("stories260K");
    let model = Model::open(&path, Precision::F32).unwrap();
    let tokenizer = Tokenizer::of_model(&path).unwrap();
    let config = CorpusConfig {
        files: vec![data("text/stories-en.txt")],
        template: None,
        labels: None,
        text: TextUnit::Line,
        chats: Chats::Template,
        layout,
        context: 48,
        bos: Bos::Auto,
        seed: 3,
    };
    let corpus = Corpus::open(&config, &tokenizer, None, &mut |_| {}).unwrap();
    let (_, some) = corpus.split_held_out(4000).unwrap();
    (model, some)
}

fn config() -> StreamConfig {
    StreamConfig {
        site: Site::ResidPost(2),
        out_site: None,
        batch_tokens: 100,
        buffer_tokens: 450,
        skip_first: true,
        seed: 5,
    }
}

/// The bits of every row.
fn rows(matrix: &Matrix) -> impl Iterator<Item = Vec<u32>> + '_ {
    (0..matrix.rows()).map(|row| matrix.row(row).iter().map(|x| x.to_bits()).collect())
}

/// Activations at `site`, sequence by sequence, in the order of the corpus.
fn in_order(model: &Model, corpus: &Corpus, site: Site, skip: usize) -> Vec<Vec<u32>> {
    let mut all = Vec::new();
    for i in 0..corpus.sequences() {
        let mut capture = Capture::new([site]);
        model.run(&[&corpus.sequence(i)], &mut capture).unwrap();
        all.extend(rows(&capture.take(site).unwrap()).skip(skip));
    }
    all
}

fn take(stream: &mut Stream, batches: usize) -> Vec<Batch> {
    stream.by_ref().take(batches).map(Result::unwrap).collect()
}

#[test]
fn every_token_occurs_once_in_an_epoch_and_within_its_buffer() {
    for (layout, skip_first) in [(Layout::Packed, false), (Layout::Rows, true)] {
        let (model, corpus) = subject(layout);
        let config = StreamConfig {
            skip_first,
            ..config()
        };
        let mut expected = in_order(&model, &corpus, config.site, usize::from(skip_first));
        let mut stream = Stream::new(&model, &corpus, config).unwrap();
        assert_eq!(stream.epoch_tokens(), expected.len() as u64);
        let fills = expected.len() / 400;
        assert!(fills > 5, "{}", expected.len());
        for fill in expected.chunks_exact_mut(400) {
            let batches = take(&mut stream, 4);
            let mut found: Vec<_> = batches.iter().flat_map(|batch| rows(&batch.x)).collect();
            assert_ne!(found, fill, "the order differs");
            found.sort();
            fill.sort();
            assert!(found == fill);
        }
        let next = take(&mut stream, 4);
        assert_eq!(next[3].x.rows(), 100, "the next epoch completes the buffer");
        assert!(stream.epochs() > 1.0);
        let clocks = stream.clocks();
        assert!(clocks.seconds_model > 0.0 && clocks.seconds_buffer > 0.0);
    }
}

#[test]
fn a_stream_seeks_any_batch() {
    let (model, corpus) = subject(Layout::Rows);
    let stream = || Stream::new(&model, &corpus, config()).unwrap();
    let all = take(&mut stream(), 95);
    for at in [0, 3, 4, 50, 93] {
        let mut sought = stream();
        sought.seek(at as u64);
        assert!(take(&mut sought, 2) == all[at..at + 2], "batch {at}");
    }
}

#[test]
fn every_epoch_reads_the_corpus_in_another_order() {
    let (model, corpus) = subject(Layout::Packed);
    let epoch = corpus.tokens() as usize;
    let whole = StreamConfig {
        batch_tokens: epoch,
        buffer_tokens: epoch,
        skip_first: false,
        ..config()
    };
    let half = StreamConfig {
        batch_tokens: epoch / 2,
        buffer_tokens: epoch / 2,
        skip_first: false,
        ..config()
    };
    let sorted = |matrix: &Matrix| {
        let mut all: Vec<_> = rows(matrix).collect();
        all.sort();
        all
    };
    let mut stream = Stream::new(&model, &corpus, whole).unwrap();
    let batches = take(&mut stream, 2);
    assert!(batches[0] != batches[1]);
    assert!(sorted(&batches[0].x) == sorted(&batches[1].x));
    let mut stream = Stream::new(&model, &corpus, half).unwrap();
    let batches = take(&mut stream, 3);
    assert!(sorted(&batches[0].x) != sorted(&batches[2].x));
}

#[test]
fn neighbours_in_text_are_not_neighbours_in_a_buffer() {
    let (model, corpus) = subject(Layout::Packed);
    let config = StreamConfig {
        batch_tokens: 3000,
        buffer_tokens: 3000,
        ..config()
    };
    let expected = in_order(&model, &corpus, config.site, 1);
    let places: HashMap<_, _> = expected.iter().zip(0..3000_usize).collect();
    let batch = take(&mut Stream::new(&model, &corpus, config).unwrap(), 1);
    let order: Vec<usize> = rows(&batch[0].x).map(|row| places[&row]).collect();
    let near = order
        .windows(2)
        .filter(|pair| pair[0].abs_diff(pair[1]) <= 10);
    // In a random order twenty of 2,999 pairs are expected.
    assert!((5..45).contains(&near.clone().count()), "{}", near.count());
    let mean = |range: std::ops::Range<usize>| order[range].iter().sum::<usize>() as f64 / 1000.0;
    for third in [0..1000, 1000..2000, 2000..3000] {
        assert!((mean(third.clone()) - 1500.0).abs() < 100.0, "{third:?}");
    }
}

#[test]
fn every_row_has_the_target_of_its_own_token() {
    let (model, corpus) = subject(Layout::Packed);
    let (from, to) = (Site::MlpNorm(1), Site::MlpOut(1));
    let config = StreamConfig {
        site: from,
        out_site: Some(to),
        ..config()
    };
    let target_of: HashMap<_, _> = in_order(&model, &corpus, from, 1)
        .into_iter()
        .zip(in_order(&model, &corpus, to, 1))
        .collect();
    let mut stream = Stream::new(&model, &corpus, config).unwrap();
    assert_eq!((stream.d_in(), stream.d_out()), (64, Some(64)));
    for batch in take(&mut stream, 8) {
        let target = batch.target.unwrap();
        for (x, y) in rows(&batch.x).zip(rows(&target)) {
            assert!(target_of[&x] == y);
        }
    }
}

#[test]
fn the_number_of_threads_changes_no_bit_of_a_stream() {
    let (model, corpus) = subject(Layout::Rows);
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        let mut stream = Stream::new(&model, &corpus, config()).unwrap();
        pool.build().unwrap().install(|| take(&mut stream, 6))
    };
    assert!(with(1) == with(2));
}

#[test]
fn configurations_without_batches_are_refused() {
    let (model, corpus) = subject(Layout::Rows);
    let refused = |config| {
        Stream::new(&model, &corpus, config)
            .err()
            .unwrap()
            .to_string()
    };
    let at = |site| refused(StreamConfig { site, ..config() });
    assert!(at(Site::ResidPost(9)).contains("layers 0 to 4"));
    assert!(at(Site::AttnPattern(0)).contains("as wide as there are tokens"));
    let empty = StreamConfig {
        batch_tokens: 0,
        ..config()
    };
    assert!(refused(empty).contains("at least one token"));
}
