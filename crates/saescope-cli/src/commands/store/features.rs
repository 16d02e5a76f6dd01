//! `saescope store features`

use std::io::Write as _;

use saescope::show::number::percent;
use saescope_store::{FeatureFilter, FeatureRow, SortBy};
use serde::Serialize;

use super::StoreArg;
use crate::args::store;
use crate::args::value::one_of;
use crate::print::{self, Align, Table, token_list};

/// List the features of a store, sorted and filtered
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  saescope store features store.db --sort max --top 10
  saescope store features store.db --sort density --filter 'density<0.05' --filter 'count>=20' --json
")]
pub(super) struct Args {
    #[command(flatten)]
    store: StoreArg,
    /// The order: by id, or by a number, the largest first
    #[arg(long, default_value_t, value_parser = one_of::<SortBy>(SortBy::ALL.map(SortBy::name)))]
    sort: SortBy,
    /// A condition on density, count, max or mean, such as 'density<0.01'. May be given several times
    #[arg(long, value_name = "CONDITION")]
    filter: Vec<FeatureFilter>,
    /// Number of features to show
    #[arg(long, value_name = "K", default_value_t = 20)]
    top: u32,
    /// Number of features to pass over first
    #[arg(long, value_name = "N", default_value_t = 0)]
    skip: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The output of `--json`.
#[derive(Serialize)]
struct Report {
    found: u64,
    features: Vec<FeatureRow>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let store = store::open(args.store.path())?;
    let (skip, top) = (args.skip as usize, args.top as usize);
    let report = Report {
        found: store.count_features(&args.filter)?,
        features: store.features(&args.filter, args.sort, skip, top)?,
    };
    if args.json {
        return print::json(&report);
    }
    let mut out = print::styled_stdout();
    table(&report.features).write(&mut out, None)?;
    writeln!(
        out,
        "{} of {} features",
        report.features.len(),
        report.found
    )?;
    Ok(())
}

fn table(features: &[FeatureRow]) -> Table {
    let mut table = Table::new(vec![
        Align::Right,
        Align::Right,
        Align::Right,
        Align::Right,
        Align::Left,
        Align::Left,
        Align::Left,
    ]);
    table.header([
        "feature", "density", "max", "mean", "fires on", "promotes", "label",
    ]);
    for row in features {
        table.row(vec![
            row.feature.to_string().into(),
            percent(row.density).into(),
            format!("{:.3}", row.max).into(),
            format!("{:.3}", row.mean).into(),
            token_list(&row.reads).into(),
            token_list(&row.promoted).into(),
            row.label.clone().unwrap_or_default().into(),
        ]);
    }
    table
}
