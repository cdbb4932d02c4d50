//! Networks of other programs by a model file: a step of the imported network is a step of the other program's,
//! whose equations are written out here, on random weights.

use ndarray::{Array1, Array2, ArrayD, Axis, IxDyn, concatenate, s};
use nullcline_data::settings::Document;
use nullcline_data::tensors::{Tensor, Tensors};
use nullcline_models::architecture::{CellKind, Readout};
use nullcline_models::network::Network;
use nullcline_models::weights::{self, Imported, model_file_keys};
use proptest::prelude::*;
use std::path::Path;

/// Random numbers and a file of them. Numbers are such as 32 bits hold.
struct File {
    tensors: Tensors,
    state: u64,
}

impl File {
    fn new(seed: u64) -> File {
        let tensors = Tensors::of_file(Path::new("w.npz"));
        File {
            tensors,
            state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        }
    }

    /// Uniform in +-1.
    fn number(&mut self) -> f64 {
        self.state = self
            .state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        f64::from(((self.state >> 33) as f64 / f64::from(1_u32 << 30) - 1.0) as f32)
    }

    fn vector(&mut self, n: usize) -> Array1<f64> {
        (0..n).map(|_| self.number()).collect()
    }

    fn matrix(&mut self, rows: usize, columns: usize) -> Array2<f64> {
        Array2::from_shape_fn((rows, columns), |_| self.number())
    }

    fn add(&mut self, name: &str, array: ArrayD<f64>) {
        self.tensors.insert(name, Tensor::F64(array));
    }

    /// A random vector that the file holds.
    fn put_vector(&mut self, name: &str, n: usize) -> Array1<f64> {
        let vector = self.vector(n);
        self.add(name, vector.clone().into_dyn());
        vector
    }

    /// A random matrix that the file holds.
    fn put(&mut self, name: &str, rows: usize, columns: usize) -> Array2<f64> {
        let matrix = self.matrix(rows, columns);
        self.add(name, matrix.clone().into_dyn());
        matrix
    }

    fn import(&self, model: &str) -> Imported {
        match weights::import(&self.tensors, Some(&document(model)), None, None) {
            Ok(imported) => imported,
            Err(error) => panic!("{error}"),
        }
    }

    fn refused(&self, model: &str) -> String {
        let error = weights::import(&self.tensors, Some(&document(model)), None, None).unwrap_err();
        assert!(error.is_bad_input(), "{error}");
        error.to_string()
    }
}

fn document(text: &str) -> Document {
    Document::parse("MODEL.toml", text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn sigmoid(x: &Array1<f64>) -> Array1<f64> {
    x.mapv(|x| 1.0 / (1.0 + (-x).exp()))
}

fn tanh(x: &Array1<f64>) -> Array1<f64> {
    x.mapv(f64::tanh)
}

fn relu(x: &Array1<f64>) -> Array1<f64> {
    x.mapv(|x| x.max(0.0))
}

/// Three steps of the imported network from a random state under random inputs are those of `step`.
fn agree(
    imported: &Imported,
    file: &mut File,
    step: impl Fn(&Array1<f64>, &Array1<f64>) -> Array1<f64>,
) {
    let network = Network::new(imported.architecture.clone(), &imported.parameters);
    let mut state = file.vector(network.state_dim());
    for _ in 0..3 {
        let input = file.vector(imported.architecture.inputs);
        let mut next = vec![0.0; network.state_dim()];
        network.step(&state.to_vec(), &input.to_vec(), &mut next);
        let expected = step(&state, &input);
        assert_eq!(expected.len(), next.len());
        for (unit, (ours, theirs)) in next.iter().zip(&expected).enumerate() {
            assert!(
                (ours - theirs).abs() < 2e-6 * (1.0 + theirs.abs()),
                "state {unit}: ours {ours}, theirs {theirs}; {:#?}",
                imported.understood
            );
        }
        state = expected;
    }
}

/// The outputs of a state are those of `readout`.
fn reads(imported: &Imported, file: &mut File, readout: impl Fn(&Array1<f64>) -> Array1<f64>) {
    let network = Network::new(imported.architecture.clone(), &imported.parameters);
    let state = file.vector(network.state_dim());
    let expected = readout(&state);
    let found = network.readout(&state.to_vec());
    assert_eq!(found.len(), expected.len());
    for (ours, theirs) in found.iter().zip(&expected) {
        assert!(
            (ours - theirs).abs() < 2e-6 * (1.0 + theirs.abs()),
            "ours {ours}, theirs {theirs}"
        );
    }
}

/// The parts of a vector of so many gates.
fn split<const N: usize>(x: &Array1<f64>) -> [Array1<f64>; N] {
    let units = x.len() / N;
    std::array::from_fn(|gate| x.slice(s![gate * units..(gate + 1) * units]).to_owned())
}

/// Sizes with which no two axes are alike, and with which all are.
const SIZES: [(usize, usize, usize); 3] = [(5, 2, 3), (4, 4, 4), (1, 1, 1)];

/// h and c of an LSTM as this program keeps them.
fn both(h: &Array1<f64>, c: &Array1<f64>) -> Array1<f64> {
    concatenate(Axis(0), &[h.view(), c.view()]).unwrap()
}

/// keras.layers.GRU with reset_after, and a Dense layer: gates z, r, h; x W; biases [2, 3 units].
#[test]
fn a_gru_of_keras() {
    for (seed, (units, inputs, outputs)) in SIZES.into_iter().enumerate() {
        let mut file = File::new(seed as u64);
        let kernel = file.put("gru/kernel", inputs, 3 * units);
        let recurrent_kernel = file.put("gru/recurrent_kernel", units, 3 * units);
        let bias = file.put("gru/bias", 2, 3 * units);
        let dense = file.put("dense/kernel", units, outputs);
        let dense_bias = file.put_vector("dense/bias", outputs);
        let imported = file.import(
            r#"
            kind = "gru"
            orientation = "from_to"
            gates = ["z", "r", "h"]
            [arrays]
            recurrent = "gru/recurrent_kernel"
            input = "gru/kernel"
            bias = "gru/bias"
            readout = "dense/kernel"
            readout_bias = "dense/bias"
            "#,
        );
        assert_eq!(
            (
                imported.architecture.units,
                imported.architecture.inputs,
                imported.architecture.outputs
            ),
            (units, inputs, outputs)
        );
        assert_eq!(imported.architecture.readout, Readout::Linear);
        assert_eq!(imported.ignored, Vec::<String>::new());
        agree(&imported, &mut file, |h, x| {
            let [x_z, x_r, x_h] = split(&(x.dot(&kernel) + bias.row(0)));
            let [h_z, h_r, h_h] = split(&(h.dot(&recurrent_kernel) + bias.row(1)));
            let z = sigmoid(&(x_z + h_z));
            let r = sigmoid(&(x_r + h_r));
            let candidate = tanh(&(x_h + r * h_h));
            &z * h + (1.0 - &z) * candidate
        });
        reads(&imported, &mut file, |h| h.dot(&dense) + &dense_bias);
    }
}

/// keras.layers.LSTM: gates i, f, c, o; x W; one bias.
#[test]
fn an_lstm_of_keras() {
    for (seed, (units, inputs, _)) in SIZES.into_iter().enumerate() {
        let mut file = File::new(10 + seed as u64);
        let kernel = file.put("kernel", inputs, 4 * units);
        let recurrent_kernel = file.put("recurrent_kernel", units, 4 * units);
        let bias = file.put_vector("bias", 4 * units);
        let imported = file.import(
            r#"
            kind = "lstm"
            orientation = "from_to"
            gates = ["i", "f", "c", "o"]
            [arrays]
            recurrent = "recurrent_kernel"
            input = "kernel"
            "#,
        );
        agree(&imported, &mut file, |state, x| {
            let [h, c] = split(state);
            let [i, f, g, o] = split(&(x.dot(&kernel) + h.dot(&recurrent_kernel) + &bias));
            let c = sigmoid(&f) * c + sigmoid(&i) * tanh(&g);
            both(&(sigmoid(&o) * tanh(&c)), &c)
        });
    }
}

/// hk.LSTM: one matrix for inputs and state, gates i, g, f, o, and 1 added to the forget gate.
#[test]
fn an_lstm_of_haiku() {
    for (seed, (units, inputs, _)) in SIZES.into_iter().enumerate() {
        let mut file = File::new(20 + seed as u64);
        let w = file.put("lstm/linear/w", inputs + units, 4 * units);
        let b = file.put_vector("lstm/linear/b", 4 * units);
        let text = r#"
            kind = "lstm"
            orientation = "from_to"
            gates = ["i", "g", "f", "o"]
            forget_bias = 1
            [arrays]
            input_and_recurrent = "lstm/linear/w"
            "#;
        for bias in [true, false] {
            let imported = file.import(&format!(
                "{text}{}",
                if bias { "bias = \"lstm/linear/b\"" } else { "" }
            ));
            assert_eq!(imported.architecture.inputs, inputs);
            agree(&imported, &mut file, |state, x| {
                let [h, c] = split(state);
                let mut sum = both(x, &h).dot(&w);
                if bias {
                    sum += &b;
                }
                let [i, g, f, o] = split(&sum);
                let c = sigmoid(&(f + 1.0)) * c + sigmoid(&i) * tanh(&g);
                both(&(sigmoid(&o) * tanh(&c)), &c)
            });
        }
    }
}

/// flax.linen.GRUCell: an array for each gate; the candidate's recurrent layer has the one recurrent bias.
#[test]
fn a_gru_of_flax() {
    for (seed, (units, inputs, _)) in SIZES.into_iter().enumerate() {
        let mut file = File::new(30 + seed as u64);
        let kernel =
            |file: &mut File, name: &str, rows| file.put(&format!("{name}/kernel"), rows, units);
        let [ir, iz, in_] = ["ir", "iz", "in"].map(|name| kernel(&mut file, name, inputs));
        let [hr, hz, hn] = ["hr", "hz", "hn"].map(|name| kernel(&mut file, name, units));
        let [b_r, b_z, b_n, b_hn] =
            ["ir", "iz", "in", "hn"].map(|name| file.put_vector(&format!("{name}/bias"), units));
        let imported = file.import(
            r#"
            kind = "gru"
            orientation = "from_to"
            [arrays]
            recurrent = ["hr/kernel", "hz/kernel", "hn/kernel"]
            input = ["ir/kernel", "iz/kernel", "in/kernel"]
            bias = ["ir/bias", "iz/bias", "in/bias"]
            recurrent_bias = "hn/bias"
            "#,
        );
        agree(&imported, &mut file, |h, x| {
            let r = sigmoid(&(x.dot(&ir) + &b_r + h.dot(&hr)));
            let z = sigmoid(&(x.dot(&iz) + &b_z + h.dot(&hz)));
            let n = tanh(&(x.dot(&in_) + &b_n + r * (h.dot(&hn) + &b_hn)));
            (1.0 - &z) * n + &z * h
        });
    }
}

/// flax.linen.LSTMCell: an array for each gate, biases at the recurrent layers.
#[test]
fn an_lstm_of_flax() {
    let (units, inputs) = (5, 2);
    let mut file = File::new(40);
    let gates = ["i", "f", "g", "o"];
    let of_inputs = gates.map(|gate| file.put(&format!("i{gate}.kernel"), inputs, units));
    let of_units = gates.map(|gate| file.put(&format!("h{gate}.kernel"), units, units));
    let biases = gates.map(|gate| file.put_vector(&format!("h{gate}.bias"), units));
    let imported = file.import(
        r#"
        kind = "lstm"
        orientation = "from_to"
        [arrays]
        recurrent = ["hi.kernel", "hf.kernel", "hg.kernel", "ho.kernel"]
        input = ["ii.kernel", "if.kernel", "ig.kernel", "io.kernel"]
        recurrent_bias = ["hi.bias", "hf.bias", "hg.bias", "ho.bias"]
        "#,
    );
    agree(&imported, &mut file, |state, x| {
        let [h, c] = split(state);
        let [i, f, g, o] =
            std::array::from_fn(|k| x.dot(&of_inputs[k]) + h.dot(&of_units[k]) + &biases[k]);
        let c = sigmoid(&f) * c + sigmoid(&i) * tanh(&g);
        both(&(sigmoid(&o) * tanh(&c)), &c)
    });
}

/// A GRU whose update gate multiplies the new state (Cho et al. 2014 with the sense of Chung et al. 2014), with
/// gates in another order, two biases, and the reset gate after the product.
#[test]
fn an_update_gate_of_the_opposite_sense() {
    for (seed, (units, inputs, _)) in SIZES.into_iter().enumerate() {
        let mut file = File::new(50 + seed as u64);
        let w = file.put("W", 3 * units, units);
        let u = file.put("U", 3 * units, inputs);
        let b_ih = file.put_vector("b_ih", 3 * units);
        let b_hh = file.put_vector("b_hh", 3 * units);
        let imported = file.import(
            r#"
            kind = "gru"
            gates = ["z", "n", "r"]
            update_gate = "new"
            [arrays]
            recurrent = "W"
            input = "U"
            bias = ["b_ih", "b_hh"]
            "#,
        );
        agree(&imported, &mut file, |h, x| {
            let [x_z, x_n, x_r] = split(&(u.dot(x) + &b_ih));
            let [h_z, h_n, h_r] = split(&(w.dot(h) + &b_hh));
            let z = sigmoid(&(x_z + h_z));
            let r = sigmoid(&(x_r + h_r));
            let n = tanh(&(x_n + r * h_n));
            (1.0 - &z) * h + &z * n
        });
    }
}

/// equinox.nn.GRUCell and LSTMCell are recognised by their names.
#[test]
fn cells_of_equinox_need_no_model_file() {
    let (units, inputs) = (5, 2);
    let mut file = File::new(60);
    let weight_ih = file.put("cell.weight_ih", 3 * units, inputs);
    let weight_hh = file.put("cell.weight_hh", 3 * units, units);
    let bias = file.put_vector("cell.bias", 3 * units);
    let bias_n = file.put_vector("cell.bias_n", units);
    let head = file.put("head.weight", 2, units);
    let head_bias = file.put_vector("head.bias", 2);
    let imported = weights::import(&file.tensors, None, None, None).unwrap();
    assert_eq!(imported.ignored, Vec::<String>::new());
    agree(&imported, &mut file, |h, x| {
        let [i_r, i_z, i_n] = split(&(weight_ih.dot(x) + &bias));
        let [h_r, h_z, h_n] = split(&weight_hh.dot(h));
        let r = sigmoid(&(i_r + h_r));
        let z = sigmoid(&(i_z + h_z));
        let n = tanh(&(i_n + r * (h_n + &bias_n)));
        &n + &z * (h - &n)
    });
    reads(&imported, &mut file, |h| head.dot(h) + &head_bias);

    let mut file = File::new(61);
    let weight_ih = file.put("weight_ih", 4 * units, inputs);
    let weight_hh = file.put("weight_hh", 4 * units, units);
    let bias = file.put_vector("bias", 4 * units);
    let imported = weights::import(&file.tensors, None, None, None).unwrap();
    assert_eq!(imported.architecture.cell, CellKind::Lstm);
    agree(&imported, &mut file, |state, x| {
        let [h, c] = split(state);
        let [i, f, g, o] = split(&(weight_ih.dot(x) + weight_hh.dot(&h) + &bias));
        let c = sigmoid(&f) * c + sigmoid(&i) * tanh(&g);
        both(&(sigmoid(&o) * tanh(&c)), &c)
    });
}

/// How a leaky network's file and model file may say the leak, with the leak that is meant.
fn leaks(file: &mut File, units: usize) -> Vec<(&'static str, Array1<f64>)> {
    let mut positive = |name: &str, from: f64, to: f64| {
        let vector = file
            .vector(units)
            .mapv(|x| f64::from((from + (to - from) * 0.5 * (x + 1.0)) as f32));
        file.add(name, vector.clone().into_dyn());
        vector
    };
    let a = positive("alpha", 0.05, 1.0);
    let tau = positive("taus", 20.0, 200.0);
    let decay = positive("decays", 0.0, 0.95);
    file.add("one_tau", ArrayD::from_elem(IxDyn(&[]), 50.0));
    let all = |value: f64| Array1::from_elem(units, value);
    vec![
        ("leak = 0.25\n[arrays]\n", all(0.25)),
        ("decay = 0.7\n[arrays]\n", all(0.3)),
        ("tau = 100\ndt = 10\n[arrays]\n", all(0.1)),
        (
            "tau = 100\ndt = 10\ndiscretisation = \"exponential\"\n[arrays]\n",
            all(1.0 - (-0.1_f64).exp()),
        ),
        ("[arrays]\nleak = \"alpha\"\n", a),
        (
            "dt = 10\n[arrays]\ntau = \"taus\"\n",
            tau.mapv(|tau| 10.0 / tau),
        ),
        (
            "dt = 10\ndiscretisation = \"exponential\"\n[arrays]\ntau = \"taus\"\n",
            tau.mapv(|tau| 1.0 - (-10.0 / tau).exp()),
        ),
        ("dt = 5\n[arrays]\ntau = \"one_tau\"\n", all(0.1)),
        (
            "[arrays]\ndecay = \"decays\"\n",
            decay.mapv(|decay| 1.0 - decay),
        ),
    ]
}

/// A leaky network in both forms and orientations, with each way to say the leak.
#[test]
fn leaky_networks_of_every_convention() {
    for (seed, (units, inputs, outputs)) in SIZES.into_iter().enumerate() {
        let mut file = File::new(70 + seed as u64);
        let w = file.put("W_rec", units, units);
        let u = file.put("W_in", units, inputs);
        let b = file.put_vector("b", units);
        let r = file.put("W_out", outputs, units);
        file.add("W_rec.T", w.t().to_owned().into_dyn());
        file.add("W_in.T", u.t().to_owned().into_dyn());
        file.add("W_out.T", r.t().to_owned().into_dyn());
        type Phi = fn(&Array1<f64>) -> Array1<f64>;
        for (leak, a) in leaks(&mut file, units) {
            for form in ["rate", "current"] {
                for (nonlinearity, phi) in [("tanh", tanh as Phi), ("relu", relu as Phi)] {
                    for (orientation, arrays) in [
                        (
                            "",
                            "recurrent = \"W_rec\"\ninput = \"W_in\"\nreadout = \"W_out\"\n",
                        ),
                        (
                            "orientation = \"from_to\"\n",
                            "recurrent = \"W_rec.T\"\ninput = \"W_in.T\"\nreadout = \"W_out.T\"\n",
                        ),
                        (
                            "orientation = \"from_to\"\ntransposed = [\"input\"]\n",
                            "recurrent = \"W_rec.T\"\ninput = \"W_in\"\nreadout = \"W_out.T\"\n",
                        ),
                        (
                            "transposed = [\"recurrent\", \"readout\"]\n",
                            "recurrent = \"W_rec.T\"\ninput = \"W_in\"\nreadout = \"W_out.T\"\n",
                        ),
                    ] {
                        let imported = file.import(&format!(
                            "kind = \"leaky\"\nform = \"{form}\"\nnonlinearity = \"{nonlinearity}\"\n{orientation}{leak}{arrays}bias = \"b\"\n"
                        ));
                        let rate =
                            |x: &Array1<f64>| if form == "rate" { x.clone() } else { phi(x) };
                        agree(&imported, &mut file, |x, input| {
                            let sum = w.dot(&rate(x)) + u.dot(input) + &b;
                            let drive = if form == "rate" { phi(&sum) } else { sum };
                            (1.0 - &a) * x + &a * drive
                        });
                        reads(&imported, &mut file, |x| r.dot(&rate(x)));
                    }
                }
            }
        }
    }
}

/// x' = (1 - a) x + (W r + U x + b), without the leak before the sum.
#[test]
fn a_drive_that_the_leak_does_not_scale() {
    let (units, inputs) = (5, 2);
    let mut file = File::new(80);
    let w = file.put("W", units, units);
    let u = file.put("U", units, inputs);
    let b = file.put_vector("b", units);
    let a = file
        .vector(units)
        .mapv(|x| f64::from((0.5 + 0.4 * x) as f32));
    file.add("leak", a.clone().into_dyn());
    let arrays = "drive = \"unscaled\"\n[arrays]\nrecurrent = \"W\"\ninput = \"U\"\nbias = \"b\"\n";
    let current = file.import(&format!("kind = \"leaky\"\nform = \"current\"\n{arrays}"));
    agree(&current, &mut file, |x, input| {
        (1.0 - &a) * x + w.dot(&tanh(x)) + u.dot(input) + &b
    });
    let rate = file.import(&format!(
        "kind = \"leaky\"\nnonlinearity = \"relu\"\n{arrays}"
    ));
    agree(&rate, &mut file, |x, input| {
        (1.0 - &a) * x + relu(&(w.dot(x) + u.dot(input) + &b))
    });
    let message = file.refused(&format!("kind = \"leaky\"\n{arrays}"));
    assert!(
        message.contains("line 2, key \"drive\": found \"unscaled\" with form \"rate\""),
        "{message}"
    );
}

/// Two biases are added where the sum is all that the cell knows.
#[test]
fn a_vanilla_network_with_two_biases_and_one_matrix() {
    let (units, inputs) = (5, 2);
    let mut file = File::new(90);
    let joint = file.put("W", inputs + units, units);
    let b = file.put_vector("b", units);
    let c = file.put_vector("c", units);
    for biases in [
        "bias = [\"b\", \"c\"]",
        "bias = \"b\"\nrecurrent_bias = \"c\"",
    ] {
        let imported = file.import(&format!(
            "kind = \"vanilla\"\norientation = \"from_to\"\n[arrays]\ninput_and_recurrent = \"W\"\n{biases}"
        ));
        agree(&imported, &mut file, |h, x| {
            tanh(&(both(x, h).dot(&joint) + &b + &c))
        });
    }
}

/// PLRNNs without a hidden layer are shallow ones.
#[test]
fn plrnns_are_the_cells_that_say_them_with_the_fewest_numbers() {
    for (seed, (units, inputs, outputs)) in SIZES.into_iter().enumerate() {
        let mut file = File::new(100 + seed as u64);
        // W with a diagonal of its own.
        let w = file.put("W", units, units);
        let h = file.put_vector("h", units);
        let c = file.put("C", units, inputs);
        let b = file.put("B", outputs, units);
        let a = file.vector(units);
        let mut joint = w.clone();
        joint.diag_mut().assign(&a);
        let off_diagonal = &w - &Array2::from_diag(&w.diag());
        for (diagonal, mean_centred, linear) in [
            (false, false, 0),
            (true, false, 0),
            (false, true, 0),
            (false, false, units / 2 + 1),
            (true, true, 1),
        ] {
            let array = if diagonal {
                Array2::from_diag(&a).into_dyn()
            } else {
                a.clone().into_dyn()
            };
            file.add("A", array);
            let imported = file.import(&format!(
                "kind = \"plrnn\"\nmean_centred = {mean_centred}\nlinear_units = {linear}\n"
            ));
            let expected = match (mean_centred, units + linear) {
                (true, hidden) => ("shallow_plrnn", CellKind::ShallowPlrnn, hidden),
                (false, _) => ("almost_linear_rnn", CellKind::AlmostLinearRnn, 0),
            };
            let architecture = &imported.architecture;
            assert_eq!(
                (imported.kind, architecture.cell, architecture.hidden),
                expected
            );
            let phi = |z: &Array1<f64>| {
                let z = if mean_centred {
                    z - z.mean().unwrap()
                } else {
                    z.clone()
                };
                let mut rates = relu(&z);
                rates.slice_mut(s![..linear]).assign(&z.slice(s![..linear]));
                rates
            };
            agree(&imported, &mut file, |z, x| {
                &a * z + w.dot(&phi(z)) + &h + c.dot(x)
            });
            reads(&imported, &mut file, |z| b.dot(z));
        }
        // A and W in one matrix.
        file.add("latent_step.AW", joint.clone().into_dyn());
        let imported =
            file.import("kind = \"plrnn\"\n[arrays]\na_and_recurrent = \"latent_step.AW\"\n");
        assert_eq!(imported.architecture.cell, CellKind::Plrnn);
        agree(&imported, &mut file, |z, x| {
            &a * z + off_diagonal.dot(&relu(z)) + &h + c.dot(x)
        });
        for text in ["plrnn\"\nmean_centred = true", "mean_centred_plrnn\""] {
            let imported = file.import(&format!(
                "kind = \"{text}\n[arrays]\na_and_recurrent = \"latent_step.AW\"\n"
            ));
            assert_eq!(imported.architecture.cell, CellKind::MeanCentredPlrnn);
            agree(&imported, &mut file, |z, x| {
                let centred = z - z.mean().unwrap();
                &a * z + off_diagonal.dot(&relu(&centred)) + &h + c.dot(x)
            });
        }
        // The last units with a relu: by their number, or one by one.
        let rectified = units.min(2);
        let slopes = Array1::from_shape_fn(units, |unit| f64::from(u8::from(unit % 2 == 0)));
        file.add("slope of units", slopes.clone().into_dyn());
        for (text, slope) in [
            (
                format!("relu_units = {rectified}\n"),
                Array1::from_shape_fn(units, |unit| f64::from(u8::from(unit + rectified < units))),
            ),
            (
                format!(
                    "relu_units = {}\n[arrays]\nslope = \"slope of units\"\n",
                    units / 2
                ),
                slopes,
            ),
        ] {
            let imported = file.import(&format!("kind = \"almost_linear_rnn\"\n{text}"));
            assert_eq!(imported.architecture.cell, CellKind::AlmostLinearRnn);
            agree(&imported, &mut file, |z, x| {
                let seen = &slope * z + (1.0 - &slope) * relu(z);
                &a * z + w.dot(&seen) + &h + c.dot(x)
            });
        }
    }
}

#[test]
fn dendritic_plrnns() {
    for (seed, (units, bases, _)) in SIZES.into_iter().enumerate() {
        let mut file = File::new(110 + seed as u64);
        let a = file.put_vector("A", units);
        let w = file.put("W", units, units);
        let h = file.put_vector("h", units);
        let alphas = file.put_vector("α", bases);
        let thresholds = file.put("H", units, bases);
        file.add("H.T", thresholds.t().to_owned().into_dyn());
        for (clipped, plus, mean_centred) in [
            (false, false, false),
            (true, false, false),
            (false, true, false),
            (true, true, true),
        ] {
            for turned in [
                "",
                "transposed = [\"thresholds\"]\n[arrays]\nthresholds = \"H.T\"\n",
            ] {
                let sign = if plus { "plus" } else { "minus" };
                let imported = file.import(&format!(
                    "kind = \"dendritic_plrnn\"\nclipped = {clipped}\nthreshold_sign = \"{sign}\"\n\
                     mean_centred = {mean_centred}\n{turned}"
                ));
                let expected = match (mean_centred, clipped) {
                    (true, true) => (CellKind::ClippedShallowPlrnn, units * bases),
                    (true, false) => (CellKind::ShallowPlrnn, units * bases),
                    (false, true) => (CellKind::ClippedDendriticPlrnn, bases),
                    (false, false) => (CellKind::DendriticPlrnn, bases),
                };
                assert_eq!(
                    (imported.architecture.cell, imported.architecture.hidden),
                    expected
                );
                agree(&imported, &mut file, |z, _| {
                    let centred = if mean_centred {
                        z - z.mean().unwrap()
                    } else {
                        z.clone()
                    };
                    let mut sum = Array1::zeros(units);
                    for basis in 0..bases {
                        let threshold = thresholds.column(basis);
                        let shifted = if plus {
                            &centred + &threshold
                        } else {
                            &centred - &threshold
                        };
                        sum = sum + alphas[basis] * relu(&shifted);
                        if clipped {
                            sum = sum - alphas[basis] * relu(&centred);
                        }
                    }
                    &a * z + w.dot(&sum) + &h
                });
            }
        }
    }
}

#[test]
fn a_mean_centred_shallow_plrnn() {
    let (units, hidden, inputs) = (3, 7, 2);
    let mut file = File::new(120);
    let a = file.put_vector("A", units);
    let w1 = file.put("W₁", units, hidden);
    let w2 = file.put("W₂", hidden, units);
    let h1 = file.put_vector("h₁", units);
    let h2 = file.put_vector("h₂", hidden);
    let c = file.put("C", units, inputs);
    let imported = file.import("kind = \"shallow_plrnn\"\nclipped = false\nmean_centred = true\n");
    agree(&imported, &mut file, |z, x| {
        &a * z + w1.dot(&relu(&(w2.dot(&(z - z.mean().unwrap())) + &h2))) + &h1 + c.dot(x)
    });
    // Both matrices the other way round, which A tells.
    file.add("W1", w1.t().to_owned().into_dyn());
    file.add("W2", w2.t().to_owned().into_dyn());
    let arrays = "[arrays]\nrecurrent = \"W1\"\nhidden = \"W2\"\n";
    let text =
        "kind = \"shallow_plrnn\"\nclipped = false\ntransposed = [\"recurrent\", \"hidden\"]\n";
    let turned = file.import(&format!("{text}{arrays}"));
    agree(&turned, &mut file, |z, x| {
        &a * z + w1.dot(&relu(&(w2.dot(z) + &h2))) + &h1 + c.dot(x)
    });
    let message = file.refused(&format!("kind = \"shallow_plrnn\"\n{arrays}"));
    assert!(
        message.contains("array \"W1\", parameter \"recurrent\": found [7, 3]")
            && message.contains("transposed"),
        "{message}"
    );
}

/// What is printed back: a row for every array, what rests on the model file alone, what is not used.
#[test]
fn the_lines_say_what_was_understood() {
    let mut file = File::new(130);
    file.put("W_rec", 4, 4);
    file.put("W_in", 2, 4);
    file.put("W_out", 4, 3);
    file.put("loss", 30, 1);
    let imported = file.import(
        "kind = \"leaky\"\nform = \"current\"\ntau = 100\ndt = 20\norientation = \"from_to\"\n\
         [arrays]\nrecurrent = \"W_rec\"\ninput = \"W_in\"\nreadout = \"W_out\"\n",
    );
    let expected = [
        "cell leaky_current_tanh: 4 units, inputs 2, outputs 3",
        "step:    h' = (1 - a) h + a (W tanh(h) + U x + b)",
        "readout: y = R tanh(h)",
        "",
        "array  shape    taken for",
        "W_rec  [4, 4]   W, recurrent; transposed; square: [from, to] as the model file says, its shape cannot tell",
        "W_in   [2, 4]   U, input; transposed",
        "W_out  [4, 3]   R, readout; transposed",
        "loss   [30, 1]  not used",
        "",
        "leak: a = 0.2 for every unit, from tau = 100: a = dt / tau, dt = 20",
    ];
    assert_eq!(imported.understood, expected, "{:#?}", imported.understood);
    assert_eq!(imported.ignored, ["loss"]);
    assert_eq!(imported.settings.number("leak"), 0.2);

    // Of many arrays that are not used, some.
    for k in 0..30 {
        file.put(&format!("moment_{k}"), 2, 2);
    }
    let imported = file.import("kind = \"vanilla\"\n[arrays]\nrecurrent = \"W_rec\"\n");
    assert_eq!(imported.ignored.len(), 33);
    assert!(
        imported
            .understood
            .contains(&"and 13 more arrays of w.npz, not used".to_owned())
    );
}

#[test]
fn what_cannot_be_expressed_or_contradicts_itself_is_one_clear_error() {
    let mut file = File::new(140);
    for (name, shape) in [
        ("W", &[12, 4][..]),
        ("W.T", &[4, 12]),
        ("U", &[12, 2]),
        ("U.T", &[2, 12]),
        ("b", &[12]),
        ("square", &[4, 4]),
        ("wide", &[4, 9]),
        ("rates", &[4]),
        ("A", &[4]),
        ("h", &[4]),
    ] {
        let count = shape.iter().product();
        let values = file.vector(count).to_vec();
        file.add(name, ArrayD::from_shape_vec(IxDyn(shape), values).unwrap());
    }
    let gru = "[arrays]\nrecurrent = \"W\"\ninput = \"U\"\nbias = \"b\"\n";
    let leaky = "[arrays]\nrecurrent = \"square\"\n";
    for (model, expected) in [
        // Orientation: every matrix that is not square is checked.
        (
            format!("kind = \"gru\"\norientation = \"from_to\"\n{gru}"),
            "array \"W\", parameter \"recurrent\": found [12, 4]; allowed: [units, 3 * units], [from, to]; it seems to be transposed",
        ),
        (
            "kind = \"gru\"\n[arrays]\nrecurrent = \"W\"\ninput = \"U.T\"\n".into(),
            "array \"U.T\", parameter \"input\": found [2, 12]; allowed: [3 * 4, inputs], [to, from]; it seems to be transposed",
        ),
        (
            "kind = \"gru\"\n[arrays]\nrecurrent = \"W.T\"\n".into(),
            "array \"W.T\", parameter \"recurrent\": found [4, 12]; allowed: [3 * units, units], [to, from]; it seems to be transposed",
        ),
        (
            format!("kind = \"gru\"\ntransposed = [\"inputs\"]\n{gru}"),
            "line 2, key \"transposed\": found \"inputs\"; allowed: recurrent, input, input_and_recurrent, readout, initial",
        ),
        (
            format!("kind = \"gru\"\norientation = \"from\"\n{gru}"),
            "key \"orientation\": found the text \"from\"; allowed: ",
        ),
        // Gates.
        (
            format!("kind = \"gru\"\nreset = \"before\"\n{gru}"),
            "line 2, key \"reset\": found \"before\"; allowed: \"after\": with the reset gate before the recurrent product",
        ),
        (
            format!("kind = \"gru\"\ngates = [\"z\", \"r\", \"r\"]\n{gru}"),
            "line 2, key \"gates\": found the list [\"z\", \"r\", \"r\"]; allowed: in the order of the file, each once: r; z or u; n or h or c",
        ),
        (
            format!("kind = \"vanilla\"\ngates = [\"i\"]\n{leaky}"),
            "key \"gates\": unknown key",
        ),
        (
            "kind = \"gru\"\n[arrays]\nrecurrent = [\"square\", \"square\"]\n".into(),
            "line 3, key \"arrays.recurrent\": found 2 arrays; allowed: one stacked array, or 3, one for each gate",
        ),
        (
            "kind = \"gru\"\n[arrays]\nrecurrent = [\"square\", \"square\", \"wide\"]\n".into(),
            "array \"wide\", parameter \"recurrent\": found [4, 9]; allowed: [units, units]",
        ),
        (
            "kind = \"gru\"\n[arrays]\nrecurrent = []\n".into(),
            "key \"arrays.recurrent\": found an empty list; allowed: the name of at least one array",
        ),
        (
            "kind = \"gru\"\n[arrays]\nrecurrent = 3\n".into(),
            "key \"arrays.recurrent\": found the integer 3; allowed: a text in quotation marks, or a list of such",
        ),
        (
            format!("kind = \"gru\"\n{gru}recurrent_bias = \"A\"\ninput_and_recurrent = \"W\"\n"),
            "key \"arrays.recurrent\": found an array; allowed: nothing beside arrays.input_and_recurrent",
        ),
        (
            "kind = \"gru\"\n[arrays]\nrecurrent = \"W\"\nbias = [\"b\", \"b\"]\nrecurrent_bias = \"A\"\n".into(),
            "key \"arrays.recurrent_bias\": found a second bias beside those of \"b\", \"b\"",
        ),
        // Time constants.
        (format!("kind = \"leaky\"\n{leaky}"), "key \"leak\": found nothing; allowed: a number, or decay, or tau"),
        (format!("kind = \"leaky\"\ntau = 10\n{leaky}"), "key \"dt\": found nothing; allowed: the duration of a step"),
        (format!("kind = \"leaky\"\nleak = 0.1\ndt = 1\n{leaky}"), "line 3, key \"dt\": found 1; allowed: nothing without tau"),
        (
            format!("kind = \"leaky\"\nleak = 0.1\ntau = 1\ndt = 1\n{leaky}"),
            "line 3, key \"tau\": found both leak and tau; allowed: one of leak, decay, tau",
        ),
        (
            format!("kind = \"leaky\"\ntau = 10\ndt = 20\n{leaky}"),
            "line 2, key \"tau\": found 10, so that a = 2; allowed: a leak a over 0 and at most 1",
        ),
        (format!("kind = \"leaky\"\ntau = 0\ndt = 20\n{leaky}"), "key \"tau\": found the integer 0; allowed: a finite number"),
        (
            format!("kind = \"leaky\"\n{leaky}leak = \"rates\"\n"),
            "array \"rates\", parameter \"leak\", unit ",
        ),
        (
            format!("kind = \"leaky\"\n{leaky}leak = \"rates\"\ndecay = \"rates\"\n"),
            "key \"arrays.decay\": found both leak and decay",
        ),
        (
            format!("kind = \"leaky\"\ndecay = 0.5\n{leaky}leak = \"rates\"\n"),
            "key \"arrays.leak\": found both decay and arrays.leak; allowed: one of leak, decay, tau",
        ),
        (
            format!("kind = \"leaky\"\nnonlinearity = \"sigmoid\"\nleak = 1\n{leaky}"),
            "key \"nonlinearity\": found the text \"sigmoid\"; allowed: ",
        ),
        // PLRNNs.
        (
            "kind = \"plrnn\"\n[arrays]\nrecurrent = \"square\"\na = \"square\"\n".into(),
            "array \"square\", parameter \"a\", row 0, column 1: found ",
        ),
        (
            "kind = \"plrnn\"\nlinear_units = 5\n[arrays]\nrecurrent = \"square\"\n".into(),
            "line 2, key \"linear_units\": found 5; allowed: at most 4, the units",
        ),
        (
            "kind = \"plrnn\"\nhidden = 5\n[arrays]\nrecurrent = \"square\"\n".into(),
            "key \"hidden\": unknown key",
        ),
        (
            "kind = \"dendritic_plrnn\"\n[arrays]\nrecurrent = \"square\"\n".into(),
            "missing an array for the parameter \"thresholds\" of cell dendritic_plrnn",
        ),
        (
            "kind = \"dendritic_plrnn\"\n[arrays]\nrecurrent = \"square\"\nalphas = \"h\"\nthresholds = \"wide\"\n".into(),
            "array \"wide\", parameter \"thresholds\": found [4, 9]; allowed: [4, 4]",
        ),
        (
            "kind = \"pllrnn\"\n".into(),
            "did you mean \"plrnn\"?",
        ),
    ] {
        let message = file.refused(&model);
        assert!(message.contains(expected), "{message}\nlacks {expected}\n{model}");
    }

    // What a model file says about a file with torch's names is not passed over.
    let mut file = File::new(141);
    file.put("weight_hh_l0", 4, 4);
    file.put("weight_ih_l0", 4, 2);
    for (model, key) in [
        (
            "kind = \"vanilla\"\norientation = \"from_to\"",
            "orientation",
        ),
        (
            "kind = \"vanilla\"\n[arrays]\ninput = \"weight_ih_l0\"",
            "arrays.input",
        ),
    ] {
        let message = file.refused(model);
        assert!(
            message.contains(&format!("key \"{key}\""))
                && message.contains("the arrays have torch's names"),
            "{message}"
        );
    }
    // Unless every array is named: then the model file has the word.
    let imported = file.import(
        "kind = \"vanilla\"\ntransposed = [\"recurrent\"]\n[arrays]\nrecurrent = \"weight_hh_l0\"\ninput = \"weight_ih_l0\"",
    );
    assert_eq!(imported.architecture.inputs, 2);
}

/// A readout is the matrix whose name says so, not any array of the right width.
#[test]
fn states_beside_the_weights_are_no_readout() {
    let mut file = File::new(150);
    file.put("weight_hh_l0", 12, 4);
    file.put("weight_ih_l0", 12, 2);
    file.put("fixed_points", 27, 4);
    file.put("initial_state", 1, 4);
    let alone = weights::import(&file.tensors, None, None, None).unwrap();
    assert_eq!(
        (alone.architecture.readout, alone.architecture.outputs),
        (Readout::Identity, 4)
    );
    file.put("readout_weight", 3, 4);
    file.put_vector("readout_bias", 3);
    let imported = weights::import(&file.tensors, None, None, None).unwrap();
    assert_eq!(
        (imported.architecture.readout, imported.architecture.outputs),
        (Readout::Linear, 3)
    );
    assert_eq!(imported.ignored, ["fixed_points", "initial_state"]);
    for name in [
        "fc1.weight",
        "module.out_proj.weight",
        "Dense_0/kernel",
        "model.head.2.weight",
        "W_out",
        "h2o.weight",
    ] {
        let mut file = File::new(151);
        file.put("weight_hh_l0", 12, 4);
        file.put("weight_ih_l0", 12, 2);
        file.put("value.weight", 5, 4);
        file.put(name, 3, 4);
        let imported = weights::import(&file.tensors, None, None, None).unwrap();
        assert_eq!(imported.architecture.outputs, 3, "{name}");
    }
}

/// A line of a model file, whole or damaged.
fn line() -> impl Strategy<Value = String> {
    let keys: Vec<String> = model_file_keys()
        .into_iter()
        .flat_map(|(_, top, _)| top.iter().map(|key| key.name.to_owned()))
        .collect();
    let values = prop::sample::select(vec![
        "\"from_to\"",
        "\"new\"",
        "\"current\"",
        "\"exponential\"",
        "\"unscaled\"",
        "\"identity\"",
        "\"plus\"",
        "true",
        "1",
        "0.5",
        "1e300",
        "-1",
        "[]",
        "[\"input\"]",
        "[\"z\", \"r\", \"h\"]",
        "[\"o\", \"f\", \"i\", \"c\"]",
        "{}",
    ]);
    (prop::sample::select(keys), values).prop_map(|(key, value)| format!("{key} = {value}\n"))
}

fn array_line() -> impl Strategy<Value = String> {
    let keys: Vec<String> = model_file_keys()
        .into_iter()
        .flat_map(|(_, _, arrays)| arrays.iter().map(|key| key.name.to_owned()))
        .collect();
    let values = prop::sample::select(vec![
        "\"a\"",
        "\"b\"",
        "\"c\"",
        "[\"a\", \"b\"]",
        "[\"a\", \"a\", \"a\"]",
        "[\"c\", \"c\", \"c\", \"c\"]",
        "[]",
        "\"no\"",
    ]);
    (prop::sample::select(keys), values).prop_map(|(key, value)| format!("{key} = {value}\n"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever model file and arrays there are: a network of finite numbers, or an error that names a file.
    #[test]
    fn nothing_panics_and_errors_name_a_file(
        kind in prop::sample::select(model_file_keys().into_iter().map(|(kind, _, _)| kind).collect::<Vec<_>>()),
        lines in prop::collection::vec(line(), 0..4),
        array_lines in prop::collection::vec(array_line(), 0..5),
        shapes in prop::collection::vec(
            (
                prop::sample::select(vec![
                    "a", "b", "c", "recurrent", "input", "bias", "A", "W", "AW", "h", "H", "alpha", "leak", "tau",
                    "W1", "W2", "h1", "h2", "B", "weight_hh", "weight_ih", "bias_n",
                ]),
                prop::sample::select(vec![
                    vec![], vec![0], vec![2], vec![6], vec![8], vec![2, 2], vec![6, 2], vec![2, 6], vec![8, 2], vec![2, 8],
                    vec![1, 2], vec![2, 1], vec![2, 0], vec![2, 3], vec![1, 2, 2], vec![2, 2, 2],
                ]),
            ),
            0..9,
        ),
        sound: bool,
        outputs in prop::option::of(0_usize..4),
        cut in prop::option::of(0_usize..80),
    ) {
        let mut file = File::new(shapes.len() as u64);
        let gates = match kind {
            "gru" => 3,
            "lstm" => 4,
            _ => 1,
        };
        let mut all: Vec<(&str, Vec<usize>)> = Vec::new();
        if sound {
            let columns = if kind == "shallow_plrnn" { 3 } else { 2 };
            all.extend([("recurrent", vec![gates * 2, columns]), ("W2", vec![3, 2]), ("h2", vec![3])]);
            all.extend([("A", vec![2]), ("bias", vec![gates * 2]), ("alpha", vec![2]), ("H", vec![2, 2])]);
            all.push(("leak", vec![]));
        }
        all.extend(shapes);
        for (name, shape) in &all {
            let values = file.vector(shape.iter().product()).mapv(|x| 0.5 + 0.5 * x).to_vec();
            file.add(name, ArrayD::from_shape_vec(IxDyn(shape), values).unwrap());
        }
        let mut text = format!("kind = \"{kind}\"\n{}[arrays]\n{}", lines.concat(), array_lines.concat());
        if let Some(cut) = cut {
            text.truncate(cut);
        }
        // A key twice, or a line cut short, is no TOML.
        if let Ok(model) = Document::parse("MODEL.toml", &text) {
            match weights::import(&file.tensors, Some(&model), None, outputs) {
                Ok(imported) => {
                    prop_assert_eq!(imported.parameters.len(), imported.architecture.parameter_count());
                    prop_assert!(imported.parameters.iter().all(|p| p.is_finite()));
                }
                Err(error) => {
                    let message = error.to_string();
                    prop_assert!(error.is_bad_input());
                    prop_assert!(message.contains("MODEL.toml") || message.contains("w.npz"), "{}\n{}", message, text);
                }
            }
        }
    }
}
