//! What the programs that measure beside other packages share: the interpreter, and the scripts that it runs.

use std::path::Path;
use std::process::Command;

/// The interpreter that `--python PATH` names among a program's arguments, `python3` by default.
///
/// # Errors
/// Where there is another argument, or no path.
pub fn python(arguments: impl IntoIterator<Item = String>) -> Result<String, String> {
    let mut arguments = arguments.into_iter();
    let mut python = "python3".to_owned();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--python" => python = arguments.next().ok_or("--python wants a path")?,
            other => return Err(format!("{other}: not known; there is --python PATH")),
        }
    }
    Ok(python)
}

/// The version of a package; `None` where the interpreter lacks it.
pub fn version(python: &str, package: &str) -> Option<String> {
    let line = format!("import {package}; print({package}.__version__)");
    let output = Command::new(python).args(["-c", &line]).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    output.status.success().then(|| text.trim().to_owned())
}

/// Options with numbers, as arguments.
pub fn options(numbers: &[(&str, usize)]) -> Vec<String> {
    let words = numbers
        .iter()
        .map(|(option, number)| [(*option).to_owned(), number.to_string()]);
    words.flatten().collect()
}

/// Runs a script, which prints a line of JSON with the smallest time `min_s`; `None`, said aloud, where it fails.
pub fn run(python: &str, script: &Path, arguments: &[String]) -> Option<serde_json::Value> {
    let output = match Command::new(python).arg(script).args(arguments).output() {
        Ok(output) => output,
        Err(error) => {
            println!("{python}: {error}");
            return None;
        }
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let value = serde_json::from_str::<serde_json::Value>(text.lines().last().unwrap_or(""));
    let value = value.ok().filter(|value| value["min_s"].is_f64());
    if value.is_none() {
        let errors = String::from_utf8_lossy(&output.stderr);
        println!(
            "{} {}: {text}{errors}",
            script.display(),
            arguments.join(" ")
        );
    }
    value
}
