//! `saescope vector caa`, `difference` and `pca`

use std::io::Write as _;
use std::path::{Path, PathBuf};

use saescope::pooling::Pooling;
use saescope::site::Sites;
use saescope::vector::text::{self, Selection};
use saescope::vector::{Contrast, Method, Summary, Texts, Vector, VectorRecord};
use serde::Serialize;

use super::{DrawArgs, QuestionArgs, file_name, pairs, progress};
use crate::args::edits::EditsArgs;
use crate::args::hub::locate_file;
use crate::args::model::ModelArgs;
use crate::args::output::{Written, check_output};
use crate::args::pooling::FirstArg;
use crate::args::value::one_of;
use crate::print::{self, Align, Table};
use crate::usage::{ensure_usage, usage};
use saescope::session::LanguageModel;

/// Build a vector from questions with two answers (contrastive activation addition)
///
/// The direction is the mean over the questions of the activation at the letter of the answer that
/// shows the behaviour, minus that at the letter of the other (Rimsky et al. 2023). Each question is
/// read once.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  saescope vector caa tests/data/stories260K --questions tests/data/caa/refusal.json -o v.gguf
  saescope vector caa tests/data/stories260K --questions tests/data/caa/refusal.json \\
      --site resid_post.3 --limit 10 --seed 7 -o refusal.safetensors
")]
pub(super) struct CaaArgs {
    #[command(flatten)]
    shared: BuildArgs,
    /// A JSON list or JSON Lines of {question, answer_matching_behavior, answer_not_matching_behavior}
    #[arg(long, value_name = "FILE")]
    questions: PathBuf,
    #[command(flatten)]
    format: QuestionArgs,
}

/// Build a vector from two sets of texts: the mean of one minus the mean of the other
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  saescope vector difference tests/data/stories260K --limit 20 -o stories.safetensors \\
      --positive tests/data/text/stories-en.txt --negative tests/data/text/books-en.txt
  saescope vector difference tests/data/stories260K --pooling mean --unit -o joy.gguf \\
      --positive tests/data/text/emotions-en.jsonl --positive-label joy \\
      --negative tests/data/text/emotions-en.jsonl --negative-label anger
")]
pub(super) struct DifferenceArgs {
    #[command(flatten)]
    shared: BuildArgs,
    /// Texts that show the behaviour or style of the vector: one per line, or records of JSON, CSV, TSV, Parquet or Arrow
    #[arg(long, value_name = "FILE")]
    positive: PathBuf,
    /// Texts that do not show it
    #[arg(long, value_name = "FILE")]
    negative: PathBuf,
    #[command(flatten)]
    texts: TextsArgs,
}

/// Build a vector from pairs: the first principal component of their differences
///
/// Pairs are the two answers of a question, or the texts of two files, line by line. The sign is the
/// one along which most differences point; directions have length 1.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  saescope vector pca tests/data/stories260K --questions tests/data/caa/sycophancy.json -o v.gguf
  saescope vector pca tests/data/stories260K --limit 20 --method pca_diff -o stories.safetensors \\
      --positive tests/data/text/stories-en.txt --negative tests/data/text/books-en.txt
")]
pub(super) struct PcaArgs {
    #[command(flatten)]
    shared: BuildArgs,
    /// A JSON list or JSON Lines of {question, answer_matching_behavior, answer_not_matching_behavior}
    #[arg(long, value_name = "FILE", required_unless_present = "positive")]
    questions: Option<PathBuf>,
    #[command(flatten)]
    format: QuestionArgs,
    /// The first half of each pair, one per line, or records of JSON, CSV, TSV, Parquet or Arrow
    #[arg(long, value_name = "FILE", requires = "negative")]
    #[arg(conflicts_with = "questions")]
    positive: Option<PathBuf>,
    /// The second half of each pair
    #[arg(long, value_name = "FILE", requires = "positive")]
    negative: Option<PathBuf>,
    #[command(flatten)]
    texts: TextsArgs,
    /// Components about the centre of each pair (`pca_center`), so that the mean difference counts, or
    /// about the mean of the differences (`pca_diff`), so that only their variation counts
    #[arg(long, default_value_t = Method::PcaCenter)]
    #[arg(value_parser = one_of::<Method>([Method::PcaCenter, Method::PcaDiff].map(Method::name)))]
    method: Method,
}

/// The arguments of every method.
#[derive(clap::Args)]
struct BuildArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// A site such as `resid_post.8`, one in every layer as `resid_post.*`, or `all`. May be given
    /// several times
    #[arg(long, value_name = "SITE", default_value = "resid_post.*")]
    site: Vec<Sites>,
    #[command(flatten)]
    draw: DrawArgs,
    #[command(flatten)]
    edits: EditsArgs,
    /// Scale every direction to length 1
    #[arg(long)]
    unit: bool,
    /// The file to write: `.gguf` is a control vector, any other safetensors
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The arguments that say how sets of texts are read.
#[derive(clap::Args)]
struct TextsArgs {
    /// Take only positive records with this label and no other
    #[arg(long, value_name = "LABEL", requires = "positive")]
    positive_label: Option<String>,
    /// Take only negative records with this label and no other
    #[arg(long, value_name = "LABEL", requires = "negative")]
    negative_label: Option<String>,
    /// The field of a record that holds its text
    #[arg(long, value_name = "FIELD", default_value = "text")]
    text_field: String,
    /// The field of a record that holds its label, or a list of labels
    #[arg(long, value_name = "FIELD", default_value = "emotions")]
    label_field: String,
    /// Pooling of the tokens of a text: the `last`, or their `mean`
    #[arg(long, value_name = "HOW", default_value_t)]
    pooling: Pooling,
    #[command(flatten)]
    first: FirstArg,
}

impl TextsArgs {
    /// True if no flag was given, or only with its default.
    fn is_default(&self) -> bool {
        self.pooling == Pooling::default()
            && !self.first.is_given()
            && self.text_field == "text"
            && self.label_field == "emotions"
    }
}

/// The JSON of a call.
#[derive(Serialize)]
struct BuildReport<'a> {
    vector: String,
    #[serde(flatten)]
    summary: Summary<'a>,
}

pub(super) fn caa(args: &CaaArgs) -> anyhow::Result<()> {
    let build = &args.shared;
    let opened = build.open()?;
    let vector = build.of_questions(&opened, &args.questions, &args.format, Method::Caa)?;
    build.finish(&vector)
}

pub(super) fn difference(args: &DifferenceArgs) -> anyhow::Result<()> {
    let build = &args.shared;
    let opened = build.open()?;
    let files = [&args.positive, &args.negative];
    let vector = build.of_texts(&opened, files, &args.texts, Method::Difference)?;
    build.finish(&vector)
}

pub(super) fn pca(args: &PcaArgs) -> anyhow::Result<()> {
    let build = &args.shared;
    let method = args.method;
    ensure_usage!(
        args.questions.is_none() || args.texts.is_default(),
        "--pooling, --first, --text-field, --label-field: they concern texts, and --questions was given"
    );
    ensure_usage!(
        args.positive.is_none() || args.format.is_default(),
        "--style, --unbalanced: they concern questions, and --positive was given"
    );
    let opened = build.open()?;
    let vector = match (&args.questions, &args.positive, &args.negative) {
        (Some(questions), _, _) => build.of_questions(&opened, questions, &args.format, method)?,
        (None, Some(positive), Some(negative)) => {
            build.of_texts(&opened, [positive, negative], &args.texts, method)?
        }
        _ => usage!("give --questions, or --positive and --negative"),
    };
    build.finish(&vector)
}

impl BuildArgs {
    fn open(&self) -> anyhow::Result<LanguageModel> {
        check_output(&self.output, Written::Vector)?;
        self.model.open()
    }

    fn of_questions(
        &self,
        opened: &LanguageModel,
        file: &Path,
        format: &QuestionArgs,
        method: Method,
    ) -> anyhow::Result<Vector> {
        let style = format.style(&opened.tokenizer);
        let questions = self.draw.questions(file, format)?;
        let pairs = pairs(&questions, style, &opened.tokenizer, self.model.bos())?;
        let mut vector = self.build(opened, Contrast::Answers(&pairs), pairs.len(), method)?;
        vector.record.prompt = Some(style);
        vector.record.balanced = !format.unbalanced;
        vector.record.seed = self.draw.seed(!format.unbalanced);
        vector.record.dataset = vec![file_name(file)];
        Ok(vector)
    }

    fn of_texts(
        &self,
        opened: &LanguageModel,
        [positive, negative]: [&PathBuf; 2],
        args: &TextsArgs,
        method: Method,
    ) -> anyhow::Result<Vector> {
        let read = |path: &PathBuf, label: &Option<String>| -> anyhow::Result<Vec<Vec<u32>>> {
            let selection = Selection {
                text: args.text_field.clone(),
                label_field: args.label_field.clone(),
                label: label.clone(),
            };
            let texts = self.draw.draw(text::read(&locate_file(path)?, &selection)?);
            let encoded = texts
                .iter()
                .map(|text| opened.tokenizer.encode(text, self.model.bos()));
            Ok(encoded.collect::<saescope::Result<_>>()?)
        };
        let sets = [
            read(positive, &args.positive_label)?,
            read(negative, &args.negative_label)?,
        ];
        let texts = Texts {
            positive: &sets[0],
            negative: &sets[1],
            pooling: args.pooling,
            count_first: args.first.counts(args.pooling.omits_first())?,
        };
        let total = sets.iter().map(Vec::len).sum();
        let mut vector = self.build(opened, Contrast::Texts(texts), total, method)?;
        let named = |path: &PathBuf, label: &Option<String>| match label {
            Some(label) => format!("{} ({label})", path.display()),
            None => file_name(path),
        };
        vector.record.dataset = vec![
            named(positive, &args.positive_label),
            named(negative, &args.negative_label),
        ];
        Ok(vector)
    }

    fn build(
        &self,
        opened: &LanguageModel,
        contrast: Contrast,
        total: usize,
        method: Method,
    ) -> anyhow::Result<Vector> {
        let (sites, omitted) = opened.vector_sites(&self.site, &self.output)?;
        print::warnings(&omitted);
        let edits = self.edits.open(opened)?;
        let mut hook = edits.hook()?;
        let bar = progress(total);
        let mut done = |texts: usize| bar.inc(texts as u64);
        let model = &opened.model;
        let vector = Vector::build(model, contrast, method, &sites, &mut hook, &mut done);
        bar.finish_and_clear();
        let mut vector = vector?;
        vector.record.edits = edits.edits;
        if self.unit {
            vector.normalise();
        }
        vector.record.model = Some(self.model.reference().to_owned());
        vector.record.dtype = Some(self.model.dtype().name().to_owned());
        vector.record.bos = Some(self.model.bos_name().to_owned());
        vector.record.seed = self.draw.seed(false);
        Ok(vector)
    }

    fn finish(&self, vector: &Vector) -> anyhow::Result<()> {
        vector.save(&self.output)?;
        if self.json {
            return print::json(&BuildReport {
                vector: file_name(&self.output),
                summary: vector.summary(),
            });
        }
        let mut out = print::styled_stdout();
        norms(vector).write(&mut out, None)?;
        let VectorRecord {
            positive, negative, ..
        } = vector.record;
        writeln!(
            out,
            "written to {}: {positive} positive, {negative} negative",
            self.output.display()
        )?;
        Ok(())
    }
}

/// A table of the length of the direction at every site.
pub(super) fn norms(vector: &Vector) -> Table {
    let mut table = Table::new(vec![Align::Left, Align::Right, Align::Right]);
    table.header(["site", "width", "norm"]);
    for direction in vector.summary().sites {
        table.row(vec![
            direction.site.to_string().into(),
            direction.width.to_string().into(),
            format!("{:.3}", direction.norm).into(),
        ]);
    }
    table
}
