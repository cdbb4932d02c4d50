//! From a problem to a list of dispatches: how the work is cut into tiles, and time into chunks.

use crate::kernels::{self, ProductSize};
use crate::layout::{BLOCK, DEPTH, ITERATIONS, ITERATIONS_PER_DEPTH, Places, QUAD};
use crate::sweeps::{Kernel, Placement, Sweeps, Tiling};
use nullcline_data::{Error, Result};

macro_rules! run {
    ($($name:ident: $kind:ident),* $(,)?) => {
        /// What a dispatch is told, in the order of the shader's `Run`.
        #[repr(C)]
        #[derive(Clone, Copy, Debug, Default, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
        pub struct Run { $(#[allow(missing_docs)] pub $name: $kind),* }

        /// The declaration of [`Run`] in WGSL.
        pub const RUN_WGSL: &str = concat!("struct Run {\n", $("    ", stringify!($name), ": ", stringify!($kind), ",\n",)* "}\n");
    };
}

run! {
    networks: u32,
    begin: u32,
    end: u32,
    first_set: u32,
    first_network: u32,
    trainable_at: u32,
    pulls_at: u32,
    sets_at: u32,
    seeds_at: u32,
    factors_at: u32,
    record_at: u32,
    update: u32,
    update_in_block: u32,
    not_a_number: u32,
    infinity: u32,
    alpha: f32,
    clip: f32,
}

/// What of a device bears on how work is cut.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Capabilities {
    /// Bytes of workgroup memory.
    pub workgroup_bytes: usize,
    /// Threads of a workgroup.
    pub threads: usize,
    /// Workgroups along a dimension.
    pub workgroups: usize,
    /// Bytes of a binding or a buffer.
    pub binding_bytes: u64,
    /// Workgroups that fill the device.
    pub busy: usize,
    /// Multiplications in one dispatch, which nothing can interrupt.
    pub dispatch_work: u64,
    /// Whether gradients are gathered in registers where they can be.
    pub gathers: bool,
}

impl Capabilities {
    /// How many pieces of so many multiplications each fit one dispatch; one in any case.
    pub fn affordable(&self, work: usize) -> usize {
        usize::try_from(self.dispatch_work / work.max(1) as u64)
            .unwrap_or(usize::MAX)
            .max(1)
    }
}

/// How a pass is cut, forwards and backwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tilings {
    /// Forwards.
    pub forward: Tiling,
    /// Backwards.
    pub backward: Tiling,
}

/// Chooses the tiles: large ones where there are networks enough to fill the device, else as many as there are
/// trials for. A thread has the largest block of units that leaves [`THREADS`] of them.
pub fn tilings(places: &Places, networks: usize, capabilities: &Capabilities) -> Tilings {
    let p = &places.packed;
    let fits = |floats: usize| 4 * floats <= capabilities.workgroup_bytes;
    let most = p.units.max(p.hidden).max(p.columns);
    let gates = places.problem.architecture.cell.shape().gates;
    let tiling = |quads: usize, gates: usize, (operands, weights): (usize, usize)| {
        let divides = |rows: usize| [p.units, p.columns, p.hidden].iter().all(|n| n % rows == 0);
        let rows = [8, 4, 2]
            .into_iter()
            // The sums of all gates lie in registers.
            .find(|&rows| gates * rows <= 8 && divides(rows) && p.units / rows * quads >= THREADS)
            .unwrap_or(1);
        let held = fits(operands);
        Tiling {
            quads,
            rows,
            threads: (most / rows * quads)
                .next_multiple_of(32)
                .min(2 * THREADS)
                .min(capabilities.threads.max(1)),
            placement: Placement {
                operands: held,
                weights: fits(weights + if held { operands } else { 0 }),
            },
            gathers: false,
        }
    };
    let enough = |quads: usize| {
        quads / 2 < places.quads && networks * places.quads.div_ceil(quads) >= capabilities.busy
    };
    let forward = |quads| tiling(quads, gates, Sweeps::forward_floats(places, quads));
    let backward = |quads| tiling(quads, 1, Sweeps::backward_floats(places, quads));
    let quads = [8, 4, 2].into_iter().find(|&quads| enough(quads));
    let mut tilings = Tilings {
        forward: forward(quads.unwrap_or(1)),
        backward: backward(quads.unwrap_or(1)),
    };
    // Forwards, twice the trials make more of the weights where both have room.
    let wide = forward(16);
    if enough(16) && wide.placement.operands && wide.placement.weights {
        tilings.forward = wide;
    }
    tilings.backward.gathers = capabilities.gathers
        && Sweeps {
            places,
            tiling: tilings.backward,
        }
        .can_gather(capabilities.workgroup_bytes);
    tilings
}

/// Threads of a workgroup where there is work for them: more hide the time that memory takes.
const THREADS: usize = 256;

/// One dispatch: which kernel of the program, over how many workgroups, told what.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Index into the program's kernels.
    pub kernel: usize,
    /// Workgroups.
    pub workgroups: [u32; 3],
    /// What it is told.
    pub run: Run,
    /// Multiplications, roughly.
    pub work: u64,
    /// Loop iterations of an invocation, at most.
    pub iterations: usize,
}

/// The kernels of a problem under a tiling, as text, and the lists of dispatches.
pub struct Program {
    /// Where everything lies.
    pub places: Places,
    /// The kernels.
    pub kernels: Vec<Kernel>,
    tilings: Tilings,
    copy: usize,
    inverse: Option<usize>,
    start: usize,
    forward: usize,
    readout: usize,
    loss: usize,
    backward: Option<Backward>,
}

/// The kernels of the backward pass.
struct Backward {
    sweep: usize,
    initial: Option<usize>,
    /// Index of the kernel, and its product.
    products: Vec<(usize, ProductSize)>,
    reduce: usize,
}

impl Program {
    /// Writes the kernels; `trains`: the update follows on the device, so that what is not trained has no part
    /// in the norm.
    pub fn new(places: Places, tilings: Tilings, trains: bool) -> Self {
        let mut kernels: Vec<Kernel> = Vec::new();
        let mut add = |kernel: Kernel| {
            kernels.push(kernel);
            kernels.len() - 1
        };
        let sweeps = |tiling| Sweeps {
            places: &places,
            tiling,
        };
        let gathers = tilings.backward.gathers;
        let copy = add(kernels::copy(&places));
        let inverse = places.problem.inverts_readout().then(|| {
            let [first, second, third] = kernels::inverse(&places);
            let at = add(first);
            add(second);
            add(third);
            at
        });
        let start = add(kernels::start(&places));
        let forward = add(sweeps(tilings.forward).forward());
        let readout = add(kernels::readout(&places));
        let loss = add(kernels::loss(&places));
        let backward = places.problem.backward.then(|| Backward {
            sweep: add(sweeps(tilings.backward).backward()),
            initial: places.problem.inverts_readout().then(|| {
                let [left, right] = kernels::initial_factors(&places);
                let at = add(left);
                add(right);
                at
            }),
            products: kernels::products(&places, gathers)
                .into_iter()
                .map(|(kernel, size)| (add(kernel), size))
                .collect(),
            reduce: add(kernels::reduce(&places, trains, gathers)),
        });
        Program {
            copy,
            inverse,
            start,
            forward,
            readout,
            loss,
            backward,
            kernels,
            tilings,
            places,
        }
    }

    /// What every dispatch of a pass is told.
    pub fn run(networks: usize, alpha: f32) -> Run {
        Run {
            networks: networks as u32,
            not_a_number: f32::NAN.to_bits(),
            infinity: f32::INFINITY.to_bits(),
            alpha,
            ..Run::default()
        }
    }

    /// The dispatches of one pass over `networks` networks: the response, and the gradient where it is wanted.
    ///
    /// # Errors
    /// If a single step or column exceeds what a device can do in one dispatch.
    pub fn pass(&self, run: Run, capabilities: &Capabilities) -> Result<Vec<Step>> {
        let p = &self.places;
        let a = &p.problem.architecture;
        let shape = a.cell.shape();
        let networks = run.networks as usize;
        let lanes = p.quads * QUAD;
        let mut list = List::new(networks, capabilities);
        let (forward, backward_sweep) = (self.tilings.forward, self.tilings.backward);
        let sweeps = |tiling| Sweeps { places: p, tiling };
        let blocks = |count: usize, threads: usize| count.div_ceil(threads);

        list.add(
            self.copy,
            &[blocks(p.packed.copied(), 256)],
            run,
            p.packed.stride,
            1,
        )?;
        let (long, short) = (a.units.max(a.outputs), a.units.min(a.outputs));
        if let Some(kernel) = self.inverse {
            let iterations = kernels::orthogonalise_iterations(p);
            // A column costs a row of the triangle, twice, and so does a row of the inverse.
            let affordable = capabilities.affordable(4 * long * short);
            for (begin, end) in chunks_of(short, iterations, 16, affordable)? {
                list.add(
                    kernel,
                    &[1],
                    Run { begin, end, ..run },
                    4 * long * short * (end - begin) as usize,
                    16 + iterations * (end - begin) as usize,
                )?;
            }
            let mut rows = chunks_of(short, 2 + short, 1, affordable)?;
            rows.reverse();
            for (begin, end) in rows {
                list.add(
                    kernel + 1,
                    &[blocks(long, 64)],
                    Run { begin, end, ..run },
                    long * short * (end - begin) as usize,
                    1 + (2 + short) * (end - begin) as usize,
                )?;
            }
            list.add(
                kernel + 2,
                &[blocks(p.packed.units, 64)],
                run,
                a.units * a.outputs,
                a.outputs,
            )?;
        }
        let rows = a
            .state_dim()
            .max(p.problem.unit_gradients() * a.units)
            .max(shape.hidden_parameters.len() * a.hidden);
        list.add(
            self.start,
            &[blocks(rows * p.quads, 64)],
            run,
            a.units * a.outputs * lanes,
            a.outputs,
        )?;
        // Multiplications of a step of one network.
        let matrices = shape.gates * a.units * (a.recurrent_columns() + a.inputs)
            + if shape.has_hidden {
                a.hidden * a.units
            } else {
                0
            }
            + a.units * a.outputs;
        let step_work = lanes * (matrices + 16 * a.units);
        let affordable = capabilities.affordable(networks * step_work);
        let (once, each) = sweeps(forward).forward_iterations();
        for (begin, end) in chunks_of(p.steps, each, once, affordable)? {
            list.add(
                self.forward,
                &[p.quads.div_ceil(forward.quads)],
                Run { begin, end, ..run },
                step_work * (end - begin) as usize,
                once + each * (end - begin) as usize,
            )?;
        }
        let readout_work = lanes * a.outputs * (a.units + 8);
        let readable = capabilities
            .affordable(networks * readout_work)
            .min(capabilities.workgroups);
        for (begin, end) in chunks_of(p.steps, 0, 0, readable)? {
            let count = (end - begin) as usize;
            let run = Run { begin, end, ..run };
            list.add(
                self.readout,
                &[blocks(a.outputs.div_ceil(4) * p.quads, 64), count],
                run,
                count * readout_work,
                a.units + 4,
            )?;
            list.add(
                self.loss,
                &[count],
                run,
                lanes * count * a.outputs * 8,
                kernels::loss_iterations(p),
            )?;
        }
        let Some(backward) = &self.backward else {
            return Ok(list.steps);
        };
        let (once, each) = sweeps(backward_sweep).backward_iterations();
        let mut times = chunks_of(p.steps, each, once, affordable)?;
        times.reverse();
        for (begin, end) in times {
            list.add(
                backward.sweep,
                &[p.quads.div_ceil(backward_sweep.quads)],
                Run { begin, end, ..run },
                step_work * (end - begin) as usize,
                once + each * (end - begin) as usize,
            )?;
        }
        if let Some(kernel) = backward.initial {
            for (kernel, rows, inner) in [
                (kernel, a.outputs, a.units),
                (kernel + 1, a.units, a.outputs),
            ] {
                list.add(
                    kernel,
                    &[blocks(rows * p.quads, 64)],
                    run,
                    lanes * rows * inner * 3,
                    inner,
                )?;
            }
        }
        for (kernel, product) in &backward.products {
            let (count, slice_quads) = product.slices;
            let slice_work = slice_quads * QUAD * product.work;
            let affordable = capabilities.affordable(networks * slice_work);
            for (begin, end) in chunks_of(count, 0, 0, affordable)? {
                list.add(
                    *kernel,
                    &[product.tiles, (end - begin) as usize],
                    Run { begin, end, ..run },
                    slice_work * (end - begin) as usize,
                    slice_quads / DEPTH * ITERATIONS_PER_DEPTH + 1,
                )?;
            }
        }
        let block_work = BLOCK * (p.sums.slices + p.sums.initial_slices);
        let affordable = capabilities
            .affordable(networks * block_work)
            .min(capabilities.workgroups);
        for (begin, end) in chunks_of(p.sums.blocks, 0, 0, affordable)? {
            list.add(
                backward.reduce,
                &[(end - begin) as usize],
                Run { begin, end, ..run },
                block_work * (end - begin) as usize,
                p.sums.slices + p.sums.initial_slices + 24,
            )?;
        }
        Ok(list.steps)
    }
}

/// Collects dispatches over networks, cuts them and checks them against what a device takes.
pub struct List<'a> {
    /// What was collected.
    pub steps: Vec<Step>,
    networks: usize,
    capabilities: &'a Capabilities,
}

impl<'a> List<'a> {
    /// Dispatches over so many networks.
    pub fn new(networks: usize, capabilities: &'a Capabilities) -> Self {
        List {
            steps: Vec::new(),
            networks,
            capabilities,
        }
    }

    /// Adds a dispatch of so many workgroups, one or two numbers, for each network, and of `work` multiplications:
    /// over as many networks at a time as one dispatch affords.
    pub fn add(
        &mut self,
        kernel: usize,
        workgroups: &[usize],
        run: Run,
        work: usize,
        iterations: usize,
    ) -> Result<()> {
        let most = self.capabilities.workgroups;
        if workgroups.iter().any(|&n| n > most) || iterations > ITERATIONS {
            return Err(too_large(format!(
                "{workgroups:?} workgroups of {iterations} iterations"
            )));
        }
        if workgroups.contains(&0) {
            return Ok(());
        }
        let affordable = self.capabilities.affordable(work).min(most);
        for (first, end) in chunks_of(self.networks, 0, 0, affordable)? {
            let mut groups = [1; 3];
            for (group, &n) in groups.iter_mut().zip(workgroups) {
                *group = n as u32;
            }
            groups[workgroups.len()] = end - first;
            self.steps.push(Step {
                kernel,
                workgroups: groups,
                run: Run {
                    first_network: first,
                    ..run
                },
                work: work as u64 * u64::from(end - first),
                iterations,
            });
        }
        Ok(())
    }
}

fn too_large(found: String) -> Error {
    Error::argument(
        "network and batch on a graphics card",
        found,
        format!("dispatches of at most 65535 workgroups and {ITERATIONS} iterations; use the CPU"),
    )
}

/// Cuts `count` steps of `each` iterations, `once` before them, so that no dispatch exceeds [`ITERATIONS`], with at
/// most `most` steps in a piece.
pub fn chunks_of(count: usize, each: usize, once: usize, most: usize) -> Result<Vec<(u32, u32)>> {
    let fitting = ITERATIONS.saturating_sub(once) / each.max(1);
    if fitting == 0 {
        return Err(too_large(format!("a step of {each} iterations")));
    }
    let length = fitting.min(most).max(1);
    Ok((0..count)
        .step_by(length)
        .map(|begin| (begin as u32, count.min(begin.saturating_add(length)) as u32))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Problem;
    use nullcline_data::settings::{Settings, Value};
    use nullcline_models::architecture::{Architecture, CellKind, Readout};
    use nullcline_models::optimisers::{Optimiser, Rule};
    use nullcline_tasks::{Loss, Split};
    use proptest::prelude::*;
    use std::collections::HashSet;

    proptest! {
        #[test]
        fn chunks_tile_the_steps_within_the_iterations(
            count in 0usize..5000, each in 0usize..5000, once in 0usize..20_000, most in 1usize..1000
        ) {
            let chunks = chunks_of(count, each, once, most).unwrap();
            let mut next = 0;
            for (begin, end) in chunks {
                prop_assert_eq!(begin, next);
                prop_assert!(end > begin && (end - begin) as usize <= most);
                prop_assert!(once + each * (end - begin) as usize <= ITERATIONS);
                next = end;
            }
            prop_assert_eq!(next as usize, count);
        }
    }

    const CARD: Capabilities = Capabilities {
        workgroup_bytes: 48 << 10,
        threads: 1024,
        workgroups: 65_535,
        binding_bytes: 1 << 31,
        busy: 132,
        dispatch_work: 1 << 34,
        gathers: true,
    };

    fn validate(kernel: &Kernel) {
        let module = naga::front::wgsl::parse_str(&kernel.source)
            .unwrap_or_else(|e| panic!("{}: {}", kernel.label, e.emit_to_string(&kernel.source)));
        let info = naga::valid::Validator::new(
            naga::valid::ValidationFlags::all(),
            naga::valid::Capabilities::empty(),
        )
        .validate(&module)
        .unwrap_or_else(|e| panic!("{}: {e:?}\n{}", kernel.label, kernel.source));
        // What every device has of workgroup memory holds all kernels but the sweeps, which ask how much there is.
        if !["forward", "backward"].contains(&kernel.label) {
            let workgroup = naga::AddressSpace::WorkGroup;
            let variables = module.global_variables.iter();
            let bytes: u32 = variables
                .filter(|(_, variable)| variable.space == workgroup)
                .map(|(_, variable)| module.types[variable.ty].inner.size(module.to_ctx()))
                .sum();
            assert!(bytes <= 16 << 10, "{}: {bytes} bytes", kernel.label);
        }
        // What DirectX and Metal are given can be written, if not run, anywhere.
        let mut text = String::new();
        naga::back::hlsl::Writer::new(&mut text, &Default::default(), &Default::default())
            .write(&module, &info, None)
            .unwrap_or_else(|e| panic!("{}: {e:?}", kernel.label));
        naga::back::msl::write_string(&module, &info, &Default::default(), &Default::default())
            .unwrap_or_else(|e| panic!("{}: {e:?}", kernel.label));
    }

    fn problem(
        cell: CellKind,
        readout: Readout,
        loss: Loss,
        forcing: bool,
        observed: bool,
        backward: bool,
    ) -> Problem {
        Problem {
            architecture: Architecture {
                cell,
                inputs: if observed { 0 } else { 2 },
                units: 7,
                hidden: if cell.shape().has_hidden { 9 } else { 0 },
                outputs: 3,
                bias: loss == Loss::MeanSquaredError,
                readout,
                train_leak: true,
            },
            loss,
            forcing,
            forcing_interval: 1 + usize::from(backward),
            forced_units: if forcing { 3 } else { 0 },
            observed,
            backward,
            input_gate_rows: crate::text::input_gate_rows(cell),
        }
    }

    /// Every kernel of every cell, readout, loss and way to start, with operands and weights in workgroup
    /// memory and without, and every width of a thread's block.
    #[test]
    fn every_shader_is_valid() {
        let mut seen = HashSet::new();
        for &cell in CellKind::ALL {
            for readout in [
                Readout::Linear,
                Readout::LinearWithoutBias,
                Readout::Identity,
            ] {
                for loss in [Loss::MeanSquaredError, Loss::CrossEntropy] {
                    for (forcing, observed) in [(false, false), (false, true), (true, true)] {
                        for backward in [false, true] {
                            let problem = problem(cell, readout, loss, forcing, observed, backward);
                            let places = Places::new(problem, 5, 6);
                            let mut tilings: Vec<Tilings> = Vec::new();
                            // All placements for one combination, one placement for each of the others.
                            let thorough = readout == Readout::Linear && backward && !observed;
                            for rows in [1, 2, 4] {
                                for (operands, weights) in
                                    [(true, true), (false, false), (true, false)]
                                {
                                    let placement = Placement { operands, weights };
                                    let tiling = Tiling {
                                        quads: 2,
                                        rows,
                                        threads: 32,
                                        placement,
                                        gathers: false,
                                    };
                                    tilings.push(Tilings {
                                        forward: tiling,
                                        backward: tiling,
                                    });
                                }
                            }
                            let count = if thorough { tilings.len() } else { 1 };
                            for (k, tilings) in tilings.into_iter().take(count).enumerate() {
                                let program = Program::new(places.clone(), tilings, k % 2 == 0);
                                for kernel in &program.kernels {
                                    if seen.insert(kernel.source.clone()) {
                                        validate(kernel);
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    /// And those whose sweep gathers gradients on the way.
    #[test]
    fn every_gathering_shader_is_valid() {
        for &cell in CellKind::ALL {
            for (units, inputs, observed) in [(64, 3, false), (17, 0, true), (71, 7, false)] {
                let loss = Loss::MeanSquaredError;
                let mut problem = problem(cell, Readout::Linear, loss, observed, observed, true);
                problem.architecture.units = units;
                problem.architecture.inputs = inputs;
                let gathers = problem.gathers();
                let places = Places::new(problem, 5, 64);
                let tilings = tilings(&places, 1000, &CARD);
                assert_eq!(tilings.backward.gathers, gathers);
                assert_eq!(gathers, cell.shape().gates == 1 && !cell.shape().has_hidden);
                for kernel in &Program::new(places, tilings, true).kernels {
                    validate(kernel);
                }
            }
        }
    }

    /// And those of wide networks, whose threads have eight units where their gates are few.
    #[test]
    fn every_wide_shader_is_valid() {
        for &cell in CellKind::ALL {
            let mut problem = problem(
                cell,
                Readout::Linear,
                Loss::MeanSquaredError,
                false,
                false,
                true,
            );
            problem.architecture.units = 256;
            problem.architecture.hidden = if cell.shape().has_hidden { 64 } else { 0 };
            let places = Places::new(problem, 5, 64);
            let tilings = tilings(&places, 200, &CARD);
            assert_eq!(tilings.backward.rows, 8);
            assert!(tilings.forward.rows * cell.shape().gates <= 8);
            for kernel in &Program::new(places, tilings, true).kernels {
                validate(kernel);
            }
        }
    }

    #[test]
    fn every_shader_of_an_update_is_valid() {
        let places = Places::new(
            problem(
                CellKind::LeakyRateTanh,
                Readout::Linear,
                Loss::MeanSquaredError,
                false,
                false,
                true,
            ),
            5,
            6,
        );
        validate(&kernels::decide(&places));
        for rule in [Rule::Adam, Rule::AdamW, Rule::RAdam, Rule::Sgd] {
            for nesterov in [false, true] {
                let optimiser = Optimiser {
                    rule,
                    beta1: 0.9,
                    beta2: 0.999,
                    epsilon: 1e-8,
                    weight_decay: 0.01,
                    momentum: 0.9,
                    nesterov,
                };
                validate(&kernels::update(&places, &optimiser, Some(&(3..10))));
            }
        }
        for kind in nullcline_tasks::TASKS {
            let mut settings = Settings::from_defaults("task", &[kind.keys]);
            if kind.keys.iter().any(|key| key.name == "file") {
                settings
                    .set("file", Value::Text("builtin:mitbih_208".to_owned()))
                    .unwrap();
            }
            let task = (kind.build)(&settings).unwrap();
            if let Some(shader) = task.shader(Split::Training) {
                validate(&crate::trials::draw(&places, &shader));
            } else {
                assert_eq!(task.kind(), "noise");
            }
        }
    }

    /// Chunks of every pass stay within the iterations of an invocation, whatever the shape.
    #[test]
    fn no_dispatch_exceeds_the_iterations() {
        for (units, outputs, steps, batch) in [
            (1, 1, 1, 1),
            (512, 8, 100, 64),
            (3, 3, 70_000, 5),
            (512, 300, 20, 33),
        ] {
            let mut problem = problem(
                CellKind::Lstm,
                Readout::Linear,
                Loss::MeanSquaredError,
                true,
                true,
                true,
            );
            problem.architecture.units = units;
            problem.architecture.outputs = outputs;
            let places = Places::new(problem, steps, batch);
            let tilings = tilings(&places, 3, &CARD);
            let program = Program::new(places, tilings, true);
            let steps = program.pass(Program::run(3, 0.1), &CARD).unwrap();
            for step in &steps {
                assert!(step.iterations <= ITERATIONS);
                assert!(
                    step.workgroups
                        .iter()
                        .all(|&n| n > 0 && n as usize <= CARD.workgroups)
                );
            }
        }
    }

    /// Every dispatch keeps to the work that is affordable, unless it is as small as it can be: one network and
    /// one step, slice, column or block; and all work is done once.
    #[test]
    fn dispatches_are_cut_to_what_is_affordable() {
        let mut problem = problem(
            CellKind::LeakyRateTanh,
            Readout::Linear,
            Loss::MeanSquaredError,
            true,
            true,
            true,
        );
        problem.architecture.units = 64;
        let places = Places::new(problem, 100, 64);
        let tilings = tilings(&places, 200, &CARD);
        let program = Program::new(places, tilings, true);
        let run = Program::run(200, 0.1);
        let whole = program.pass(run, &CARD).unwrap();
        for dispatch_work in [1, 4_000_000, 1_000_000_000] {
            let card = Capabilities {
                dispatch_work,
                ..CARD
            };
            let steps = program.pass(run, &card).unwrap();
            assert!(steps.len() > whole.len());
            for step in &steps {
                let networks = step.workgroups.iter().skip(1).product::<u32>();
                assert!(step.work <= dispatch_work || networks == 1, "{step:?}");
            }
            for kernel in 0..program.kernels.len() {
                let work = |steps: &[Step]| -> u64 {
                    let of_kernel = steps.iter().filter(|step| step.kernel == kernel);
                    of_kernel.map(|step| step.work).sum()
                };
                assert_eq!(
                    work(&steps),
                    work(&whole),
                    "{}",
                    program.kernels[kernel].label
                );
            }
        }
    }

    #[test]
    fn few_networks_give_many_small_tiles_and_many_networks_large_ones() {
        let mut problem = problem(
            CellKind::LeakyRateTanh,
            Readout::Linear,
            Loss::MeanSquaredError,
            false,
            false,
            true,
        );
        problem.architecture.units = 64;
        let places = Places::new(problem, 100, 64);
        let shape = |tiling: Tiling| (tiling.quads, tiling.rows, tiling.threads);
        let one = tilings(&places, 1, &CARD);
        assert_eq!(shape(one.forward), (1, 1, 64));
        assert_eq!(shape(one.backward), (1, 1, 64));
        assert!(!one.backward.gathers);
        let many = tilings(&places, 1000, &CARD);
        assert_eq!(shape(many.forward), (16, 4, 256));
        assert_eq!(shape(many.backward), (8, 2, 256));
        assert!(many.forward.placement.weights && many.backward.placement.weights);
        assert!(many.backward.gathers);
        let mut wide = places.problem.clone();
        wide.architecture.units = 512;
        let wide = tilings(&Places::new(wide, 100, 64), 200, &CARD);
        assert_eq!(shape(wide.forward), (8, 8, 512));
        assert!(!wide.forward.placement.operands && !wide.backward.gathers);
    }

    #[test]
    fn a_step_that_is_too_long_is_refused() {
        assert!(chunks_of(1, 60_000, 0, 1).is_err());
        assert!(chunks_of(1, 100, 59_000, 1).is_err());
    }
}
