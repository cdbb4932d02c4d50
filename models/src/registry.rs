//! The cells as an experiment file names them: their documented keys, and the way from settings to an
//! [`Architecture`] and its [`Initialisation`].

use crate::architecture::{Architecture, CellKind, Readout};
use crate::cells::Layer;
use crate::ensemble::Initialisation;
use crate::initialisers::Initialiser;
use nullcline_data::settings::{Key, Kind, Preset, Settings};
use nullcline_data::{Error, Result};

/// A cell as a user chooses it: `model.kind`.
pub struct ModelKind {
    /// The name in files and on the command line.
    pub name: &'static str,
    /// One line for lists.
    pub summary: &'static str,
    /// The documented keys of the `[model]` table, besides `kind`.
    pub keys: &'static [&'static [Key]],
    /// The cell that the settings ask for.
    cell: fn(&Settings) -> CellKind,
}

/// Every cell there is.
pub static MODELS: &[ModelKind] = &[
    ModelKind {
        name: "vanilla",
        summary: "vanilla (Elman) network, torch's nn.RNN: h' = phi(W h + U x + b)",
        keys: &[SIZE, NONLINEARITY, READOUT, INITIALISERS],
        cell: |settings| match settings.text("nonlinearity") {
            "relu" => CellKind::VanillaRelu,
            _ => CellKind::VanillaTanh,
        },
    },
    ModelKind {
        name: "leaky",
        summary: "leaky network in rate or current form: h' = (1 - a) h + a (...)",
        keys: &[SIZE, LEAKY, NONLINEARITY, READOUT, INITIALISERS],
        cell: |settings| match (settings.text("form"), settings.text("nonlinearity")) {
            ("current", "relu") => CellKind::LeakyCurrentRelu,
            ("current", _) => CellKind::LeakyCurrentTanh,
            (_, "relu") => CellKind::LeakyRateRelu,
            _ => CellKind::LeakyRateTanh,
        },
    },
    ModelKind {
        name: "gru",
        summary: "gated recurrent unit in torch's convention",
        keys: &[SIZE, READOUT, INITIALISERS],
        cell: |_| CellKind::Gru,
    },
    ModelKind {
        name: "lstm",
        summary: "long short-term memory in torch's convention",
        keys: &[SIZE, READOUT, INITIALISERS],
        cell: |_| CellKind::Lstm,
    },
    ModelKind {
        name: "shallow_plrnn",
        summary: "shallow piecewise-linear RNN (Hess et al. 2023), plain or clipped",
        keys: &[SHALLOW, OBSERVATION],
        cell: |settings| {
            if settings.flag("clipped") {
                CellKind::ClippedShallowPlrnn
            } else {
                CellKind::ShallowPlrnn
            }
        },
    },
    ModelKind {
        name: "plrnn",
        summary: "piecewise-linear RNN (Durstewitz 2017): z' = A z + W relu(z) + h + C x",
        keys: &[LATENT, OBSERVATION],
        cell: |_| CellKind::Plrnn,
    },
    ModelKind {
        name: "mean_centred_plrnn",
        summary: "mean-centred piecewise-linear RNN: z' = A z + W relu(z - mean(z)) + h + C x",
        keys: &[LATENT, OBSERVATION],
        cell: |_| CellKind::MeanCentredPlrnn,
    },
    ModelKind {
        name: "dendritic_plrnn",
        summary: "dendritic piecewise-linear RNN (Brenner et al. 2022), plain or clipped",
        keys: &[LATENT, DENDRITES, OBSERVATION],
        cell: |settings| {
            if settings.flag("clipped") {
                CellKind::ClippedDendriticPlrnn
            } else {
                CellKind::DendriticPlrnn
            }
        },
    },
    ModelKind {
        name: "almost_linear_rnn",
        summary: "almost-linear RNN (Brenner et al. 2024): relu in the last units alone",
        keys: &[LATENT, ALMOST_LINEAR, OBSERVATION],
        cell: |_| CellKind::AlmostLinearRnn,
    },
];

/// The cell of this name.
pub fn kind(name: &str) -> Option<&'static ModelKind> {
    MODELS.iter().find(|kind| kind.name == name)
}

const SIZE: &[Key] = &[Key {
    name: "units",
    kind: Kind::Integer {
        min: 1,
        max: 100_000,
    },
    default: Preset::Integer(64),
    unit: "",
    doc: "Recurrent units.",
}];

const NONLINEARITY: &[Key] = &[Key {
    name: "nonlinearity",
    kind: Kind::Choice(&["tanh", "relu"]),
    default: Preset::Text("tanh"),
    unit: "",
    doc: "phi, applied to every unit.",
}];

const LEAKY: &[Key] = &[
    Key {
        name: "form",
        kind: Kind::Choice(&["rate", "current"]),
        default: Preset::Text("rate"),
        unit: "",
        doc: "rate: r' = (1 - a) r + a phi(W r + U x + b). current: h' = (1 - a) h + a (W phi(h) + U x + b).",
    },
    Key {
        name: "leak",
        kind: Kind::Number {
            min: 1e-6,
            max: 1.0,
        },
        default: Preset::Number(0.5),
        unit: "per step",
        doc: "a = dt / tau: the share of the state that a step replaces. 1 is the vanilla network.",
    },
    Key {
        name: "train_leak",
        kind: Kind::Flag,
        default: Preset::Flag(false),
        unit: "",
        doc: "Whether training moves the leak of each unit.",
    },
];

const READOUT: &[Key] = &[
    Key {
        name: "bias",
        kind: Kind::Flag,
        default: Preset::Flag(true),
        unit: "",
        doc: "Whether the gates have a bias.",
    },
    Key {
        name: "readout",
        kind: Kind::Choice(&["linear", "linear_without_bias", "identity"]),
        default: Preset::Text("linear"),
        unit: "",
        doc: "linear: y = R r + d. linear_without_bias: y = R r. identity: y = the first units.",
    },
];

const INITIALISERS: &[Key] = &[
    Key {
        name: "recurrent_initialiser",
        kind: Kind::Choice(Initialiser::NAMES),
        default: Preset::Text("torch"),
        unit: "",
        doc: "How W starts. torch: uniform in +-1/sqrt(units), biases too; with any other, biases start at 0.",
    },
    Key {
        name: "recurrent_gain",
        kind: Kind::Number { min: 0.0, max: 1e3 },
        default: Preset::Number(1.0),
        unit: "",
        doc: "Factor on W as drawn. With initialiser normal this is the gain g of a random network.",
    },
    Key {
        name: "input_initialiser",
        kind: Kind::Choice(Initialiser::NAMES),
        default: Preset::Text("torch"),
        unit: "",
        doc: "How U starts.",
    },
    Key {
        name: "input_gain",
        kind: Kind::Number { min: 0.0, max: 1e3 },
        default: Preset::Number(1.0),
        unit: "",
        doc: "Factor on U as drawn.",
    },
    Key {
        name: "readout_initialiser",
        kind: Kind::Choice(Initialiser::NAMES),
        default: Preset::Text("torch"),
        unit: "",
        doc: "How R starts.",
    },
    Key {
        name: "readout_gain",
        kind: Kind::Number { min: 0.0, max: 1e3 },
        default: Preset::Number(1.0),
        unit: "",
        doc: "Factor on R as drawn.",
    },
];

const SHALLOW: &[Key] = &[
    Key {
        name: "units",
        kind: Kind::Integer {
            min: 1,
            max: 10_000,
        },
        default: Preset::Integer(5),
        unit: "",
        doc: "Latent units M.",
    },
    Key {
        name: "hidden",
        kind: Kind::Integer {
            min: 1,
            max: 100_000,
        },
        default: Preset::Integer(250),
        unit: "",
        doc: "Units of the hidden layer L.",
    },
    Key {
        name: "clipped",
        kind: Kind::Flag,
        default: Preset::Flag(true),
        unit: "",
        doc: "Clipped: z' = A z + W1 [relu(W2 z + h2) - relu(W2 z)] + h1, bounded where every |A_ii| < 1.",
    },
];

const LATENT: &[Key] = &[Key {
    name: "units",
    kind: Kind::Integer {
        min: 1,
        max: 10_000,
    },
    default: Preset::Integer(20),
    unit: "",
    doc: "Latent units M.",
}];

const DENDRITES: &[Key] = &[
    Key {
        name: "bases",
        kind: Kind::Integer {
            min: 1,
            max: 10_000,
        },
        default: Preset::Integer(20),
        unit: "",
        doc: "Basis functions B of each unit: sum_b alpha_b relu(z - H_b), H for each unit, alpha for all. They start               with alpha uniform in +-1/sqrt(B) and H standard normal, for data of about unit variance.",
    },
    Key {
        name: "clipped",
        kind: Kind::Flag,
        default: Preset::Flag(false),
        unit: "",
        doc: "Clipped: sum_b alpha_b [relu(z - H_b) - relu(z)], bounded where every |A_ii| < 1.",
    },
];

const ALMOST_LINEAR: &[Key] = &[Key {
    name: "relu_units",
    kind: Kind::Integer {
        min: 0,
        max: 10_000,
    },
    default: Preset::Integer(2),
    unit: "",
    doc: "Units P with a relu, the last; the other M - P are linear. The map has at most 2^P linear regions.",
}];

const OBSERVATION: &[Key] = &[Key {
    name: "observation",
    kind: Kind::Choice(&["affine", "identity"]),
    default: Preset::Text("affine"),
    unit: "",
    doc: "affine: x = B z, forced through the pseudo-inverse of B. identity: x = the first units.",
}];

impl ModelKind {
    /// The cell that settings of this kind ask for.
    pub fn cell(&self, settings: &Settings) -> CellKind {
        (self.cell)(settings)
    }

    /// Architecture and initialisation for a task of these dimensions.
    ///
    /// # Errors
    /// If the identity readout has fewer units than the task has outputs, or more units are to have a relu than there
    /// are.
    pub fn build(
        &self,
        settings: &Settings,
        inputs: usize,
        outputs: usize,
    ) -> Result<(Architecture, Initialisation)> {
        let cell = self.cell(settings);
        let plrnn = cell.is_plrnn();
        let readout = if plrnn {
            match settings.text("observation") {
                "identity" => Readout::Identity,
                _ => Readout::LinearWithoutBias,
            }
        } else {
            match settings.text("readout") {
                "identity" => Readout::Identity,
                "linear_without_bias" => Readout::LinearWithoutBias,
                _ => Readout::Linear,
            }
        };
        let units = settings.count("units");
        if readout == Readout::Identity && units < outputs {
            return Err(Error::Argument {
                what: "key \"model.units\" with the identity readout".into(),
                found: units.to_string(),
                allowed: format!("at least {outputs}, the number of the task's outputs"),
            });
        }
        let almost_linear = cell == CellKind::AlmostLinearRnn;
        let linear_units = match almost_linear {
            true => units.checked_sub(settings.count("relu_units")),
            false => Some(0),
        };
        let Some(linear_units) = linear_units else {
            return Err(Error::argument(
                "key \"model.relu_units\"",
                settings.count("relu_units").to_string(),
                format!("at most {units}, the units"),
            ));
        };
        let leaky = cell.shape().unit_parameters.contains(&"leak");
        let architecture = Architecture {
            cell,
            inputs,
            units,
            hidden: match cell.shape().layer {
                Layer::Hidden => settings.count("hidden"),
                Layer::Bases => settings.count("bases"),
                _ => 0,
            },
            outputs,
            bias: plrnn || settings.flag("bias"),
            readout,
            train_leak: leaky && settings.flag("train_leak"),
        };
        let initialisation = if plrnn {
            // Hess et al. 2023: W1 and W2 uniform in +-1/sqrt(columns), B normal (Kaiming), C Glorot. Brenner et al.
            // 2024: W normal with standard deviation 0.01.
            let (recurrent, recurrent_gain) = match almost_linear {
                true => (Initialiser::Normal, 0.01 * (units as f64).sqrt()),
                false => (Initialiser::FanInUniform, 1.0),
            };
            Initialisation {
                recurrent,
                recurrent_gain,
                input: Initialiser::GlorotUniform,
                input_gain: 1.0,
                readout: Initialiser::KaimingNormal,
                readout_gain: 1.0,
                leak: 1.0,
                linear_units,
            }
        } else {
            let named = |key| {
                let name = settings.text(key);
                Initialiser::from_name(name).ok_or_else(|| Error::Argument {
                    what: format!("key \"model.{key}\""),
                    found: name.into(),
                    allowed: Initialiser::NAMES.join(", "),
                })
            };
            Initialisation {
                recurrent: named("recurrent_initialiser")?,
                recurrent_gain: settings.number("recurrent_gain"),
                input: named("input_initialiser")?,
                input_gain: settings.number("input_gain"),
                readout: named("readout_initialiser")?,
                readout_gain: settings.number("readout_gain"),
                leak: if leaky { settings.number("leak") } else { 1.0 },
                linear_units,
            }
        };
        Ok((architecture, initialisation))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nullcline_data::settings::{Value, schema_faults};

    #[test]
    fn schemas_are_sound_and_every_kind_builds() {
        for kind in MODELS {
            assert_eq!(
                schema_faults(kind.keys),
                Vec::<String>::new(),
                "{}",
                kind.name
            );
            let settings = Settings::from_defaults("model", kind.keys);
            let (architecture, _) = kind.build(&settings, 3, 3).unwrap();
            assert!(architecture.parameter_count() > 0);
        }
    }

    #[test]
    fn every_cell_can_be_chosen() {
        let mut chosen = Vec::new();
        for kind in MODELS {
            for form in ["rate", "current"] {
                for nonlinearity in ["tanh", "relu"] {
                    for clipped in [true, false] {
                        let mut settings = Settings::from_defaults("model", kind.keys);
                        // A key that the kind lacks is refused, which is as good.
                        let _ = settings.set("form", Value::Text(form.into()));
                        let _ = settings.set("nonlinearity", Value::Text(nonlinearity.into()));
                        let _ = settings.set("clipped", Value::Flag(clipped));
                        chosen.push(kind.cell(&settings));
                    }
                }
            }
        }
        for cell in CellKind::ALL {
            assert!(chosen.contains(cell), "{}", cell.name());
        }
    }

    #[test]
    fn the_last_units_of_an_almost_linear_network_have_a_relu() {
        let kind = kind("almost_linear_rnn").unwrap();
        let mut settings = Settings::from_defaults("model", kind.keys);
        settings.set("units", Value::Integer(5)).unwrap();
        settings.set("relu_units", Value::Integer(3)).unwrap();
        let (architecture, initialisation) = kind.build(&settings, 1, 2).unwrap();
        let ensemble = crate::ensemble::Ensemble::new(architecture, &initialisation, 400, 1);
        let of = |name| ensemble.architecture.tensor(name).unwrap().range;
        assert_eq!(
            ensemble.parameters[7][of("slope")],
            [1.0, 1.0, 0.0, 0.0, 0.0]
        );
        // W is 0.01 N(0, 1).
        let w = ensemble.parameters.iter().flat_map(|p| &p[of("recurrent")]);
        let variance = w.map(|w| w * w).sum::<f32>() / (400.0 * 25.0);
        assert!((variance / 1e-4 - 1.0).abs() < 0.1, "{variance}");
        settings.set("relu_units", Value::Integer(6)).unwrap();
        let refused = kind.build(&settings, 1, 2).unwrap_err().to_string();
        assert_eq!(
            refused,
            "key \"model.relu_units\": found 6; allowed: at most 5, the units"
        );
    }

    #[test]
    fn identity_readout_needs_enough_units() {
        let kind = kind("shallow_plrnn").unwrap();
        let mut settings = Settings::from_defaults("model", kind.keys);
        settings
            .set("observation", Value::Text("identity".into()))
            .unwrap();
        assert!(kind.build(&settings, 0, 5).is_ok());
        assert!(
            kind.build(&settings, 0, 6)
                .unwrap_err()
                .to_string()
                .contains("model.units")
        );
    }
}
