//! Stores of a harvest of the small model: what is shown against what `features` computes, parts against the
//! whole, interrupted passes, damaged files.

use std::path::{Path, PathBuf};

use rusqlite::Connection;
use saescope::corpus::{Chats, CorpusConfig, Layout, TextUnit};
use saescope::features::activations;
use saescope::harvest::{Block, CorpusEvidence, FeatureRole, Limits, Part, Saved, Sink};
use saescope::hub::HubOptions;
use saescope::jobs::Cancel;
use saescope::jobs::harvest::{HarvestJob, HarvestRequest, Outcome};
use saescope::origin::Origin;
use saescope::sae::NamedSae;
use saescope::session::{LanguageModel, Selection, Session};
use saescope::tokenizer::Bos;
use saescope::{Error, Result};
use tempfile::TempDir;

use super::*;

/// A model, its autoencoder and labelled texts.
struct Subject {
    lm: LanguageModel,
    sae: NamedSae,
    folder: TempDir,
    files: Vec<PathBuf>,
}

impl Subject {
    fn new() -> Subject {
        let folder = tempfile::tempdir().unwrap();
        let data = Path::new("../../tests/data");
        let mut records = String::new();
        for mood in ["happy", "sad"] {
            let texts = std::fs::read_to_string(data.join(format!("{mood}.txt"))).unwrap();
            for text in texts.lines() {
                let record = serde_json::json!({"text": text, "mood": mood});
                records.push_str(&format!("{record}\n"));
            }
        }
        let moods = folder.path().join("moods.jsonl");
        std::fs::write(&moods, records).unwrap();
        let session = Session::new(HubOptions::new(folder.path().join("cache")));
        let selection = Selection {
            saes: &["../../tests/data/sae"],
            model: Some("../../tests/data/stories260K"),
            site: None,
        };
        let (lm, sae, _) = session.open(&selection).unwrap().into_pair().unwrap();
        Subject {
            lm,
            sae,
            folder,
            files: vec![moods, data.join("text/stories-en.txt")],
        }
    }

    fn request(&self) -> HarvestRequest {
        HarvestRequest {
            corpus: CorpusConfig {
                files: self.files.clone(),
                template: None,
                labels: Some("mood".to_owned()),
                text: TextUnit::Line,
                chats: Chats::default(),
                layout: Layout::Rows,
                context: 48,
                bos: Bos::Auto,
                seed: 0,
            },
            tokens: Some(9000),
            index_tokens: 4000,
            part: Part::default(),
            count_all: false,
            limits: Limits {
                top: 8,
                sample: 20,
                ..Limits::default()
            },
            checkpoint_seconds: 0.0,
        }
    }

    fn job(&self, request: &HarvestRequest) -> HarvestJob<'_> {
        let folders = (self.folder.path(), None);
        let subject = (&self.lm, &self.sae);
        HarvestJob::prepare(subject, request, Origin::default(), folders, &mut |_| ()).unwrap()
    }

    /// A finished store, from as many passes as `stops` says: each stops after so many checkpoints.
    fn store(&self, name: &str, request: &HarvestRequest, stops: &[usize]) -> Store {
        let job = self.job(request);
        let path = self.folder.path().join(name);
        for &stop in stops.iter().chain(&[usize::MAX]) {
            let store = Store::create(&path, job.header(), &job.vocabulary()).unwrap();
            let origin = |document| job.corpus().origin(document);
            let mut sink = Stopping {
                sink: StoreSink::new(store, &origin),
                left: stop,
                cancel: Cancel::default(),
            };
            if stop < usize::MAX {
                // A raised flag lets the pass end with a checkpoint after each block.
                sink.cancel.raise();
            }
            let cancel = sink.cancel.clone();
            match job.run(&mut sink, &cancel, &mut |_| ()).unwrap() {
                Outcome::Finished(_) => return sink.sink.into_store(),
                Outcome::Cancelled { .. } => {}
            }
        }
        unreachable!("the last pass runs to the end");
    }
}

/// Hands everything to a store, and ends the pass by itself.
struct Stopping<'a> {
    sink: StoreSink<'a>,
    left: usize,
    cancel: Cancel,
}

impl Sink for Stopping<'_> {
    fn saved(&mut self) -> Result<Option<Saved>> {
        self.sink.saved()
    }

    fn checkpoint(&mut self, blocks: &[Block], evidence: &CorpusEvidence) -> Result<()> {
        self.left -= 1;
        self.sink.checkpoint(blocks, evidence)
    }

    fn finish(&mut self, roles: &[FeatureRole]) -> Result<()> {
        self.sink.finish(roles)
    }
}

/// Every row of every table but the shadow tables of the full text index, as text.
fn content(store: &Store) -> Vec<String> {
    let mut rows = Vec::new();
    let tables = [
        "documents",
        "blocks",
        "segments",
        "features",
        "sequence_features",
        "token_features",
        "class_features",
        "labels",
        "lists",
        "list_features",
    ];
    for table in tables {
        let mut get = store
            .connection
            .prepare(&format!("SELECT * FROM {table} ORDER BY 1, 2"))
            .unwrap();
        let columns = get.column_count();
        let mut found = get.query([]).unwrap();
        while let Some(row) = found.next().unwrap() {
            let values = (0..columns).map(|c| format!("{:?}", row.get_ref(c).unwrap()));
            rows.push(format!("{table}: {}", values.collect::<Vec<_>>().join(" ")));
        }
    }
    let counts = store.counts().unwrap();
    rows.push(format!("{counts:?} {:?}", store.header.parts));
    rows
}

/// Compares what two stores hold, row by row.
fn assert_same(left: &Store, right: &Store) {
    let (left, right) = (content(left), content(right));
    for (left, right) in left.iter().zip(&right) {
        assert_eq!(left, right);
    }
    assert_eq!(left.len(), right.len());
}

fn some_features(store: &Store) -> Vec<u32> {
    let filter = ["count>0".parse().unwrap()];
    let rows = store.features(&filter, SortBy::Density, 0, 60).unwrap();
    rows.iter().step_by(7).map(|row| row.feature).collect()
}

#[test]
fn what_is_shown_is_what_features_computes() {
    let subject = Subject::new();
    let request = subject.request();
    let store = subject.store("a.db", &request, &[]);
    let job = subject.job(&request);
    let features = some_features(&store);
    assert!(features.len() > 5);
    let mut examples = 0;
    for feature in features {
        let report = store.feature(feature, &ReportOptions::default()).unwrap();
        assert_eq!(report.feature, feature);
        let deciles = report.deciles.iter().chain(&report.intervals);
        let groups = deciles.flat_map(|group| {
            assert!(group.examples.iter().all(|e| {
                let value = f64::from(e.activation);
                group.from - 1e-6 <= value && value <= group.to + 1e-6
            }));
            &group.examples
        });
        let shown = report.top.iter().chain(&report.random).chain(groups);
        for example in shown.chain(&report.silent) {
            examples += 1;
            let tokens = job.corpus().sequence(example.sequence as usize);
            let all = activations(
                &subject.lm.model,
                &subject.sae.sae,
                &[&tokens],
                feature,
                &mut (),
            );
            let all = &all.unwrap()[0];
            let start = example.position as usize - example.peak;
            for (at, &value) in example.activations.iter().enumerate() {
                let position = start + at;
                let left_out = position == 0; // BOS
                let expected = if left_out { 0.0 } else { all[position] };
                let known = example.activation > 0.0 || expected == 0.0;
                assert!(!known || value == expected, "{feature} {example:?} {at}");
            }
            assert_eq!(example.activations[example.peak], example.activation);
            let piece = &job.corpus().pieces(example.sequence as usize)[0];
            let origin = job.corpus().origin(piece.document);
            assert_eq!(
                (example.number, example.labels.as_slice()),
                (origin.number, origin.labels)
            );
            assert_eq!(example.tokens.concat(), example.text);
        }
        assert!(report.silent.iter().all(|e| e.activation == 0.0));
        let part: f64 = report.intervals.iter().map(|group| group.contains).sum();
        assert!((part - 1.0).abs() < 1e-9, "{part}");
        assert!(
            report
                .top
                .windows(2)
                .all(|pair| pair[0].activation >= pair[1].activation)
        );
        assert!((report.density - report.count as f64 / report.tokens as f64).abs() < 1e-12);
    }
    assert!(examples > 100);
}

#[test]
fn the_index_holds_every_activation_of_its_sequences() {
    let subject = Subject::new();
    let request = HarvestRequest {
        tokens: Some(3000),
        index_tokens: 1500,
        ..subject.request()
    };
    let store = subject.store("a.db", &request, &[]);
    let job = subject.job(&request);
    let mut indexed = Vec::new();
    store
        .each_block(&mut |sequences| {
            indexed.extend(sequences.iter().filter(|s| s.indexed).map(|s| s.number));
            Ok(())
        })
        .unwrap();
    assert!(indexed.len() > 10 && indexed.len() < job.corpus().sequences());
    for feature in some_features(&store) {
        let mut expected = Vec::new();
        for &sequence in &indexed {
            let tokens = job.corpus().sequence(sequence as usize);
            let all = activations(
                &subject.lm.model,
                &subject.sae.sae,
                &[&tokens],
                feature,
                &mut (),
            );
            let active = (0_u32..)
                .zip(all.unwrap().remove(0))
                .filter(|(_, value)| *value > 0.0);
            expected.extend(active.map(|(position, value)| (sequence, position, value)));
        }
        let postings = store.postings(feature).unwrap();
        let found: Vec<(u32, u32, f32)> = postings
            .iter()
            .map(|p| (p.sequence, p.position, p.value))
            .collect();
        assert_eq!(found, expected, "{feature}");
    }
}

#[test]
fn parts_merged_and_interrupted_passes_equal_one_pass() {
    let subject = Subject::new();
    let request = subject.request();
    let whole = subject.store("whole.db", &request, &[]);
    let blocks = whole
        .connection
        .query_row("SELECT count(*) FROM blocks", [], |row| row.get(0));
    assert!(blocks.unwrap_or(0_u32) >= 12);
    let stops = [1; 5];
    let resumed = subject.store("resumed.db", &request, &stops);
    assert_same(&whole, &resumed);

    let parts: Vec<Store> = (1..=3)
        .map(|number| {
            let part = Part { number, of: 3 };
            let request = HarvestRequest {
                part,
                ..request.clone()
            };
            subject.store(&format!("{number}.db"), &request, &[])
        })
        .collect();
    let path = subject.folder.path().join("merged.db");
    let merged = merge(&parts, &path).unwrap();
    assert_same(&whole, &merged);
    let words = |store: &Store| store.find_words("happy", 1000).unwrap();
    assert_eq!(words(&whole), words(&merged));

    let twice = [
        Store::open(parts[0].path()).unwrap(),
        Store::open(parts[0].path()).unwrap(),
    ];
    let refused = merge(&twice, &subject.folder.path().join("x.db"))
        .err()
        .unwrap();
    assert!(refused.to_string().contains("in two stores"), "{refused}");
    let left = subject.folder.path().join("y.db-wal");
    std::fs::write(&left, b"of an earlier store").unwrap();
    let refused = merge(&parts, &subject.folder.path().join("y.db"))
        .err()
        .unwrap();
    assert!(refused.to_string().contains("y.db-wal"), "{refused}");
    let refused = merge(&parts, &path).err().unwrap();
    assert!(refused.to_string().contains("exists"), "{refused}");
    assert!(!subject.folder.path().join("x.db").exists());
}

#[test]
fn a_harvest_that_is_killed_before_its_first_table_begins_anew() {
    let subject = Subject::new();
    let request = HarvestRequest {
        tokens: Some(500),
        ..subject.request()
    };
    let path = subject.folder.path().join("a.db");
    let begun = Connection::open(&path).unwrap();
    begun
        .pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))
        .unwrap();
    drop(begun);
    let store = subject.store("a.db", &request, &[]);
    assert!(store.is_finished().unwrap());
}

#[test]
fn a_store_of_another_harvest_is_not_continued() {
    let subject = Subject::new();
    let request = HarvestRequest {
        tokens: Some(500),
        ..subject.request()
    };
    let store = subject.store("a.db", &request, &[]);
    let other = HarvestRequest {
        tokens: Some(900),
        ..request
    };
    let job = subject.job(&other);
    let refused = Store::create(store.path(), job.header(), &job.vocabulary())
        .err()
        .unwrap();
    assert!(
        refused.to_string().contains("`config.sequences`"),
        "{refused}"
    );
}

#[test]
fn words_tokens_and_classes_find_features() {
    let subject = Subject::new();
    let store = subject.store("a.db", &subject.request(), &[]);
    let hits = store.find_words("happy", 10_000).unwrap();
    assert!(hits.places.len() > 5);
    for place in &hits.places {
        assert_eq!(place.words.to_lowercase(), "happy");
        assert!(place.text.to_lowercase().contains("happy"));
    }
    // Each place is found by a plain search through all sequences.
    let mut places = 0;
    store
        .each_block(&mut |sequences| {
            for sequence in sequences {
                places += store.tokens().find(&sequence.tokens, "happy").len();
            }
            Ok(())
        })
        .unwrap();
    assert_eq!(hits.places.len(), places);
    assert!(store.find_words("?!", 1).is_err());
    assert_eq!(store.find_words("xylophone", 1).unwrap().places.len(), 0);

    let feature = some_features(&store)[1];
    let report = store.feature(feature, &ReportOptions::default()).unwrap();
    let promoted = &report.promoted[0];
    let hits = store
        .find_token(&[promoted.token], TokenRole::Promoted)
        .unwrap();
    assert!(
        hits.iter()
            .any(|hit| hit.feature == feature && hit.score == promoted.effect)
    );
    let read = &report.contexts.here[0];
    let hits = store.find_token(&[read.token], TokenRole::Read).unwrap();
    assert!(hits.iter().any(|hit| hit.feature == feature));

    let hits = store.find_class("sad", 5).unwrap();
    assert!(
        hits.windows(2)
            .all(|pair| pair[0].auroc >= pair[1].auroc - 1e-6)
    );
    let best = store
        .feature(hits[0].feature, &ReportOptions::default())
        .unwrap();
    let own = best
        .classes
        .iter()
        .find(|class| class.class == "sad")
        .unwrap();
    assert_eq!(own.auroc, hits[0].auroc);
    let refused = store.find_class("glad", 5).unwrap_err();
    assert!(matches!(refused, Error::UnknownName { .. }));
}

#[test]
fn labels_of_parts_are_merged_by_their_time_and_lists_one_after_another() {
    let subject = Subject::new();
    let mut parts: Vec<Store> = (1..=2)
        .map(|number| {
            let request = HarvestRequest {
                tokens: Some(2000),
                part: Part { number, of: 2 },
                ..subject.request()
            };
            subject.store(&format!("{number}.db"), &request, &[])
        })
        .collect();
    for (part, features) in parts.iter_mut().zip([[5, 6], [1, 6]]) {
        part.set_label(3, &format!("of {features:?}"), None)
            .unwrap();
        part.add_to_list("both", None, &features).unwrap();
    }
    let older = "UPDATE labels SET written = '2000-01-01T00:00:00Z'";
    parts[1].connection.execute(older, []).unwrap();
    let merged = merge(&parts, &subject.folder.path().join("m.db")).unwrap();
    assert_eq!(merged.label(3).unwrap().unwrap().label, "of [5, 6]");
    assert_eq!(merged.list("both").unwrap().features, [5, 6, 1]);
}

#[test]
fn equal_texts_are_chosen_one_by_one_and_a_label_that_stands_twice_counts_once() {
    let mut subject = Subject::new();
    let repeated =
        serde_json::json!({"text": "Lily was very sad and cried.", "mood": ["low", "low"]});
    let mut records = format!("{repeated}\n").repeat(150);
    let stories = std::fs::read_to_string("../../tests/data/text/stories-en.txt").unwrap();
    for story in stories.lines().take(100) {
        let record = serde_json::json!({"text": story, "mood": "other"});
        records.push_str(&format!("{record}\n"));
    }
    let path = subject.folder.path().join("repeated.jsonl");
    std::fs::write(&path, records).unwrap();
    subject.files = vec![path];
    let request = HarvestRequest {
        tokens: None,
        ..subject.request()
    };
    let store = subject.store("a.db", &request, &[]);
    assert_eq!(store.counts().unwrap().texts, [250, 150, 100]);
    // A feature that fires on the repeated text and elsewhere has both in its sample.
    let mut mixed = 0;
    for feature in some_features(&store) {
        let options = ReportOptions {
            per_group: 20,
            ..ReportOptions::default()
        };
        let random = store.feature(feature, &options).unwrap().random;
        let low = random.iter().filter(|e| e.labels == ["low"]).count();
        mixed += usize::from(low > 0 && low < random.len());
    }
    assert!(mixed > 2, "{mixed}");
}

#[test]
fn labels_and_lists_are_kept_and_copied() {
    let subject = Subject::new();
    let request = HarvestRequest {
        tokens: Some(1000),
        ..subject.request()
    };
    let mut store = subject.store("a.db", &request, &[]);
    let feature = some_features(&store)[1];
    store
        .set_label(feature, "a mood", Some("strong on faces"))
        .unwrap();
    store.set_label(feature, "the mood", None).unwrap();
    let label = store.label(feature).unwrap().unwrap();
    assert_eq!(
        (label.label.as_str(), label.note.as_deref()),
        ("the mood", Some("strong on faces"))
    );
    assert_eq!(
        store.find_words("FACES mood", 1).unwrap().labelled,
        [feature]
    );
    assert!(
        store.set_label(u32::MAX, "x", None).is_err()
            && store.set_label(feature, " ", None).is_err()
    );
    store
        .add_to_list("moods", Some("of people"), &[feature, 3, feature])
        .unwrap();
    store.add_to_list("moods", None, &[4]).unwrap();
    assert_eq!(store.list("moods").unwrap().features, [feature, 3, 4]);
    assert_eq!(store.list("moods").unwrap().description, "of people");
    let copied = subject.folder.path().join("copy.db");
    copy(&store, &copied).unwrap();
    assert_same(&store, &Store::open(&copied).unwrap());
    store.remove_from_list("moods", &[feature]).unwrap();
    store.add_to_list("moods", None, &[7]).unwrap();
    assert_eq!(store.lists().unwrap()[0].features, [3, 4, 7]);
    store.remove_from_list("moods", &[]).unwrap();
    assert!(store.lists().unwrap().is_empty() && store.remove_from_list("moods", &[]).is_err());
    assert!(store.remove_label(feature).unwrap() && !store.remove_label(feature).unwrap());
}

#[test]
fn korean_and_chinese_words_of_one_and_two_syllables_are_found_exactly() {
    let path = tempfile::tempdir().unwrap();
    let path = path.path().join("texts.db");
    let mut connection = Connection::open(path).unwrap();
    let transaction = connection.transaction().unwrap();
    schema::migrate(&transaction, 0).unwrap();
    transaction.commit().unwrap();
    let texts = [
        "정말 기쁨이 넘친다",
        "분노했다. 기뻐",
        "기쁜 분 노래",
        "我很高兴",
        "재미있는 영화",
        "큰 기쁨",
    ];
    for (rowid, text) in texts.iter().enumerate() {
        let spaced = text::spaced(text);
        connection
            .execute(
                "INSERT INTO texts (rowid, text) VALUES (?, ?)",
                (rowid, spaced),
            )
            .unwrap();
    }
    let find = |words: &str| {
        let mut get = connection
            .prepare("SELECT rowid FROM texts WHERE texts MATCH ? ORDER BY rowid")
            .unwrap();
        let rows = get.query_map([text::query(words).unwrap()], |row| row.get::<_, usize>(0));
        rows.unwrap().map(|row| row.unwrap()).collect::<Vec<_>>()
    };
    for words in ["기쁨", "분노", "재미있", "高兴", "我", "분"] {
        let expected: Vec<usize> = (0..texts.len())
            .filter(|&i| texts[i].contains(words))
            .collect();
        // A space within a phrase does not count: `분 노래` has the syllables of `분노` in a row.
        let mut found = find(words);
        if words == "분노" {
            found.retain(|&i| i != 2);
        }
        assert_eq!(found, expected, "{words}");
    }
}

#[test]
fn foreign_newer_damaged_and_hostile_files_are_refused_by_name() {
    let subject = Subject::new();
    let request = HarvestRequest {
        tokens: Some(600),
        ..subject.request()
    };
    let store = subject.store("a.db", &request, &[]);
    let feature = some_features(&store)[0];
    let original = store.path().to_path_buf();
    drop(store);
    let bytes = std::fs::read(&original).unwrap();
    let path = subject.folder.path().join("b.db");
    let refusal = |change: &str| {
        std::fs::write(&path, &bytes).unwrap();
        let connection = Connection::open(&path).unwrap();
        connection.execute_batch(change).unwrap();
        drop(connection);
        let opened = Store::open(&path);
        let shown = opened.and_then(|store| store.feature(feature, &ReportOptions::default()));
        let refused = shown
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default();
        assert!(refused.contains("b.db"), "{change}: {refused}");
        refused
    };
    assert!(refusal("PRAGMA user_version = 99").contains("newer saescope"));
    assert!(refusal("PRAGMA application_id = 7").contains("another program"));
    assert!(refusal("CREATE VIEW v AS SELECT 1").contains("views or triggers"));
    refusal("UPDATE features SET evidence = x'ffffffffffffffffff'");
    refusal("UPDATE blocks SET data = zeroblob(10000000)");
    refusal("UPDATE blocks SET data = x'80808080808080808001'");
    refusal("DELETE FROM blocks");
    refusal("DELETE FROM meta WHERE key = 'header'");
    refusal("UPDATE meta SET value = '{}' WHERE key = 'header'");
    refusal(
        "UPDATE meta SET value = replace(value, '\"d_sae\":', '\"d_sae\":9999999') WHERE key = 'header'",
    );
    refusal("DROP TABLE features");
}

#[test]
fn files_cut_short_or_overwritten_are_read_or_refused() {
    let subject = Subject::new();
    let request = HarvestRequest {
        tokens: Some(600),
        ..subject.request()
    };
    let store = subject.store("a.db", &request, &[]);
    let feature = some_features(&store)[0];
    let bytes = std::fs::read(store.path()).unwrap();
    let path = subject.folder.path().join("b.db");
    std::fs::write(
        &path,
        b"not a database, but long enough to have a header of its own",
    )
    .unwrap();
    assert!(
        Store::open(&path)
            .err()
            .unwrap()
            .to_string()
            .contains("no store")
    );
    assert!(Store::open(&subject.folder.path().join("none.db")).is_err());
    // A file cut short, or with any piece overwritten, is read or refused.
    for cut in (0..bytes.len()).step_by(bytes.len() / 25) {
        std::fs::write(&path, &bytes[..cut]).unwrap();
        if let Ok(store) = Store::open(&path) {
            store.feature(feature, &ReportOptions::default()).ok();
        }
        let mut changed = bytes.clone();
        let end = (cut + 40).min(changed.len());
        changed[cut..end].fill(0xa5);
        std::fs::write(&path, &changed).unwrap();
        if let Ok(store) = Store::open(&path) {
            store.feature(feature, &ReportOptions::default()).ok();
            store.find_words("a", 5).ok();
        }
    }
}

#[test]
fn readers_work_beside_a_writer_and_where_nothing_can_be_written() {
    let subject = Subject::new();
    let request = HarvestRequest {
        tokens: Some(600),
        ..subject.request()
    };
    let mut writer = subject.store("a.db", &request, &[]);
    let reader = Store::open(writer.path()).unwrap();
    let feature = some_features(&reader)[0];
    writer.set_label(feature, "seen", None).unwrap();
    assert_eq!(reader.label(feature).unwrap().unwrap().label, "seen");
    let uncommitted = writer.connection.transaction().unwrap();
    uncommitted.execute("DELETE FROM labels", []).unwrap();
    assert!(reader.label(feature).unwrap().is_some());
    drop(uncommitted);
}
