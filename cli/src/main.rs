//! The `relive` command.

fn main() -> std::process::ExitCode {
    relive_cli::main()
}
