//! Files of every format, found by their bytes.

use super::super::read::{DocumentReader, Found};
use super::super::record::{Chat, Document};
use super::super::template::Template;
use super::*;
use crate::chat::Message;

/// The documents of a file by a template.
fn documents(path: &Path, template: Option<&str>) -> Result<Vec<Document>> {
    let template = template.map(|template| Template::parse(template).unwrap());
    let reading = DocumentReader {
        template: template.as_ref(),
        labels: None,
        text: TextUnit::Paragraph,
    };
    let mut found = Vec::new();
    reading.documents(path, &mut |Found { document, .. }| {
        found.push(document);
        Ok(())
    })?;
    Ok(found)
}

fn records(path: &Path, template: &str) -> Vec<Document> {
    documents(path, Some(template)).unwrap()
}

fn refusal(path: &Path, template: Option<&str>) -> String {
    documents(path, template).unwrap_err().to_string()
}

fn plain(texts: &[&str]) -> Vec<Document> {
    texts
        .iter()
        .map(|text| Document::Text((*text).to_owned()))
        .collect()
}

fn golden(name: &str) -> PathBuf {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/corpora");
    golden.join(name)
}

/// Files of the same rows, written by pyarrow.
const ROWS: [&str; 11] = [
    "snappy.parquet",
    "plain.parquet",
    "gzip.parquet",
    "zstd.parquet",
    "delta.parquet",
    "brotli.parquet",
    "lz4.parquet",
    "prefixes.parquet",
    "stream.arrow",
    "lz4.arrow",
    "zstd.arrow",
];

#[test]
fn parquet_and_arrow_files_of_pyarrow_are_read() {
    // Every row is a document, for `instruction` is never empty.
    let template = "{instruction}|{text}|{meta.note}|{label}";
    let lines = std::fs::read_to_string(golden("rows.jsonl")).unwrap();
    let expected: Vec<Document> = lines
        .lines()
        .map(|line| {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
            let [instruction, text, note] =
                [&row["instruction"], &row["text"], &row["meta"]["note"]].map(text);
            Document::Text(format!("{instruction}|{text}|{note}|{}", row["label"]))
        })
        .collect();
    assert_eq!(expected.len(), 120);
    for name in ROWS {
        assert!(records(&golden(name), template) == expected, "{name}");
    }
    let folder = TempDir::new().unwrap();
    for name in ["snappy.parquet", "stream.arrow", "lz4.arrow"] {
        let bytes = std::fs::read(golden(name)).unwrap();
        let whole = write(&folder, "a.gz", &gzip(&bytes));
        assert!(records(&whole, template) == expected);
        // No name, and one that lies.
        for other in ["data", "data.txt", "data.jsonl"] {
            assert!(records(&write(&folder, other, &bytes), template) == expected);
        }
    }
    let empty = expected
        .iter()
        .filter(|row| matches!(row, Document::Text(text) if text.contains("||")))
        .count();
    let texts = documents(&golden("zstd.parquet"), None).unwrap();
    assert!(
        texts.len() >= 120 - empty && texts.len() < 120,
        "empty texts are not documents"
    );
    let tags = documents(&golden("stream.arrow"), Some("tags.0"));
    assert!(
        tags.unwrap_err()
            .to_string()
            .contains("row 1: the field `tags.0`: there is no item `0`")
    );
}

/// Found by fuzzing: a stream of pyarrow with one length changed, at which the decoder panics.
#[test]
fn a_buffer_outside_its_message_is_refused_before_it_is_decoded() {
    let refused = refusal(&golden("outside.arrow"), Some("input_ids"));
    assert!(
        refused.contains("a buffer lies outside its message"),
        "{refused}"
    );
}

#[test]
fn chats_and_ids_of_pyarrow_are_read() {
    for name in ["chats.parquet", "chats.arrow"] {
        let path = golden(name);
        let turns = |i: usize, answer: String| {
            Document::Turns(Chat {
                turns: vec![
                    Message::new("user", &format!("question {i}")),
                    Message::new("assistant", &answer),
                ],
                ..Chat::default()
            })
        };
        let messages = records(&path, "messages");
        assert_eq!(messages.len(), 5);
        assert_eq!(messages[2], turns(2, String::new()));
        assert_eq!(messages[4], turns(4, "answer 4".to_owned()));
        let conversations = records(&path, "conversations");
        assert_eq!(conversations[1], turns(1, "answer 1".to_owned()));
        let ids: Vec<Document> = (0..5)
            .map(|i| Document::Ids([1].into_iter().chain(3..6 + i).collect()))
            .collect();
        assert_eq!(records(&path, "input_ids"), ids, "without padding");
        assert_eq!(
            records(&path, "messages.0.content")[3],
            plain(&["question 3"])[0]
        );
        let error = refusal(&path, Some("made"));
        assert!(
            error.contains("the field `made`: it holds Timestamp"),
            "{error}"
        );
        let error = refusal(&path, Some("messages.content"));
        assert!(
            error.contains("`content` is not the number of an item"),
            "{error}"
        );
        let error = refusal(&path, None);
        assert!(
            error.contains("there is no field `text`; there are messages, conv"),
            "{error}"
        );
    }
}

#[test]
fn a_broken_file_of_columns_is_refused_by_name() {
    let folder = TempDir::new().unwrap();
    let parquet = std::fs::read(golden("snappy.parquet")).unwrap();
    let stream = std::fs::read(golden("stream.arrow")).unwrap();
    for (name, bytes, reason) in [
        ("a.parquet", &b"{}"[..], "there is no field `text`"),
        ("b.parquet", b"Some text.", "not a Parquet file"),
        ("c.arrow", b"Some text.", "not an Arrow file"),
        ("d", &parquet[..parquet.len() - 1], "may be cut off"),
        (
            "e",
            &[&parquet[..100], &parquet[parquet.len() - 8..]].concat(),
            "longer than the file",
        ),
        (
            "f",
            &stream[..stream.len() - 3000],
            "cut off within a message",
        ),
    ] {
        let error = refusal(&write(&folder, name, bytes), None);
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn a_file_of_columns_with_any_byte_changed_is_read_or_refused() {
    let folder = TempDir::new().unwrap();
    for name in ROWS.into_iter().chain(["chats.parquet", "chats.arrow"]) {
        let bytes = std::fs::read(golden(name)).unwrap();
        for at in (0..bytes.len()).step_by(31) {
            let mut other = bytes.clone();
            other[at] = other[at].wrapping_add(1 + (at % 255) as u8);
            let path = write(&folder, "a", &other);
            // Neither a panic nor an endless read. A changed letter need not be noticed.
            for template in [
                "{instruction}{text}{meta.note}{label}",
                "messages",
                "input_ids",
            ] {
                if name.starts_with("chats") != template.starts_with('{') {
                    documents(&path, Some(template)).ok();
                }
            }
        }
    }
}

#[test]
fn json_is_found_under_any_name() {
    let folder = TempDir::new().unwrap();
    let lines = b"\xef\xbb\xbf{\"body\": \"one\", \"score\": NaN}\n\n{\"body\": \"two\", \"up\": -Infinity}\n";
    let expected = plain(&["one", "two"]);
    for (name, bytes) in [
        ("right.jsonl", lines.to_vec()),
        ("wiki_00", lines.to_vec()),
        ("notes.txt", lines.to_vec()),
        ("a.csv", lines.to_vec()),
        ("RC_2005-12.zst", zstd(lines)),
        ("b.gz", gzip(lines)),
        (
            "array.json",
            b"[{\"body\": \"one\"}, {\"body\": \"two\", \"x\": NaN}]".to_vec(),
        ),
        (
            "pretty",
            b"[\n  {\n    \"body\": \"one\"\n  },\n  {\n    \"body\": \"two\"\n  }\n]\n".to_vec(),
        ),
        (
            "lines-of-array.jsonl",
            b"[{\"body\": \"one\"},\n{\"body\": \"two\"}]\n".to_vec(),
        ),
        (
            "objects.json",
            b"{\n  \"body\": \"one\"\n}\n{\n  \"body\": \"two\"\n}\n".to_vec(),
        ),
        (
            "objects",
            b"{\n  \"body\": \"one\"\n}\n{\n  \"body\": \"two\"\n}\n".to_vec(),
        ),
    ] {
        let file = write(&folder, name, &bytes);
        assert_eq!(records(&file, "body"), expected, "{name}");
    }
}

#[test]
fn long_and_many_records_are_found_and_braces_do_not_make_json() {
    let folder = TempDir::new().unwrap();
    let long = format!(
        "{{\"body\": \"{}\"}}\n{{\"body\": \"two\"}}",
        "x".repeat(200_000)
    );
    assert_eq!(
        records(&write(&folder, "long", long.as_bytes()), "body").len(),
        2
    );
    let many = format!("[{}]", vec![r#"{"body": "one"}"#; 30_000].join(",\n"));
    assert_eq!(
        records(&write(&folder, "many", many.as_bytes()), "body").len(),
        30_000
    );
    for text in [
        "{q}",
        "{name} said: {",
        "[1] A reference.",
        "[[A link]]",
        "{\"no\" object",
    ] {
        let file = write(&folder, "a.txt", text.as_bytes());
        assert_eq!(documents(&file, None).unwrap(), plain(&[text]));
    }
    let wrapped = write(
        &folder,
        "wrapped.json",
        b"{\"data\": [{\"body\": \"one\"}]}",
    );
    let error = refusal(&wrapped, Some("body"));
    assert!(error.contains("`data` is a list of objects"), "{error}");
}

#[test]
fn tables_are_read_as_rows() {
    let folder = TempDir::new().unwrap();
    let cells = "id,text\r\n0,\"one, \"\"1\"\"\nline\"\r\n1,two\r\n2,\r\n";
    let expected = plain(&["one, \"1\"\nline", "two"]);
    for (name, text) in [
        ("texts.csv", cells.to_owned()),
        (
            "texts.tsv",
            cells
                .replacen(',', "\t", 1)
                .replace("0,", "0\t")
                .replace("1,", "1\t")
                .replace("2,", "2\t"),
        ),
        (
            "semicolons.csv",
            cells
                .replacen(',', ";", 1)
                .replace("0,", "0;")
                .replace("1,", "1;")
                .replace("2,", "2;"),
        ),
        ("mark.csv", format!("\u{feff}{cells}")),
        ("no-extension", cells.to_owned()),
        ("quoted.csv", cells.replace("id,text", "\"id\",\"text\"")),
    ] {
        let file = write(&folder, name, text.as_bytes());
        assert_eq!(documents(&file, None).unwrap(), expected, "{name}");
        assert_eq!(records(&file, "{id}: {text}").len(), 3, "{name}");
    }
    let zipped = write(&folder, "texts.csv.gz", &gzip(cells.as_bytes()));
    assert_eq!(documents(&zipped, None).unwrap(), expected);
    let one = write(&folder, "one.csv", b"text\nfirst, it is\nsecond\n");
    assert!(refusal(&one, None).contains("line 2: 2 cells under 1 names"));
    let one = write(&folder, "one.csv", b"text\nfirst\nsecond\n");
    assert_eq!(documents(&one, None).unwrap(), plain(&["first", "second"]));
    for (name, text, reason) in [
        (
            "a.csv",
            "id,body\n1,x\n",
            "there is no field `text`; there are id, body",
        ),
        (
            "b.csv",
            "id,text\n1,x\n2,\"y\n3,z\n",
            "line 3: the quotation mark of a cell is never closed",
        ),
        ("c.csv", "id,text\n1,x,y\n", "line 2: 3 cells under 2 names"),
        ("d.csv", "text,text\n1,x\n", "two columns are called `text`"),
    ] {
        let error = refusal(&write(&folder, name, text.as_bytes()), None);
        assert!(error.contains(reason), "{error}");
    }
    let error = refusal(&write(&folder, "e.csv", b"id,text\n1,\xff\n"), None);
    assert!(error.contains("line 2: not UTF-8"), "{error}");
    // Prose is no table, whatever commas it has.
    let prose = "The text, as it was.\nOne, two.";
    assert_eq!(
        documents(&write(&folder, "a.txt", prose.as_bytes()), None).unwrap(),
        plain(&[prose])
    );
}

#[test]
fn a_template_that_cannot_apply_is_refused() {
    let folder = TempDir::new().unwrap();
    for (name, text) in [
        ("a.txt", "Some text."),
        ("b", "{not json}\n{not json}"),
        ("c", "a, b\nc, d"),
    ] {
        let file = write(&folder, name, text.as_bytes());
        let error = refusal(&file, Some("body"));
        assert!(
            error.contains("the template cannot apply: the file is plain text"),
            "{error}"
        );
        assert_eq!(documents(&file, None).unwrap().len(), 1);
    }
    let empty = write(&folder, "empty.txt", b"");
    assert!(records(&empty, "body").is_empty());
}

#[test]
fn files_that_are_not_texts_are_refused_by_name() {
    let folder = TempDir::new().unwrap();
    for (bytes, reason) in [
        (&b"BZh91AY"[..], "compressed with bzip2; decompress it"),
        (b"\xfd7zXZ\0\0", "compressed with xz"),
        (b"PK\x03\x04....", "a zip archive; unpack it"),
        (b"\xff\xfeh\0i\0", "UTF-16 text; convert it to UTF-8"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            "a pointer of Git LFS",
        ),
        (b"SQLite format 3\0", "an SQLite database"),
        (b"\x93NUMPY\x01\0", "a NumPy array"),
    ] {
        let error = refusal(&write(&folder, "a.txt", bytes), None);
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn ids_are_taken_as_they_are_if_the_tokenizer_has_them() {
    let folder = TempDir::new().unwrap();
    let tokenizer = tokenizer();
    let bos = tokenizer.bos().unwrap();
    let ids = |name: &str, line: String| CorpusConfig {
        template: Some(Templates::All("input_ids".to_owned())),
        layout: Layout::Rows,
        ..config(vec![write(&folder, name, line.as_bytes())])
    };
    // The token that begins a text is not doubled where the list has it.
    let with = open(&ids("a", format!("{{\"input_ids\": [{bos}, 300, 301]}}"))).unwrap();
    assert_eq!(with.sequence(0), [bos, 300, 301]);
    let without = open(&ids("b", "{\"input_ids\": [300, 301]}".to_owned())).unwrap();
    assert_eq!(without.sequence(0), [bos, 300, 301]);
    let error = open(&ids("c", "{\"input_ids\": [512]}".to_owned()))
        .err()
        .unwrap();
    let reason = "c: line 1: the id 512 is not in the vocabulary of 512 tokens";
    assert!(error.to_string().contains(reason), "{error}");
}

#[test]
fn chats_are_rendered_as_asked() {
    let folder = TempDir::new().unwrap();
    let line = br#"{"messages": [{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Yes."}]}"#;
    let file = write(&folder, "chats", line);
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/tokenizers/smollm2");
    let smollm = Tokenizer::of_model(&data).unwrap();
    let open = |chats, tokenizer: &Tokenizer| {
        let config = CorpusConfig {
            template: Some(Templates::All("messages".to_owned())),
            layout: Layout::Rows,
            context: 200,
            bos: Bos::Never,
            chats,
            ..config(vec![file.clone()])
        };
        let corpus = Corpus::open(&config, tokenizer, None, &mut |_| {})?;
        let ids = corpus.sequence(0);
        let text: String = ids.iter().map(|&id| tokenizer.token_text(id)).collect();
        Ok((text, corpus.digest().to_owned()))
    };
    let (text, digest) = open(Chats::Template, &smollm).unwrap();
    assert!(
        text.contains("<|im_start|>user\nHi?<|im_end|>\n<|im_start|>assistant\nYes.<|im_end|>"),
        "{text}"
    );
    let (text, other) = open(Chats::Plain, &smollm).unwrap();
    assert_eq!(text, "Hi?\n\nYes.");
    assert_ne!(digest, other);
    assert_eq!(open(Chats::Auto, &smollm).unwrap().1, digest);
    let (text, auto) = open(Chats::Auto, &tokenizer()).unwrap();
    assert!(text.contains("Hi?"), "{text}");
    assert_eq!(open(Chats::Plain, &tokenizer()).unwrap().1, auto);
    let error: Error = open(Chats::Template, &tokenizer()).unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("chats: line 1: it is a chat") && error.contains("`plain`"),
        "{error}"
    );
}

#[test]
fn tools_and_documents_of_a_record_are_in_the_text_where_the_template_has_a_place_for_them() {
    let folder = TempDir::new().unwrap();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/tokenizers/smollm2");
    std::fs::copy(
        data.join("tokenizer.json"),
        folder.path().join("tokenizer.json"),
    )
    .unwrap();
    let with_template = |template: &str| {
        let config = serde_json::json!({"chat_template": template}).to_string();
        std::fs::write(folder.path().join("tokenizer_config.json"), config).unwrap();
        Tokenizer::from_folder(folder.path()).unwrap()
    };
    let text = |line: &str, tokenizer: &Tokenizer| {
        let file = write(&folder, "chats.jsonl", line.as_bytes());
        let config = CorpusConfig {
            template: Some(Templates::All("messages".to_owned())),
            layout: Layout::Rows,
            context: 200,
            bos: Bos::Never,
            ..config(vec![file])
        };
        let corpus = Corpus::open(&config, tokenizer, None, &mut |_| {})?;
        let ids = corpus.sequence(0);
        Ok(ids.iter().map(|&id| tokenizer.token_text(id)).collect())
    };
    let turns = r#""messages": [{"role": "user", "content": "Hi"}]"#;
    let listed = with_template("{{ tools }}{{ documents | tojson }}{{ messages[0].content }}");
    let record = |rest: &str| format!("{{{turns}{rest}}}\n");
    let read = |rest: &str| -> Result<String> { text(&record(rest), &listed) };
    assert_eq!(read("").unwrap(), "NonenullHi");
    assert_eq!(
        read(r#", "tools": null, "documents": []"#).unwrap(),
        "None[]Hi"
    );
    assert_eq!(
        read(r#", "tools": [{"name": "f"}], "documents": [{"text": "d"}]"#).unwrap(),
        r#"[{'name': 'f'}][{"text": "d"}]Hi"#
    );
    // As data sets keep objects that are not alike.
    assert_eq!(
        read(r#", "tools": "[{\"name\": \"f\"}]""#).unwrap(),
        "[{'name': 'f'}]nullHi"
    );
    for (rest, name) in [
        (r#", "tools": "[}""#, "`tools`"),
        (r#", "documents": ["a"]"#, "`documents`"),
        (r#", "tools": {}"#, "`tools`"),
    ] {
        let error = read(rest).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains("line 1"), "{error}");
    }
    // A template without a place for a list leaves it alone, whatever it holds.
    let plain = with_template("{{ messages[0].content }}");
    let found: Result<String> = text(&record(r#", "documents": ["a"]"#), &plain);
    assert_eq!(found.unwrap(), "Hi");
}
