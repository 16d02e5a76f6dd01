//! Downloads from a fake Hub of a few dozen lines on this machine.

mod autoencoders;
mod datasets;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use super::*;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// The files of the server, its faults, and the requests that it received.
#[derive(Default)]
struct State {
    files: HashMap<String, Vec<u8>>,
    /// Statuses that are answered to a path instead of the file.
    refuse: HashMap<String, u16>,
    /// Bytes of each answer after which the connection breaks.
    cut_after: Option<usize>,
    /// Number of answers that are still to be cut.
    cuts: usize,
    /// `PATH RANGE` of every request.
    log: Vec<String>,
    token: Option<String>,
}

struct FakeHub {
    state: Arc<Mutex<State>>,
    endpoint: String,
    cache: tempfile::TempDir,
}

impl FakeHub {
    fn new(files: &[(&str, &[u8])]) -> FakeHub {
        let files = files
            .iter()
            .map(|&(name, bytes)| (name.to_owned(), bytes.to_vec()));
        let state = Arc::new(Mutex::new(State {
            files: files.collect(),
            ..State::default()
        }));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let served = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let served = Arc::clone(&served);
                std::thread::spawn(move || serve(&stream, &served));
            }
        });
        FakeHub {
            state,
            endpoint,
            cache: tempfile::tempdir().unwrap(),
        }
    }

    fn options(&self) -> HubOptions {
        HubOptions {
            endpoint: self.endpoint.clone(),
            ..HubOptions::new(self.cache.path())
        }
    }

    fn resolve(&self, reference: &str) -> Result<PathBuf> {
        Reference::parse(reference)
            .unwrap()
            .resolve(&self.options())
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
    }

    /// The requests since the last call.
    fn log(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().log)
    }
}

/// Answers the requests of one connection, until the connection is to break.
fn serve(stream: &TcpStream, state: &Mutex<State>) -> Option<()> {
    let mut lines = BufReader::new(stream).lines();
    loop {
        let request = lines.next()?.ok()?;
        let mut headers = HashMap::new();
        while let Some((name, value)) = lines.next()?.ok()?.split_once(": ") {
            headers.insert(name.to_lowercase(), value.to_owned());
        }
        let path = request.split(' ').nth(1)?.trim_start_matches('/');
        let range = headers.get("range").map_or("", String::as_str);
        let (answer, cut) = answer(path, range, headers.get("authorization"), state);
        (&*stream).write_all(&answer).ok()?;
        if cut {
            return stream.shutdown(std::net::Shutdown::Both).ok();
        }
    }
}

fn answer(
    path: &str,
    range: &str,
    token: Option<&String>,
    state: &Mutex<State>,
) -> (Vec<u8>, bool) {
    let mut state = state.lock().unwrap();
    state.log.push(format!("{path} {range}").trim().to_owned());
    state.token = token.cloned();
    let resolve = format!("org/name/resolve/{COMMIT}/");
    let status = state.refuse.get(path).copied();
    let of_dataset = path.strip_prefix("datasets/").unwrap_or(path);
    let body = match of_dataset.strip_prefix(&resolve) {
        Some(file) => state.files.get(file).cloned(),
        None if path == "api/models/org/name/revision/main" => Some(info(&state.files, false)),
        None if path == "api/datasets/org/name/revision/main?blobs=true" => {
            Some(info(&state.files, true))
        }
        None if path.starts_with("sparse-autoencoder/") => state.files.get(path).cloned(),
        None => None,
    };
    let (Some(body), None) = (body, status) else {
        let status = status.unwrap_or(404);
        let head = format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n");
        return (head.into_bytes(), false);
    };
    let span = range
        .strip_prefix("bytes=")
        .and_then(|range| range.split_once('-'));
    let (start, end) = span.map_or((0, body.len()), |(start, end)| {
        let end = end.parse().map_or(body.len(), |end: usize| end + 1);
        (start.parse().unwrap(), end)
    });
    if start >= body.len() {
        let range = format!("Content-Range: bytes */{}", body.len());
        let head = format!("HTTP/1.1 416 No\r\nContent-Length: 0\r\n{range}\r\n\r\n");
        return (head.into_bytes(), false);
    }
    let etag = path.replace(['/', '.'], "-");
    let mut answer = format!(
        "HTTP/1.1 {}\r\nContent-Length: {}\r\nETag: \"{etag}\"\r\nX-Repo-Commit: {COMMIT}\r\n\
         Content-Range: bytes {start}-{}/{}\r\n\r\n",
        if span.is_some() {
            "206 Partial"
        } else {
            "200 OK"
        },
        end - start,
        end - 1,
        body.len()
    )
    .into_bytes();
    let sent = match state.cut_after {
        Some(cut) if !path.starts_with("api") && end - start > cut && state.cuts > 0 => {
            state.cuts -= 1;
            cut
        }
        _ => end - start,
    };
    answer.extend(&body[start..start + sent]);
    (answer, sent < end - start)
}

/// The Hub's description of a repository with these files.
fn info(files: &HashMap<String, Vec<u8>>, sizes: bool) -> Vec<u8> {
    let siblings: Vec<_> = files
        .iter()
        .map(|(name, file)| {
            if sizes {
                serde_json::json!({"rfilename": name, "size": file.len()})
            } else {
                serde_json::json!({"rfilename": name})
            }
        })
        .collect();
    let info = serde_json::json!({"sha": COMMIT, "siblings": siblings});
    info.to_string().into_bytes()
}

const MODEL: [(&str, &[u8]); 4] = [
    ("README.md", b"not needed"),
    ("config.json", b"{}"),
    ("tokenizer.json", b"{\"tokenizer\": 1}"),
    ("model.safetensors", b"0123456789"),
];

fn reason(result: Result<PathBuf>) -> String {
    match result {
        Err(Error::Hub { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

/// The reason of a refusal because downloads are turned off.
fn offline_reason<T: std::fmt::Debug>(result: Result<T>) -> String {
    match result {
        Err(Error::Offline { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn demo_is_the_bundled_model_and_a_path_of_that_name_begins_with_a_dot() {
    assert_eq!(Reference::parse(DEMO).unwrap(), Reference::Demo);
    assert_eq!(
        Reference::parse("./demo").unwrap(),
        Reference::Path("./demo".into())
    );
}

#[test]
fn a_reference_is_a_path_first() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path().to_str().unwrap();
    assert_eq!(
        Reference::parse(here).unwrap(),
        Reference::Path(here.into())
    );
    assert_eq!(
        Reference::parse("src").unwrap(),
        Reference::Path("src".into())
    );
    for path in ["./org/name", "../name", "/no/such/thing", "~/model"] {
        assert!(
            matches!(Reference::parse(path).unwrap(), Reference::Path(_)),
            "{path}"
        );
        assert!(
            reason(
                Reference::parse(path)
                    .unwrap()
                    .resolve(&HubOptions::new("/nowhere"))
            )
            .contains("no such file")
        );
    }
    for text in [
        "org/name",
        "org/name@v1.0",
        "org/name@refs/pr/1",
        "org/name/a/b.gguf@main",
    ] {
        for written in [text.to_owned(), format!("hf:{text}")] {
            match Reference::parse(&written).unwrap() {
                Reference::Hub(hub) => assert_eq!(hub.to_string(), text),
                path => panic!("{path:?}"),
            }
        }
    }
    for text in [
        "",
        "hf:",
        "name",
        "org/",
        "/@",
        "org/na me",
        "org/name@",
        "org/name/../x",
        "-o/x",
    ] {
        let parsed = Reference::parse(text);
        assert!(
            !matches!(parsed, Ok(Reference::Hub(_))),
            "{text}: {parsed:?}"
        );
    }
}

#[test]
fn only_needed_files_are_downloaded_and_only_once() {
    let hub = FakeHub::new(&MODEL);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let watched = Arc::clone(&seen);
    let report = move |progress: &Progress| {
        watched
            .lock()
            .unwrap()
            .push((progress.file.to_owned(), progress.done, progress.total));
    };
    let options = HubOptions {
        progress: Some(Arc::new(report)),
        token: Some("secret".to_owned()),
        ..hub.options()
    };
    let reference = Reference::parse("hf:org/name").unwrap();
    let folder = reference.resolve(&options).unwrap();
    assert_eq!(folder.file_name().unwrap(), COMMIT);
    assert_eq!(
        std::fs::read(folder.join("model.safetensors")).unwrap(),
        b"0123456789"
    );
    assert!(!folder.join("README.md").exists());
    assert!(
        seen.lock()
            .unwrap()
            .contains(&("model.safetensors".to_owned(), 10, 10))
    );
    assert_eq!(
        hub.state.lock().unwrap().token.as_deref(),
        Some("Bearer secret")
    );
    assert!(!hub.log().is_empty());
    let refs = std::fs::read_dir(folder.join("../../refs")).unwrap();
    let refs: Vec<_> = refs.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(refs, ["main"]);

    // From the cache, by branch and by commit, with and without a network.
    assert_eq!(hub.resolve("org/name").unwrap(), folder);
    assert_eq!(hub.resolve(&format!("org/name@{COMMIT}")).unwrap(), folder);
    let offline = HubOptions {
        offline: true,
        ..hub.options()
    };
    assert_eq!(reference.resolve(&offline).unwrap(), folder);
    assert!(hub.log().is_empty());
}

#[test]
fn an_interrupted_download_resumes_where_it_stopped() {
    let weights: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
    let hub = FakeHub::new(&[MODEL[1], MODEL[2], ("model.safetensors", &weights)]);
    // Within one call, while something arrives.
    hub.set(|state| (state.cut_after, state.cuts) = (Some(70_000), 5));
    let folder = hub.resolve("org/name").unwrap();
    assert_eq!(
        std::fs::read(folder.join("model.safetensors")).unwrap(),
        weights
    );
    let starts: Vec<String> = hub
        .log()
        .iter()
        .filter_map(|line| {
            line.split_once("model.safetensors bytes=")?
                .1
                .strip_suffix('-')
                .map(str::to_owned)
        })
        .collect();
    assert_eq!(
        starts,
        ["0", "70000", "140000", "210000", "280000", "350000"]
    );
}

#[test]
fn a_part_of_an_earlier_run_is_not_downloaded_again() {
    let hub = FakeHub::new(&MODEL);
    let blobs = hub.cache.path().join("models--org--name/blobs");
    let part = blobs.join(format!("org-name-resolve-{COMMIT}-model-safetensors.part"));
    // A beginning, a complete part that was not renamed, and a part that is too long.
    for (held, asked) in [
        ("01234", "bytes=5-"),
        ("0123456789", "bytes=9-"),
        ("0123456789ab", "bytes=0-"),
    ] {
        std::fs::create_dir_all(&blobs).unwrap();
        std::fs::write(&part, held).unwrap();
        let folder = hub.resolve("org/name").unwrap();
        assert_eq!(
            std::fs::read(folder.join("model.safetensors")).unwrap(),
            b"0123456789"
        );
        let log = hub.log();
        assert!(
            log.iter()
                .any(|line| line.ends_with(&format!("model.safetensors {asked}"))),
            "{log:?}"
        );
        std::fs::remove_dir_all(hub.cache.path().join("models--org--name")).unwrap();
    }
}

#[test]
fn a_download_without_progress_is_given_up_and_can_be_resumed() {
    let hub = FakeHub::new(&MODEL);
    hub.set(|state| (state.cut_after, state.cuts) = (Some(0), 1000));
    assert!(reason(hub.resolve("org/name")).contains("resumes"));
    hub.set(|state| state.cuts = 0);
    assert!(hub.resolve("org/name").is_ok());
}

#[test]
fn the_index_names_the_shards() {
    let index = br#"{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}"#;
    let mut files = vec![
        MODEL[1],
        MODEL[2],
        ("model.safetensors.index.json", index.as_slice()),
    ];
    files.extend([
        ("model-1.safetensors", b"1".as_slice()),
        ("model-2.safetensors", b"2"),
        ("model-3.safetensors", b"3"),
    ]);
    let hub = FakeHub::new(&files);
    let folder = hub.resolve("org/name").unwrap();
    assert!(folder.join("model-2.safetensors").is_file());
    assert!(!folder.join("model-3.safetensors").exists());

    hub.log();
    std::fs::remove_file(folder.join("model-1.safetensors")).unwrap();
    assert_eq!(hub.resolve("org/name").unwrap(), folder);
    assert!(
        folder.join("model-1.safetensors").is_file(),
        "a missing shard is fetched"
    );
    let asked = hub
        .log()
        .iter()
        .filter(|line| line.contains("resolve"))
        .count();
    assert_eq!(asked, 2, "and nothing else");

    let hostile = br#"{"weight_map": {"a": "../../../escape.safetensors"}}"#;
    let hub = FakeHub::new(&[MODEL[1], ("model.safetensors.index.json", hostile)]);
    assert!(matches!(hub.resolve("org/name"), Err(Error::Format { .. })));
}

#[test]
fn one_gguf_of_a_repository_is_a_file() {
    let hub = FakeHub::new(&[("q4.gguf", b"GGUF4"), ("q8.gguf", b"GGUF8")]);
    let file = hub.resolve("org/name/q8.gguf").unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), b"GGUF8");
    hub.log();
    assert_eq!(hub.resolve("org/name/q8.gguf").unwrap(), file);
    assert!(hub.log().is_empty());
    assert!(reason(hub.resolve("org/name/q2.gguf")).contains("q4.gguf"));
    // The cache holds one of two, which must not make the repository's name mean that one.
    assert!(reason(hub.resolve("org/name")).contains("q4.gguf, q8.gguf"));
}

#[test]
fn refusals_name_the_next_step() {
    let hub = FakeHub::new(&MODEL);
    let offline = HubOptions {
        offline: true,
        ..hub.options()
    };
    let reference = Reference::parse("org/name").unwrap();
    assert!(offline_reason(reference.resolve(&offline)).contains("does not hold it"));
    assert!(hub.log().is_empty());

    assert!(reason(hub.resolve("org/other")).contains("no such repository"));
    assert!(reason(hub.resolve("org/name@v9")).contains("`v9`"));
    let weights = format!("org/name/resolve/{COMMIT}/model.safetensors");
    for status in [401, 403] {
        hub.set(|state| {
            state.refuse.insert(weights.clone(), status);
        });
        let denied = hub.resolve("org/name");
        let Err(Error::AccessDenied { reason, .. }) = denied else {
            panic!("{denied:?}");
        };
        assert!(
            reason.contains("token") && reason.contains("org/name"),
            "{reason}"
        );
    }
    // Files of an unfinished download are not a model.
    assert!(offline_reason(reference.resolve(&offline)).contains("does not hold it"));

    let nobody = HubOptions {
        endpoint: "http://127.0.0.1:9".to_owned(),
        ..hub.options()
    };
    assert!(reason(reference.resolve(&nobody)).contains("cannot be reached"));
}
