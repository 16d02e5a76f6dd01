//! Splitting of text into words before byte-level BPE, by the names in GGUF files.

use tokenizers::SplitDelimiterBehavior::Isolated;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};

use crate::error::{Error, Result};

/// A pre-tokenizer.
pub(super) struct Pre {
    names: &'static [&'static str],
    /// Regular expressions, each applied to the words of the one before. A match becomes a word, and so
    /// does the text between two matches.
    regexes: &'static [&'static str],
    /// True if a word that is a token becomes that token without merging.
    pub(super) ignore_merges: bool,
    /// True if a text begins with the BOS token by default.
    pub(super) add_bos: bool,
}

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

const ALL: [Pre; 6] = [
    Pre {
        names: &["gpt-2", "phi-2", "mpt", "olmo", "jais", "trillion"],
        regexes: &[GPT2],
        ignore_merges: false,
        add_bos: false,
    },
    Pre {
        names: &[
            "smollm",
            "starcoder",
            "refact",
            "command-r",
            "codeshell",
            "exaone",
        ],
        regexes: &[r"\p{N}", GPT2],
        ignore_merges: false,
        add_bos: false,
    },
    Pre {
        names: &["llama-bpe", "llama3", "llama-v3", "falcon3", "pixtral"],
        regexes: &[LLAMA3],
        ignore_merges: true,
        add_bos: true,
    },
    Pre {
        names: &["qwen2", "stablelm2", "deepseek-r1-qwen"],
        regexes: &[QWEN2],
        ignore_merges: false,
        add_bos: false,
    },
    Pre {
        names: &["tekken"],
        regexes: &[TEKKEN],
        ignore_merges: true,
        add_bos: true,
    },
    // llama.cpp's default for files from before the key existed. No model was trained with it, but
    // users of such files see these ids.
    Pre {
        names: &["default"],
        regexes: &[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"],
        ignore_merges: false,
        add_bos: false,
    },
];

impl Pre {
    pub(super) fn named(name: &str) -> Result<&'static Pre> {
        ALL.iter()
            .find(|pre| pre.names.contains(&name))
            .ok_or_else(|| {
                let names = ALL.iter().flat_map(|pre| pre.names);
                let names: Vec<&str> = names.copied().collect();
                Error::Tokenizer(format!(
                    "tokenizer.ggml.pre is `{name}`, whose way of cutting text into words is not \
                     known; known are {}",
                    names.join(", ")
                ))
            })
    }

    pub(super) fn splitter(&self) -> Result<Sequence> {
        let mut steps: Vec<PreTokenizerWrapper> = Vec::new();
        for &regex in self.regexes {
            let pattern = SplitPattern::Regex(regex.to_owned());
            let split = Split::new(pattern, Isolated, false)
                .map_err(|error| Error::Tokenizer(error.to_string()))?;
            steps.push(split.into());
        }
        steps.push(ByteLevel::new(false, true, false).into());
        Ok(Sequence::new(steps))
    }
}

#[cfg(test)]
mod tests {
    use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer};

    use super::*;

    fn words(name: &str, text: &str) -> Vec<String> {
        let mut string = PreTokenizedString::from(text);
        let splitter = Pre::named(name).unwrap().splitter().unwrap();
        splitter.pre_tokenize(&mut string).unwrap();
        let splits = string.get_splits(OffsetReferential::Original, OffsetType::Byte);
        let offsets = splits.into_iter().map(|(_, (start, end), _)| (start, end));
        offsets
            .map(|(start, end)| text[start..end].to_owned())
            .collect()
    }

    #[test]
    fn each_name_splits_text_as_its_family_does() {
        let text = "I'LL pay 1234\n\n  now";
        assert_eq!(
            words("gpt-2", text),
            ["I", "'", "LL", " pay", " 1234", "\n\n ", " now"]
        );
        assert_eq!(
            words("smollm", text),
            [
                "I", "'", "LL", " pay", " ", "1", "2", "3", "4", "\n\n ", " now"
            ]
        );
        assert_eq!(
            words("llama-bpe", text),
            ["I", "'LL", " pay", " ", "123", "4", "\n\n", " ", " now"]
        );
        assert_eq!(
            words("qwen2", text),
            [
                "I", "'LL", " pay", " ", "1", "2", "3", "4", "\n\n", " ", " now"
            ]
        );
        assert_eq!(words("tekken", "HelloWorld"), ["Hello", "World"]);
        assert_eq!(words("default", "a=12345"), ["a", "=", "123", "45"]);
    }

    #[test]
    fn an_unknown_pre_tokenizer_is_refused_by_name() {
        let error = Pre::named("kimi-k2").err().unwrap();
        assert!(matches!(&error, Error::Tokenizer(reason) if reason.contains("`kimi-k2`")));
    }
}
