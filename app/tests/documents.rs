//! What the documents say is there, is there.

use std::fs;
use std::path::Path;
use std::process::Command;

fn document(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)).unwrap()
}

#[test]
fn every_relative_link_leads_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut links = 0;
    for name in ["README.md", "ARCHITECTURE.md"] {
        for part in document(name).split("](").skip(1) {
            let link = part.split(')').next().unwrap_or_default();
            if !link.contains("://") {
                links += 1;
                assert!(root.join(link).exists(), "{name}: {link}");
            }
        }
    }
    assert!(links >= 5, "{links} links");
}

#[test]
fn every_file_of_the_code_map_is_there() {
    // Words in backquotes that look like files of this program, anywhere below its folders.
    let text = document("ARCHITECTURE.md");
    let map = text.split("## Invariants").next().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folders = [
        "app/src",
        "app/figures/src",
        "analysis/src",
        "models/src",
        "tasks/src",
        "data/src",
    ];
    let mut files = 0;
    for word in map
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| word.ends_with(".rs"))
    {
        files += 1;
        assert!(
            folders
                .iter()
                .any(|folder| root.join(folder).join(word).exists()),
            "{word}"
        );
    }
    assert!(files > 15, "{files} files");
}

#[test]
fn every_verb_of_the_readme_is_one() {
    let text = document("README.md");
    let mut verbs: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("nullcline "))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    verbs.sort_unstable();
    verbs.dedup();
    assert!(verbs.len() >= 5, "{verbs:?}");
    for verb in verbs {
        let help = Command::new(env!("CARGO_BIN_EXE_nullcline"))
            .args([verb, "--help"])
            .output()
            .unwrap();
        assert!(help.status.success(), "{verb}");
    }
}

/// NULLCLINE_WRITE_DOCS=1 writes it.
#[test]
fn the_reference_of_analyses_is_that_of_the_program() {
    let text = nullcline::analyses::reference();
    if std::env::var_os("NULLCLINE_WRITE_DOCS").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/analyses.md");
        fs::write(path, &text).unwrap();
    }
    assert!(
        document("docs/analyses.md") == text,
        "docs/analyses.md is behind: NULLCLINE_WRITE_DOCS=1 cargo test -p nullcline --test documents"
    );
}
