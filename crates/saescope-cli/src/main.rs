//! The `saescope` command.
fn main() {}
