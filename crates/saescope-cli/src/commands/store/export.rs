//! `saescope store export`

use std::io::Write as _;
use std::path::PathBuf;

use saescope::checkpoint::save_whole;
use saescope_store::{
    ReportOptions, SortBy, Written, dashboard_batches, feature_page, neuronpedia_batches,
};

use super::StoreArg;
use crate::args::output::{self, check_output};
use crate::args::store;
use crate::print;
use crate::usage::ensure_usage;

/// Write features for others: one page of HTML, or batches that other programs read
///
/// A page has everything in it and opens without a server. Batches are those of SAEDashboard, or those that
/// Neuronpedia's importer reads.
#[derive(clap::Args)]
#[command(group(clap::ArgGroup::new("form").required(true).args(["html", "sae_dashboard", "neuronpedia"])))]
#[command(after_help = "\
Examples:
  saescope store export store.db 93 269 --html features.html
  saescope store export store.db --sae-dashboard batches
")]
pub(super) struct Args {
    #[command(flatten)]
    store: StoreArg,
    /// Features, from 0 [default: all that fire, for batches]
    #[arg(value_name = "FEATURE")]
    features: Vec<u32>,
    /// The features of a list
    #[arg(long, value_name = "NAME", conflicts_with = "features")]
    list: Option<String>,
    /// Write one page of HTML
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write `batch-N.json` files of SAEDashboard into this folder
    #[arg(long, value_name = "DIR")]
    sae_dashboard: Option<PathBuf>,
    /// Write gzipped JSON Lines of Neuronpedia into this folder
    #[arg(long, value_name = "DIR")]
    neuronpedia: Option<PathBuf>,
}

/// Features of a page, which a browser has to hold.
const MAX_PAGE: usize = 500;

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let store = store::open(args.store.path())?;
    let mut features = match &args.list {
        Some(name) => store.list(name)?.features,
        None => args.features.clone(),
    };
    for folder in args.sae_dashboard.iter().chain(&args.neuronpedia) {
        output::check_folder(folder)?;
    }
    if let Some(path) = &args.html {
        check_output(path, output::Written::Html)?;
        let count = features.len();
        ensure_usage!(
            (1..=MAX_PAGE).contains(&count),
            "a page has 1 to {MAX_PAGE} features, and {count} are named; name them, or a list of them with --list"
        );
        let title = match &args.list {
            Some(name) => name.clone(),
            None => format!(
                "Features of {}",
                store.header().origin.sae.as_deref().unwrap_or("a model")
            ),
        };
        let reports = features
            .iter()
            .map(|&feature| store.feature(feature, &ReportOptions::default()));
        let reports: Vec<_> = reports.collect::<saescope::Result<_>>()?;
        let page = feature_page(&store, &title, &reports)?;
        save_whole(path, |file| file.write_all(page.as_bytes()))?;
        writeln!(
            print::styled_stdout(),
            "{count} features\nwritten to {}",
            path.display()
        )?;
        return Ok(());
    }
    if features.is_empty() && args.list.is_none() {
        let all = store.features(&["count>0".parse()?], SortBy::Feature, 0, usize::MAX >> 1)?;
        features = all.into_iter().map(|row| row.feature).collect();
    }
    let (folder, written) = match (&args.sae_dashboard, &args.neuronpedia) {
        (Some(folder), _) => (folder, dashboard_batches(&store, &features, folder)?),
        (None, Some(folder)) => (folder, neuronpedia_batches(&store, &features, folder)?),
        // clap requires one of the three.
        (None, None) => return Ok(()),
    };
    let Written {
        files,
        features,
        examples,
    } = written;
    let mut out = print::styled_stdout();
    writeln!(
        out,
        "{features} features, {examples} examples, {} files",
        files.len()
    )?;
    writeln!(out, "written to {}", folder.display())?;
    Ok(())
}
