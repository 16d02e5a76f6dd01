//! An evaluation together with what it was made of, as it is printed and written.

use serde::Serialize;

use crate::origin::Origin;

/// The corpus of an evaluation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EvalCorpus {
    /// The files or data sets, as they were named.
    pub corpus: Vec<String>,
    /// SHA-256 of the sequences and their order.
    pub corpus_digest: String,
}

/// The texts of an evaluation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EvalTexts {
    /// The corpus that they come from.
    #[serde(flatten)]
    pub source: EvalCorpus,
    /// Most tokens of a text.
    pub context: usize,
    /// True if every text begins with the beginning-of-sequence token.
    pub begins_with_bos: bool,
}

/// An evaluation, its origin and its texts. Serialises flat; parts that are unknown are omitted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EvalReport<'a, T, E> {
    /// The call that made it; none where the evaluation stands beside a record of it.
    #[serde(flatten)]
    pub origin: Option<Origin>,
    /// The texts, [`EvalTexts`] or [`EvalCorpus`]; none if only activations were read.
    #[serde(flatten)]
    pub texts: Option<&'a T>,
    /// The evaluation.
    #[serde(flatten)]
    pub evaluation: &'a E,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Number {
        l0: f64,
    }

    #[test]
    fn unknown_parts_are_omitted() {
        let evaluation = &Number { l0: 3.5 };
        let bare = EvalReport::<EvalCorpus, _> {
            origin: None,
            texts: None,
            evaluation,
        };
        assert_eq!(serde_json::to_string(&bare).unwrap(), r#"{"l0":3.5}"#);
        let texts = &EvalTexts {
            source: EvalCorpus {
                corpus: vec!["a.txt".to_owned()],
                corpus_digest: "ab".to_owned(),
            },
            context: 8,
            begins_with_bos: true,
        };
        let report = EvalReport {
            texts: Some(texts),
            origin: None,
            evaluation,
        };
        assert_eq!(
            serde_json::to_string(&report).unwrap(),
            r#"{"corpus":["a.txt"],"corpus_digest":"ab","context":8,"begins_with_bos":true,"l0":3.5}"#
        );
    }
}
