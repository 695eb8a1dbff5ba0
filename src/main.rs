//! The `sluicegate` command: arguments in, exit code out.

fn main() -> std::process::ExitCode {
    sluicegate::cli::main()
}
