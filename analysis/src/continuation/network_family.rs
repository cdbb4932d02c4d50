//! Trained networks as families of maps with one parameter.

use nullcline_models::network::Network;

use super::Family;
use crate::Error;

/// What is varied of a network.
#[derive(Clone, Debug, PartialEq)]
pub enum NetworkParameter {
    /// The constant input of this channel, from 0.
    Input(usize),
    /// A factor on all elements of the tensor of this name; 1 is the network itself.
    Scale(String),
    /// One value for all elements of the tensor of this name, such as the leak of all units.
    Value(String),
    /// An element of the tensor of this name, by its place in the tensor, row by row.
    Element(String, usize),
}

/// A network of which one number is varied.
#[derive(Clone, Debug)]
pub struct NetworkFamily {
    network: Network,
    input: Vec<f64>,
    path: Path,
}

#[derive(Clone, Debug)]
enum Path {
    /// The input of a channel.
    Input(usize),
    /// theta(p) = (1 - p) `at_zero` + p `at_one`.
    Line {
        at_zero: Vec<f64>,
        at_one: Vec<f64>,
        /// at_one - at_zero.
        direction: Vec<f64>,
    },
}

impl Path {
    fn line(at_zero: Vec<f64>, at_one: Vec<f64>) -> Self {
        let pairs = at_one.iter().zip(&at_zero);
        Path::Line {
            direction: pairs.map(|(one, zero)| one - zero).collect(),
            at_zero,
            at_one,
        }
    }
}

impl NetworkFamily {
    /// The family of `network` under the constant `input`, `[input]`, as `parameter` varies, with the value that the
    /// parameter has in the network itself.
    ///
    /// # Errors
    /// [`Error::Shape`] where `input` does not fit the network; [`Error::Setting`] where the network has no such parameter,
    /// or where one value is asked for elements that are not equal.
    pub fn new(
        network: Network,
        input: &[f64],
        parameter: &NetworkParameter,
    ) -> Result<(Self, f64), Error> {
        Error::check_shape("input", network.architecture().inputs, input.len())?;
        let wrong = |found: String, allowed| Error::Setting {
            what: "parameter",
            found,
            allowed,
        };
        let theta = network.parameters();
        let tensor = |name: &str| {
            network.architecture().tensor(name).ok_or_else(|| {
                let found = format!("the tensor \"{name}\"");
                wrong(found, "a tensor of the network")
            })
        };
        let with = |range: std::ops::Range<usize>, value: f64| {
            let mut theta = theta.to_vec();
            theta[range].fill(value);
            theta
        };
        let (path, value) = match parameter {
            NetworkParameter::Input(channel) => {
                let value = input.get(*channel).copied().ok_or_else(|| {
                    let found = format!("input channel {channel}");
                    wrong(found, "a channel of the network, from 0")
                })?;
                (Path::Input(*channel), value)
            }
            NetworkParameter::Scale(name) => {
                let range = tensor(name)?.range;
                (Path::line(with(range, 0.0), theta.to_vec()), 1.0)
            }
            NetworkParameter::Value(name) => {
                let range = tensor(name)?.range;
                let values = &theta[range.clone()];
                let value = values.first().copied().unwrap_or(0.0);
                if values.iter().any(|&other| other != value) {
                    let found = format!("one value for \"{name}\", whose elements differ");
                    return Err(wrong(found, "its scale, or one of its elements"));
                }
                (
                    Path::line(with(range.clone(), 0.0), with(range, 1.0)),
                    value,
                )
            }
            NetworkParameter::Element(name, place) => {
                let range = tensor(name)?.range;
                let at = range.start + place;
                if !range.contains(&at) {
                    let found = format!("element {place} of \"{name}\"");
                    return Err(wrong(found, "an element of the tensor, from 0"));
                }
                let value = theta[at];
                (
                    Path::line(with(at..at + 1, 0.0), with(at..at + 1, 1.0)),
                    value,
                )
            }
        };
        let family = NetworkFamily {
            input: input.to_vec(),
            path,
            network,
        };
        Ok((family, value))
    }

    /// The networks on the straight line between the parameters of two: p = 0 is the first, p = 1 the second.
    ///
    /// # Errors
    /// [`Error::Setting`] where their architectures differ, [`Error::Shape`] where `input` does not fit them.
    pub fn between(first: Network, second: &Network, input: &[f64]) -> Result<Self, Error> {
        Error::check_shape("input", first.architecture().inputs, input.len())?;
        if first.architecture() != second.architecture() {
            return Err(Error::Setting {
                what: "networks",
                found: "two architectures".to_owned(),
                allowed: "networks of one architecture",
            });
        }
        Ok(NetworkFamily {
            input: input.to_vec(),
            path: Path::line(first.parameters().to_vec(), second.parameters().to_vec()),
            network: first,
        })
    }

    /// The network at a value of the parameter, and its constant input.
    pub fn at(&self, parameter: f64) -> (Network, Vec<f64>) {
        let mut input = self.input.clone();
        match &self.path {
            Path::Input(channel) => {
                if let Some(u) = input.get_mut(*channel) {
                    *u = parameter;
                }
                (self.network.clone(), input)
            }
            Path::Line {
                at_zero, at_one, ..
            } => {
                let pairs = at_zero.iter().zip(at_one);
                // What does not vary keeps its exact value.
                let theta = pairs.map(|(&zero, &one)| {
                    if zero == one {
                        zero
                    } else {
                        (1.0 - parameter) * zero + parameter * one
                    }
                });
                let architecture = self.network.architecture().clone();
                (Network::from_f64(architecture, theta.collect()), input)
            }
        }
    }
}

impl Family for NetworkFamily {
    fn state_dim(&self) -> usize {
        self.network.state_dim()
    }

    fn step_with_derivatives(
        &self,
        state: &[f64],
        parameter: f64,
        next: &mut [f64],
        jacobian: &mut [f64],
        by_parameter: &mut [f64],
    ) {
        let (network, input) = self.at(parameter);
        network.step_with_jacobian(state, &input, next, jacobian);
        match &self.path {
            Path::Input(channel) => {
                let mut by_input = vec![0.0; state.len() * input.len()];
                network.input_jacobian(state, &input, &mut by_input);
                let column = by_input.iter().skip(*channel).step_by(input.len());
                for (out, value) in by_parameter.iter_mut().zip(column) {
                    *out = *value;
                }
            }
            Path::Line { direction, .. } => {
                network.parameter_derivative(state, &input, direction, by_parameter);
            }
        }
    }

    fn is_piecewise_smooth(&self) -> bool {
        let state = vec![0.0; self.state_dim()];
        self.network.linear_region(&state, &self.input).is_some()
    }
}
