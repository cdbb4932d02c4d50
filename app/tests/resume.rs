//! A run may be killed or stopped at any instant, and with any number of threads ends in the same bits.

mod support;

use nullcline_data::random::{Random, Stream};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use support::{FLIP_FLOP, Finished, HEARTBEAT, Scratch, assert_same_training, checkpoint_update};

/// Times that a run is killed.
const KILLS: u32 = 20;
/// Longest pause between the sight of a checkpoint and a kill.
const MOMENT: Duration = Duration::from_millis(20);
/// Longest wait for a process to do what it must.
const PATIENCE: Duration = Duration::from_secs(60);

/// An experiment that makes more updates, and saves after every third, so that kills often hit the writing
/// of a checkpoint and that every kill loses work that is to be done again.
fn longer(experiment: &str, updates: u32) -> String {
    let longer = experiment
        .replace("updates = 40", &format!("updates = {updates}"))
        .replace("checkpoint_every = 10", "checkpoint_every = 3");
    assert!(longer.contains(&updates.to_string()) && longer.contains("checkpoint_every = 3"));
    longer
}

/// Trains once undisturbed and once killed twenty times, and compares; for `updates`, or as many times more as
/// make training long beside the start of the program.
///
/// Every third kill comes while the program starts, the others a moment after a checkpoint: instants are chosen by
/// what was done, since how fast it is done changes with what else the machine does. The next checkpoint is uniform in
/// a part of what is left: small enough that twenty kills do not see the training to its end, large enough that most
/// of it is done under fire.
fn survive_kills(experiment: &str, updates: u32, seed: u64) {
    println!("instants drawn from seed {seed}");
    let mut updates = updates;
    let (scratch, start_up) = loop {
        let scratch = Scratch::new();
        scratch.write("experiment.toml", longer(experiment, updates));
        let train = || {
            let begun = Instant::now();
            scratch
                .run(&["train", "experiment.toml", "--out", "undisturbed"])
                .succeeded();
            begun.elapsed()
        };
        let (duration, start_up) = (train(), train());
        // Twenty starts that are luckier than others must not carry a short training to its end.
        if duration > 40 * start_up {
            println!("{updates} updates in {duration:?}, of which {start_up:?} to start");
            break (scratch, start_up);
        }
        updates *= 2;
        assert!(updates < 1_000_000, "training does not outlast its start");
    };

    let run = scratch.path("killed");
    let mut random = Random::new(seed, Stream::NOISE, 0);
    let mut hit_while_writing = 0;
    let mut stations = vec![0];
    for kill in 0..KILLS {
        let done = checkpoint_update(&run);
        let part = 2.0 * random.uniform() / f64::from(KILLS - kill + 10);
        let wanted = match kill % 3 {
            0 => 0,
            _ => done + (part * (u64::from(updates) - done) as f64) as u64,
        };
        let longest = if wanted == 0 { start_up } else { MOMENT };
        let pause = longest.mul_f64(random.uniform());
        let mut child = start(&scratch);
        let begun = Instant::now();
        while checkpoint_update(&run) < wanted && child.try_wait().unwrap().is_none() {
            assert!(begun.elapsed() < PATIENCE, "update {wanted} was not seen");
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(pause);
        assert!(
            child.try_wait().unwrap().is_none(),
            "kill {kill} came {pause:?} after update {wanted}: training had ended"
        );
        // SIGKILL: no handler, no destructor, no flush.
        child.kill().unwrap();
        child.wait().unwrap();
        hit_while_writing += u32::from(scratch.content().keys().any(|name| name.contains(".tmp-")));
        stations.push(checkpoint_update(&run));
        if run.join("experiment.toml").exists() {
            // Whatever the instant, the folder opens.
            scratch
                .run(&["show", "killed", "--json"])
                .succeeded()
                .json();
        }
    }
    println!(
        "{hit_while_writing} of {KILLS} kills hit a file being written; checkpoints seen: {stations:?}"
    );
    kill_while_writing(&scratch);
    stations.push(checkpoint_update(&run));
    assert!(
        stations.is_sorted(),
        "a kill lost a checkpoint: {stations:?}"
    );
    stations.dedup();
    assert!(
        stations.len() > 5,
        "the kills do not span the training: {stations:?}"
    );

    scratch
        .run(&["train", "experiment.toml", "--out", "killed"])
        .succeeded();
    assert_eq!(checkpoint_update(&run), u64::from(updates));
    assert_same_training(&scratch.path("undisturbed"), &run);
    let leftovers: Vec<String> = scratch
        .content()
        .into_keys()
        .filter(|name| name.contains(".tmp-"))
        .collect();
    assert!(leftovers.is_empty(), "{leftovers:?}");
}

/// Trains to the end, unless it is killed before.
fn start(scratch: &Scratch) -> Child {
    scratch
        .command(&["train", "experiment.toml", "--out", "killed"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Chance may spare the writing of checkpoints. This kill is aimed at it: the process dies with the new
/// checkpoint half written beside the old one.
fn kill_while_writing(scratch: &Scratch) {
    // What an earlier kill left half written is not this one's.
    for name in scratch
        .content()
        .keys()
        .filter(|name| name.contains(".tmp-"))
    {
        fs::remove_file(scratch.path(name)).unwrap();
    }
    let before = Scratch::new();
    before.copy_from(scratch, "killed");
    let half_written = || {
        let names = fs::read_dir(scratch.path("killed/checkpoints")).unwrap();
        names.flatten().any(|entry| {
            let name = entry.file_name();
            name.to_string_lossy()
                .starts_with(".latest.safetensors.tmp-")
        })
    };
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        let mut child = start(scratch);
        std::thread::sleep(Duration::from_millis(20));
        while !half_written() && child.try_wait().unwrap().is_none() {
            assert!(begun.elapsed() < PATIENCE, "no checkpoint was written");
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // The file may have been renamed between the look at it and the kill, or the training have come to its end.
        if half_written() {
            return;
        }
        fs::remove_dir_all(scratch.path("killed")).unwrap();
        scratch.copy_from(&before, "killed");
    }
    panic!("no kill hit a checkpoint");
}

#[test]
fn an_ensemble_killed_twenty_times_ends_in_the_same_bits() {
    let two_networks = FLIP_FLOP.replace("seed = 7", "seed = 7\nnetworks = 2");
    survive_kills(&two_networks, 300, 20_261_120);
}

#[test]
fn forced_training_killed_twenty_times_ends_in_the_same_bits() {
    survive_kills(HEARTBEAT, 300, 20_261_121);
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let scratch = Scratch::new();
    let three_networks = FLIP_FLOP.replace("seed = 7", "seed = 7\nnetworks = 3");
    // 40 trials are three of the engine's blocks of 16, the last one not full.
    scratch.write(
        "flip_flop.toml",
        three_networks.replace("batch = 16", "batch = 40"),
    );
    scratch.write(
        "heartbeat.toml",
        HEARTBEAT.replace("batch = 16", "batch = 40"),
    );
    for experiment in ["flip_flop", "heartbeat"] {
        let out = |threads: &str| format!("{experiment}_{threads}");
        for threads in ["1", "2", "5"] {
            let file = format!("{experiment}.toml");
            scratch
                .run(&["train", &file, "--out", &out(threads), "--threads", threads])
                .succeeded();
        }
        // The environment says the same as the option.
        Finished::of(
            scratch
                .command(&[
                    "train",
                    &format!("{experiment}.toml"),
                    "--out",
                    &out("environment"),
                ])
                .env("NULLCLINE_THREADS", "2"),
        )
        .succeeded();
        for other in ["2", "5", "environment"] {
            assert_same_training(&scratch.path(&out("1")), &scratch.path(&out(other)));
        }
    }
}

/// Waits until a run at work has saved a checkpoint.
fn wait_for_checkpoint(child: &mut Child, run: &Path) {
    let begun = Instant::now();
    while !run.join("checkpoints/latest.safetensors").exists() {
        assert!(
            child.try_wait().unwrap().is_none(),
            "training ended before its first checkpoint was seen"
        );
        assert!(
            begun.elapsed() < PATIENCE,
            "no checkpoint after {PATIENCE:?}"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// What Ctrl-C sends.
#[cfg(unix)]
fn interrupt(child: &Child) {
    let sent = std::process::Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
}

#[cfg(unix)]
#[test]
fn ctrl_c_saves_and_the_same_command_continues() {
    let scratch = Scratch::new();
    // Checkpoints are rare, so that what is saved is due to Ctrl-C.
    let experiment = FLIP_FLOP.replace("updates = 40", "updates = 4000").replace(
        "checkpoint_every = 10",
        "checkpoint_every = 900\nsnapshots = [0, 1]",
    );
    scratch.write("experiment.toml", experiment);
    scratch
        .run(&["train", "experiment.toml", "--out", "undisturbed"])
        .succeeded();

    let arguments = ["train", "experiment.toml", "--out", "stopped"];
    let run = scratch.path("stopped");
    let mut child = scratch
        .command(&arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while !run.join("checkpoints/000001.safetensors").exists() {
        assert!(
            child.try_wait().unwrap().is_none() && begun.elapsed() < PATIENCE,
            "no first update"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
    interrupt(&child);
    let stopped = Finished::from(child.wait_with_output().unwrap()).with_status(130);
    assert!(
        stopped
            .stderr
            .contains("stopped is saved, the same command continues"),
        "{}",
        stopped.stderr
    );
    let update = checkpoint_update(&run);
    assert!((1..4000).contains(&update), "stopped at update {update}");
    println!("stopped at update {update}");

    let shown = scratch
        .run(&["show", "stopped", "--json"])
        .succeeded()
        .json();
    assert_eq!(shown["trained"], true);
    assert!(shown["finished"].is_null(), "{shown}");
    let resumed = scratch.run(&arguments).succeeded();
    assert!(
        resumed
            .stderr
            .contains(&format!("continuing stopped at update {update}")),
        "{}",
        resumed.stderr
    );
    assert_same_training(&scratch.path("undisturbed"), &run);
    let shown = scratch
        .run(&["show", "stopped", "--json"])
        .succeeded()
        .json();
    assert!(shown["finished"].is_string(), "{shown}");
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_an_analysis_and_the_same_command_continues() {
    let scratch = Scratch::new();
    let experiment = FLIP_FLOP
        .replace("seed = 7", "seed = 7\nnetworks = 6")
        .replace("starts = 32", "starts = 2000");
    scratch.write("experiment.toml", experiment);
    let arguments = ["run", "experiment.toml", "--out", "run"];
    let mut child = scratch
        .command(&arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap())
        .lines()
        .map(Result::unwrap);
    assert!(
        lines.any(|line| line == "analyse: fixed_points"),
        "no search for fixed points"
    );
    interrupt(&child);
    let said: Vec<String> = lines.collect();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{said:?}");
    assert_eq!(said, ["nullcline: stopped; the same command continues"]);
    // What was done before is there, and nothing of the analysis that was ended.
    assert!(scratch.path("run/analysis/performance.parquet").exists());
    assert!(!scratch.path("run/analysis/fixed_points.parquet").exists());
    scratch.run(&arguments).succeeded();
    assert!(scratch.path("run/figures/training_curve.svg").exists());
}

#[test]
fn a_folder_at_work_is_closed_to_other_writers() {
    let scratch = Scratch::new();
    scratch.write("experiment.toml", longer(FLIP_FLOP, 1_000_000));
    let arguments = ["train", "experiment.toml", "--out", "run"];
    let mut first = scratch
        .command(&arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for_checkpoint(&mut first, &scratch.path("run"));
    for second in [&arguments[..], &["analyze", "run"], &["figures", "run"]] {
        let refused = scratch.run(second).with_status(1);
        assert_eq!(
            refused.stderr,
            "nullcline: run: another process is at work in this run folder; wait for it or choose another folder\n"
        );
    }
    // Nor may it put other settings of analyses in the folder.
    let experiment = fs::read(scratch.path("run/experiment.toml")).unwrap();
    let other = [
        &arguments[..],
        &["--set", "analysis.fixed_points.starts=33"],
    ]
    .concat();
    scratch.run(&other).with_status(1);
    assert_eq!(
        fs::read(scratch.path("run/experiment.toml")).unwrap(),
        experiment
    );
    // Looking disturbs nobody.
    scratch.run(&["show", "run"]).succeeded();
    assert!(
        first.try_wait().unwrap().is_none(),
        "the first process was disturbed"
    );
    let before = checkpoint_update(&scratch.path("run"));
    let begun = Instant::now();
    while checkpoint_update(&scratch.path("run")) == before {
        assert!(
            begun.elapsed() < PATIENCE,
            "the first process no longer trains"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    first.kill().unwrap();
    first.wait().unwrap();
    // The lock ended with the process that held it, though its file is still there.
    assert!(fs::exists(scratch.path("run/.lock")).unwrap());
    scratch
        .run(&["analyze", "run", "--only", "performance"])
        .succeeded();
}
