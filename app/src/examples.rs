//! The example experiments, compiled into the program.

use crate::experiment::Experiment;
use nullcline_data::Result;
use nullcline_data::settings::Document;

/// An experiment that comes with the program.
pub struct Example {
    /// Its name: of `nullcline new NAME`.
    pub name: &'static str,
    /// A title for people.
    pub title: &'static str,
    /// One sentence on what is to be seen.
    pub summary: &'static str,
    /// The file.
    pub text: &'static str,
}

/// Every example.
pub static EXAMPLES: &[Example] = &[
    Example {
        name: "flip_flop",
        title: "3-bit flip-flop",
        summary: "A leaky tanh network holds three bits; its mechanism is a cube of 27 fixed points.",
        text: include_str!("../../assets/experiments/flip_flop.toml"),
    },
    Example {
        name: "ecg",
        title: "Human heartbeat",
        summary: "A shallow piecewise-linear RNN learns to generate a real electrocardiogram.",
        text: include_str!("../../assets/experiments/ecg.toml"),
    },
    Example {
        name: "lorenz_63",
        title: "Lorenz attractor",
        summary: "A shallow piecewise-linear RNN reconstructs the chaotic attractor of Lorenz (1963) from noisy samples.",
        text: include_str!("../../assets/experiments/lorenz_63.toml"),
    },
    Example {
        name: "lorenz_96",
        title: "Lorenz waves",
        summary: "The same for the chaotic waves of Lorenz (1996) on a ring of twenty variables.",
        text: include_str!("../../assets/experiments/lorenz_96.toml"),
    },
    Example {
        name: "roessler",
        title: "Roessler band",
        summary: "The same for the chaotic band of Roessler (1976), which folds once a turn.",
        text: include_str!("../../assets/experiments/roessler.toml"),
    },
];

impl Example {
    /// The experiment of the example, every default filled in.
    ///
    /// # Errors
    /// None for the examples that ship: a test reads them all.
    pub fn experiment(&self) -> Result<Experiment> {
        Experiment::from_document(&Document::parse(&format!("{}.toml", self.name), self.text)?)
    }
}

/// The example of this name.
pub fn example(name: &str) -> Option<&'static Example> {
    EXAMPLES.iter().find(|example| example.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_is_a_whole_experiment() {
        for example in EXAMPLES {
            let experiment = example.experiment().unwrap();
            assert_eq!(experiment.name(), example.name);
            experiment.build().unwrap();
        }
    }
}
