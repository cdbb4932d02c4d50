//! Weights in, a run folder that can be analysed, and weights out again. That the networks give torch's numbers
//! is tested beside the fixtures, in the crate `nullcline-models`.

use nullcline::devices::Devices;
use nullcline::experiment::Experiment;
use nullcline::export::export;
use nullcline::import::import;
use nullcline::results::Results;
use nullcline::session::{self, Control, Fault};
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

/// A state dict as `torch.save` wrote it; what a command in the file would have done is not done.
#[test]
fn torchs_own_files_are_read_and_not_run() {
    let temporary = tempfile::tempdir().unwrap();
    let archive = |name: &str| {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/tests/fixtures");
        fixtures.join(format!("{name}.pt"))
    };
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
    }
    let dir = temporary.path().join("run");
    let message = refused(import(&archive("refused_command"), None, None, &dir));
    assert!(message.contains("found posix.system"), "{message}");
    assert!(!dir.exists() && !Path::new("/tmp/nullcline-was-here").exists());
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
