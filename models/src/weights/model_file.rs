//! The keys of a model file (`MODEL.toml`): those of `[model]` in an experiment, the conventions in which
//! another program may differ, and the arrays.

use crate::architecture::CellKind;
use crate::cells::Layer;
use crate::registry::{MODELS, ModelKind};
use nullcline_data::settings::{Key, Kind, Preset, Settings};
use std::sync::LazyLock;

/// How the parameters of a kind are made from arrays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// An array for each parameter of the cell.
    Cell,
    /// z' = A z + W relu(z) + h + C x, with a relu in all units or some, perhaps of z - mean(z).
    Plrnn,
    /// z' = A z + W sum_b alpha_b relu(z - H_b) + h + C x.
    Dendritic,
}

/// A cell as a model file names it.
pub(super) struct FileKind {
    /// The value of the key `kind`.
    pub(super) name: &'static str,
    /// The cell of this program.
    pub(super) model: &'static ModelKind,
    pub(super) family: Family,
    /// The keys of the top level.
    pub(super) keys: Vec<Key>,
    /// The keys of `[arrays]`.
    pub(super) arrays: Vec<Key>,
    /// Names under which arrays are looked for besides the key's own.
    pub(super) aliases: &'static [(&'static str, &'static [&'static str])],
}

/// Every kind that a model file may name.
pub(super) static FILE_KINDS: LazyLock<Vec<FileKind>> = LazyLock::new(|| {
    let family = |model| match cell_of(model).shape().layer {
        Layer::Absent | Layer::Hidden => Family::Cell,
        Layer::Units | Layer::CentredUnits => Family::Plrnn,
        Layer::Bases => Family::Dendritic,
    };
    MODELS
        .iter()
        .map(|model| file_kind(model.name, model, family(model)))
        .collect()
});

/// The keys of a model file for each kind: (kind, those of the top level, those of `[arrays]`).
pub fn model_file_keys() -> Vec<(&'static str, &'static [Key], &'static [Key])> {
    FILE_KINDS
        .iter()
        .map(|kind| (kind.name, &kind.keys[..], &kind.arrays[..]))
        .collect()
}

/// The cell of a kind with its default settings. All cells of a kind have the same parameters.
fn cell_of(model: &ModelKind) -> CellKind {
    model.cell(&Settings::from_defaults("model", model.keys))
}

fn file_kind(name: &'static str, model: &'static ModelKind, family: Family) -> FileKind {
    let shape = cell_of(model).shape();
    let plrnn = cell_of(model).is_plrnn();
    let has_leak = shape.unit_parameters.contains(&"leak");
    let of_model = model.keys.iter().flat_map(|keys| keys.iter());
    let mut keys = vec![KIND];
    keys.extend(of_model);
    keys.extend(ORIENTATION);
    match name {
        "gru" => keys.extend(GRU),
        "lstm" => keys.extend(LSTM),
        "plrnn" => keys.extend(AL_RNN),
        "dendritic_plrnn" => keys.extend(DENDRITIC),
        _ => {}
    }
    if has_leak {
        keys.extend(LEAK);
    }
    if matches!(name, "plrnn" | "dendritic_plrnn" | "shallow_plrnn") {
        keys.extend(MEAN_CENTRED);
    }

    let mut arrays = vec![RECURRENT];
    if shape.has_hidden && family == Family::Cell {
        arrays.push(HIDDEN);
    }
    arrays.extend(INPUT);
    if !plrnn {
        arrays.extend([JOINT, RECURRENT_BIAS]);
    }
    let per_unit = |name: &'static str| Key { name, ..PER_UNIT };
    arrays.extend(
        shape
            .unit_parameters
            .iter()
            .filter(|name| **name != "recurrent_bias")
            .map(|name| per_unit(name)),
    );
    if has_leak {
        arrays.extend(LEAK_ARRAYS);
    }
    match family {
        Family::Cell => arrays.extend(shape.hidden_parameters.iter().map(|name| Key {
            name,
            ..PER_HIDDEN_UNIT
        })),
        Family::Plrnn if name == "almost_linear_rnn" => arrays.extend([JOINT_A, SLOPE]),
        Family::Plrnn => arrays.push(JOINT_A),
        Family::Dendritic => arrays.extend([JOINT_A, ALPHAS, THRESHOLDS]),
    }
    arrays.push(READOUT);
    if !plrnn {
        // The observation model of a PLRNN has no bias.
        arrays.push(READOUT_BIAS);
    }
    arrays.push(INITIAL);
    let aliases = match family {
        Family::Cell if shape.has_hidden => SHALLOW_NAMES,
        Family::Cell => &[],
        Family::Plrnn | Family::Dendritic => PLRNN_NAMES,
    };
    FileKind {
        name,
        model,
        family,
        keys,
        arrays,
        aliases,
    }
}

/// Hess et al. 2023: z' = A z + W1 relu(W2 z + h2) + h1 + C x, observed as B z.
const SHALLOW_NAMES: &[(&str, &[&str])] = &[
    ("a", &["A"]),
    ("recurrent", &["W1", "W₁"]),
    ("hidden", &["W2", "W₂"]),
    ("bias", &["h1", "h₁"]),
    ("h2", &["h₂"]),
    ("input", &["C"]),
    ("readout", &["B"]),
];

/// Brenner et al. 2022: z' = A z + W sum_b alpha_b relu(z - H_b) + h + C x, observed as B z.
const PLRNN_NAMES: &[(&str, &[&str])] = &[
    ("a", &["A"]),
    ("recurrent", &["W"]),
    ("a_and_recurrent", &["AW"]),
    ("bias", &["h"]),
    ("input", &["C"]),
    ("readout", &["B"]),
    ("alphas", &["alpha", "α"]),
    ("thresholds", &["H", "thetas"]),
];

const KIND: Key = Key {
    name: "kind",
    kind: Kind::Text,
    default: Preset::Required,
    unit: "",
    doc: "The cell: one that `nullcline list cells` names.",
};

const ORIENTATION: [Key; 2] = [
    Key {
        name: "orientation",
        kind: Kind::Choice(&["to_from", "from_to"]),
        default: Preset::Text("to_from"),
        unit: "",
        doc: "How matrices lie in the file: to_from where the program computes W x (torch, Julia, MATLAB), from_to \
              where it computes x W (JAX, Flax, Haiku, Keras).",
    },
    Key {
        name: "transposed",
        kind: Kind::Texts,
        default: Preset::Texts(&[]),
        unit: "",
        doc: "The parameters whose arrays lie the other way round than `orientation` says.",
    },
];

const GRU: [Key; 3] = [
    Key {
        name: "gates",
        kind: Kind::Texts,
        default: Preset::Texts(&["r", "z", "n"]),
        unit: "",
        doc: "The order of the gates in stacked arrays and in lists of arrays: r reset, z (or u) update, n (or h, c) \
              candidate.",
    },
    Key {
        name: "update_gate",
        kind: Kind::Choice(&["old", "new"]),
        default: Preset::Text("old"),
        unit: "",
        doc: "What the update gate z multiplies. old: h' = (1 - z) n + z h. new: h' = (1 - z) h + z n; since \
              sigma(-a) = 1 - sigma(a), its weights and bias are negated.",
    },
    Key {
        name: "reset",
        kind: Kind::Choice(&["after", "before"]),
        default: Preset::Text("after"),
        unit: "",
        doc: "Where the reset gate acts. after: n = tanh(U x + b + r (W h + c)). before: n = tanh(U x + b + W (r h)), \
              another network, which is refused.",
    },
];

const LSTM: [Key; 2] = [
    Key {
        name: "gates",
        kind: Kind::Texts,
        default: Preset::Texts(&["i", "f", "g", "o"]),
        unit: "",
        doc: "The order of the gates in stacked arrays and in lists of arrays: i input, f forget, g (or c, j) \
              candidate, o output.",
    },
    Key {
        name: "forget_bias",
        kind: Kind::Number {
            min: -100.0,
            max: 100.0,
        },
        default: Preset::Number(0.0),
        unit: "",
        doc: "What the program adds to the forget gate beside the bias in the file; 1 in Haiku, Sonnet and \
              TensorFlow's BasicLSTMCell.",
    },
];

const TIME: Kind = Kind::Number {
    min: 1e-12,
    max: f64::INFINITY,
};

const LEAK: [Key; 5] = [
    Key {
        name: "tau",
        kind: TIME,
        default: Preset::Absent,
        unit: "that of dt",
        doc: "Time constant of every unit, in place of `leak`; needs `dt`.",
    },
    Key {
        name: "dt",
        kind: TIME,
        default: Preset::Absent,
        unit: "that of tau",
        doc: "Duration of a step.",
    },
    Key {
        name: "discretisation",
        kind: Kind::Choice(&["euler", "exponential"]),
        default: Preset::Text("euler"),
        unit: "",
        doc: "How the leak a follows from tau and dt. euler: a = dt / tau. exponential: a = 1 - exp(-dt / tau).",
    },
    Key {
        name: "decay",
        kind: Kind::Number {
            min: 0.0,
            max: 1.0 - 1e-6,
        },
        default: Preset::Absent,
        unit: "per step",
        doc: "The share of the state that a step keeps, 1 - a, in place of `leak`.",
    },
    Key {
        name: "drive",
        kind: Kind::Choice(&["scaled", "unscaled"]),
        default: Preset::Text("scaled"),
        unit: "",
        doc: "Whether the leak multiplies what drives a unit. scaled: x' = (1 - a) x + a (...). unscaled: \
              x' = (1 - a) x + (...); weights and bias are divided by a, which the rate form with tanh does not allow.",
    },
];

const MEAN_CENTRED: [Key; 1] = [Key {
    name: "mean_centred",
    kind: Kind::Flag,
    default: Preset::Flag(false),
    unit: "",
    doc: "Whether the mean over all units is taken from z before relu: a mean-centred PLRNN, or part of W2.",
}];

const AL_RNN: [Key; 1] = [Key {
    name: "linear_units",
    kind: Kind::Integer {
        min: 0,
        max: 10_000,
    },
    default: Preset::Integer(0),
    unit: "",
    doc: "So many units, the first, have no relu: an almost-linear RNN (Brenner et al. 2024).",
}];

const DENDRITIC: [Key; 1] = [Key {
    name: "threshold_sign",
    kind: Kind::Choice(&["minus", "plus"]),
    default: Preset::Text("minus"),
    unit: "",
    doc: "minus: relu(z - H), as in the paper and in Julia. plus: relu(z + H), as in the authors' Python.",
}];

const fn array(name: &'static str, doc: &'static str) -> Key {
    Key {
        name,
        kind: Kind::TextOrTexts,
        default: Preset::Absent,
        unit: "",
        doc,
    }
}

const RECURRENT: Key = array(
    "recurrent",
    "W, from units to units; with gates one stacked array or one array for each gate.",
);
const HIDDEN: Key = array("hidden", "W2, from units to hidden units.");
const INPUT: [Key; 2] = [
    array(
        "input",
        "U, from inputs to units; with gates one stacked array or one array for each gate.",
    ),
    array(
        "bias",
        "b; with gates one stacked array or one array for each gate. A list of two, or an array of two rows: that of \
         the inputs and that of the recurrent product.",
    ),
];
const JOINT: Key = array(
    "input_and_recurrent",
    "U and W as one matrix, from the inputs and then the units to the units.",
);
const RECURRENT_BIAS: Key = array(
    "recurrent_bias",
    "A second bias, that of the recurrent product; for a GRU that of all gates or of the candidate alone.",
);
const PER_UNIT: Key = array(
    "",
    "One number for each unit, as a vector or as a diagonal matrix; a leak may be a single number.",
);
const LEAK_ARRAYS: [Key; 2] = [
    array(
        "tau",
        "Time constants in place of `leak`, one or one for each unit; needs the key `dt`.",
    ),
    array(
        "decay",
        "1 - a in place of `leak`, one or one for each unit.",
    ),
];
const PER_HIDDEN_UNIT: Key = array("", "One number for each hidden unit.");
const JOINT_A: Key = array(
    "a_and_recurrent",
    "A and W as one matrix: A is its diagonal, W the rest.",
);
const ALPHAS: Key = array("alphas", "The slope of each basis function.");
const SLOPE: Key = array(
    "slope",
    "1 for each linear unit, 0 for each with a relu, in place of the key `relu_units`.",
);
const THRESHOLDS: Key = array("thresholds", "H, from basis functions to units.");
const READOUT: Key = array("readout", "R (B of a PLRNN), from units to outputs.");
const READOUT_BIAS: Key = array("readout_bias", "The bias of the readout.");
const INITIAL: Key = array(
    "initial",
    "From the first observation to the units that are not observed.",
);

#[cfg(test)]
mod tests {
    use super::*;
    use nullcline_data::settings::schema_faults;

    #[test]
    fn schemas_are_sound() {
        assert_eq!(FILE_KINDS.len(), MODELS.len());
        for (name, keys, arrays) in model_file_keys() {
            assert_eq!(schema_faults(&[keys]), Vec::<String>::new(), "{name}");
            assert_eq!(
                schema_faults(&[arrays]),
                Vec::<String>::new(),
                "{name}, arrays"
            );
        }
        for kind in FILE_KINDS.iter() {
            for (alias, _) in kind.aliases {
                let known = kind.arrays.iter().any(|key| key.name == *alias);
                assert!(
                    known || kind.family == Family::Plrnn,
                    "{}: {alias}",
                    kind.name
                );
            }
        }
    }
}
