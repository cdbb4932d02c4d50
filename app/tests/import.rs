//! Weights in, a run folder that can be analysed, and weights out again. That the networks give torch's numbers
//! is tested beside the fixtures, in the crate `nullcline-models`.

use nullcline::devices::Devices;
use nullcline::experiment::Experiment;
use nullcline::export::export;
use nullcline::import::import;
use nullcline::results::Results;
use nullcline::session::{self, Control, Fault};
use nullcline::show::show;
use nullcline_data::npy::{read_npz, write_npz};
use nullcline_data::run_folder::RunFolder;
use nullcline_data::tensors::{Tensor, read_safetensors};
use nullcline_models::architecture::{CellKind, Readout};
use nullcline_models::engine::CpuEngine;
use nullcline_models::ensemble::Ensemble;
use nullcline_models::torch;
use std::fs;
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/tests/fixtures");
    fixtures.join(format!("{name}.safetensors"))
}

/// The networks of a run folder.
fn networks(dir: &Path) -> Ensemble {
    let folder = RunFolder::open(dir).unwrap();
    let built = Experiment::of_run(&folder).unwrap().build().unwrap();
    session::trained(&folder, &built).unwrap()
}

/// The message of a failure that must be bad input, with status 2.
fn refused<T>(outcome: Result<T, Fault>) -> String {
    match outcome {
        Err(Fault::Data(error)) if error.is_bad_input() => error.to_string(),
        Err(other) => panic!("not bad input: {other}"),
        Ok(_) => panic!("accepted"),
    }
}

#[test]
fn an_imported_network_is_a_trained_run() {
    let temporary = tempfile::tempdir().unwrap();
    for (name, cell) in [
        ("torch_rnn_tanh", CellKind::VanillaTanh),
        ("torch_gru", CellKind::Gru),
        ("torch_lstm", CellKind::Lstm),
        ("torch_gru_readout", CellKind::Gru),
    ] {
        let dir = temporary.path().join(name);
        let lines = import(&fixture(name), None, None, &dir).unwrap();
        assert!(
            lines[0].starts_with(&format!("cell {}: 7 units, inputs 3", cell.name())),
            "{lines:?}"
        );
        let folder = RunFolder::open(&dir).unwrap();
        let experiment = Experiment::of_run(&folder).unwrap();
        assert_eq!(experiment.name(), name);
        assert_eq!(experiment.task.text("kind"), "noise");
        assert_eq!(networks(&dir).architecture.cell, cell);
        let provenance = folder.read_provenance().unwrap().unwrap();
        assert_eq!(provenance.inputs.len(), 1);
        assert_eq!(
            provenance.inputs[0].sha256,
            nullcline_data::sha256_file(&fixture(name)).unwrap()
        );

        // Training has nothing to do and touches nothing.
        let before = fs::read(folder.checkpoint_path()).unwrap();
        let control = Control::default();
        session::train(
            &folder,
            &experiment,
            &Devices::parse("cpu").unwrap(),
            &[],
            &control,
            &mut |_| {},
        )
        .unwrap();
        assert_eq!(fs::read(folder.checkpoint_path()).unwrap(), before);
        assert_eq!(
            folder.read_provenance().unwrap().unwrap().inputs,
            provenance.inputs
        );

        // The same import again changes nothing; another network is refused.
        import(&fixture(name), None, None, &dir).unwrap();
        assert_eq!(fs::read(folder.checkpoint_path()).unwrap(), before);
        let other = if name == "torch_gru" {
            "torch_lstm"
        } else {
            "torch_gru"
        };
        refused(import(&fixture(other), None, None, &dir));
        assert_eq!(fs::read(folder.checkpoint_path()).unwrap(), before);
    }
}

#[test]
fn an_imported_network_can_be_analysed() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path().join("run");
    import(&fixture("torch_gru_readout"), None, None, &dir).unwrap();
    let folder = RunFolder::open(&dir).unwrap();
    let experiment = Experiment::of_run(&folder).unwrap();
    session::analyze(
        &folder,
        &experiment,
        &mut CpuEngine::new(),
        &[],
        &Control::default(),
        &mut |_| {},
    )
    .unwrap();
    let results = Results::load(&folder).unwrap();
    let table = results.table("fixed_points").unwrap();
    assert!(table.row_count() > 0);
    assert!(results.table("linearization").is_some());
}

#[test]
fn export_gives_back_what_was_imported() {
    let temporary = tempfile::tempdir().unwrap();
    let path = |name: &str| temporary.path().join(name);
    for name in ["torch_rnn_relu", "torch_lstm", "torch_gru_readout"] {
        let relu = name == "torch_rnn_relu";
        let dir = path(name);
        import(&fixture(name), None, relu.then_some("relu"), &dir).unwrap();
        let ours = networks(&dir);

        for extension in ["safetensors", "npz"] {
            let file = path(&format!("{name}.{extension}"));
            export(&dir, &file).unwrap();
            let again = path(&format!("{name}_{extension}"));
            // An npz has no place for a note on the nonlinearity.
            let told = (relu && extension == "npz").then_some("relu");
            import(&file, None, told, &again).unwrap();
            assert_eq!(networks(&again), ours, "{name}.{extension}");
        }
        let exported = read_safetensors(&path(&format!("{name}.safetensors"))).unwrap();
        let original = read_safetensors(&fixture(name)).unwrap();
        let mut keys: Vec<&str> = exported.names().collect();
        let mut expected: Vec<&str> = original.names().collect();
        keys.sort_unstable();
        expected.sort_unstable();
        assert_eq!(keys, expected);

        let file = path(&format!("{name}.csv"));
        export(&dir, &file).unwrap();
        let text = fs::read_to_string(&file).unwrap();
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("network,tensor,row,column,value"));
        for tensor in ours.architecture.tensors() {
            let columns = tensor.shape.get(1).copied().unwrap_or(1);
            for (k, value) in ours.parameters[0][tensor.range].iter().enumerate() {
                let line = lines.next().unwrap();
                let (place, written) = line.rsplit_once(',').unwrap();
                assert_eq!(
                    place,
                    format!("0,{},{},{}", tensor.name, k / columns, k % columns)
                );
                assert_eq!(written.parse::<f32>().unwrap().to_bits(), value.to_bits());
            }
        }
        assert_eq!(lines.next(), None);
    }
}

fn archive(name: &str) -> PathBuf {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/tests/fixtures");
    fixtures.join(format!("{name}.pt"))
}

/// The fixed points of an imported network as they are written to its folder: for each verdict and number of
/// unstable directions how many, all proved where they are fixed.
fn found(dir: &Path) -> (Vec<usize>, String) {
    let folder = RunFolder::open(dir).unwrap();
    let experiment = Experiment::of_run(&folder).unwrap();
    session::analyze(
        &folder,
        &experiment,
        &mut CpuEngine::new(),
        &["fixed_points".into()],
        &Control::default(),
        &mut |_| {},
    )
    .unwrap();
    let results = Results::load(&folder).unwrap();
    let table = results.table("fixed_points").unwrap();
    let verdicts = table.text_column("verdict").unwrap();
    assert!(verdicts.iter().all(|verdict| verdict.is_some()));
    let unstable = table.f64_column("n_unstable").unwrap();
    let certified = table.f64_column("existence_radius").unwrap();
    let mut counts = Vec::new();
    for (point, verdict) in verdicts.iter().enumerate() {
        if *verdict == Some("fixed") {
            assert!(certified[point] > 0.0, "point {point} is not proved");
            let directions = unstable[point] as usize;
            counts.resize(counts.len().max(directions + 1), 0);
            counts[directions] += 1;
        }
    }
    (counts, show(&folder, &experiment, false).unwrap())
}

/// Networks that torch trained on the two-bit flip-flop, from torch's own files: a stable point for each of the four
/// memories, a saddle between each pair of neighbours, one with two unstable directions amid them.
#[test]
fn trained_networks_of_torch_have_the_fixed_points_of_their_task() {
    let temporary = tempfile::tempdir().unwrap();
    for (name, cell) in [
        ("gru_flip_flop", CellKind::Gru),
        ("lstm_flip_flop", CellKind::Lstm),
    ] {
        let dir = temporary.path().join(name);
        import(&archive(name), None, None, &dir).unwrap();
        let architecture = networks(&dir).architecture;
        assert_eq!(
            (architecture.cell, architecture.units, architecture.outputs),
            (cell, 12, 2)
        );
        let (counts, shown) = found(&dir);
        assert_eq!(counts, [4, 4, 1], "{name}");
        assert!(
            shown.contains(
                "9 fixed points (4 stable, 4 with 1 unstable, 1 with 2 unstable), all proved"
            ),
            "{shown}"
        );
    }
}

/// Weights under torch's names beside other arrays of the same width need no model file, and all 27 fixed points of
/// the reference are found and proved.
#[test]
fn the_reference_networks_need_no_model_file() {
    let temporary = tempfile::tempdir().unwrap();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../analysis/tests/fixtures");
    for name in ["flip_flop_gru16", "flip_flop_tanh16"] {
        let dir = temporary.path().join(name);
        let lines = import(&fixtures.join(format!("{name}.npz")), None, None, &dir).unwrap();
        for row in [
            "readout_weight  [3, 16]   R, readout",
            "fixed_points    [27, 16]  not used",
        ] {
            assert!(lines.contains(&row.to_owned()), "{lines:#?}");
        }
        let (counts, _) = found(&dir);
        assert_eq!(counts, [8, 12, 6, 1], "{name}");
    }
}

/// Nothing in a `.pt` is ever run: what a command in the file would have done is not done, and whatever is not
/// tensors, numbers and texts is refused before anything is written.
#[test]
fn crafted_files_of_torch_are_refused_and_not_run() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = archive("any").parent().unwrap().to_owned();
    let mut refusals = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        if !name.starts_with("refused_")
            || path.extension().is_none_or(|extension| extension != "pt")
        {
            continue;
        }
        refusals += 1;
        let dir = temporary.path().join(&name);
        let message = refused(import(&path, None, None, &dir));
        assert!(
            message.starts_with(&path.display().to_string()),
            "{message}"
        );
        assert!(!dir.exists(), "{name}");
        if name == "refused_command" {
            assert!(message.contains("found posix.system"), "{message}");
        }
    }
    assert!(refusals >= 10, "{refusals} crafted files");
    assert!(!Path::new("/tmp/nullcline-was-here").exists());
}

/// A leaky network out of an npz, by a model file with a task of its own; its export has our names.
#[test]
fn a_model_file_with_a_task() {
    let temporary = tempfile::tempdir().unwrap();
    let path = |name: &str| temporary.path().join(name);
    let weights = path("weights.npz");
    let ramp = |shape: &[usize]| {
        let count: usize = shape.iter().product();
        let numbers = (0..count).map(|k| (k as f64).sin()).collect();
        ndarray::ArrayD::from_shape_vec(ndarray::IxDyn(shape), numbers).unwrap()
    };
    let (w, u, r) = (ramp(&[6, 6]), ramp(&[6, 2]), ramp(&[2, 6]));
    write_npz(
        &weights,
        &[("W", w.view()), ("U", u.view()), ("R", r.view())],
    )
    .unwrap();
    let text = |bits: usize| {
        format!(
            "kind = \"leaky\"\nleak = 0.2\n[arrays]\nrecurrent = \"W\"\ninput = \"U\"\nreadout = \"R\"\n\
             [task]\nkind = \"flip_flop\"\nbits = {bits}\n"
        )
    };
    let model = path("MODEL.toml");
    fs::write(&model, text(3)).unwrap();
    let dir = path("run");
    let message = refused(import(&weights, Some(&model), None, &dir));
    assert!(
        message.contains("inputs of the task \"flip_flop\": found 3; allowed: 2"),
        "{message}"
    );
    let message = refused(import(&weights, Some(&model), Some("relu"), &dir));
    assert!(message.contains("--nonlinearity"), "{message}");
    assert!(!dir.exists());

    fs::write(&model, text(2)).unwrap();
    import(&weights, Some(&model), None, &dir).unwrap();
    let ensemble = networks(&dir);
    assert_eq!(ensemble.architecture.cell, CellKind::LeakyRateTanh);
    assert_eq!(ensemble.architecture.readout, Readout::LinearWithoutBias);
    let folder = RunFolder::open(&dir).unwrap();
    assert_eq!(Experiment::of_run(&folder).unwrap().task.integer("bits"), 2);
    assert_eq!(folder.read_provenance().unwrap().unwrap().inputs.len(), 2);

    let exported = path("out.npz");
    export(&dir, &exported).unwrap();
    let arrays = read_npz(&exported).unwrap();
    let (_, recurrent) = arrays.iter().find(|(name, _)| name == "recurrent").unwrap();
    assert_eq!(recurrent.shape(), [1, 6, 6]);
    assert_eq!(
        recurrent.iter().map(|x| *x as f32).collect::<Vec<_>>(),
        w.iter().map(|x| *x as f32).collect::<Vec<_>>()
    );
}

#[test]
fn bad_weights_are_refused_before_anything_is_written() {
    let temporary = tempfile::tempdir().unwrap();
    let path = |name: &str| temporary.path().join(name);
    let out = path("run");
    let cut = path("cut.safetensors");
    let whole = fs::read(fixture("torch_gru")).unwrap();
    fs::write(&cut, &whole[..whole.len() - 3]).unwrap();
    let cut_npz = path("cut.npz");
    write_npz(
        &cut_npz,
        &[(
            "weight_hh_l0",
            ndarray::ArrayD::<f32>::zeros(vec![3, 3]).view(),
        )],
    )
    .unwrap();
    let bytes = fs::read(&cut_npz).unwrap();
    fs::write(&cut_npz, &bytes[..bytes.len() / 2]).unwrap();
    fs::write(path("model.pt"), "PK").unwrap();
    fs::write(path("noise.npz"), "no archive").unwrap();
    for (name, expected) in [
        ("absent.safetensors", "does not exist"),
        ("cut.safetensors", "a whole safetensors file"),
        ("cut.npz", "the archive"),
        ("noise.npz", "the archive"),
        (
            "model.pt",
            "an archive that torch.save wrote of model.state_dict()",
        ),
        (
            "model.pkl",
            "torch.save(model.state_dict(), \"weights.pt\")",
        ),
        (
            "weights.h5",
            "found .h5; allowed: .pt, .pth, .safetensors or .npz",
        ),
        (
            "weights",
            "found none; allowed: .pt, .pth, .safetensors or .npz",
        ),
    ] {
        let file = path(name);
        let message = refused(import(&file, None, None, &out));
        assert!(
            message.starts_with(&file.display().to_string()) && message.contains(expected),
            "{message}"
        );
        assert!(!out.exists(), "{name}");
    }
    let message = refused(import(&fixture("torch_gru"), None, Some("sigmoid"), &out));
    assert!(
        message.contains("--nonlinearity: found \"sigmoid\"; allowed: tanh or relu"),
        "{message}"
    );
    let message = refused(import(&fixture("torch_gru"), None, Some("relu"), &out));
    assert!(
        message.contains("--nonlinearity: found \"relu\" for the cell gru"),
        "{message}"
    );
    let message = refused(import(
        &fixture("torch_gru"),
        Some(&path("no.toml")),
        None,
        &out,
    ));
    assert!(message.contains("no.toml"), "{message}");
    assert!(!out.exists());

    // A folder that holds something else.
    fs::create_dir(&out).unwrap();
    fs::write(out.join("thesis.tex"), "").unwrap();
    refused(import(&fixture("torch_gru"), None, None, &out));
    assert_eq!(fs::read_dir(&out).unwrap().count(), 1);
}

/// Bytes changed or cut anywhere in good files: a network, or an error that names the file.
#[test]
fn damaged_weights_are_read_or_refused() {
    let temporary = tempfile::tempdir().unwrap();
    let reference = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../analysis/tests/fixtures/flip_flop_tanh16.npz");
    let mut draw = {
        let mut state = 1_u64;
        move |below: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        }
    };
    let mut refusals = 0;
    for whole in [
        archive("gru_flip_flop"),
        fixture("torch_gru_readout"),
        reference,
    ] {
        let file = temporary.path().join(whole.file_name().unwrap());
        let good = fs::read(&whole).unwrap();
        for damage in 0..60 {
            let mut bytes = good.clone();
            match damage % 3 {
                0 => bytes.truncate(draw(good.len())),
                // The first and the last bytes say what the rest is.
                1 => bytes[draw(400)] ^= 1 << draw(8),
                _ => bytes[good.len() - 1 - draw(800)] ^= 1 << draw(8),
            }
            fs::write(&file, &bytes).unwrap();
            let dir = temporary.path().join("run");
            match import(&file, None, None, &dir) {
                Ok(_) => fs::remove_dir_all(&dir).unwrap(),
                outcome => {
                    let message = refused(outcome);
                    assert!(message.contains(&file.display().to_string()), "{message}");
                    assert!(!dir.exists(), "{message}");
                    refusals += 1;
                }
            }
        }
    }
    assert!(refusals > 60, "{refusals} refusals");
}

#[test]
fn what_cannot_be_exported_is_refused() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path().join("run");
    let file = temporary.path().join("w.safetensors");
    assert!(refused(export(&dir, &file)).contains("does not exist"));
    import(&fixture("torch_gru"), None, None, &dir).unwrap();
    for name in ["w.pt", "w", "w.safetensors.bak"] {
        let message = refused(export(&dir, &temporary.path().join(name)));
        assert!(
            message.contains("--to: found") && message.contains(".safetensors, .npz or .csv"),
            "{message}"
        );
    }
    // A run that has not been trained.
    fs::remove_file(RunFolder::open(&dir).unwrap().checkpoint_path()).unwrap();
    assert!(refused(export(&dir, &file)).contains("has not been trained"));
    assert!(!file.exists());
}

/// Several networks go out side by side under our names, also of a cell that torch has.
#[test]
fn an_ensemble_is_exported_side_by_side() {
    let temporary = tempfile::tempdir().unwrap();
    let text = "name = \"two\"\nnetworks = 2\n[task]\nkind = \"flip_flop\"\nbits = 1\n\
                [model]\nkind = \"gru\"\nunits = 4\n\
                [training]\nupdates = 1\nbatch = 2\nevaluation_trials = 2\n";
    let document = nullcline_data::settings::Document::parse("two.toml", text).unwrap();
    let experiment = Experiment::from_document(&document).unwrap();
    let folder = session::prepare(&temporary.path().join("run"), &experiment).unwrap();
    session::train(
        &folder,
        &experiment,
        &Devices::parse("cpu").unwrap(),
        &[],
        &Control::default(),
        &mut |_| {},
    )
    .unwrap();
    let file = temporary.path().join("two.safetensors");
    export(folder.path(), &file).unwrap();
    let tensors = read_safetensors(&file).unwrap();
    let ensemble = networks(folder.path());
    assert_eq!(ensemble.len(), 2);
    for tensor in ensemble.architecture.tensors() {
        let mut shape = vec![2];
        shape.extend(&tensor.shape);
        let Some(Tensor::F32(array)) = tensors.get(&tensor.name) else {
            panic!("{}", tensor.name)
        };
        assert_eq!(array.shape(), shape);
        for (network, parameters) in array.outer_iter().zip(&ensemble.parameters) {
            assert!(
                network.iter().eq(&parameters[tensor.range.clone()]),
                "{}",
                tensor.name
            );
        }
    }
    assert!(!torch::is_recognised(&tensors));
}

/// A section of docs/import.md: its model files, each with what the program prints of it.
struct Example {
    model: Option<String>,
    printed: Vec<String>,
}

/// The fenced blocks of a document: (language, lines).
fn blocks(text: &str) -> Vec<(String, Vec<String>)> {
    let mut blocks: Vec<(String, Vec<String>)> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        match (line.strip_prefix("```"), inside) {
            (Some(language), false) => blocks.push((language.to_owned(), Vec::new())),
            (None, true) => blocks.last_mut().unwrap().1.push(line.to_owned()),
            _ => {}
        }
        inside ^= line.starts_with("```");
    }
    blocks
}

fn examples(text: &str) -> Vec<Example> {
    let mut examples = Vec::new();
    let mut model = None;
    for (language, lines) in blocks(text) {
        match &language[..] {
            "toml" => {
                assert!(model.is_none(), "a model file without what it prints");
                model = Some(lines.join("\n"));
            }
            "text" => examples.push(Example {
                model: model.take(),
                printed: lines,
            }),
            _ => {}
        }
    }
    assert!(model.is_none(), "a model file without what it prints");
    examples
}

/// Arrays of made-up numbers with the names and shapes of the table that the program prints.
fn made_up(printed: &[String], file: &Path) {
    let table = printed
        .iter()
        .skip_while(|line| !line.starts_with("array "));
    let arrays: Vec<(String, ndarray::ArrayD<f64>)> = table
        .skip(1)
        .take_while(|line| !line.is_empty())
        .map(|line| {
            let (name, rest) = line.split_once(' ').unwrap();
            let shape = rest
                .trim_start()
                .trim_start_matches('[')
                .split(']')
                .next()
                .unwrap();
            let shape: Vec<usize> = shape.split(", ").map(|n| n.parse().unwrap()).collect();
            let count: usize = shape.iter().product();
            let numbers = (0..count).map(|k| 0.5 + 0.4 * (k as f64).sin()).collect();
            let mut array =
                ndarray::ArrayD::from_shape_vec(ndarray::IxDyn(&shape), numbers).unwrap();
            if name == "W" {
                // That of a PLRNN.
                for i in 0..shape[0] {
                    array[[i, i]] = 0.0;
                }
            }
            (name.to_owned(), array)
        })
        .collect();
    assert!(!arrays.is_empty(), "{printed:#?}");
    let views: Vec<_> = arrays
        .iter()
        .map(|(name, array)| (&name[..], array.view()))
        .collect();
    write_npz(file, &views).unwrap();
}

/// Every example of docs/import.md prints what it says it prints, and the page knows every key.
/// NULLCLINE_WRITE_DOCS=1 writes what is printed into it.
#[test]
fn the_examples_of_the_page_are_true() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/import.md");
    let mut text = fs::read_to_string(&page).unwrap();
    let temporary = tempfile::tempdir().unwrap();
    let examples = examples(&text);
    assert!(examples.len() >= 6, "{} examples", examples.len());
    for (number, example) in examples.iter().enumerate() {
        let weights = temporary.path().join("weights.npz");
        made_up(&example.printed, &weights);
        let model = temporary.path().join("MODEL.toml");
        fs::write(&model, example.model.as_deref().unwrap_or_default()).unwrap();
        let dir = temporary.path().join(format!("run_{number}"));
        let lines = import(
            &weights,
            example.model.as_ref().map(|_| &*model),
            None,
            &dir,
        );
        let lines = match lines {
            Ok(lines) => lines,
            Err(error) => panic!("{error}\n{}", example.model.as_deref().unwrap_or_default()),
        };
        let place = temporary.path().display().to_string();
        let lines: Vec<String> = lines
            .iter()
            .map(|line| line.replace(&format!("{place}/"), ""))
            .collect();
        if std::env::var_os("NULLCLINE_WRITE_DOCS").is_some() {
            text = text.replace(&example.printed.join("\n"), &lines.join("\n"));
        } else {
            assert_eq!(
                example.printed, lines,
                "example {number}: NULLCLINE_WRITE_DOCS=1 writes it"
            );
        }
    }
    if std::env::var_os("NULLCLINE_WRITE_DOCS").is_some() {
        fs::write(&page, &text).unwrap();
    }

    let of_experiments: Vec<&str> = nullcline_models::registry::MODELS
        .iter()
        .flat_map(|kind| kind.keys.iter().flat_map(|keys| keys.iter()))
        .map(|key| key.name)
        .collect();
    for (kind, top, arrays) in nullcline_models::weights::model_file_keys() {
        assert!(
            text.contains(&format!("`{kind}`")) || text.contains(&format!("### {kind}")),
            "{kind}"
        );
        let own = top.iter().filter(|key| !of_experiments.contains(&key.name));
        for key in own.chain(arrays) {
            assert!(
                text.contains(&format!("`{}`", key.name)),
                "{kind}: {}",
                key.name
            );
        }
    }
}
