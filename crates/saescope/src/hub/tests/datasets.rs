//! Data sets: the choice of their files, and one download of each.

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
fn the_training_split_is_downloaded_once_and_its_size_is_known_before() {
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
fn an_unclear_choice_is_refused_with_the_alternatives() {
    let several = FakeHub::new(&[("en/train.jsonl", b"{}"), ("ko/train.jsonl.gz", b"{}")]);
    let refused = |hub: &FakeHub, reference: &str| match resolve(hub, reference).0 {
        Err(Error::Hub { reason, .. }) => reason,
        other => panic!("{other:?}"),
    };
    let reason = refused(&several, "org/name");
    assert!(
        reason.contains("as in org/name:ko; there are en, ko"),
        "{reason}"
    );
    let reason = refused(&several, "org/name:de");
    assert!(reason.contains("de has no texts"), "{reason}");
    let none = FakeHub::new(&[("a.zip", b"PK")]);
    assert!(refused(&none, "org/name").contains("there are a.zip"));
    let reason = refused(&none, "org/other");
    assert!(reason.contains("no such repository"), "{reason}");
    none.set(|state| {
        let path = "api/datasets/org/name/revision/main?blobs=true";
        state.refuse.insert(path.to_owned(), 401);
    });
    let denied = resolve(&none, "org/name").0;
    let Err(Error::AccessDenied { reason, .. }) = denied else {
        panic!("{denied:?}");
    };
    assert!(
        reason.contains("/datasets/org/name and give a token"),
        "{reason}"
    );
}

#[test]
fn a_complete_data_set_of_another_program_is_used_offline() {
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
    assert!(offline_reason(offline()).contains("does not hold all of it"));
    std::fs::write(snapshot.join("data/train-00001-of-00002.parquet"), "x").unwrap();
    assert_eq!(offline().unwrap().len(), 2);
    assert!(hub.log().is_empty());
}

#[test]
fn text_that_is_not_a_reference_is_refused() {
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
