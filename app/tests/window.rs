//! The real window, on a virtual display with a software driver: it opens, trains, and can be photographed.
//! Skipped, in print, where xvfb-run is missing.

use std::fs;
use std::path::Path;
use std::process::Command;

const EXPERIMENT: &str = r#"name = "photographed"

[task]
kind = "flip_flop"
bits = 2

[model]
kind = "leaky"
units = 12

[training]
updates = 600
learning_rate = 0.01

[analysis.fixed_points]
starts = 64
"#;

/// Opens the window on an experiment, runs it, and reads the picture that is taken at the end.
fn photograph(renderer: &str) {
    if Command::new("xvfb-run").arg("--help").output().is_err() {
        println!(
            "skipped: xvfb-run is not installed, so there is no display for the {renderer} window"
        );
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let experiment = folder.path().join("photographed.toml");
    fs::write(&experiment, EXPERIMENT).unwrap();
    let picture = folder.path().join("window.png");
    let output = Command::new("timeout")
        .args(["120", "xvfb-run", "-a", "-s", "-screen 0 1440x900x24"])
        .arg(env!("CARGO_BIN_EXE_nullcline"))
        .args(["desktop", "--run", "--renderer", renderer, "--screenshot"])
        .arg(&picture)
        .arg(&experiment)
        .current_dir(folder.path())
        // The window's layout of the person who runs the tests is none of their business.
        .env("XDG_DATA_HOME", folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success(),
        "{renderer}: {}: {said}",
        output.status
    );
    let image = image::open(&picture).unwrap().to_rgb8();
    assert!(
        image.width() >= 1000 && image.height() >= 600,
        "{}x{}",
        image.width(),
        image.height()
    );
    // The blue of trajectories, and the red of unstable points and their modes: the mechanism is drawn.
    let count =
        |is_so: fn(&image::Rgb<u8>) -> bool| image.pixels().filter(|pixel| is_so(pixel)).count();
    let red = count(|p| p[0] > 180 && p[1] < 80 && p[2] < 80);
    let white = count(|p| p[0] > 250 && p[1] > 250 && p[2] > 250);
    assert!(red > 20, "{renderer}: {red} red pixels");
    assert!(white > 200_000, "{renderer}: {white} white pixels");
    assert!(
        Path::new(
            &folder
                .path()
                .join("runs/photographed/analysis/fixed_points.parquet")
        )
        .exists()
    );
}

#[test]
fn the_window_runs_an_experiment_on_vulkan() {
    photograph("wgpu");
}

#[test]
fn the_window_runs_an_experiment_on_opengl() {
    photograph("glow");
}
