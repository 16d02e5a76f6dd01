//! `saescope store label` and `store list`

use std::io::Write as _;

use saescope_store::Store;

use super::StoreArg;
use crate::print::{self, Align, Table};
use crate::usage::usage;

/// Give a feature a label and a note, or show all labels
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  saescope store label store.db 93 \"a happy face\" --note \"smiles, not laughter\"
  saescope store label store.db
  saescope store label store.db 93 --remove
")]
pub(super) struct LabelArgs {
    #[command(flatten)]
    store: StoreArg,
    /// The feature, from 0
    #[arg(value_name = "FEATURE")]
    feature: Option<u32>,
    /// What it stands for, in a few words
    #[arg(value_name = "LABEL")]
    label: Option<String>,
    /// More words about it
    #[arg(long, value_name = "TEXT", requires = "label")]
    note: Option<String>,
    /// Take the label away
    #[arg(long, requires = "feature", conflicts_with = "label")]
    remove: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn label(args: &LabelArgs) -> anyhow::Result<()> {
    let path = args.store.path();
    match (args.feature, &args.label) {
        (Some(feature), Some(label)) => {
            Store::open_writable(path)?.set_label(feature, label, args.note.as_deref())?;
        }
        (Some(feature), None) if args.remove => {
            let had_one = Store::open_writable(path)?.remove_label(feature)?;
            if !had_one {
                print::note!("warning: feature {feature} had no label");
            }
        }
        _ => {}
    }
    let store = Store::open(path)?;
    let mut labels = store.labels()?;
    if let Some(feature) = args.feature {
        store.row(feature)?;
        labels.retain(|label| label.feature == feature);
    }
    if args.json {
        return print::json(&labels);
    }
    let mut table = Table::new(vec![Align::Right, Align::Left, Align::Left, Align::Left]);
    table.header(["feature", "label", "note", "written"]);
    for label in labels {
        table.row(vec![
            label.feature.to_string().into(),
            label.label.into(),
            label.note.unwrap_or_default().into(),
            label.written.into(),
        ]);
    }
    Ok(table.write(&mut print::styled_stdout(), None)?)
}

/// Keep lists of features: show them, add to one, take off one
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  saescope store list store.db joy --add 93 12 --description \"joy and its neighbours\"
  saescope store list store.db
")]
pub(super) struct ListArgs {
    #[command(flatten)]
    store: StoreArg,
    /// The name of a list [default: show all]
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Features to add; a list that does not exist is made
    #[arg(long, value_name = "FEATURE", num_args = 1.., requires = "name")]
    add: Vec<u32>,
    /// Words about the list
    #[arg(long, value_name = "TEXT", requires = "name")]
    description: Option<String>,
    /// Features to take off, or without any the whole list
    #[arg(long, value_name = "FEATURE", num_args = 0.., requires = "name")]
    #[arg(conflicts_with_all = ["add", "description"])]
    remove: Option<Vec<u32>>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn list(args: &ListArgs) -> anyhow::Result<()> {
    let path = args.store.path();
    let changes = !args.add.is_empty() || args.description.is_some();
    let mut shown = args.name.as_deref();
    match (&args.name, &args.remove) {
        (Some(name), Some(features)) => {
            Store::open_writable(path)?.remove_from_list(name, features)?;
            shown = shown.filter(|_| !features.is_empty());
        }
        (Some(name), None) if changes => {
            let description = args.description.as_deref();
            Store::open_writable(path)?.add_to_list(name, description, &args.add)?;
        }
        (None, Some(_)) => usage!("name the list"),
        _ => {}
    }
    let store = Store::open(path)?;
    let lists = match shown {
        Some(name) => vec![store.list(name)?],
        None => store.lists()?,
    };
    if args.json {
        return print::json(&lists);
    }
    let mut out = print::styled_stdout();
    if lists.is_empty() {
        writeln!(out, "no lists; --add makes one")?;
    }
    for list in lists {
        writeln!(out, "{}  {}", list.name, list.description)?;
        let mut table = Table::new(vec![Align::Right, Align::Left]);
        for feature in list.features {
            let label = store
                .label(feature)?
                .map_or_else(String::new, |label| label.label);
            table.row(vec![format!("  {feature}").into(), label.into()]);
        }
        table.write(&mut out, None)?;
    }
    Ok(())
}
