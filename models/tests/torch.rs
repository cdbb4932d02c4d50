//! Weights that torch wrote, against what torch computes with them; and weights of other programs by a model
//! file. `fixtures/make_torch_fixtures.py` made the numbers.

use ndarray::{Array1, Array2, Array3, ArrayD, IxDyn, s};
use nullcline_data::settings::Document;
use nullcline_data::tensors::{Tensor, Tensors, read_safetensors, write_safetensors};
use nullcline_models::architecture::{Architecture, CellKind, Readout};
use nullcline_models::engine::{CpuEngine, Engine, Job, Objective};
use nullcline_models::network::Network;
use nullcline_models::registry;
use nullcline_models::torch::{self, Choices};
use nullcline_models::weights::{self, Imported};
use nullcline_tasks::{Loss, Trials};
use proptest::prelude::*;
use std::path::{Path, PathBuf};

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(format!("{name}.safetensors"))
}

fn fixture(name: &str) -> Tensors {
    read_safetensors(&path(name)).unwrap()
}

/// The files with the cell that each holds.
const FILES: [(&str, CellKind); 5] = [
    ("torch_rnn_tanh", CellKind::VanillaTanh),
    ("torch_rnn_relu", CellKind::VanillaRelu),
    ("torch_gru", CellKind::Gru),
    ("torch_lstm", CellKind::Lstm),
    ("torch_gru_readout", CellKind::Gru),
];

fn import(name: &str, cell: CellKind) -> Imported {
    let choices = Choices {
        relu: Some(cell == CellKind::VanillaRelu),
        readout: None,
    };
    torch::import(&fixture(name), &choices).unwrap()
}

fn array3(tensors: &Tensors, name: &str) -> Array3<f32> {
    tensors
        .f32(name)
        .unwrap()
        .clone()
        .into_dimensionality()
        .unwrap()
}

fn array2(tensors: &Tensors, name: &str) -> Array2<f32> {
    tensors
        .f32(name)
        .unwrap()
        .clone()
        .into_dimensionality()
        .unwrap()
}

/// A state [batch, state] of torch: h, and for the LSTM c behind it.
fn state(io: &Tensors, which: &str, of: &str) -> Array2<f32> {
    let h = array2(io, &format!("{which}_h{of}"));
    match io.get(&format!("{which}_c{of}")) {
        None => h,
        Some(_) => {
            let c = array2(io, &format!("{which}_c{of}"));
            ndarray::concatenate(ndarray::Axis(1), &[h.view(), c.view()]).unwrap()
        }
    }
}

fn assert_close<'a>(
    ours: impl IntoIterator<Item = &'a f32>,
    torch: impl IntoIterator<Item = &'a f32>,
    what: &str,
) {
    let (ours, torch): (Vec<f32>, Vec<f32>) = (
        ours.into_iter().copied().collect(),
        torch.into_iter().copied().collect(),
    );
    assert!(
        !torch.is_empty() && ours.len() == torch.len(),
        "{what}: {} of {}",
        ours.len(),
        torch.len()
    );
    for (a, b) in ours.iter().zip(&torch) {
        assert!((a - b).abs() <= 1e-5, "{what}: ours {a}, torch {b}");
    }
}

#[test]
fn architectures_are_recognised() {
    for (name, cell) in FILES {
        let imported = import(name, cell);
        let with_readout = name.ends_with("readout");
        let expected = Architecture {
            cell,
            inputs: 3,
            units: 7,
            hidden: 0,
            outputs: if with_readout { 2 } else { 7 },
            bias: true,
            readout: if with_readout {
                Readout::Linear
            } else {
                Readout::Identity
            },
            train_leak: false,
        };
        assert_eq!(imported.architecture, expected, "{name}");
        assert_eq!(imported.ignored, Vec::<String>::new(), "{name}");
        // The settings are those of the experiment file that the import writes.
        let kind = registry::kind(imported.kind).unwrap();
        let (built, _) = kind.build(&imported.settings, 3, expected.outputs).unwrap();
        assert_eq!(built, expected, "{name}");
    }
    let lines = import("torch_gru_readout", CellKind::Gru).understood;
    assert_eq!(lines[0], "cell gru: 7 units, inputs 3, outputs 2");
    for line in [
        "step:    r, z = sigma(W h + U x + b);  n = tanh(U x + b + r (W h + c));  h' = (1 - z) n + z h",
        "readout: y = R h + d",
        "rnn.weight_hh_l0  [21, 7]  W, recurrent; gates r, z, n",
        "rnn.bias_hh_l0    [21]     recurrent bias: added to b, for the candidate n it is c",
        "readout.weight    [2, 7]   R, readout",
        "recurrent layer: nn.GRU",
    ] {
        assert!(lines.contains(&line.to_owned()), "{lines:#?}");
    }
}

/// The engine that trains, in f32, from the zero state.
#[test]
fn the_engine_gives_torchs_outputs() {
    for (name, cell) in FILES {
        let imported = import(name, cell);
        let io = fixture(&format!("{name}_io"));
        let inputs = array3(&io, "input");
        let (batch, steps, _) = inputs.dim();
        let outputs = imported.architecture.outputs;
        let trials = Trials {
            inputs,
            targets: Array3::zeros((batch, steps, outputs)),
            mask: None,
            initial: None,
        };
        let objective = Objective {
            loss: Loss::MeanSquaredError,
            forcing: None,
        };
        let job = Job {
            parameters: &imported.parameters,
            trials: &trials,
        };
        let response = CpuEngine::new()
            .respond_one(&imported.architecture, &objective, &job)
            .unwrap();
        let with_readout = io.get("readout").is_some();
        let torch = array3(&io, if with_readout { "readout" } else { "output" });
        assert_eq!(response.outputs.dim(), torch.dim());
        assert_close(&response.outputs, &torch, &format!("{name}, outputs"));
        // h at every step, also under a readout.
        let h = response.states.slice(s![.., 1.., ..7]).to_owned();
        assert_close(&h, &array3(&io, "output"), &format!("{name}, states"));
        let last = response.states.slice(s![.., steps, ..]).to_owned();
        assert_close(
            &last,
            &state(&io, "final", ""),
            &format!("{name}, final state"),
        );
    }
}

/// The network of the analyses, in f64, from the zero state and from another.
#[test]
fn the_network_gives_torchs_outputs() {
    for (name, cell) in FILES {
        let imported = import(name, cell);
        let network = Network::new(imported.architecture.clone(), &imported.parameters);
        let io = fixture(&format!("{name}_io"));
        let inputs = array3(&io, "input");
        for of in ["", "_from_initial"] {
            let initial = match of {
                "" => Array2::zeros((4, network.state_dim())),
                _ => state(&io, "initial", ""),
            };
            let final_states = state(&io, "final", of);
            let hidden = array3(&io, &format!("output{of}"));
            let readout = io
                .get("readout")
                .map(|_| array3(&io, &format!("readout{of}")));
            for trial in 0..4 {
                let what = format!("{name}{of}, trial {trial}");
                let input = inputs.slice(s![trial, .., ..]).mapv(f64::from);
                let states =
                    network.run(&initial.row(trial).mapv(f64::from).to_vec(), input.view());
                let narrow = states.mapv(|x| x as f32);
                assert_close(
                    narrow.slice(s![1.., ..7]),
                    hidden.slice(s![trial, .., ..]),
                    &what,
                );
                assert_close(narrow.row(20), final_states.row(trial), &what);
                let outputs = network
                    .readouts(states.slice(s![1.., ..]))
                    .mapv(|y| y as f32);
                let torch = readout.as_ref().unwrap_or(&hidden);
                assert_close(&outputs, torch.slice(s![trial, .., ..]), &what);
            }
        }
    }
}

/// Out and in again is the same bit for bit; what torch would compute is the same, since only the sum of its
/// biases enters.
#[test]
fn export_is_the_way_back() {
    for (name, cell) in FILES {
        let original = fixture(name);
        let imported = import(name, cell);
        let exported = torch::export(&imported.architecture, &imported.parameters).unwrap();
        let names = |tensors: &Tensors| {
            let mut names: Vec<String> = tensors.names().map(str::to_owned).collect();
            names.sort();
            names
        };
        assert_eq!(names(&exported), names(&original), "{name}");
        for (key, tensor) in original.iter().filter(|(key, _)| key.contains("weight")) {
            assert_eq!(exported.get(key), Some(tensor), "{name}, {key}");
        }
        let prefix = if name.ends_with("readout") {
            "rnn."
        } else {
            ""
        };
        let bias = |tensors: &Tensors, which: &str| -> Array1<f32> {
            let array = tensors.f32(&format!("{prefix}bias_{which}_l0")).unwrap();
            array.clone().into_dimensionality().unwrap()
        };
        assert_eq!(
            bias(&exported, "ih") + bias(&exported, "hh"),
            bias(&original, "ih") + bias(&original, "hh"),
            "{name}"
        );
        if cell == CellKind::Gru {
            let new_gate = s![14..];
            for which in ["ih", "hh"] {
                assert_eq!(
                    bias(&exported, which).slice(new_gate),
                    bias(&original, which).slice(new_gate),
                    "{name}, {which}"
                );
            }
        }
        // The nonlinearity is in the metadata: nothing need be told.
        let again = torch::import(&exported, &Choices::default()).unwrap();
        assert_eq!(again.parameters, imported.parameters, "{name}");
        assert_eq!(again.architecture, imported.architecture, "{name}");
    }
}

#[test]
fn cells_and_readouts_that_torch_lacks_are_not_exported() {
    let mut architecture = import("torch_gru", CellKind::Gru).architecture;
    architecture.outputs = 2;
    let parameters = vec![0.0; architecture.parameter_count()];
    assert_eq!(torch::export(&architecture, &parameters), None);
    architecture.cell = CellKind::LeakyRateTanh;
    architecture.readout = Readout::Linear;
    let parameters = vec![0.0; architecture.parameter_count()];
    assert_eq!(torch::export(&architecture, &parameters), None);
}

fn filled(shape: &[usize], mut value: impl FnMut(usize) -> f32) -> Tensor {
    let count = shape.iter().product();
    Tensor::F32(ArrayD::from_shape_vec(IxDyn(shape), (0..count).map(&mut value).collect()).unwrap())
}

fn ramp(shape: &[usize]) -> Tensor {
    filled(shape, |k| (k as f32 * 0.37).sin())
}

fn named(entries: &[(&str, &[usize])]) -> Tensors {
    let mut tensors = Tensors::of_file(Path::new("w.npz"));
    for (name, shape) in entries {
        tensors.insert(*name, ramp(shape));
    }
    tensors
}

#[test]
fn without_biases_and_under_a_long_prefix() {
    let tensors = named(&[
        ("module.core.weight_ih_l0", &[9, 2]),
        ("module.core.weight_hh_l0", &[9, 3]),
        ("module.encoder.weight", &[2, 5]),
        ("module.encoder.bias", &[2]),
        ("module.decoder.weight", &[1, 3]),
        ("module.value.weight", &[1, 3]),
    ]);
    let imported = torch::import(&tensors, &Choices::default()).unwrap();
    assert_eq!(imported.architecture.cell, CellKind::Gru);
    assert_eq!(imported.architecture.readout, Readout::LinearWithoutBias);
    assert!(!imported.architecture.bias);
    assert_eq!(
        imported.ignored,
        [
            "module.encoder.weight",
            "module.encoder.bias",
            "module.value.weight"
        ]
    );
    let unused = |imported: &Imported, name: &str| {
        imported
            .understood
            .iter()
            .any(|line| line.starts_with(name) && line.ends_with("not used"))
    };
    assert!(
        unused(&imported, "module.encoder.weight ") && unused(&imported, "module.value.weight ")
    );
    // The user may want the other readout.
    let choices = Choices {
        relu: None,
        readout: Some("module.value"),
    };
    let other = torch::import(&tensors, &choices).unwrap();
    assert!(unused(&other, "module.decoder.weight ") && !unused(&other, "module.value.weight "));
    let exported = torch::export(&imported.architecture, &imported.parameters).unwrap();
    let keys: Vec<&str> = exported.names().collect();
    assert_eq!(
        keys,
        ["rnn.weight_ih_l0", "rnn.weight_hh_l0", "readout.weight"]
    );
}

#[test]
fn a_cell_module_is_a_layer() {
    let tensors = named(&[
        ("weight_ih", &[8, 1]),
        ("weight_hh", &[8, 2]),
        ("bias_ih", &[8]),
        ("bias_hh", &[8]),
    ]);
    let imported = torch::import(&tensors, &Choices::default()).unwrap();
    assert_eq!(
        (imported.architecture.cell, imported.architecture.units),
        (CellKind::Lstm, 2)
    );
}

#[test]
fn what_is_not_understood_is_one_clear_error() {
    let hh: (&str, &[usize]) = ("weight_hh_l0", &[9, 3]);
    let ih: (&str, &[usize]) = ("weight_ih_l0", &[9, 2]);
    type Entries<'a> = Vec<(&'a str, &'a [usize])>;
    let cases: Vec<(Entries, &str)> = vec![
        (
            vec![],
            "the names of the tensors: found none; allowed: torch's",
        ),
        (
            vec![("W", &[3, 3])],
            "found \"W\"; allowed: torch's of a recurrent layer, such as \"weight_hh_l0\"",
        ),
        (vec![hh], "missing tensor \"weight_ih_l0\""),
        (vec![ih], "missing tensor \"weight_hh_l0\""),
        (
            vec![ih, hh, ("weight_hh_l1", &[9, 3])],
            "a second layer (num_layers)",
        ),
        (
            vec![ih, hh, ("weight_hh_l0_reverse", &[9, 3])],
            "a bidirectional layer",
        ),
        (
            vec![ih, hh, ("weight_hr_l0", &[3, 3])],
            "a projection (proj_size)",
        ),
        (
            vec![("a.weight_hh_l0", &[9, 3]), ("b.weight_hh_l0", &[9, 3])],
            "found \"a.weight_hh_l0\", \"b.weight_hh_l0\"; allowed: one recurrent layer",
        ),
        (
            vec![ih, hh, ("bias_ih_l0", &[9])],
            "missing tensor \"bias_hh_l0\": torch writes it beside \"bias_ih_l0\"",
        ),
        (
            vec![ih, hh, ("bias_hh_l0", &[9])],
            "missing tensor \"bias_ih_l0\"",
        ),
        (
            vec![ih, hh, ("bias_ih_l0", &[9]), ("bias_hh_l0", &[3])],
            "the shape of \"bias_hh_l0\": found [3]; allowed: [9]",
        ),
        (
            vec![ih, ("weight_hh_l0", &[3, 9])],
            "found [3, 9]; allowed: [gates * units, units] with 1 (RNN), 3 (GRU) or 4 (LSTM) gates; it seems to be transposed",
        ),
        (vec![ih, ("weight_hh_l0", &[6, 3])], "found [6, 3]"),
        (vec![ih, ("weight_hh_l0", &[9])], "found [9]"),
        (vec![ih, ("weight_hh_l0", &[0, 0])], "found [0, 0]"),
        (
            vec![hh, ("weight_ih_l0", &[2, 9])],
            "the shape of \"weight_ih_l0\": found [2, 9]; allowed: [9, inputs]",
        ),
        (
            vec![
                ih,
                hh,
                ("policy.weight", &[4, 3]),
                ("value.weight", &[1, 3]),
            ],
            "the readout: found several matrices with 3 columns: \"policy.weight\", \"value.weight\"",
        ),
        (
            vec![ih, hh, ("out.weight", &[4, 3]), ("out.bias", &[3])],
            "the shape of \"out.bias\": found [3]; allowed: [4]",
        ),
    ];
    for (entries, expected) in cases {
        let error = torch::import(&named(&entries), &Choices::default()).unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with("w.npz: ") && text.contains(expected),
            "{text}\nlacks {expected}"
        );
        assert!(error.is_bad_input());
    }
    let error = torch::import(
        &named(&[ih, hh]),
        &Choices {
            relu: None,
            readout: Some("fc"),
        },
    )
    .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("found \"fc\"; allowed: a matrix [outputs, 3]"),
        "{error}"
    );

    let mut tensors = named(&[ih]);
    tensors.insert(
        "weight_hh_l0",
        filled(&[9, 3], |k| if k == 4 { f32::NAN } else { 0.0 }),
    );
    let error = torch::import(&tensors, &Choices::default())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("tensor \"weight_hh_l0\", number 4 in row-major order: found NaN"),
        "{error}"
    );
    let mut tensors = named(&[ih]);
    tensors.insert("weight_hh_l0", Tensor::I64(ArrayD::zeros(IxDyn(&[9, 3]))));
    let error = torch::import(&tensors, &Choices::default())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("number type of tensor \"weight_hh_l0\": found I64"),
        "{error}"
    );
}

#[test]
fn a_file_cut_short_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let cut = folder.path().join("cut.safetensors");
    let whole = std::fs::read(path("torch_lstm")).unwrap();
    for length in [0, 7, 100, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&cut, &whole[..length]).unwrap();
        let error = read_safetensors(&cut).unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with(&cut.display().to_string()) && error.is_bad_input(),
            "{text}"
        );
    }
}

fn document(text: &str) -> Document {
    Document::parse("MODEL.toml", text).unwrap()
}

fn by_file(tensors: &Tensors, text: &str) -> Imported {
    weights::import(tensors, Some(&document(text)), None, None).unwrap()
}

fn tensor<'a>(imported: &'a Imported, name: &str) -> &'a [f32] {
    &imported.parameters[imported.architecture.tensor(name).unwrap().range]
}

fn numbers(tensors: &Tensors, name: &str) -> Vec<f32> {
    tensors.f32(name).unwrap().iter().copied().collect()
}

const LEAKY: &str = "kind = \"leaky\"\nform = \"current\"\nleak = 0.25\n[arrays]\nrecurrent = \"W\"\ninput = \"U\"\n";

#[test]
fn a_model_file_names_the_arrays_of_a_leaky_network() {
    let tensors = named(&[
        ("W", &[4, 4]),
        ("U", &[4]),
        ("bias", &[4, 1]),
        ("R", &[2, 4]),
        ("extra", &[3]),
    ]);
    let imported = by_file(
        &tensors,
        &format!("{LEAKY}readout = \"R\"\n[task]\nkind = \"noise\"\n"),
    );
    let architecture = &imported.architecture;
    assert_eq!(architecture.cell, CellKind::LeakyCurrentTanh);
    assert_eq!(
        (
            architecture.units,
            architecture.inputs,
            architecture.outputs
        ),
        (4, 1, 2)
    );
    assert_eq!(architecture.readout, Readout::LinearWithoutBias);
    assert!(architecture.bias);
    for (name, array) in [
        ("recurrent", "W"),
        ("input", "U"),
        ("bias", "bias"),
        ("readout", "R"),
    ] {
        assert_eq!(tensor(&imported, name), numbers(&tensors, array), "{name}");
    }
    assert_eq!(tensor(&imported, "leak"), [0.25; 4]);
    assert_eq!(imported.ignored, ["extra"]);
    let kind = registry::kind("leaky").unwrap();
    assert_eq!(
        kind.build(&imported.settings, 1, 2).unwrap().0,
        *architecture
    );

    // A leak as one number, or one for each unit; no readout, then the units or the first of them.
    let mut tensors = named(&[("W", &[4, 4]), ("U", &[4, 3])]);
    tensors.insert("leak", filled(&[], |_| 0.5));
    let imported = by_file(&tensors, LEAKY);
    assert_eq!(tensor(&imported, "leak"), [0.5; 4]);
    assert_eq!(
        (imported.architecture.readout, imported.architecture.outputs),
        (Readout::Identity, 4)
    );
    assert!(!imported.architecture.bias);
    tensors.insert("leak", filled(&[4], |k| 0.1 * (k + 1) as f32));
    let imported = weights::import(&tensors, Some(&document(LEAKY)), None, Some(3)).unwrap();
    assert_eq!(tensor(&imported, "leak"), numbers(&tensors, "leak"));
    assert_eq!(imported.architecture.outputs, 3);
}

/// A step of the imported PLRNN is the published equation, z' = A z + W1 relu(W2 z + h2) + h1.
#[test]
fn the_plrnn_literatures_names_need_no_mention() {
    let mut tensors = named(&[
        ("W1", &[2, 10]),
        ("W2", &[10, 2]),
        ("h1", &[2]),
        ("h2", &[10]),
    ]);
    let a = [0.617_245_1_f32, 0.526_127_4];
    for diagonal in [false, true] {
        tensors.insert(
            "A",
            match diagonal {
                false => filled(&[2], |k| a[k]),
                true => filled(&[2, 2], |k| [a[0], 0.0, 0.0, a[1]][k]),
            },
        );
        let imported = by_file(&tensors, "kind = \"shallow_plrnn\"\nclipped = false\n");
        let architecture = imported.architecture.clone();
        assert_eq!(architecture.cell, CellKind::ShallowPlrnn);
        assert_eq!(
            (architecture.units, architecture.hidden, architecture.inputs),
            (2, 10, 0)
        );
        assert_eq!(
            (architecture.outputs, architecture.readout),
            (2, Readout::Identity)
        );
        let network = Network::new(architecture, &imported.parameters);
        let z = [0.7, -1.3];
        let mut next = [0.0; 2];
        network.step(&z, &[], &mut next);
        let [w1, w2, h1, h2] = ["W1", "W2", "h1", "h2"].map(|name| numbers(&tensors, name));
        for i in 0..2 {
            let hidden = (0..10).map(|l| {
                let sum = f64::from(w2[2 * l]) * z[0]
                    + f64::from(w2[2 * l + 1]) * z[1]
                    + f64::from(h2[l]);
                f64::from(w1[10 * i + l]) * sum.max(0.0)
            });
            let expected = f64::from(a[i]) * z[i] + hidden.sum::<f64>() + f64::from(h1[i]);
            assert!((next[i] - expected).abs() < 1e-12, "{} {expected}", next[i]);
        }
    }
    // Observed through B.
    tensors.insert("B", ramp(&[3, 2]));
    let imported = by_file(&tensors, "kind = \"shallow_plrnn\"");
    assert_eq!(imported.architecture.cell, CellKind::ClippedShallowPlrnn);
    assert_eq!(
        (imported.architecture.outputs, imported.architecture.readout),
        (3, Readout::LinearWithoutBias)
    );
}

#[test]
fn a_model_file_may_say_what_torch_does_not() {
    let relu = by_file(
        &fixture("torch_rnn_relu"),
        "kind = \"vanilla\"\nnonlinearity = \"relu\"\n",
    );
    assert_eq!(relu.architecture.cell, CellKind::VanillaRelu);
    assert_eq!(relu.settings.text("nonlinearity"), "relu");
    assert_eq!(
        relu.parameters,
        import("torch_rnn_relu", CellKind::VanillaRelu).parameters
    );
    let plain = weights::import(&fixture("torch_rnn_relu"), None, None, None).unwrap();
    assert_eq!(plain.architecture.cell, CellKind::VanillaTanh);
    assert!(
        plain
            .understood
            .iter()
            .any(|line| line.starts_with("nonlinearity: tanh, torch's default"))
    );
    let gru = by_file(
        &fixture("torch_gru_readout"),
        "kind = \"gru\"\n[arrays]\nreadout = \"readout\"\n",
    );
    assert_eq!(
        gru.architecture,
        import("torch_gru_readout", CellKind::Gru).architecture
    );

    let error = weights::import(
        &fixture("torch_gru"),
        Some(&document("kind = \"lstm\"")),
        None,
        None,
    )
    .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains(
            "MODEL.toml, line 1, key \"kind\": found \"lstm\"; allowed: gru, which is what"
        ),
        "{text}"
    );
    let error = weights::import(
        &fixture("torch_gru"),
        Some(&document("kind = \"gru\"\nunits = 8")),
        None,
        None,
    );
    let text = error.unwrap_err().to_string();
    assert!(
        text.contains("line 2, key \"units\": found 8; allowed: 7, which is what"),
        "{text}"
    );
}

#[test]
fn a_model_file_that_does_not_fit_is_one_clear_error() {
    let good: [(&str, &[usize]); 2] = [("W", &[4, 4]), ("U", &[4, 3])];
    let with = |extra: &[(&str, &[usize])]| {
        let mut entries = good.to_vec();
        entries.retain(|(name, _)| extra.iter().all(|(other, _)| other != name));
        entries.extend(extra);
        named(&entries)
    };
    for (tensors, text, expected) in [
        (
            with(&[]),
            "kind = \"leeky\"".to_owned(),
            "did you mean \"leaky\"?",
        ),
        (
            with(&[]),
            "kind = \"leaky\"\nunitz = 3".to_owned(),
            "did you mean \"units\"?",
        ),
        (
            with(&[]),
            format!("{LEAKY}leek = \"a\""),
            "key \"arrays.leek\": unknown key; did you mean \"arrays.leak\"?",
        ),
        (
            with(&[]),
            format!("{LEAKY}h2 = \"a\""),
            "key \"arrays.h2\": unknown key",
        ),
        (
            with(&[]),
            format!("{LEAKY}[tusk]"),
            "did you mean \"task\"?",
        ),
        (
            with(&[]),
            format!("{LEAKY}bias = \"b\""),
            "line 7, key \"arrays.bias\": found the text \"b\"; allowed: an array of w.npz: \"W\", \"U\"",
        ),
        (
            with(&[]),
            "kind = \"leaky\"".to_owned(),
            "missing an array for the parameter \"recurrent\"",
        ),
        (
            with(&[]),
            format!("readout = \"linear\"\n{LEAKY}"),
            "missing an array for the parameter \"readout\"",
        ),
        (
            with(&[]),
            format!("units = 5\n{LEAKY}"),
            "line 1, key \"units\": found 5; allowed: 4, which is what w.npz holds",
        ),
        (
            with(&[]),
            format!("bias = true\n{LEAKY}"),
            "key \"bias\": found true; allowed: false",
        ),
        (
            with(&[("W", &[4, 5])]),
            LEAKY.to_owned(),
            "array \"W\", parameter \"recurrent\": found [4, 5]; allowed: [units, units]",
        ),
        (with(&[("W", &[0, 0])]), LEAKY.to_owned(), "found [0, 0]"),
        (
            with(&[("W", &[2, 2, 2])]),
            LEAKY.to_owned(),
            "found [2, 2, 2]; allowed: [units, units], [to, from]",
        ),
        (
            with(&[("U", &[3, 4])]),
            LEAKY.to_owned(),
            "found [3, 4]; allowed: [4, inputs], [to, from]; it seems to be transposed",
        ),
        (
            with(&[("U", &[3])]),
            LEAKY.to_owned(),
            "found [3]; allowed: [4, inputs]",
        ),
        (
            with(&[("U", &[5])]),
            LEAKY.to_owned(),
            "found [5]; allowed: [4, inputs]",
        ),
        (
            with(&[("bias", &[5])]),
            LEAKY.to_owned(),
            "array \"bias\", parameter \"bias\": found [5]; allowed: [4]",
        ),
        (
            with(&[("leak", &[3])]),
            LEAKY.to_owned(),
            "array \"leak\", parameter \"leak\": found [3]",
        ),
        (
            with(&[("readout", &[3])]),
            LEAKY.to_owned(),
            "array \"readout\", parameter \"readout\": found [3]; allowed: [outputs, 4]",
        ),
    ] {
        let error = weights::import(&tensors, Some(&document(&text)), None, None).unwrap_err();
        assert!(
            error.to_string().contains(expected),
            "{error}\nlacks {expected}"
        );
        assert!(error.is_bad_input());
    }
    let error = weights::import(&with(&[]), Some(&document(LEAKY)), None, Some(9))
        .unwrap_err()
        .to_string();
    assert!(error.contains("units"), "{error}");
}

proptest! {
    /// Any network of a cell that torch has goes out through a file and comes back the same, bit for bit.
    #[test]
    fn export_and_import_are_inverse(
        cell in prop::sample::select(vec![
            CellKind::VanillaTanh, CellKind::VanillaRelu, CellKind::Gru, CellKind::Lstm,
        ]),
        readout in prop::sample::select(vec![Readout::Linear, Readout::LinearWithoutBias, Readout::Identity]),
        (inputs, units, outputs) in (0_usize..4, 1_usize..6, 1_usize..4),
        bias: bool,
        seed in 0_u32..1000,
    ) {
        let outputs = if readout == Readout::Identity { units } else { outputs };
        let architecture =
            Architecture { cell, inputs, units, hidden: 0, outputs, bias, readout, train_leak: false };
        let mut parameters: Vec<f32> =
            (0..architecture.parameter_count()).map(|k| ((seed + k as u32) as f32).sin()).collect();
        if !bias {
            // A recurrent bias alone comes back beside a bias of zeros: the same network, another layout.
            parameters[architecture.layout().unit].fill(0.0);
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.safetensors");
        write_safetensors(&path, &torch::export(&architecture, &parameters).unwrap()).unwrap();
        let imported = torch::import(&read_safetensors(&path).unwrap(), &Choices::default()).unwrap();
        prop_assert_eq!(imported.architecture, architecture);
        prop_assert_eq!(imported.parameters, parameters);
        prop_assert!(imported.ignored.is_empty());
    }

    /// Whatever names and shapes a file has, the answer is a network or an error.
    #[test]
    fn no_shapes_panic(
        entries in prop::collection::vec(
            (
                prop::sample::select(vec![
                    "weight_hh_l0", "weight_ih_l0", "bias_ih_l0", "bias_hh_l0", "fc.weight", "fc.bias",
                    "recurrent", "input", "bias", "readout", "readout_bias", "leak", "initial",
                    "hidden", "A", "W1", "W2", "h1", "h2", "B", "C", "recurrent_bias",
                ]),
                prop::collection::vec(0_usize..5, 0..4),
            ),
            0..10,
        ),
        kind in prop::sample::select(vec!["vanilla", "leaky", "gru", "lstm", "shallow_plrnn"]),
        outputs in prop::option::of(0_usize..5),
    ) {
        let mut tensors = Tensors::new();
        for (name, shape) in &entries {
            tensors.insert(*name, ramp(shape));
        }
        let model = document(&format!("kind = \"{kind}\""));
        for model in [None, Some(&model)] {
            if let Ok(imported) = weights::import(&tensors, model, None, outputs) {
                prop_assert_eq!(imported.parameters.len(), imported.architecture.parameter_count());
                prop_assert!(imported.parameters.iter().all(|p| p.is_finite()));
            }
        }
    }
}
