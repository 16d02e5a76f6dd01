//! Files of every format as documents, documents as sequences, and the cache of both.

mod formats;

use std::io::Write as _;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

fn tokenizer() -> Tokenizer {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data");
    Tokenizer::from_llama2c(&data.join("stories260K/tok512.bin"), 512).unwrap()
}

fn config(files: Vec<PathBuf>) -> CorpusConfig {
    CorpusConfig {
        files,
        template: None,
        labels: None,
        text: TextUnit::Paragraph,
        chats: Chats::Template,
        layout: Layout::Packed,
        context: 8,
        bos: Bos::Auto,
        seed: 7,
    }
}

fn write(folder: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

fn open(config: &CorpusConfig) -> Result<Corpus> {
    Corpus::open(config, &tokenizer(), None, &mut |_| {})
}

/// The documents of a file as text, one row each, in the file's order.
fn texts(config: CorpusConfig) -> Result<Vec<String>> {
    let rows = CorpusConfig {
        layout: Layout::Rows,
        context: 1000,
        bos: Bos::Never,
        ..config
    };
    let corpus = open(&rows)?;
    let tokenizer = tokenizer();
    let mut order: Vec<usize> = (0..corpus.sequences()).collect();
    order.sort_by_key(|&i| corpus.starts[i].place);
    let text = |i: usize| tokenizer.decode(&corpus.sequence(i));
    Ok(order.into_iter().map(text).collect())
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

#[test]
fn plain_text_is_cut_into_the_chosen_units() {
    let folder = TempDir::new().unwrap();
    let text = "\u{feff}one\r\ntwo\r\n\r\n \nthree\n\n\n";
    let file = write(&folder, "a.txt", text.as_bytes());
    let cut = |text| {
        texts(CorpusConfig {
            text,
            ..config(vec![file.clone()])
        })
        .unwrap()
    };
    assert_eq!(cut(TextUnit::Paragraph), ["one\ntwo", "three"]);
    assert_eq!(cut(TextUnit::Line), ["one", "two", "three"]);
    assert_eq!(cut(TextUnit::File), ["one\ntwo\n\n \nthree\n\n"]);
}

#[test]
fn a_compressed_file_reads_as_the_file_itself() {
    let folder = TempDir::new().unwrap();
    let lines = "{\"text\": \"one day\"}\n\n{\"text\": \"two cats\"}\n".repeat(300);
    let plain = write(&folder, "a.jsonl", lines.as_bytes());
    let expected = texts(config(vec![plain])).unwrap();
    assert_eq!(expected.len(), 600);
    let (head, tail) = lines.as_bytes().split_at(700);
    for (name, bytes) in [
        ("a.jsonl.gz", gzip(lines.as_bytes())),
        ("b.jsonl.gz", [gzip(head), gzip(tail)].concat()),
        ("a.jsonl.zst", zstd(lines.as_bytes())),
        ("b.jsonl.zst", [zstd(head), zstd(tail)].concat()),
        // The first bytes decide, whatever the name.
        ("c.jsonl", zstd(lines.as_bytes())),
    ] {
        let file = write(&folder, name, &bytes);
        assert_eq!(texts(config(vec![file])).unwrap(), expected, "{name}");
        let cut = write(&folder, &format!("cut-{name}"), &bytes[..bytes.len() - 9]);
        assert!(
            matches!(open(&config(vec![cut])), Err(Error::Format { .. })),
            "{name}"
        );
    }
}

#[test]
fn a_file_made_to_fill_the_memory_is_refused() {
    let folder = TempDir::new().unwrap();
    let blank = vec![b'\n'; 64 << 20];
    let long = vec![b'x'; open::MAX_DOCUMENT + 2];
    for (name, bytes, reason) in [
        ("a.txt.gz", gzip(&blank), "200 times as long"),
        ("b.txt.gz", gzip(&long), "limit of a document"),
    ] {
        let error = open(&config(vec![write(&folder, name, &bytes)]))
            .err()
            .unwrap();
        assert!(error.to_string().contains(reason), "{error}");
    }
}

#[test]
fn fields_are_joined_by_a_template() {
    let folder = TempDir::new().unwrap();
    let lines = r#"{"q": "who", "more": {"n": 1}, "a": "me"}
{"q": "", "more": {"n": null}, "a": "you"}
"#;
    let file = write(&folder, "a.ndjson", lines.as_bytes());
    let with = |template: &str| {
        texts(CorpusConfig {
            template: Some(Templates::All(template.to_owned())),
            ..config(vec![file.clone()])
        })
    };
    assert_eq!(with("{q}\n{more.n}\n{a}").unwrap(), ["who\n1\nme", "you"]);
    assert_eq!(with("q").unwrap(), ["who"]);
    let error = with("b").unwrap_err().to_string();
    assert!(
        error.contains("a.ndjson: line 1: there is no field `b`; there are q, more, a"),
        "{error}"
    );
    let error = with("more").unwrap_err().to_string();
    assert!(
        error.contains("line 1: the field `more` is an object"),
        "{error}"
    );
}

#[test]
fn every_file_may_have_a_template_of_its_own() {
    let folder = TempDir::new().unwrap();
    let files = vec![
        write(&folder, "a.jsonl", b"{\"q\": \"who\", \"a\": \"me\"}"),
        write(&folder, "b.txt", b"{q}"),
        write(&folder, "c.jsonl", b"{\"text\": \"you\"}"),
    ];
    let with = |templates: &[&str]| CorpusConfig {
        template: Some(Templates::Each(
            templates
                .iter()
                .map(|&template| template.to_owned())
                .collect(),
        )),
        context: 2,
        ..config(files.clone())
    };
    let found = texts(with(&["{q}: {a}", "-", "text"])).unwrap();
    assert_eq!(found, texts(with(&["{q}: {a}", "-", "-"])).unwrap());
    assert_eq!(found, ["who: me", "{q}", "you"]);
    let error = texts(with(&["{q}: {a}", "text"])).unwrap_err().to_string();
    assert!(error.contains("2 templates for 3 files"), "{error}");
    let error = texts(with(&["q", "-", "q"])).unwrap_err().to_string();
    assert!(
        error.contains("c.jsonl: line 1: there is no field `q`"),
        "{error}"
    );
    let digest = |templates: &[&str]| open(&with(templates)).unwrap().digest().to_owned();
    assert_ne!(digest(&["q", "-", "text"]), digest(&["a", "-", "text"]));
}

#[test]
fn one_template_is_written_as_a_string_and_several_as_a_list() {
    for json in [r#""text""#, r#"["{q}","text"]"#] {
        let templates: Templates = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&templates).unwrap(), json);
    }
}

#[test]
fn an_error_names_file_and_line() {
    let folder = TempDir::new().unwrap();
    for (name, bytes, reason) in [
        (
            "a.jsonl",
            &b"{\"text\": \"a\"}\n{\"text\": }\n"[..],
            "a.jsonl: line 2: not JSON",
        ),
        (
            "b.json",
            b"[\n{\"text\": \"a\"}",
            "b.json: record 1: the array has no end",
        ),
        ("c.jsonl", b"[1]", "record 1: not an object with fields"),
        (
            "d.txt",
            b"fine\nbad \xff\n",
            "d.txt: line 2: byte 4 is not UTF-8",
        ),
    ] {
        let file = write(&folder, name, bytes);
        let error = open(&config(vec![file])).err().unwrap().to_string();
        assert!(error.contains(reason), "{error}");
    }
    let missing = folder.path().join("none.txt");
    assert!(matches!(
        open(&config(vec![missing])),
        Err(Error::Io { .. })
    ));
    let error = open(&config(vec![folder.path().to_path_buf()]))
        .err()
        .unwrap();
    assert!(error.to_string().contains("not a regular file"), "{error}");
}

#[test]
fn packed_documents_follow_each_other_as_in_saelens() {
    let folder = TempDir::new().unwrap();
    let file = write(&folder, "a.txt", b"aaa\n\nbb\n\ncccccccccccc\n\nd");
    let tokenizer = tokenizer();
    let bos = tokenizer.bos().unwrap();
    let ids = |text: &str| tokenizer.encode(text, Bos::Never).unwrap();
    let (a, b, c) = (ids("aaa"), ids("bb"), ids("cccccccccccc"));
    let stream = [&[bos], &a[..], &[bos], &b, &[bos], &c].concat();
    let corpus = open(&config(vec![file])).unwrap();
    let mut sequences: Vec<_> = (0..corpus.sequences())
        .map(|i| corpus.sequence(i))
        .collect();
    sequences.sort_by_key(|s| u32::from(s[..] != stream[..8]));
    assert_eq!(
        sequences[0],
        stream[..8],
        "the first eight follow each other"
    );
    assert!(sequences.iter().all(|s| s.len() == 8 && s[0] == bos));
    assert_eq!(
        sequences[1][1..],
        stream[8..15],
        "and the next begins with BOS again"
    );
}

proptest! {
    #[test]
    fn packing_loses_no_token_but_the_end(
        lens in prop::collection::vec(1usize..40, 1..30),
        context in 3usize..20,
        bos in prop::sample::select(vec![Bos::Auto, Bos::Never]),
    ) {
        let folder = TempDir::new().unwrap();
        let paragraphs: Vec<String> = lens
            .iter()
            .enumerate()
            .map(|(i, &len)| (0..len).map(|k| char::from(b'a' + ((i * 7 + k) % 26) as u8)).collect())
            .collect();
        let file = write(&folder, "a.txt", paragraphs.join("\n\n").as_bytes());
        let config = CorpusConfig { context, bos, ..config(vec![file]) };
        let tokenizer = tokenizer();
        let expected: Vec<u32> = paragraphs
            .iter()
            .flat_map(|text| tokenizer.encode(text, Bos::Never).unwrap())
            .collect();
        match open(&config) {
            Ok(corpus) => {
                let mut order: Vec<usize> = (0..corpus.sequences()).collect();
                order.sort_by_key(|&i| (corpus.starts[i].place, corpus.starts[i].offset));
                let mut text = Vec::new();
                for i in order {
                    let sequence = corpus.sequence(i);
                    prop_assert_eq!(sequence.len(), context);
                    prop_assert_eq!(sequence[0] == tokenizer.bos().unwrap(), bos == Bos::Auto);
                    text.extend(sequence.into_iter().filter(|id| !tokenizer.is_special(*id)));
                }
                prop_assert_eq!(expected.len(), text.len() + corpus.left_out() as usize);
                prop_assert!(corpus.left_out() < context as u64);
                prop_assert_eq!(&expected[..text.len()], text);
            }
            Err(error) => prop_assert!(expected.len() < context, "{}", error),
        }
    }
}

fn stories() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/text/stories-en.txt")
}

fn lines_of_stories(layout: Layout) -> CorpusConfig {
    CorpusConfig {
        text: TextUnit::Line,
        chats: Chats::Template,
        layout,
        context: 64,
        ..config(vec![stories()])
    }
}

#[test]
fn no_text_is_both_held_out_and_trained_on() {
    for layout in [Layout::Packed, Layout::Rows] {
        let whole = open(&lines_of_stories(layout)).unwrap();
        let (train, held_out) = whole.split_held_out(2000).unwrap();
        let texts = |corpus: &Corpus| -> HashSet<Vec<u32>> {
            let documents = corpus.chosen.iter().map(|&document| {
                let mut ids = Vec::new();
                let document = document as usize;
                let all = 0..corpus.shared.documents.ids(document);
                corpus.shared.documents.copy(document, all, &mut ids);
                ids
            });
            documents.collect()
        };
        assert!(texts(&train).is_disjoint(&texts(&held_out)));
        assert_eq!(train.documents() + held_out.documents(), whole.documents());
        assert!(held_out.tokens() >= 1900, "{}", held_out.tokens());
        assert!(held_out.tokens() < 4000, "{}", held_out.tokens());
        assert!(train.digest() != held_out.digest() && train.digest() != whole.digest());
        // Any part of the file is held out, not its end alone.
        let mean = held_out.chosen.iter().map(|&d| f64::from(d)).sum::<f64>();
        let mean = mean / held_out.documents() as f64 / whole.documents() as f64;
        assert!((0.2..0.8).contains(&mean), "{mean}");
    }
}

#[test]
fn a_single_document_cannot_be_split() {
    let one = CorpusConfig {
        text: TextUnit::File,
        ..lines_of_stories(Layout::Packed)
    };
    let error = open(&one).unwrap().split_held_out(100).err().unwrap();
    let error = error.to_string();
    assert!(
        error.starts_with("1 document of 78698 tokens cannot be split into 100"),
        "{error}"
    );
    assert!(error.contains("the rest has 0 tokens"), "{error}");
}

#[test]
fn the_seed_determines_the_order() {
    let sequences = |seed| {
        let corpus = open(&CorpusConfig {
            seed,
            ..lines_of_stories(Layout::Packed)
        })
        .unwrap();
        let order = |epoch| corpus.order(epoch);
        assert_eq!(order(0)[..3], [0, 1, 2]);
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2));
        (0..corpus.sequences())
            .map(|i| corpus.sequence(i))
            .collect::<Vec<_>>()
    };
    let (one, other) = (sequences(1), sequences(2));
    assert_eq!(one, sequences(1));
    assert_ne!(one, other);
    let sorted = |mut all: Vec<Vec<u32>>| {
        all.sort();
        all
    };
    assert_eq!(sorted(one), sorted(other));
}

#[test]
fn rows_are_cut_at_the_context() {
    let corpus = open(&lines_of_stories(Layout::Rows)).unwrap();
    assert_eq!(corpus.sequences(), corpus.documents());
    let lens = (0..corpus.sequences()).map(|i| corpus.sequence(i).len());
    let lens: Vec<usize> = lens.collect();
    assert!(lens.contains(&64) && lens.iter().all(|&len| len <= 64));
    assert_eq!(lens.iter().sum::<usize>() as u64, corpus.tokens());
    assert!(corpus.left_out() > 0);
}

#[test]
fn documents_are_read_once_and_a_broken_cache_is_made_again() {
    let (folder, cache) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let file = write(
        &folder,
        "a.txt",
        b"one two three\n\nfour five six\n\nseven eight nine",
    );
    let config = config(vec![file.clone()]);
    let open = || {
        let mut read = 0;
        let counting = &mut |_| read += 1;
        let corpus = Corpus::open(&config, &tokenizer(), Some(cache.path()), counting).unwrap();
        let sequences = (0..corpus.sequences()).map(|i| corpus.sequence(i));
        (sequences.collect::<Vec<_>>(), corpus.digest().to_owned())
    };
    let kept = || {
        let entries = std::fs::read_dir(cache.path()).unwrap();
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    };
    let first = open();
    let [path] = &kept()[..] else {
        panic!("one file")
    };
    let bytes = std::fs::read(path).unwrap();
    let modified = || std::fs::metadata(path).unwrap().modified().unwrap();
    let made = modified();
    assert_eq!(open(), first);
    assert_eq!(modified(), made, "it was not written again");
    for broken in 0..bytes.len() {
        let mut other = bytes.clone();
        other[broken] ^= 0x41;
        std::fs::write(path, &other).unwrap();
        assert_eq!(open(), first, "byte {broken}");
        std::fs::write(path, &bytes[..broken]).unwrap();
        assert_eq!(open(), first, "cut at {broken}");
    }
    assert_eq!(std::fs::read(path).unwrap(), bytes);
    std::fs::write(&file, "another text that is not the one before").unwrap();
    assert_ne!(open(), first);
    assert_eq!(kept().len(), 2);
}

#[test]
fn a_cache_whose_checksum_fits_is_not_trusted_with_its_numbers() {
    let (folder, cache) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let file = write(&folder, "a.txt", b"one two three four five six seven");
    let config = config(vec![file]);
    let open = || Corpus::open(&config, &tokenizer(), Some(cache.path()), &mut |_| {}).unwrap();
    let first = open().sequence(0);
    let path = std::fs::read_dir(cache.path())
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let mut bytes = std::fs::read(&path).unwrap();
    // An id beyond the vocabulary, with a checksum that matches.
    bytes[88..92].copy_from_slice(&100_000_u32.to_le_bytes());
    let mut digest = Digest::new();
    digest.add(&bytes[88..]);
    let sum = digest.finish();
    bytes[56..88].copy_from_slice(&sum);
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(open().sequence(0), first);
}

/// The pieces of every sequence make up the sequence.
fn check_pieces(corpus: &Corpus) {
    let (before, between) = (
        &corpus.shared.delimiters.before,
        &corpus.shared.delimiters.between,
    );
    for i in 0..corpus.sequences() {
        let tokens = corpus.sequence(i);
        let mut rebuilt = before.clone();
        for (number, piece) in corpus.pieces(i).iter().enumerate() {
            if number > 0 {
                rebuilt.extend_from_slice(between);
            }
            assert_eq!(piece.position, rebuilt.len());
            let range = piece.offset..piece.offset + piece.len;
            let documents = &corpus.shared.documents;
            documents.copy(piece.document as usize, range, &mut rebuilt);
        }
        // The tokens between two documents may stand at the end.
        assert!(tokens.starts_with(&rebuilt) || rebuilt.starts_with(&tokens));
    }
}

#[test]
fn documents_keep_their_place_and_labels_and_sequences_their_pieces() {
    let folder = tempfile::tempdir().unwrap();
    let records = concat!(
        "{\"text\": \"Lily was glad\", \"mood\": [\"joy\", \"love\"]}\n",
        "\n",
        "{\"text\": \"Tim was sad\", \"mood\": 2}\n",
        "{\"text\": \"a dog\"}\n"
    );
    let first = write(&folder, "a.jsonl", records.as_bytes());
    let plain = write(&folder, "b.txt", b"One day a cat ran.\n\nIt sat.");
    let table = write(&folder, "c.csv", b"text,mood\nThey ran,joy\nThey sat,\n");
    let config = CorpusConfig {
        labels: Some("mood".to_owned()),
        ..config(vec![first, plain, table])
    };
    let cache = folder.path().join("cache");
    // The second time the documents come from the cache.
    for _ in 0..2 {
        let corpus = Corpus::open(&config, &tokenizer(), Some(&cache), &mut |_| {}).unwrap();
        let origins: Vec<(usize, u64, String)> = (0..corpus.documents() as u32)
            .map(|document| corpus.origin(document))
            .map(|origin| (origin.file, origin.number, origin.labels.join("+")))
            .collect();
        let expected = [
            (0, 1, "joy+love"),
            (0, 3, "2"),
            (0, 4, ""),
            (1, 1, ""),
            (1, 3, ""),
            (2, 2, "joy"),
            (2, 3, ""),
        ];
        let expected = expected.map(|(file, number, labels)| (file, number, labels.to_owned()));
        assert_eq!(origins, expected);

        check_pieces(&corpus);
    }
}

#[test]
fn labels_that_are_none_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let plain = write(&folder, "b.txt", b"One day a cat ran.\n\nIt sat.");
    let config = CorpusConfig {
        labels: Some("mood".to_owned()),
        ..config(vec![])
    };
    let unlabelled = CorpusConfig {
        files: vec![plain],
        ..config.clone()
    };
    let refused = open(&unlabelled).err().unwrap().to_string();
    assert!(
        refused.contains("no record has a label in the field `mood`"),
        "{refused}"
    );
    let broken = write(
        &folder,
        "d.jsonl",
        b"{\"text\": \"x\", \"mood\": {\"a\": 1}}\n",
    );
    let config = CorpusConfig {
        files: vec![broken],
        ..config
    };
    let refused = open(&config).err().unwrap().to_string();
    assert!(
        refused.contains("line 1") && refused.contains("no label"),
        "{refused}"
    );
    assert_eq!(
        open(&CorpusConfig {
            labels: None,
            context: 2,
            ..config
        })
        .unwrap()
        .documents(),
        1
    );
}
