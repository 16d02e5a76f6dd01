//! saescope chores.
fn main() {}
