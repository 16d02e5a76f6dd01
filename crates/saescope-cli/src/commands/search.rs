//! `saescope search`

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::PathBuf;

use saescope::features::{self, Position, Reading};
use saescope::session::Selection;
use saescope::show::number::percent;
use saescope::tokenizer::Text;
use saescope_store::{FeatureFilter, FeatureRow, Store, TokenRole, WordHits, WordPlace};
use serde::Serialize;

use crate::args;
use crate::args::model::{LoadArgs, prompt};
use crate::args::sae::{encode, slices};
use crate::print::{self, Align, Table, cut, token_list, visible};
use crate::usage::{ensure_usage, usage};

/// Search a store for features: by a text, by words, by tokens, by classes of texts
///
/// Several conditions hold together; the first of --text, --class, --promotes, --suppresses, --reads and
/// --words that is given ranks the features. --words alone lists the places of the corpus where the words
/// stand. --text runs the model that the store was made with.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  saescope search store.db --words happy
  saescope search store.db --promotes mom --filter 'density<0.1'
  saescope search store.db --text \"Lily was happy\" --json
")]
pub(crate) struct Args {
    /// The file that `harvest` wrote
    #[arg(value_name = "STORE")]
    store: PathBuf,
    /// Features that fire on this text; `-` reads it from standard input
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    text: Option<String>,
    /// Words of the corpus, of labels and notes; \"in quotation marks\" a phrase
    #[arg(long, value_name = "WORDS")]
    words: Option<String>,
    /// Features that raise the logit of a token with this text
    #[arg(long, value_name = "TOKEN")]
    promotes: Option<String>,
    /// Features that lower the logit of a token with this text
    #[arg(long, value_name = "TOKEN")]
    suppresses: Option<String>,
    /// Features that fire on a token with this text
    #[arg(long, value_name = "TOKEN")]
    reads: Option<String>,
    /// Features that separate the texts of this class from the others
    #[arg(long, value_name = "CLASS")]
    class: Option<String>,
    /// A condition on density, count, max or mean, such as 'density<0.01'. May be given several times
    #[arg(long, value_name = "CONDITION")]
    filter: Vec<FeatureFilter>,
    /// Number of features or places to show
    #[arg(long, value_name = "K", default_value_t = 20)]
    top: u32,
    /// The model for --text [default: that of the store]
    #[arg(long, value_name = "MODEL", requires = "text")]
    model: Option<String>,
    #[command(flatten)]
    load: LoadArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A feature that fulfils all conditions.
#[derive(Serialize)]
struct Found {
    #[serde(flatten)]
    row: FeatureRow,
    /// Its largest activation on the text.
    #[serde(skip_serializing_if = "Option::is_none")]
    activation: Option<f32>,
    /// The token of that activation.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    /// AUROC, change of a logit, share of firings or number of examples, by the condition that ranks.
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<f64>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let store = args::store::open(&args.store)?;
    let top = args.top as usize;
    let conditions = args.conditions(&store)?;
    if let ([], Some(words)) = (conditions.as_slice(), &args.words) {
        let mut hits = store.find_words(words, top)?;
        args.keep_filtered(&store, &mut hits)?;
        return match args.json {
            true => print::json(&listed(&store, &hits)?),
            false => print_places(&store, &hits),
        };
    }
    let Some((first, others)) = conditions.split_first() else {
        usage!(
            "nothing to search for; give --text, --words, --promotes, --suppresses, --reads or --class"
        );
    };
    let mut found: Vec<u32> = first.ranked.clone();
    for other in others {
        found.retain(|feature| other.scores.contains_key(feature));
    }
    if let Some(words) = &args.words {
        let hits = store.find_words(words, 0)?;
        let named: Vec<u32> = hits
            .features
            .iter()
            .map(|hit| hit.0)
            .chain(hits.labelled)
            .collect();
        found.retain(|feature| named.contains(feature));
    }
    let mut found = store.only(found, &args.filter)?;
    found.truncate(top);
    let found = found.into_iter().map(|feature| {
        let (score, token) = first.scores[&feature].clone();
        let of_text = token.is_some();
        Ok(Found {
            row: store.row(feature)?,
            activation: of_text.then_some(score as f32),
            token,
            score: (!of_text).then_some(score),
        })
    });
    let found: Vec<Found> = found.collect::<anyhow::Result<_>>()?;
    if args.json {
        return print::json(&found);
    }
    print(&found, first.name)
}

/// The features that fulfil a condition, ranked.
struct Condition {
    /// The name of its score.
    name: &'static str,
    ranked: Vec<u32>,
    /// Score of each, and of a text the token.
    scores: BTreeMap<u32, (f64, Option<String>)>,
}

impl Condition {
    fn new(
        name: &'static str,
        hits: impl IntoIterator<Item = (u32, f64, Option<String>)>,
    ) -> Condition {
        let mut condition = Condition {
            name,
            ranked: Vec::new(),
            scores: BTreeMap::new(),
        };
        for (feature, score, token) in hits {
            condition.ranked.push(feature);
            condition.scores.insert(feature, (score, token));
        }
        condition
    }
}

/// The places of words, and after them the features whose label or note has the words.
fn listed(store: &Store, hits: &WordHits) -> anyhow::Result<Vec<serde_json::Value>> {
    let places = hits.places.iter().map(serde_json::to_value);
    let mut list: Vec<serde_json::Value> = places.collect::<Result<_, _>>()?;
    for &feature in &hits.labelled {
        list.extend(
            store
                .label(feature)?
                .map(serde_json::to_value)
                .transpose()?,
        );
    }
    Ok(list)
}

impl Args {
    /// Takes the features that do not fulfil the filters off what words found.
    fn keep_filtered(&self, store: &Store, hits: &mut WordHits) -> anyhow::Result<()> {
        if self.filter.is_empty() {
            return Ok(());
        }
        let all = hits.features.iter().map(|hit| hit.0);
        let all = all.chain(hits.labelled.iter().copied()).collect();
        let kept: BTreeSet<u32> = store.only(all, &self.filter)?.into_iter().collect();
        hits.features.retain(|hit| kept.contains(&hit.0));
        hits.labelled.retain(|feature| kept.contains(feature));
        for place in &mut hits.places {
            place.features.retain(|feature| kept.contains(feature));
        }
        Ok(())
    }

    /// The conditions besides words, in the order in which they rank.
    fn conditions(&self, store: &Store) -> anyhow::Result<Vec<Condition>> {
        let mut conditions = Vec::new();
        if let Some(text) = &self.text {
            conditions.push(self.by_text(store, &prompt(text)?)?);
        }
        if let Some(class) = &self.class {
            let hits = store.find_class(class, usize::MAX)?.into_iter();
            conditions.push(Condition::new(
                "AUROC",
                hits.map(|hit| (hit.feature, hit.auroc, None)),
            ));
        }
        let tokens = [
            (&self.promotes, TokenRole::Promoted, "logit"),
            (&self.suppresses, TokenRole::Suppressed, "logit"),
            (&self.reads, TokenRole::Read, "share"),
        ];
        for (text, role, name) in tokens {
            if let Some(text) = text {
                let hits = store.find_token(&store.tokens_of(text)?, role)?.into_iter();
                let hits = hits.map(|hit| (hit.feature, f64::from(hit.score), None));
                conditions.push(Condition::new(name, hits));
            }
        }
        Ok(conditions)
    }

    /// The features that fire on a text, by their largest activation.
    fn by_text(&self, store: &Store, text: &str) -> anyhow::Result<Condition> {
        let origin = &store.header().origin;
        let sae = origin.sae.as_deref().unwrap_or_default();
        let selection = Selection {
            saes: &[sae],
            model: self.model.as_deref().or(Some(&origin.model)),
            site: origin.site,
        };
        let (lm, sae, warnings) = self.load.session()?.open(&selection)?.into_pair()?;
        print::warnings(&warnings);
        let digest = saescope::jobs::harvest::weights_digest(&sae.sae);
        ensure_usage!(
            digest == store.header().sae_digest,
            "{} has other weights than the autoencoder that was harvested; harvest it anew",
            sae.reference
        );
        let encoded = encode(&lm, Some(&sae), &[Text::from(text.to_owned())])?;
        let reading = Reading {
            position: Position::All,
            ..Reading::default()
        };
        let ids = slices(&encoded.ids);
        let all = features::features(&lm.model, &sae.sae, &ids, reading, usize::MAX, &mut ())?;
        let pieces = lm.tokenizer.token_texts(&encoded.ids[0]);
        let config = &store.header().config;
        let mut best: BTreeMap<u32, (f32, String)> = BTreeMap::new();
        for (token, (piece, id)) in all.iter().zip(pieces.iter().zip(&encoded.ids[0])) {
            if config.bos == Some(*id) {
                continue;
            }
            for active in &token.features {
                let known = best.entry(active.feature).or_default();
                if active.activation > known.0 {
                    *known = (active.activation, piece.clone());
                }
            }
        }
        let mut hits: Vec<(u32, f64, Option<String>)> = best
            .into_iter()
            .map(|(feature, (activation, token))| (feature, f64::from(activation), Some(token)))
            .collect();
        hits.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        Ok(Condition::new("activation", hits))
    }
}

/// Columns to which texts are cut.
const TEXT_WIDTH: usize = 100;

fn print(found: &[Found], score: &'static str) -> anyhow::Result<()> {
    let mut table = Table::new(vec![
        Align::Right,
        Align::Right,
        Align::Left,
        Align::Right,
        Align::Right,
        Align::Left,
        Align::Left,
        Align::Left,
    ]);
    table.header([
        "feature", score, "token", "density", "max", "fires on", "promotes", "label",
    ]);
    for found in found {
        let score = found
            .activation
            .map(f64::from)
            .or(found.score)
            .unwrap_or(0.0);
        let row = &found.row;
        table.row(vec![
            row.feature.to_string().into(),
            format!("{score:.3}").into(),
            found
                .token
                .as_deref()
                .map(visible)
                .unwrap_or_default()
                .into(),
            percent(row.density).into(),
            format!("{:.3}", row.max).into(),
            token_list(&row.reads).into(),
            token_list(&row.promoted).into(),
            row.label.clone().unwrap_or_default().into(),
        ]);
    }
    let mut out = print::styled_stdout();
    table.write(&mut out, None)?;
    if found.is_empty() {
        writeln!(out, "no feature fulfils all conditions")?;
    }
    Ok(())
}

/// The text around the words, from a little before them.
fn excerpt(place: &WordPlace) -> String {
    const BEFORE: usize = 40;
    let at = place.text.find(&place.words).unwrap_or(0);
    let before = place.text[..at].chars().count().saturating_sub(BEFORE);
    let text: String = place.text.chars().skip(before).collect();
    let dots = if before > 0 { "…" } else { "" };
    cut(&format!("{dots}{}", visible(&text)), TEXT_WIDTH)
}

fn print_places(store: &Store, hits: &WordHits) -> anyhow::Result<()> {
    let mut out = print::styled_stdout();
    for place in &hits.places {
        let (source, number) = (&place.source, place.number);
        writeln!(out, "{source} {number}: {}", excerpt(place))?;
    }
    let sequences = hits.sequences;
    writeln!(
        out,
        "{} places shown of those in {sequences} sequences",
        hits.places.len()
    )?;
    if !hits.features.is_empty() {
        writeln!(out, "\nfeatures with their strongest examples there")?;
        let mut table = Table::new(vec![Align::Right, Align::Right, Align::Left]);
        table.header(["feature", "examples", "label"]);
        for &(feature, examples) in hits.features.iter().take(10) {
            let label = store
                .label(feature)?
                .map_or_else(String::new, |label| label.label);
            table.row(vec![
                feature.to_string().into(),
                examples.to_string().into(),
                label.into(),
            ]);
        }
        table.write(&mut out, None)?;
    }
    for feature in &hits.labelled {
        let label = store
            .label(*feature)?
            .map_or_else(String::new, |label| label.label);
        writeln!(out, "labelled: {feature}  {label}")?;
    }
    Ok(())
}
