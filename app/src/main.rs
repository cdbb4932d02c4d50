//! The binary: see the library's [`nullcline::command_line`].

fn main() -> std::process::ExitCode {
    nullcline::command_line::main()
}
