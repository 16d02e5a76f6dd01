//! Tokenizers that the crate `tokenizers` runs: `tokenizer.json`, GPT-2's vocabulary and merges, and
//! SentencePiece's `tokenizer.model`.

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value;
use tokenizers::models::bpe::BPE;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::processors::PostProcessorWrapper;
use tokenizers::{AddedToken, Tokenizer as Library};

use super::added::add_tokens;
use super::charsmap;
use super::config::{CompanionFiles, Token};
use super::habits::{class, set_llama_spaces, set_spaces};
use super::sentencepiece::SentencePiece;
use super::spelling::{Spelling, pieces, spelling};
use super::{Engine, Special, Tokenizer};
use crate::error::{Error, Result};
use crate::stand_in;

/// The token that begins and ends every document of GPT-2 and GPT-NeoX.
const END_OF_TEXT: &str = "<|endoftext|>";

pub(super) fn from_tokenizer_json(path: &Path) -> Result<Tokenizer> {
    let bytes = std::fs::read(path).map_err(|error| Error::io(path, error))?;
    stand_in::check_text(path, &bytes)?;
    let broken = |reason: String| Error::format(path, reason);
    let mut json: Value =
        serde_json::from_slice(&bytes).map_err(|error| broken(format!("not JSON: {error}")))?;
    if !json.is_object() {
        return Err(broken("expected a JSON object".to_owned()));
    }
    let beside = CompanionFiles::read(folder_of(path))?;
    let bytes = match set_spaces(&mut json, &beside) {
        true => json.to_string().into_bytes(),
        false => bytes,
    };
    let (library, spelling) = read_library(&json, &bytes).map_err(broken)?;
    let around = around(&json["post_processor"]).map_err(broken)?;
    let model = json["model"]["type"].as_str().unwrap_or("BPE");
    let name = match spelling {
        Spelling::ByteLevel => format!("byte-level {model}"),
        Spelling::Metaspace { .. } => format!("SentencePiece-like {model}"),
        Spelling::WordPiece => model.to_owned(),
    };
    let parts = Parts {
        library,
        spelling,
        beside,
        ends: Ends::END_OF_TEXT,
        kind: format!("{name} from tokenizer.json"),
    };
    let mut tokenizer = parts.join(path)?;
    let special = &mut tokenizer.special;
    special.bos = special.bos.or(around.before.first().copied());
    (special.before, special.after) = (around.before, around.after);
    Ok(tokenizer)
}

/// Runs what `bytes`, the text of `json`, describe.
fn read_library(json: &Value, bytes: &[u8]) -> Result<(Library, Spelling), String> {
    let spelling = spelling(json)?;
    charsmap::check(&json["normalizer"])?;
    let mut library = Library::from_bytes(bytes).map_err(|error| error.to_string())?;
    // Some files keep the truncation and padding of training; a prompt is never cut or padded silently.
    let cut = library.with_truncation(None);
    cut.map_err(|error| error.to_string())?;
    library.with_padding(None);
    library.with_post_processor(None::<PostProcessorWrapper>);
    Ok((library, spelling))
}

pub(super) fn from_sentence_piece(path: &Path) -> Result<Tokenizer> {
    let mut model = SentencePiece::read(path)?;
    let beside = CompanionFiles::read(folder_of(path))?;
    let is_unigram = model.is_unigram();
    let is_t5 = is_unigram && class(&beside) == Some(T5);
    if is_unigram {
        check_unigram_class(path, class(&beside))?;
    }
    if is_t5 {
        // The last sentinel comes first.
        let sentinels = 0..beside.extra_ids.unwrap_or(T5_SENTINELS);
        model.add_control(sentinels.rev().map(|n| format!("<extra_id_{n}>")));
    }
    let json = model.tokenizer_json(is_t5 || beside.legacy.unwrap_or(true));
    let mut json = json.map_err(|reason| Error::format(path, reason))?;
    if !is_unigram {
        set_llama_spaces(&mut json, &beside);
    }
    let read = read_library(&json, json.to_string().as_bytes());
    let (library, spelling) = read.map_err(|reason| Error::format(path, reason))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let kind = if is_unigram { "Unigram" } else { "BPE" };
    let parts = Parts {
        library,
        spelling,
        beside,
        ends: Ends::Ids(model.bos, model.eos),
        kind: format!("SentencePiece {kind} from {name}"),
    };
    let mut tokenizer = parts.join_with_flags(path)?;
    let special = &mut tokenizer.special;
    if is_t5 && special.after.is_empty() {
        special.after.extend(special.eos.first().copied());
    }
    Ok(tokenizer)
}

/// The class that ends every text with EOS, and adds sentinels to the vocabulary.
const T5: &str = "T5Tokenizer";
const T5_SENTINELS: usize = 100;

/// Refuses a Unigram vocabulary of a class that gives other ids than SentencePiece itself. Llama's class of
/// transformers 5 would read it as BPE; that of transformers 4, which such files are of, left it to
/// SentencePiece.
fn check_unigram_class(path: &Path, class: Option<&str>) -> Result<()> {
    const PLAIN: [&str; 5] = [
        T5,
        "LlamaTokenizer",
        "PreTrainedTokenizer",
        "TokenizersBackend",
        "SentencePieceBackend",
    ];
    let Some(class) = class.filter(|class| !PLAIN.contains(class)) else {
        return Ok(());
    };
    Err(Error::Unsupported {
        path: path.to_owned(),
        reason: format!(
            "the ids of `{class}` with a vocabulary of Unigram are not known; save the tokenizer as tokenizer.json"
        ),
    })
}

pub(super) fn from_vocab_and_merges(vocab: &Path, merges: &Path) -> Result<Tokenizer> {
    let read = |path: &Path| {
        let bytes = std::fs::read(path).map_err(|error| Error::io(path, error))?;
        stand_in::check_text(path, &bytes).map(|()| bytes)
    };
    let tokens: HashMap<String, u32> = serde_json::from_slice(&read(vocab)?)
        .map_err(|error| Error::format(vocab, format!("not a map from tokens to ids: {error}")))?;
    let text =
        String::from_utf8(read(merges)?).map_err(|_| Error::format(merges, "not UTF-8 text"))?;
    let pairs = text
        .lines()
        .filter(|line| !line.starts_with("#version") && !line.is_empty())
        .map(|line| {
            merge(line).ok_or_else(|| Error::format(merges, format!("not a merge: `{line}`")))
        })
        .collect::<Result<Vec<_>>>()?;

    let folder = folder_of(vocab);
    let beside = CompanionFiles::read(folder)?;
    // These two files do not name their pre-tokenizer. GPT-2's is right for GPT-2 alone.
    let family = beside
        .model_type
        .as_deref()
        .filter(|family| *family != "gpt2");
    if let Some(class) = class(&beside).or(family)
        && class != "GPT2Tokenizer"
    {
        return Err(Error::Unsupported {
            path: folder.to_owned(),
            reason: format!(
                "the tokenizer of `{class}` cannot be read from vocab.json and merges.txt, only GPT2Tokenizer \
                 can; save the tokenizer as tokenizer.json"
            ),
        });
    }
    let ends = tokens.contains_key(END_OF_TEXT);
    let broken = |error: tokenizers::Error| Error::format(merges, error.to_string());
    let mut library = byte_level_bpe(tokens, pairs, false).map_err(broken)?;
    library.with_pre_tokenizer(Some(ByteLevel::new(
        beside.add_prefix_space.unwrap_or(false),
        true,
        true,
    )));
    if ends {
        library.add_special_tokens(&[AddedToken::from(END_OF_TEXT, true)]);
    }
    let parts = Parts {
        library,
        spelling: Spelling::ByteLevel,
        beside,
        ends: Ends::END_OF_TEXT,
        kind: "byte-level BPE from vocab.json and merges.txt".to_owned(),
    };
    parts.join_with_flags(vocab)
}

/// The parts of a tokenizer, before the tokens of the files beside it are added.
struct Parts {
    library: Library,
    spelling: Spelling,
    beside: CompanionFiles,
    ends: Ends,
    kind: String,
}

/// The tokens that begin and end a text where no file names one.
enum Ends {
    Token(&'static str),
    Ids(Option<u32>, Option<u32>),
}

impl Ends {
    const END_OF_TEXT: Ends = Ends::Token(END_OF_TEXT);
}

impl Parts {
    /// The tokenizer of the file at `path`. Nothing stands around a text yet.
    fn join(mut self, path: &Path) -> Result<Tokenizer> {
        add_tokens(&mut self.library, &self.beside)?;
        let special = self.special();
        let pieces = pieces(&self.library, self.spelling, &self.beside.special());
        Ok(Tokenizer {
            pieces: pieces.map_err(|reason| Error::format(path, reason))?,
            engine: Engine::Library(Box::new(self.library)),
            special,
            chat_template: self.beside.chat_template,
            tool_template: self.beside.tool_template,
            kind: self.kind,
        })
    }

    /// The tokenizer of files that do not say what stands around a text, so that the flags beside them do.
    fn join_with_flags(self, path: &Path) -> Result<Tokenizer> {
        let (add_bos, add_eos) = (self.beside.add_bos, self.beside.add_eos);
        let mut tokenizer = self.join(path)?;
        let special = &mut tokenizer.special;
        special.before.extend(special.bos.filter(|_| add_bos));
        let end = special.eos.first().copied();
        special.after.extend(end.filter(|_| add_eos));
        Ok(tokenizer)
    }

    fn special(&self) -> Special {
        let (library, beside) = (&self.library, &self.beside);
        let text = |text: &str| library.token_to_id(text);
        let (first, last) = match self.ends {
            Ends::Token(token) => (text(token), text(token)),
            Ends::Ids(bos, eos) => (bos, eos),
        };
        let known = |id: &u32| library.id_to_token(*id).is_some();
        let bos = match &beside.bos {
            Some(Some(Token::Text(token))) => text(token),
            Some(Some(Token::Id(id))) => Some(*id).filter(known).or(first),
            Some(None) => None,
            None => first,
        };
        // An id that only the model knows may end a text too. GPT-2's configuration names 50256 by itself,
        // whatever the vocabulary, so that one of the vocabulary is added where none is named.
        let mut eos: Vec<u32> = Vec::new();
        for end in &beside.eos {
            let end = match end {
                Token::Text(token) => text(token),
                Token::Id(id) => Some(*id),
            };
            eos.extend(end.filter(|end| !eos.contains(end)));
        }
        if !eos.iter().any(known) {
            eos.splice(0..0, last);
        }
        Special {
            bos,
            eos,
            names: beside.names.clone(),
            ..Special::default()
        }
    }
}

/// The folder of a file.
fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}

/// The two sides of a line of merges.
pub(super) fn merge(line: &str) -> Option<(String, String)> {
    let (left, right) = line.split_once(' ')?;
    if left.is_empty() || right.is_empty() || right.contains(' ') {
        return None;
    }
    Some((left.to_owned(), right.to_owned()))
}

/// A BPE over bytes that still lacks its pre-tokenizer.
pub(super) fn byte_level_bpe(
    tokens: HashMap<String, u32>,
    merges: Vec<(String, String)>,
    ignore_merges: bool,
) -> Result<Library, tokenizers::Error> {
    let bpe = BPE::builder()
        .vocab_and_merges(tokens.into_iter().collect::<Vocab>(), merges)
        .ignore_merges(ignore_merges)
        .build()?;
    let mut library = Library::new(bpe);
    library.with_decoder(Some(ByteLevel::default()));
    Ok(library)
}

type Vocab = tokenizers::models::bpe::Vocab;

/// Tokens that a post-processor puts around a text.
#[derive(Default)]
struct Affixes {
    before: Vec<u32>,
    after: Vec<u32>,
}

/// Reads them from the file, since the library panics over a template that names an undefined token.
fn around(processor: &Value) -> Result<Affixes, String> {
    let mut around = Affixes::default();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    match processor["type"].as_str() {
        None | Some("ByteLevel") => {}
        Some("Sequence") => {
            for step in list(&processor["processors"]) {
                let inner = self::around(&step)?;
                around.before.splice(0..0, inner.before);
                around.after.extend(inner.after);
            }
        }
        Some("TemplateProcessing") => {
            let mut text_seen = false;
            for piece in list(&processor["single"]) {
                text_seen |= piece.get("Sequence").is_some();
                let Some(token) = piece["SpecialToken"]["id"].as_str() else {
                    continue;
                };
                let ids = &processor["special_tokens"][token]["ids"];
                let ids: Vec<u32> = serde_json::from_value(ids.clone())
                    .map_err(|_| format!("its template names `{token}`, which has no id"))?;
                let side = if text_seen {
                    &mut around.after
                } else {
                    &mut around.before
                };
                side.extend(ids);
            }
        }
        Some("BertProcessing" | "RobertaProcessing") => {
            for (key, side) in [("cls", &mut around.before), ("sep", &mut around.after)] {
                let id = processor[key][1]
                    .as_u64()
                    .and_then(|id| u32::try_from(id).ok());
                side.push(id.ok_or_else(|| format!("its post-processor has no id for `{key}`"))?);
            }
        }
        Some(other) => return Err(format!("the post-processor `{other}` is not supported")),
    }
    Ok(around)
}
