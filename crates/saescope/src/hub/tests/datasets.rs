//! Data sets: which files are meant, and that they are asked for once.

use super::*;

fn resolve(hub: &FakeHub, reference: &str) -> (Result<Vec<PathBuf>>, Vec<Plan>) {
    let mut plans = Vec::new();
    let reference = DatasetReference::parse(reference).unwrap();
    let files = reference.resolve(&hub.options(), &mut |plan| plans.push(plan));
    (files, plans)
}

const FILES: [(&str, &[u8]); 6] = [
    ("README.md", b"about"),
    ("data/train-00000-of-00002.parquet", b"PAR1 one"),
    ("data/train-00001-of-00002.parquet", b"PAR1 second"),
    ("data/test-00000-of-00001.parquet", b"PAR1 held out"),
    ("more/extra.jsonl", b"{}\n"),
    ("notes.txt", b"notes"),
];

#[test]
fn the_training_split_is_downloaded_once_with_its_size_said_first() {
    let hub = FakeHub::new(&FILES);
    let (files, plans) = resolve(&hub, "org/name");
    let files = files.unwrap();
    assert_eq!(
        plans,
        [Plan {
            files: 2,
            bytes: 19
        }]
    );
    let names: Vec<_> = files.iter().map(|file| file.file_name().unwrap()).collect();
    assert_eq!(
        names,
        [
            "train-00000-of-00002.parquet",
            "train-00001-of-00002.parquet"
        ]
    );
    assert_eq!(std::fs::read(&files[1]).unwrap(), b"PAR1 second");
    assert!(
        files[0]
            .to_str()
            .unwrap()
            .contains("datasets--org--name/snapshots")
    );
    hub.log();
    let (again, plans) = resolve(&hub, "org/name");
    assert_eq!((again.unwrap(), plans.len()), (files, 0));
    assert!(hub.log().is_empty(), "the Hub is not asked again");
}

#[test]
fn a_file_or_a_folder_can_be_named() {
    let hub = FakeHub::new(&FILES);
    for (inner, expected) in [
        ("data/test-00000-of-00001.parquet", &b"PAR1 held out"[..]),
        ("more", b"{}\n"),
        ("more/", b"{}\n"),
        ("notes.txt", b"notes"),
    ] {
        let (files, _) = resolve(&hub, &format!("org/name@main:{inner}"));
        let files = files.unwrap();
        assert_eq!(files.len(), 1, "{inner}");
        assert_eq!(std::fs::read(&files[0]).unwrap(), expected);
    }
}

#[test]
fn what_is_not_clear_is_asked_back() {
    let several = FakeHub::new(&[("en/train.jsonl", b"{}"), ("ko/train.jsonl.gz", b"{}")]);
    let refused = |hub: &FakeHub, reference: &str| match resolve(hub, reference).0 {
        Err(Error::Hub { reason, .. }) => reason,
        other => panic!("{other:?}"),
    };
    let reason = refused(&several, "org/name");
    assert!(reason.contains("as in org/name:ko: en, ko"), "{reason}");
    let reason = refused(&several, "org/name:de");
    assert!(reason.contains("de has no texts"), "{reason}");
    let none = FakeHub::new(&[("a.csv", b"1,2")]);
    assert!(refused(&none, "org/name").contains("but a.csv"));
    let reason = refused(&none, "org/other");
    assert!(reason.contains("no such repository"), "{reason}");
    none.set(|state| {
        let path = "api/datasets/org/name/revision/main?blobs=true";
        state.refuse.insert(path.to_owned(), 401);
    });
    let reason = refused(&none, "org/name");
    assert!(
        reason.contains("/datasets/org/name and give a token"),
        "{reason}"
    );
}

#[test]
fn offline_a_data_set_of_other_programs_is_used_when_it_is_whole() {
    let hub = FakeHub::new(&[]);
    let snapshot = hub
        .cache
        .path()
        .join("datasets--org--name/snapshots")
        .join(COMMIT);
    std::fs::create_dir_all(snapshot.join("data")).unwrap();
    let offline = || {
        let options = HubOptions {
            offline: true,
            ..hub.options()
        };
        let reference = DatasetReference::parse(&format!("org/name@{COMMIT}")).unwrap();
        reference.resolve(&options, &mut |_| panic!("nothing is downloaded"))
    };
    std::fs::write(snapshot.join("data/train-00000-of-00002.parquet"), "x").unwrap();
    let error = offline().unwrap_err().to_string();
    assert!(error.contains("does not hold all of it"), "{error}");
    std::fs::write(snapshot.join("data/train-00001-of-00002.parquet"), "x").unwrap();
    assert_eq!(offline().unwrap().len(), 2);
    assert!(hub.log().is_empty());
}

#[test]
fn what_is_no_reference_is_refused() {
    for text in [
        "",
        "name",
        "org/name/file",
        "org/name:../x",
        "org/name:/etc",
        "org/na me",
        "a/b:",
    ] {
        assert!(DatasetReference::parse(text).is_err(), "{text}");
    }
    let reference = DatasetReference::parse("org/name@v1:data/ko").unwrap();
    assert_eq!(reference.to_string(), "org/name@v1:data/ko");
}
