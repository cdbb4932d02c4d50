//! The desktop, clicked through without a display: what a user does and what the window then shows.

use egui::accesskit::Role;
use egui::{Key, Modifiers};
use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT, Queryable};
use nullcline::desktop::{Command, Desktop, DesktopOptions, Open, State};
use nullcline::devices::Device;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// An experiment that is over in a moment.
const SMALL: &str = r#"
name = "small"
[task]
kind = "flip_flop"
bits = 1
steps = 8
[model]
kind = "leaky"
units = 4
[training]
updates = 6
batch = 2
log_every = 1
evaluate_every = 2
evaluation_trials = 2
[analysis.performance]
trials = 2
[analysis.fixed_points]
starts = 32
trials = 4
[analysis.state_space]
trials = 4
shown = 2
[figures]
formats = ["svg"]
"#;

type Window = Harness<'static, Desktop>;

fn window(folder: &Path, open: Option<Open>) -> Window {
    let options = DesktopOptions {
        working_folder: folder.to_owned(),
        ..DesktopOptions::default()
    };
    Harness::builder()
        .with_size(egui::vec2(1440.0, 900.0))
        .build_eframe(move |creation| Desktop::new(creation, open, options))
}

/// Draws frames until something is so.
fn wait(window: &mut Window, what: &str, is_so: impl Fn(&State) -> bool) {
    let begun = Instant::now();
    loop {
        window.step();
        if is_so(window.state().state()) {
            // What came in this frame is drawn in the next.
            window.run_steps(2);
            return;
        }
        let state = window.state().state();
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "waited in vain: {what}; banner {:?}, log {:?}",
            state.banner,
            state
                .log
                .iter()
                .map(|entry| &entry.text)
                .collect::<Vec<_>>()
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn write_experiment(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("experiment.toml");
    std::fs::write(&path, text).unwrap();
    path
}

/// A window on an experiment file.
fn opened(folder: &Path, text: &str) -> Window {
    let path = write_experiment(folder, text);
    let mut window = window(folder, Some(Open::of(&path)));
    wait(&mut window, "the experiment is open", |state| {
        state.draft.is_some() && state.work.is_none()
    });
    window
}

/// Types into a field of the form and leaves it.
fn fill_in(window: &mut Window, field: &str, text: &str) {
    window.get_by_role_and_label(Role::TextInput, field).focus();
    window.step();
    window.key_press_modifiers(Modifiers::COMMAND, Key::A);
    window.step();
    window
        .get_by_role_and_label(Role::TextInput, field)
        .type_text(text);
    window.step();
    window.key_press(Key::Enter);
    window.run_steps(3);
}

fn value(window: &Window, field: &str) -> Option<String> {
    window.get_by_role_and_label(Role::TextInput, field).value()
}

#[test]
fn an_example_opens_in_the_form_and_edits_are_undone() {
    let folder = tempfile::tempdir().unwrap();
    let mut window = window(folder.path(), None);
    window.run_steps(3);
    window
        .get_by_role_and_label(Role::Button, "3-bit flip-flop")
        .click();
    wait(&mut window, "the example is open", |state| {
        state.draft.is_some() && state.work.is_none()
    });
    assert_eq!(value(&window, "name").as_deref(), Some("flip_flop"));
    assert_eq!(value(&window, "task.bits").as_deref(), Some("3"));

    fill_in(&mut window, "task.bits", "2");
    let bits = |window: &Window| {
        window
            .state()
            .state()
            .draft
            .as_ref()
            .unwrap()
            .experiment()
            .task
            .integer("bits")
    };
    assert_eq!(bits(&window), 2);
    window.key_press_modifiers(Modifiers::COMMAND, Key::Z);
    window.run_steps(3);
    assert_eq!(bits(&window), 3);
    assert_eq!(value(&window, "task.bits").as_deref(), Some("3"));
    window.key_press_modifiers(Modifiers::COMMAND | Modifiers::SHIFT, Key::Z);
    window.run_steps(3);
    assert_eq!(bits(&window), 2);

    // What is not allowed is not taken, stays to be mended, and keeps the experiment from being run.
    fill_in(&mut window, "task.bits", "999");
    assert_eq!(bits(&window), 2);
    assert_eq!(value(&window, "task.bits").as_deref(), Some("999"));
    assert!(window.get_by_label("Run").accesskit_node().is_disabled());
    window.get_by_label_contains("allowed: an integer");
    fill_in(&mut window, "task.bits", "1");
    assert_eq!(bits(&window), 1);
    assert!(!window.get_by_label("Run").accesskit_node().is_disabled());
}

#[test]
fn an_experiment_is_run_and_a_fixed_point_clicked() {
    let folder = tempfile::tempdir().unwrap();
    let mut window = opened(folder.path(), SMALL);
    window.get_by_label("Run").click();
    wait(&mut window, "the run has begun", |state| {
        state.work.is_some()
    });
    wait(&mut window, "the run is over", |state| state.work.is_none());
    let state = window.state().state();
    assert_eq!(state.banner, None);
    assert_eq!(state.outcome, Some("Done"));
    let run = folder.path().join("runs").join("small");
    assert_eq!(
        state.folder.as_deref(),
        Some(std::path::absolute(&run).unwrap().as_path())
    );
    for file in [
        "experiment.toml",
        "training.parquet",
        "analysis/fixed_points.parquet",
        "figures/state_space.svg",
    ] {
        assert!(run.join(file).is_file(), "{file}");
    }
    for figure in ["training_curve", "trial", "state_space", "spectrum"] {
        assert!(state.figure(figure).is_some(), "{figure}");
    }

    let id = state
        .snapshot
        .as_ref()
        .unwrap()
        .points
        .iter()
        .find(|point| point.verdict != "rejected")
        .unwrap()
        .id;
    let row = format!("fixed point {id}");
    window.get_by_label(&row).click();
    window.run_steps(3);
    assert_eq!(window.state().state().selected, Some(id));
    window.get_by_label_contains(&format!("Point {id}:"));
    window.get_by_label(&row).click();
    window.run_steps(3);
    assert_eq!(window.state().state().selected, None);

    // The same folder, opened anew, shows the same.
    let mut second = self::window(folder.path(), Some(Open::of(&run)));
    wait(&mut second, "the run is open", |state| {
        state.snapshot.is_some()
    });
    let (first, second) = (window.state().state(), second.state().state());
    assert_eq!(
        first.snapshot.as_ref().unwrap().points,
        second.snapshot.as_ref().unwrap().points
    );
    assert_eq!(first.figure_names(), second.figure_names());
    assert_eq!(second.last_progress.unwrap().update, 6);
}

#[test]
fn training_is_watched_paused_stopped_and_continued() {
    let folder = tempfile::tempdir().unwrap();
    let endless = SMALL.replace("updates = 6", "updates = 100000000");
    let mut window = opened(folder.path(), &endless);
    window.key_press(Key::Space);
    wait(
        &mut window,
        "fixed points are seen during training",
        |state| {
            state.is_live
                && state
                    .snapshot
                    .as_ref()
                    .is_some_and(|snapshot| !snapshot.points.is_empty())
        },
    );
    assert!(window.state().state().figure("training_curve").is_some());

    window.get_by_label("Pause").click();
    wait(&mut window, "training is held", |state| {
        state.work.as_ref().is_some_and(|work| work.is_paused())
    });
    std::thread::sleep(Duration::from_millis(200));
    window.step();
    let update = |window: &Window| window.state().state().last_progress.unwrap().update;
    let held = update(&window);
    std::thread::sleep(Duration::from_millis(200));
    window.step();
    assert_eq!(update(&window), held);
    window.get_by_label("Continue").click();
    wait(&mut window, "training goes on", |state| {
        state.last_progress.unwrap().update > held
    });

    window.get_by_label("Stop").click();
    wait(&mut window, "training has ended", |state| {
        state.work.is_none()
    });
    let state = window.state().state();
    assert_eq!(
        (state.outcome, &state.banner),
        (Some("Stopped; Run continues"), &None)
    );
    let checkpoint = folder
        .path()
        .join("runs/small/checkpoints/latest.safetensors");
    assert!(checkpoint.is_file());

    // Closing the window in the middle of training saves it too.
    window.key_press_modifiers(Modifiers::COMMAND, Key::R);
    let stopped_at = update(&window);
    wait(
        &mut window,
        "training goes on from the checkpoint",
        |state| {
            state.work.is_some()
                && state
                    .last_progress
                    .is_some_and(|progress| progress.update > stopped_at)
        },
    );
    std::fs::remove_file(&checkpoint).unwrap();
    eframe::App::on_exit(window.state_mut(), None);
    assert!(checkpoint.is_file());
}

#[test]
fn what_cannot_be_opened_is_said_and_can_be_dismissed() {
    let folder = tempfile::tempdir().unwrap();
    let mut window = window(folder.path(), Some(Open::of(folder.path())));
    wait(&mut window, "the error is shown", |state| {
        state.banner.is_some()
    });
    window.get_by_label_contains("experiment.toml: the folder is no run");
    window.get_by_label("Dismiss").click();
    window.run_steps(3);
    assert_eq!(window.state().state().banner, None);

    for (text, said) in [
        (
            "name = \"x\"\n[task]\nkind = \"flip_flop\"\nbitz = 3\n[model]\nkind = \"leaky\"\n",
            "did you mean \"task.bits\"?",
        ),
        ("name = ", "experiment.toml, line 1"),
    ] {
        let path = write_experiment(folder.path(), text);
        window.state_mut().give(Command::Open(path));
        wait(&mut window, said, |state| {
            state
                .banner
                .as_ref()
                .is_some_and(|banner| banner.contains(said))
        });
        window.key_press(Key::Escape);
        window.run_steps(2);
        assert_eq!(window.state().state().banner, None);
    }
    window
        .state_mut()
        .give(Command::Open(folder.path().join("nothing.toml")));
    wait(&mut window, "the missing file is named", |state| {
        state
            .banner
            .as_ref()
            .is_some_and(|banner| banner.contains("nothing.toml"))
    });
    // The log keeps what was dismissed.
    assert!(window.state().state().log.len() >= 4);
}

#[test]
fn a_run_that_fails_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let mut window = opened(
        folder.path(),
        "name = \"x\"\n[task]\nkind = \"series\"\nfile = \"no_such_recording.npy\"\n[model]\nkind = \"shallow_plrnn\"\n",
    );
    window.get_by_label("Run").click();
    wait(&mut window, "the missing recording is named", |state| {
        state.work.is_none()
            && state
                .banner
                .as_ref()
                .is_some_and(|banner| banner.contains("no_such_recording.npy"))
    });
    assert!(!folder.path().join("runs").exists());
}

#[test]
fn another_task_changes_the_form() {
    let folder = tempfile::tempdir().unwrap();
    let mut window = opened(folder.path(), SMALL);
    window
        .get_by_role_and_label(Role::ComboBox, "task.kind")
        .click();
    window.run_steps(3);
    window.get_by_label("noise").click();
    window.run_steps(3);
    let experiment = window
        .state()
        .state()
        .draft
        .as_ref()
        .unwrap()
        .experiment()
        .clone();
    assert_eq!(experiment.task.text("kind"), "noise");
    // What was changed and is known to the new task too has stayed.
    assert_eq!(experiment.training.integer("updates"), 6);
    assert!(
        window
            .query_by_role_and_label(Role::TextInput, "task.bits")
            .is_none()
    );
}

#[test]
fn another_network_of_an_ensemble_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let mut window = opened(
        folder.path(),
        &SMALL.replace("name = \"small\"", "name = \"small\"\nnetworks = 2"),
    );
    window.state_mut().give(Command::Run);
    wait(&mut window, "the run has begun", |state| {
        state.work.is_some()
    });
    wait(&mut window, "the run is over", |state| state.work.is_none());
    let points = |window: &Window| {
        window
            .state()
            .state()
            .snapshot
            .as_ref()
            .unwrap()
            .points
            .clone()
    };
    let first = points(&window);
    window.state_mut().give(Command::ShowNetwork(1));
    wait(&mut window, "network 1 is shown", |state| {
        state.snapshot.as_ref().is_some_and(|s| s.network == 1)
    });
    assert_ne!(points(&window), first);
}

#[test]
fn keys_open_the_palette_and_the_help() {
    let folder = tempfile::tempdir().unwrap();
    let mut window = window(folder.path(), None);
    window.run_steps(3);
    window.key_press(Key::Questionmark);
    window.run_steps(3);
    window.get_by_label("Keyboard and mouse");
    window.key_press(Key::Escape);
    window.run_steps(30);
    assert!(window.query_by_label("Keyboard and mouse").is_none());

    window.key_press_modifiers(Modifiers::COMMAND, Key::P);
    window.run_steps(3);
    window
        .get_by_role_and_label(Role::TextInput, "Type a command")
        .type_text("heartbeat example");
    window.run_steps(3);
    window.key_press(Key::Enter);
    wait(&mut window, "the example is open", |state| {
        state.draft.is_some() && state.work.is_none()
    });
    let state = window.state().state();
    assert_eq!(state.draft.as_ref().unwrap().experiment().name(), "ecg");
}

#[test]
fn every_panel_can_be_closed_and_shown_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut window = opened(folder.path(), SMALL);
    let names: Vec<String> = nullcline::desktop::all_panels()
        .iter()
        .map(|panel| panel.name().to_owned())
        .collect();
    for name in &names {
        window.state_mut().give(Command::TogglePanel(name.clone()));
        window.run_steps(3);
    }
    for name in &names {
        window.state_mut().give(Command::ShowPanel(name.clone()));
        window.run_steps(3);
    }
    window.state_mut().give(Command::ResetLayout);
    window.run_steps(3);
    assert_eq!(value(&window, "name").as_deref(), Some("small"));
}

/// The menu lists the devices there are; the next run trains on the one that is chosen, and says so.
#[test]
fn a_device_is_chosen_and_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let mut window = opened(folder.path(), SMALL);
    assert_eq!(window.state().state().device, Device::Auto);
    wait(&mut window, "the devices are listed", |state| {
        !state.devices.is_empty()
    });
    window.get_by_role_and_label(Role::Button, "Device").click();
    window.run_steps(3);
    window
        .get_by_role_and_label(Role::RadioButton, "CPU")
        .click();
    window.run_steps(3);
    assert_eq!(window.state().state().device, Device::Cpu);
    window.get_by_role_and_label(Role::Button, "Run").click();
    wait(&mut window, "the run is over", |state| {
        state.folder.is_some() && state.work.is_none()
    });
    let run = window.state().state().folder.clone().unwrap();
    let provenance = std::fs::read_to_string(run.join("provenance.json")).unwrap();
    let provenance: serde_json::Value = serde_json::from_str(&provenance).unwrap();
    assert!(provenance["device"].as_str().unwrap().starts_with("cpu"));
    let command = provenance["command"].as_array().unwrap();
    assert!(command.ends_with(&["--device".into(), "cpu".into()]));
}
