//! The binary: see the library's [`nullcline::command_line`].

fn main() -> std::process::ExitCode {
    // Mesa's layer that sorts graphics cards complains on standard error where there is no display.
    if std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        // SAFETY: no other thread runs yet.
        unsafe { std::env::set_var("NODEVICE_SELECT", "1") };
    }
    nullcline::command_line::main()
}
