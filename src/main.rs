//! The `sluicegate` command: arguments in, exit code out.
fn main() {}
