//! `saescope store`

mod export;
mod features;
mod show;
mod user;
mod whole;

use std::path::{Path, PathBuf};

/// Read and label the evidence of features that `harvest` wrote
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    Show(show::Args),
    Features(features::Args),
    Label(user::LabelArgs),
    List(user::ListArgs),
    Export(export::Args),
    Merge(whole::MergeArgs),
    Copy(whole::CopyArgs),
}

pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    match args.action {
        Action::Show(args) => show::run(&args),
        Action::Features(args) => features::run(&args),
        Action::Label(args) => user::label(&args),
        Action::List(args) => user::list(&args),
        Action::Export(args) => export::run(&args),
        Action::Merge(args) => whole::merge(&args),
        Action::Copy(args) => whole::copy(&args),
    }
}

/// The file of a store.
#[derive(clap::Args)]
struct StoreArg {
    /// The file that `harvest` wrote
    #[arg(value_name = "STORE")]
    store: PathBuf,
}

impl StoreArg {
    fn path(&self) -> &Path {
        &self.store
    }
}
