//! The steps that a change has to pass, the cheapest first.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, bail};

pub(crate) fn run(root: &Path) -> anyhow::Result<()> {
    let started = Instant::now();
    step("format", || cargo(root, "fmt --all --check", None))?;
    step("layers", || crate::run_layers(root))?;
    step("sizes", || crate::run_sizes(root))?;
    // Clippy and rustdoc read the same metadata of dependencies, so the second one starts warm.
    step("lints", || {
        cargo(
            root,
            "clippy --workspace --all-targets -- -D warnings",
            None,
        )
    })?;
    step("documentation", || {
        let flags = Some(("RUSTDOCFLAGS", "-D warnings"));
        cargo(root, "doc --workspace --no-deps", flags)
    })?;
    step("tests", || tests(root))?;
    println!("\nci: all passed in {} s", started.elapsed().as_secs());
    Ok(())
}

/// Runs the tests, with `cargo nextest` if it is installed. nextest runs test binaries side by side but
/// no examples of the documentation.
fn tests(root: &Path) -> anyhow::Result<()> {
    let nextest = Command::new(cargo_path())
        .args(["nextest", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if nextest.is_ok_and(|status| status.success()) {
        let arguments = "nextest run --workspace --no-fail-fast --status-level fail";
        cargo(root, arguments, None)?;
        cargo(root, "test --workspace --doc", None)
    } else {
        cargo(root, "test --workspace --no-fail-fast", None)
    }
}

fn step(name: &str, body: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    println!("\n==> {name}");
    let started = Instant::now();
    body().with_context(|| format!("step `{name}`"))?;
    println!("<== {name}: passed in {} s", started.elapsed().as_secs());
    Ok(())
}

fn cargo(root: &Path, arguments: &str, variable: Option<(&str, &str)>) -> anyhow::Result<()> {
    let status = Command::new(cargo_path())
        .args(arguments.split_whitespace())
        .envs(variable)
        .current_dir(root)
        .status()
        .context("cannot start cargo")?;
    if !status.success() {
        bail!("`cargo {arguments}` failed");
    }
    Ok(())
}

/// Path of the cargo that runs this chore.
fn cargo_path() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}
