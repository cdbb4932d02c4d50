//! What a network is made of: the cell, the sizes, the readout, and where each parameter lies.

use crate::cells::{self, Cell, Layer};
use std::ops::Range;

/// Names every cell type once: the enum, its dispatch, its text.
macro_rules! cell_kinds {
    ($($(#[$doc:meta])* $variant:ident = $text:literal),* $(,)?) => {
        /// The cells there are, one for every set of pointwise bodies.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum CellKind { $($(#[$doc])* $variant),* }

        impl CellKind {
            /// Every cell.
            pub const ALL: &'static [CellKind] = &[$(CellKind::$variant),*];

            /// The name written in files, e.g. `leaky_rate_tanh`.
            pub fn name(self) -> &'static str {
                match self { $(CellKind::$variant => $text),* }
            }
        }

        /// Runs an expression with a type name bound to the cell's type.
        macro_rules! with_cell {
            ($kind:expr, $type_name:ident => $body:expr) => {
                match $kind {
                    $($crate::architecture::CellKind::$variant => {
                        type $type_name = $crate::cells::$variant;
                        $body
                    })*
                }
            };
        }
        pub(crate) use with_cell;
    };
}

cell_kinds! {
    /// Vanilla network with tanh.
    VanillaTanh = "vanilla_tanh",
    /// Vanilla network with relu.
    VanillaRelu = "vanilla_relu",
    /// Leaky network, rate form, tanh.
    LeakyRateTanh = "leaky_rate_tanh",
    /// Leaky network, rate form, relu.
    LeakyRateRelu = "leaky_rate_relu",
    /// Leaky network, current form, tanh.
    LeakyCurrentTanh = "leaky_current_tanh",
    /// Leaky network, current form, relu.
    LeakyCurrentRelu = "leaky_current_relu",
    /// Gated recurrent unit.
    Gru = "gru",
    /// Long short-term memory.
    Lstm = "lstm",
    /// Shallow piecewise-linear RNN.
    ShallowPlrnn = "shallow_plrnn",
    /// Clipped shallow piecewise-linear RNN.
    ClippedShallowPlrnn = "clipped_shallow_plrnn",
    /// Piecewise-linear RNN.
    Plrnn = "plrnn",
    /// Mean-centred piecewise-linear RNN.
    MeanCentredPlrnn = "mean_centred_plrnn",
    /// Dendritic piecewise-linear RNN.
    DendriticPlrnn = "dendritic_plrnn",
    /// Clipped dendritic piecewise-linear RNN.
    ClippedDendriticPlrnn = "clipped_dendritic_plrnn",
    /// Almost-linear RNN.
    AlmostLinearRnn = "almost_linear_rnn",
}

/// The constants of a cell, for code that does not depend on its type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CellShape {
    /// State variables per unit.
    pub states: usize,
    /// Gates per unit.
    pub gates: usize,
    /// Tape entries per unit.
    pub tape: usize,
    /// Names of the parameters per unit.
    pub unit_parameters: &'static [&'static str],
    /// Whether the rate is the first state variable itself.
    pub rate_is_state: bool,
    /// Whether the update depends on the sum of recurrent and input gates alone.
    pub gates_add: bool,
    /// What stands between the rates and W.
    pub layer: Layer,
    /// Whether hidden units of their own do, with the matrix Wh.
    pub has_hidden: bool,
    /// Names of the parameters of the layer, see [`Cell::HIDDEN_PARAMETERS`].
    pub hidden_parameters: &'static [&'static str],
}

impl CellKind {
    /// The constants of the cell.
    pub fn shape(self) -> CellShape {
        with_cell!(self, C => CellShape {
            states: C::STATES,
            gates: C::GATES,
            tape: C::TAPE,
            unit_parameters: C::UNIT_PARAMETERS,
            rate_is_state: C::RATE_IS_STATE,
            gates_add: C::GATES_ADD,
            layer: C::LAYER,
            has_hidden: C::HAS_HIDDEN,
            hidden_parameters: C::HIDDEN_PARAMETERS,
        })
    }

    /// The texts of the cell's pointwise bodies.
    pub fn bodies(self) -> cells::Bodies {
        with_cell!(self, C => C::BODIES)
    }

    /// Whether [`Architecture::hidden`] is a choice: hidden units, or basis functions of each unit.
    pub fn takes_hidden(self) -> bool {
        matches!(self.shape().layer, Layer::Hidden | Layer::Bases)
    }

    /// Whether the cell is one of the piecewise-linear RNNs: z' = A z + W q(z) + h + C x, observed as B z.
    pub fn is_plrnn(self) -> bool {
        self.shape().layer != Layer::Absent
    }

    /// Whether W has no diagonal: what a unit keeps of itself is in A alone.
    pub fn lacks_diagonal(self) -> bool {
        matches!(self, CellKind::Plrnn | CellKind::MeanCentredPlrnn)
    }
}

/// How the output is read from the rates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readout {
    /// y = R r + d.
    Linear,
    /// y = R r; the affine observation model of the PLRNN literature, without its bias.
    LinearWithoutBias,
    /// y = the first `outputs` units. With more units than outputs, forced training starts the others
    /// from a learned linear map of the first observation.
    Identity,
}

/// Cell, sizes and readout of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Architecture {
    /// The cell.
    pub cell: CellKind,
    /// Input dimensions, may be 0.
    pub inputs: usize,
    /// Recurrent units, at least 1.
    pub units: usize,
    /// Units of the hidden layer; of a dendritic network the basis functions of each unit, at least 1; 0 for other
    /// cells.
    pub hidden: usize,
    /// Output dimensions, at least 1.
    pub outputs: usize,
    /// Whether the gates have a bias.
    pub bias: bool,
    /// The readout.
    pub readout: Readout,
    /// Whether the parameters per unit named `leak` are trained.
    pub train_leak: bool,
}

/// One named parameter tensor of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct ParameterTensor {
    /// Name, the same in checkpoints and exports.
    pub name: String,
    /// Shape; a matrix is [to, from].
    pub shape: Vec<usize>,
    /// Where it lies in the network's flat parameter vector.
    pub range: Range<usize>,
    /// Whether the optimiser may move it; single entries that it may not are in [`Architecture::trainable`].
    pub trainable: bool,
}

/// Ranges of each parameter in the flat vector of one network. Absent parameters are empty ranges.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    /// W `[gates * units, units or hidden]`.
    pub recurrent: Range<usize>,
    /// Wh `[hidden, units]`.
    pub hidden: Range<usize>,
    /// U `[gates * units, inputs]`.
    pub input: Range<usize>,
    /// b `[gates * units]`.
    pub bias: Range<usize>,
    /// Parameters per unit [parameter, units].
    pub unit: Range<usize>,
    /// Parameters of the layer before W: [parameter, hidden] or [parameter, units]; of a dendritic network
    /// thresholds `[units, bases]`, then slopes `[bases]`.
    pub hidden_unit: Range<usize>,
    /// R `[outputs, units]`.
    pub readout: Range<usize>,
    /// d `[outputs]`.
    pub readout_bias: Range<usize>,
    /// [units - outputs, outputs]: initial state of unobserved units from the first observation.
    pub initial: Range<usize>,
    /// Length of the flat vector.
    pub total: usize,
}

impl Architecture {
    /// State dimensions: units times state variables per unit. A state vector holds the first variable of
    /// every unit, then the second.
    pub fn state_dim(&self) -> usize {
        self.units * self.cell.shape().states
    }

    /// Columns of the recurrent matrix: hidden units where there is a hidden layer, else units.
    pub fn recurrent_columns(&self) -> usize {
        if self.cell.shape().has_hidden {
            self.hidden
        } else {
            self.units
        }
    }

    /// Basis functions of each unit: 1 where there are none, or one.
    pub fn bases(&self) -> usize {
        match self.cell.shape().layer {
            Layer::Bases => self.hidden.max(1),
            _ => 1,
        }
    }

    /// Functions `hidden` that a step evaluates: of every hidden unit, of every unit, or of every basis function of
    /// every unit, unit after unit.
    pub fn layer_functions(&self) -> usize {
        match self.cell.shape().layer {
            Layer::Absent => 0,
            Layer::Hidden => self.hidden,
            Layer::Units | Layer::CentredUnits => self.units,
            Layer::Bases => self.units * self.bases(),
        }
    }

    /// Where parameter `k` of function `l` of the layer lies, from the start of [`Layout::hidden_unit`].
    #[inline]
    pub(crate) fn layer_parameter(&self, k: usize, l: usize) -> usize {
        if k == 0 {
            return l;
        }
        let at = k * self.layer_functions();
        match self.cell.shape().layer {
            // The second is the same in all units.
            Layer::Bases => at + l % self.bases(),
            _ => at + l,
        }
    }

    /// Shapes of the parameters of the layer, in the order of [`Cell::HIDDEN_PARAMETERS`].
    fn layer_shape(&self, k: usize) -> Vec<usize> {
        match (self.cell.shape().layer, k) {
            (Layer::Bases, 0) => vec![self.units, self.bases()],
            (Layer::Bases, _) => vec![self.bases()],
            _ => vec![self.layer_functions()],
        }
    }

    /// Length of one network's flat parameter vector.
    pub fn parameter_count(&self) -> usize {
        self.layout().total
    }

    /// Whether the optimiser may move each number of the flat parameter vector: those of the tensors that are trained,
    /// without the diagonal of W in cells that have none, where it stays 0. The literature counts these.
    pub fn trainable(&self) -> Vec<bool> {
        let mut trainable = vec![false; self.parameter_count()];
        for tensor in self.tensors() {
            trainable[tensor.range.clone()].fill(tensor.trainable);
            if tensor.name == "recurrent" && self.cell.lacks_diagonal() {
                let diagonal = trainable[tensor.range].iter_mut().step_by(self.units + 1);
                diagonal.for_each(|trainable| *trainable = false);
            }
        }
        trainable
    }

    /// Where each parameter lies.
    pub fn layout(&self) -> Layout {
        let shape = self.cell.shape();
        let mut total = 0;
        let mut take = |count: usize| {
            let range = total..total + count;
            total += count;
            range
        };
        let gate_rows = shape.gates * self.units;
        let recurrent = take(gate_rows * self.recurrent_columns());
        let hidden = take(if shape.has_hidden {
            self.hidden * self.units
        } else {
            0
        });
        let input = take(gate_rows * self.inputs);
        let bias = take(if self.bias { gate_rows } else { 0 });
        let unit = take(shape.unit_parameters.len() * self.units);
        let parameters = 0..shape.hidden_parameters.len();
        let numbers = |k| self.layer_shape(k).iter().product::<usize>();
        let hidden_unit = take(parameters.map(numbers).sum());
        let identity = self.readout == Readout::Identity;
        let readout = take(if identity {
            0
        } else {
            self.outputs * self.units
        });
        let readout_bias = take(if self.readout == Readout::Linear {
            self.outputs
        } else {
            0
        });
        let initial = take(if identity {
            (self.units - self.outputs.min(self.units)) * self.outputs
        } else {
            0
        });
        Layout {
            recurrent,
            hidden,
            input,
            bias,
            unit,
            hidden_unit,
            readout,
            readout_bias,
            initial,
            total,
        }
    }

    /// Every parameter tensor, in the order of the flat vector; absent ones are left out.
    pub fn tensors(&self) -> Vec<ParameterTensor> {
        let shape = self.cell.shape();
        let layout = self.layout();
        let gate_rows = shape.gates * self.units;
        let mut tensors = Vec::new();
        let mut push = |name: String, shape: Vec<usize>, range: Range<usize>, trainable: bool| {
            if !range.is_empty() {
                tensors.push(ParameterTensor {
                    name,
                    shape,
                    range,
                    trainable,
                });
            }
        };
        push(
            "recurrent".into(),
            vec![gate_rows, self.recurrent_columns()],
            layout.recurrent,
            true,
        );
        push(
            "hidden".into(),
            vec![self.hidden, self.units],
            layout.hidden,
            true,
        );
        push(
            "input".into(),
            vec![gate_rows, self.inputs],
            layout.input,
            true,
        );
        push("bias".into(), vec![gate_rows], layout.bias, true);
        for (k, name) in shape.unit_parameters.iter().enumerate() {
            let start = layout.unit.start + k * self.units;
            let trainable = match *name {
                "leak" => self.train_leak,
                "recurrent_bias" => self.bias,
                _ => true,
            };
            push(
                (*name).into(),
                vec![self.units],
                start..start + self.units,
                trainable,
            );
        }
        let mut start = layout.hidden_unit.start;
        for (k, name) in shape.hidden_parameters.iter().enumerate() {
            let shape = self.layer_shape(k);
            let end = start + shape.iter().product::<usize>();
            // Which units are linear is a choice, not learned.
            push((*name).into(), shape, start..end, *name != "slope");
            start = end;
        }
        push(
            "readout".into(),
            vec![self.outputs, self.units],
            layout.readout,
            true,
        );
        push(
            "readout_bias".into(),
            vec![self.outputs],
            layout.readout_bias,
            true,
        );
        let unobserved = self.units - self.outputs.min(self.units);
        push(
            "initial".into(),
            vec![unobserved, self.outputs],
            layout.initial,
            true,
        );
        tensors
    }

    /// The range of a tensor by name.
    pub fn tensor(&self, name: &str) -> Option<ParameterTensor> {
        self.tensors()
            .into_iter()
            .find(|tensor| tensor.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameter_counts_are_those_of_the_published_networks() {
        // Hess et al. 2023, Table 1: ECG 2,785 and EEG 17,952 parameters, without biases of the readout.
        let plrnn = |units, hidden, outputs, readout| Architecture {
            cell: CellKind::ClippedShallowPlrnn,
            inputs: 0,
            units,
            hidden,
            outputs,
            bias: true,
            readout,
            train_leak: false,
        };
        assert_eq!(
            plrnn(5, 250, 5, Readout::LinearWithoutBias).parameter_count(),
            2785
        );
        assert_eq!(
            plrnn(16, 512, 64, Readout::LinearWithoutBias).parameter_count(),
            17_952
        );
        assert_eq!(plrnn(3, 50, 3, Readout::Identity).parameter_count(), 356);
        // The same table: dendritic networks of 3,245 and 18,099, with a full W and the map of the first observation
        // to the units that are not observed.
        let counts = |cell, units, hidden, outputs, readout| {
            let architecture = Architecture {
                cell,
                ..plrnn(units, hidden, outputs, readout)
            };
            let trained = architecture.trainable();
            (
                architecture.parameter_count(),
                trained.iter().filter(|&&trained| trained).count(),
            )
        };
        let dendritic = CellKind::DendriticPlrnn;
        assert_eq!(
            counts(dendritic, 35, 50, 5, Readout::Identity),
            (3245, 3245)
        );
        assert_eq!(
            counts(dendritic, 105, 40, 64, Readout::Identity),
            (18_099, 18_099)
        );
        // A PLRNN learns A, W without its diagonal, and h: M + M (M - 1) + M.
        for cell in [CellKind::Plrnn, CellKind::MeanCentredPlrnn] {
            assert_eq!(counts(cell, 30, 0, 30, Readout::Identity).1, 30 * 31);
        }
        // An almost-linear RNN has a full W: M + M^2 + M, and the map to the units that are not observed.
        assert_eq!(
            counts(CellKind::AlmostLinearRnn, 20, 0, 3, Readout::Identity).1,
            440 + 17 * 3
        );
    }

    #[test]
    fn what_is_fixed_are_the_slopes_and_the_diagonal_of_a_plrnn() {
        for &cell in CellKind::ALL {
            let architecture = Architecture {
                cell,
                inputs: 2,
                units: 4,
                hidden: 3,
                outputs: 2,
                bias: true,
                readout: Readout::Linear,
                train_leak: true,
            };
            let trainable = architecture.trainable();
            for tensor in architecture.tensors() {
                for (k, &trained) in trainable[tensor.range.clone()].iter().enumerate() {
                    let fixed = match tensor.name.as_str() {
                        "slope" => true,
                        "recurrent" => cell.lacks_diagonal() && k % 5 == 0,
                        _ => false,
                    };
                    assert_eq!(trained, !fixed, "{} {} {k}", cell.name(), tensor.name);
                }
            }
        }
    }

    #[test]
    fn tensors_tile_the_flat_vector_without_gap_or_overlap() {
        for &cell in CellKind::ALL {
            for readout in [
                Readout::Linear,
                Readout::LinearWithoutBias,
                Readout::Identity,
            ] {
                let architecture = Architecture {
                    cell,
                    inputs: 2,
                    units: 7,
                    hidden: if cell.takes_hidden() { 11 } else { 0 },
                    outputs: 3,
                    bias: true,
                    readout,
                    train_leak: true,
                };
                let mut next = 0;
                for tensor in architecture.tensors() {
                    assert_eq!(tensor.range.start, next, "{cell:?} {}", tensor.name);
                    assert_eq!(tensor.range.len(), tensor.shape.iter().product::<usize>());
                    next = tensor.range.end;
                }
                assert_eq!(next, architecture.parameter_count());
            }
        }
    }
}
