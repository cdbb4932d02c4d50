//! The engine: groups of networks through the device.

use crate::adapters::{self, Request};
use crate::device::{Compiled, Device, Failure, buffer};
use crate::groups::{Room, group_size, together, updates_ahead};
use crate::kernels;
use crate::launch::{Capabilities, List, Program, Run, Step, Tilings, chunks_of, tilings};
use crate::layout::{
    BLOCK, Bytes, FACTORS, ITERATIONS, Places, Problem, QUAD, RECORDS, Table, control,
};
use crate::pace::Pace;
use crate::stopwatch::{KernelTime, Stopwatch};
use crate::text::input_gate_rows;
use crate::trials::{self, unpack};
use ndarray::{Array3, Axis};
use nullcline_data::Result;
use nullcline_models::adaptive_forcing::Strength;
use nullcline_models::architecture::{Architecture, CellKind, Readout};
use nullcline_models::cells::Layer;
use nullcline_models::engine::{
    Engine, Evaluation, Gradient, Job, Learner, Objective, Plan, Progress, Response,
};
use nullcline_models::optimisers::{Moments, Optimiser};
use nullcline_tasks::{Split, Task, TrialShader, Trials};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

/// Trains on a graphics card.
///
/// Whatever the number of networks, it goes through in groups that fit the device; the result of a network is the
/// same bit for bit in every group, on every run, on one device.
pub struct GpuEngine {
    device: Device,
    programs: Vec<(ProgramKey, Arc<Loaded>)>,
    /// The tiles of every problem so far. Those of training follow from the size of the ensemble, those of responses
    /// from the number of networks at the first call, and stay: networks that diverge on the way would change
    /// them, and with them kernels would be compiled again in the midst of training.
    tilings: Vec<(ProgramKey, Tilings)>,
    /// Bytes that a group may take since memory ran out with more.
    group_bytes: u64,
    /// Vectors of the learners' size, to be used again: fresh memory costs more than what is copied to it.
    spare: Vec<LearnerState>,
}

/// What of a device is not to be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restriction {
    /// Most bytes of one buffer.
    pub binding_bytes: Option<u64>,
    /// Most bytes of all buffers together: beyond it memory runs out.
    pub memory_bytes: Option<u64>,
    /// Most bytes of workgroup memory.
    pub workgroup_bytes: Option<usize>,
    /// Workgroups that fill the device: few make for large tiles, many for small ones.
    pub busy: Option<usize>,
    /// Most multiplications of one dispatch.
    pub dispatch_work: Option<u64>,
    /// Compile as for hardware, without checks of indices and loops, where a software device has them.
    pub unchecked: bool,
    /// Store the derivatives by the gates even where the gradients could be gathered in registers.
    pub two_phase: bool,
}

/// What a program depends on.
#[derive(Clone, PartialEq)]
struct ProgramKey {
    problem: Problem,
    steps: usize,
    batch: usize,
    trains: bool,
    /// Networks of the ensemble, where it trains: the tiles follow from it.
    ensemble: Option<usize>,
}

/// A program with its kernels compiled.
struct Loaded {
    program: Program,
    kernels: Vec<Arc<Compiled>>,
    /// How fast it went the last time.
    pace: Mutex<Option<Pace>>,
}

impl Loaded {
    fn pace(&self, networks: usize) -> Pace {
        let last = self.pace.lock().ok().and_then(|pace| *pace);
        last.map_or(Pace::new(networks), |pace| pace.with(networks))
    }

    fn remember(&self, pace: Pace) {
        if let Ok(mut last) = self.pace.lock() {
            *last = Some(pace);
        }
    }
}

impl std::fmt::Debug for GpuEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "GpuEngine({})", self.device.name)
    }
}

/// Programs that are kept compiled.
const PROGRAMS: usize = 32;

impl GpuEngine {
    /// Opens a device.
    ///
    /// # Errors
    /// If there is no such device, or its driver refuses.
    pub fn open(request: Request) -> Result<Self> {
        let opened = adapters::open(request)?;
        Ok(GpuEngine {
            device: Device::new(&opened.adapter, opened.device, opened.queue, true),
            programs: Vec::new(),
            tilings: Vec::new(),
            group_bytes: u64::MAX,
            spare: Vec::new(),
        })
    }

    /// An engine on a device that is open already, such as the window's. Ask for it with
    /// [`adapters::device_descriptor`]: with smaller limits it works, more slowly and in smaller groups.
    pub fn from_device(adapter: &wgpu::Adapter, device: wgpu::Device, queue: wgpu::Queue) -> Self {
        GpuEngine {
            device: Device::new(adapter, device, queue, false),
            programs: Vec::new(),
            tilings: Vec::new(),
            group_bytes: u64::MAX,
            spare: Vec::new(),
        }
    }

    /// Plays a smaller device, for tests. What the device has not is not given.
    pub fn restrict(&mut self, restriction: Restriction) {
        let c = &mut self.device.capabilities;
        if let Some(bytes) = restriction.binding_bytes {
            c.binding_bytes = c.binding_bytes.min(bytes);
        }
        if let Some(bytes) = restriction.workgroup_bytes {
            c.workgroup_bytes = c.workgroup_bytes.min(bytes);
        }
        if let Some(busy) = restriction.busy {
            c.busy = busy;
        }
        c.gathers = !restriction.two_phase;
        if let Some(work) = restriction.dispatch_work {
            c.dispatch_work = c.dispatch_work.min(work);
        }
        self.programs.clear();
        self.tilings.clear();
        self.device.forget_unused();
        self.device.memory = restriction.memory_bytes;
        self.device.unchecked |= restriction.unchecked;
    }

    /// From now on takes the time of every kernel, of which [`Self::times`] tells. Work goes a little slower
    /// under the watch. Whether the device has a clock.
    pub fn watch(&mut self) -> bool {
        let device = &mut self.device;
        let has = device
            .device
            .features()
            .contains(wgpu::Features::TIMESTAMP_QUERY);
        device.stopwatch = has.then(|| Stopwatch::new(&device.device, &device.queue));
        has
    }

    /// The time of every kernel since [`Self::watch`], by its name; ends the watch.
    pub fn times(&mut self) -> BTreeMap<&'static str, KernelTime> {
        let stopwatch = self.device.stopwatch.take();
        stopwatch.map_or_else(BTreeMap::new, |stopwatch| stopwatch.times)
    }

    /// Draws the training trials of an update on the device, one set for every seed, and brings them to the
    /// host; `None` where the task has no shader, or trials too long for one dispatch. Training leaves them where
    /// they are: this is for those who want to see them.
    ///
    /// # Errors
    /// If the device fails.
    pub fn draw(
        &mut self,
        task: &dyn Task,
        seeds: &[u64],
        update: u64,
        batch: usize,
    ) -> Result<Option<Vec<Trials>>> {
        let Some(shader) = task.shader(Split::Training).filter(drawable) else {
            return Ok(None);
        };
        let (inputs, outputs) = (task.input_names().len(), task.output_names().len());
        // Any network of these dimensions will do.
        let architecture = Architecture {
            cell: CellKind::VanillaTanh,
            inputs,
            units: outputs,
            hidden: 0,
            outputs,
            bias: false,
            readout: Readout::Identity,
            train_leak: false,
        };
        let objective = Objective {
            loss: task.loss(),
            forcing: None,
        };
        let problem = problem(&architecture, &objective, shader.observed, false);
        let places = Places::new(problem, shader.steps, batch);
        let table = Table::new(0, 0, seeds.len(), 1);
        let drawn = self.device.guarded(|device| {
            device.reserve(&sizes(
                &places,
                0,
                seeds.len(),
                table.words,
                false,
                0,
                shader.values.len(),
            ))?;
            let mut words = vec![0u32; table.words];
            for (words, &seed) in words[table.seeds..].chunks_exact_mut(4).zip(seeds) {
                words.copy_from_slice(&trials::seed_words(seed, update));
            }
            device.write(buffer::TABLE, 0, &words)?;
            device.write_values(&shader.values)?;
            let kernel = device.compile(&trials::draw(&places, &shader))?;
            let run = Run {
                seeds_at: table.seeds as u32,
                ..Program::run(0, 0.0)
            };
            let mut pace = Pace::new(1);
            let steps = draw_steps(0, &places, seeds.len(), run, &device.capabilities_at(&pace))?;
            device.run(&[kernel], &steps, &mut pace)?;
            device.finish(&mut pace)?;
            let length = places.trials.stride * places.quads * QUAD;
            device.read(&[(buffer::TRIALS, 0, 4 * (seeds.len() * length) as u64)])
        });
        let numbers = match drawn {
            Ok(numbers) => numbers,
            Err(Failure::Memory) => return Err(self.device.error("no memory for the trials")),
            Err(Failure::Fatal(error)) => return Err(error),
        };
        let lanes = places.quads * QUAD;
        let length = places.trials.stride * lanes;
        let rows = &places.trials;
        Ok(Some(
            numbers
                .chunks_exact(length)
                .map(|set| Trials {
                    inputs: unpack(&set[rows.inputs * lanes..], &places, places.steps, inputs),
                    targets: unpack(&set[rows.targets * lanes..], &places, places.steps, outputs),
                    mask: None,
                    initial: shader.observed.then(|| {
                        unpack(&set[rows.initial * lanes..], &places, 1, outputs)
                            .index_axis_move(Axis(1), 0)
                    }),
                })
                .collect(),
        ))
    }

    /// Refuses cells that there are no shaders for.
    fn check(&self, architecture: &Architecture) -> Result<()> {
        if architecture.cell.shape().layer == Layer::Bases {
            let what = "has no shader for basis functions, which the dendritic PLRNN sums over";
            return Err(self.device.error(what));
        }
        Ok(())
    }

    fn room(&self) -> Room {
        Room {
            binding_bytes: self.device.capabilities.binding_bytes,
            networks: self.device.capabilities.workgroups,
            group_bytes: self.group_bytes,
        }
    }

    /// The program of a problem, compiled; `networks`: those of the ensemble where it trains, else how many there are
    /// where the problem is new.
    fn load(
        &mut self,
        places: Places,
        networks: usize,
        trains: bool,
    ) -> std::result::Result<Arc<Loaded>, Failure> {
        let key = ProgramKey {
            problem: places.problem.clone(),
            steps: places.steps,
            batch: places.batch,
            trains,
            ensemble: trains.then_some(networks),
        };
        if let Some(at) = self.programs.iter().position(|(known, _)| *known == key) {
            // The most recent last.
            let found = self.programs.remove(at);
            let loaded = Arc::clone(&found.1);
            self.programs.push(found);
            return Ok(loaded);
        }
        let known = self.tilings.iter().find(|(known, _)| *known == key);
        let tilings = match known {
            Some((_, tilings)) => *tilings,
            None => {
                let tilings = tilings(&places, networks, &self.device.capabilities);
                self.tilings.push((key.clone(), tilings));
                tilings
            }
        };
        let program = Program::new(places, tilings, trains);
        let kernels = program
            .kernels
            .iter()
            .map(|kernel| self.device.compile(kernel))
            .collect::<std::result::Result<_, _>>()?;
        let loaded = Arc::new(Loaded {
            program,
            kernels,
            pace: Mutex::new(None),
        });
        if self.programs.len() >= PROGRAMS {
            self.programs.remove(0);
            self.device.forget_unused();
        }
        self.programs.push((key, Arc::clone(&loaded)));
        Ok(loaded)
    }

    /// Runs groups of `count` things from first to last, a group half as large where memory does not suffice.
    /// `sets_per_network` is that of [`group_size`].
    fn in_groups<T>(
        &mut self,
        count: usize,
        size: usize,
        bytes: &Bytes,
        sets_per_network: u64,
        mut work: impl FnMut(&mut Self, Range<usize>) -> std::result::Result<Vec<T>, Failure>,
    ) -> Result<Vec<T>> {
        let mut out = Vec::with_capacity(count);
        let mut size = size;
        while out.len() < count {
            let first = out.len();
            let group = first..count.min(first + size);
            match work(self, group) {
                Ok(results) => out.extend(results),
                Err(Failure::Memory) if size > 1 => {
                    size = size.div_ceil(2);
                    let room = together(bytes, sets_per_network) * size as u64;
                    self.group_bytes = self.group_bytes.min(room);
                }
                Err(Failure::Memory) => {
                    return Err(self
                        .device
                        .error("no memory for one network and its trials"));
                }
                Err(Failure::Fatal(error)) => return Err(error),
            }
        }
        Ok(out)
    }

    /// Runs jobs without learning and makes something of each one's states as they lie on the device, which are
    /// brought only `with_states`, outputs and loss.
    fn run_forward<T: Send>(
        &mut self,
        architecture: &Architecture,
        objective: &Objective,
        jobs: &[Job],
        with_states: bool,
        make: impl Fn(&Places, &[f32], Array3<f32>, f64) -> T + Sync,
    ) -> Result<Vec<T>> {
        self.by_shape(
            architecture,
            objective,
            jobs,
            false,
            |device, places, jobs| {
                let (h, s) = (&places.history, &places.sums);
                let lanes = places.quads * QUAD;
                let states = if with_states {
                    (places.steps + 1) * architecture.state_dim() * lanes
                } else {
                    0
                };
                let outputs = places.steps * architecture.outputs * lanes;
                let floats = |n: usize| 4 * n as u64;
                let ranges: Vec<(usize, u64, u64)> = (0..jobs.len())
                    .flat_map(|k| {
                        let base = k * h.stride;
                        let losses = k * s.stride + s.losses;
                        [
                            (
                                buffer::HISTORY,
                                floats((base + h.states) * lanes),
                                floats(states),
                            ),
                            (
                                buffer::HISTORY,
                                floats((base + h.outputs) * lanes),
                                floats(outputs),
                            ),
                            (buffer::SUMS, floats(losses), floats(places.steps)),
                        ]
                    })
                    .collect();
                let numbers = device.read(&ranges)?;
                Ok(numbers
                    .par_chunks_exact(states + outputs + places.steps)
                    .map(|numbers| {
                        let (of_states, rest) = numbers.split_at(states);
                        let (of_outputs, losses) = rest.split_at(outputs);
                        let outputs =
                            unpack(of_outputs, places, places.steps, architecture.outputs);
                        make(places, of_states, outputs, total(losses))
                    })
                    .collect())
            },
        )
    }

    /// Runs jobs, those whose trials have one shape together, and hands the buffers of every group to `collect`.
    fn by_shape<T>(
        &mut self,
        architecture: &Architecture,
        objective: &Objective,
        jobs: &[Job],
        trains: bool,
        mut collect: impl FnMut(&mut Device, &Places, &[Job]) -> std::result::Result<Vec<T>, Failure>,
    ) -> Result<Vec<T>> {
        self.check(architecture)?;
        let mut out: Vec<Option<T>> = jobs.iter().map(|_| None).collect();
        for class in by_shape(jobs) {
            let of_class: Vec<Job> = class.iter().map(|&j| jobs[j]).collect();
            let observed = of_class[0].trials.initial.is_some();
            let problem = problem(architecture, objective, observed, trains);
            let alpha = objective.forcing.map_or(0.0, |forcing| forcing.alpha);
            let results = self.run_jobs(&problem, alpha, &of_class, &mut collect)?;
            for (j, result) in class.into_iter().zip(results) {
                out[j] = Some(result);
            }
        }
        Ok(out.into_iter().flatten().collect())
    }

    /// Runs jobs whose trials have one shape, and hands the buffers of every group to `collect`.
    fn run_jobs<T>(
        &mut self,
        problem: &Problem,
        alpha: f32,
        jobs: &[Job],
        mut collect: impl FnMut(&mut Device, &Places, &[Job]) -> std::result::Result<Vec<T>, Failure>,
    ) -> Result<Vec<T>> {
        let Some(first) = jobs.first() else {
            return Ok(Vec::new());
        };
        let places = Places::new(problem.clone(), first.trials.steps(), first.trials.batch());
        let (sets, _) = distinct(jobs.iter().map(|job| std::ptr::from_ref(job.trials)));
        let sets_per_network = u64::from(sets.len() > 1);
        let bytes = places.bytes(false);
        let size = group_size(&bytes, jobs.len(), sets_per_network, &self.room())?;
        let networks = jobs.len();
        self.in_groups(networks, size, &bytes, sets_per_network, |engine, group| {
            let jobs = &jobs[group];
            let loaded = engine.load(places.clone(), networks, false)?;
            engine.device.guarded(|device| {
                let places = &loaded.program.places;
                let (sets, of_network) =
                    distinct(jobs.iter().map(|job| std::ptr::from_ref(job.trials)));
                let table = Table::new(0, jobs.len(), sets.len(), 0);
                device.reserve(&sizes(
                    places,
                    jobs.len(),
                    sets.len(),
                    table.words,
                    false,
                    0,
                    0,
                ))?;
                let parameters: Vec<&[f32]> = jobs.iter().map(|job| job.parameters).collect();
                write_parameters(device, places, &parameters)?;
                let trials: Vec<&Trials> = sets.iter().map(|&at| jobs[at].trials).collect();
                write_trials(device, places, &trials)?;
                let mut words = vec![0u32; table.words];
                for (word, set) in words[table.sets..].iter_mut().zip(&of_network) {
                    *word = *set as u32;
                }
                device.write(buffer::TABLE, 0, &words)?;
                let run = Run {
                    sets_at: table.sets as u32,
                    ..Program::run(jobs.len(), alpha)
                };
                let mut pace = loaded.pace(jobs.len());
                let steps = loaded.program.pass(run, &device.capabilities_at(&pace))?;
                device.run(&loaded.kernels, &steps, &mut pace)?;
                device.finish(&mut pace)?;
                loaded.remember(pace);
                collect(device, places, jobs)
            })
        })
    }
}

/// The distinct among items, by their first place, and for every item which of them it is.
fn distinct<T: Copy + Eq + std::hash::Hash>(
    items: impl Iterator<Item = T>,
) -> (Vec<usize>, Vec<usize>) {
    let mut known = std::collections::HashMap::new();
    let mut firsts = Vec::new();
    let mut of = Vec::new();
    for (at, item) in items.enumerate() {
        let index = *known.entry(item).or_insert_with(|| {
            firsts.push(at);
            firsts.len() - 1
        });
        of.push(index);
    }
    (firsts, of)
}

/// Indices of jobs by the shape of their trials, in the order of first appearance.
fn by_shape(jobs: &[Job]) -> Vec<Vec<usize>> {
    let (firsts, of) = distinct(jobs.iter().map(|job| {
        (
            job.trials.batch(),
            job.trials.steps(),
            job.trials.initial.is_some(),
        )
    }));
    let mut out = vec![Vec::new(); firsts.len()];
    for (job, &class) in of.iter().enumerate() {
        out[class].push(job);
    }
    out
}

fn problem(
    architecture: &Architecture,
    objective: &Objective,
    observed: bool,
    backward: bool,
) -> Problem {
    let forcing = objective.forcing.filter(|_| observed);
    Problem {
        architecture: architecture.clone(),
        loss: objective.loss,
        forcing: forcing.is_some(),
        forcing_interval: forcing.map_or(1, |forcing| forcing.interval),
        forced_units: forcing.map_or(0, |forcing| forcing.forced_units(architecture)),
        observed,
        backward,
        input_gate_rows: input_gate_rows(architecture.cell),
    }
}

/// Bytes of every buffer of a group.
fn sizes(
    places: &Places,
    networks: usize,
    sets: usize,
    words: usize,
    trains: bool,
    records: usize,
    values: usize,
) -> crate::device::Sizes {
    let floats = |n: usize| 4 * n as u64;
    let lanes = places.quads * QUAD;
    [
        floats(networks * places.training.parameters),
        floats(networks * places.packed.stride),
        floats(sets * places.trials.stride * lanes),
        floats(networks * places.history.stride * lanes),
        floats(networks * places.sums.stride),
        floats(if trains {
            networks * places.training.stride() + records
        } else {
            0
        }),
        floats(words),
        floats(values),
    ]
}

fn write_parameters(
    device: &mut Device,
    places: &Places,
    parameters: &[&[f32]],
) -> std::result::Result<(), Failure> {
    for parameters in parameters {
        assert_eq!(
            parameters.len(),
            places.layout.total,
            "length of the parameter vector"
        );
    }
    let stride = places.training.parameters;
    device.write_rows(buffer::PARAMETERS, stride, parameters, |parameters, row| {
        row.put(0, parameters);
    })
}

/// Bytes of trials that are packed at a time.
const PACKED_BYTES: u64 = 64 << 20;

/// Brings sets of trials to the device.
fn write_trials(device: &mut Device, places: &Places, sets: &[&Trials]) -> Result<()> {
    let a = &places.problem.architecture;
    let length = places.trials.stride * places.quads * QUAD;
    let bytes = 4 * length as u64;
    // As many at a time as are on their way to the device at a time.
    let at_a_time = (PACKED_BYTES / bytes).max(1) as usize;
    let mut numbers = vec![0.0f32; length * at_a_time.min(sets.len())];
    for (k, sets) in sets.chunks(at_a_time).enumerate() {
        let numbers = &mut numbers[..length * sets.len()];
        numbers
            .par_chunks_exact_mut(length)
            .zip(sets)
            .for_each(|(numbers, trials)| {
                assert_eq!(trials.inputs.dim().2, a.inputs, "input dimensions");
                assert_eq!(trials.targets.dim().2, a.outputs, "output dimensions");
                assert_eq!(
                    (trials.batch(), trials.steps()),
                    (places.batch, places.steps),
                    "shape of the trials"
                );
                trials::pack(places, trials, numbers);
            });
        device.write(buffer::TRIALS, (k * at_a_time) as u64 * bytes, numbers)?;
    }
    Ok(())
}

/// The loss of a network from those of its steps.
fn total(losses: &[f32]) -> f64 {
    losses.iter().map(|&loss| f64::from(loss)).sum()
}

impl Engine for GpuEngine {
    fn name(&self) -> String {
        format!("gpu: {}", self.device.name)
    }

    fn gradients(
        &mut self,
        architecture: &Architecture,
        objective: &Objective,
        jobs: &[Job],
    ) -> Result<Vec<Gradient>> {
        self.by_shape(
            architecture,
            objective,
            jobs,
            true,
            |device, places, jobs| {
                let s = &places.sums;
                let count = places.layout.total;
                let ranges: Vec<(usize, u64, u64)> = (0..jobs.len())
                    .flat_map(|k| {
                        let base = k * s.stride;
                        [
                            (
                                buffer::SUMS,
                                4 * (base + s.gradient) as u64,
                                4 * count as u64,
                            ),
                            (
                                buffer::SUMS,
                                4 * (base + s.losses) as u64,
                                4 * places.steps as u64,
                            ),
                        ]
                    })
                    .collect();
                let numbers = device.read(&ranges)?;
                Ok(numbers
                    .chunks_exact(count + places.steps)
                    .map(|numbers| {
                        let (gradient, losses) = numbers.split_at(count);
                        Gradient {
                            loss: total(losses),
                            gradient: gradient.to_vec(),
                        }
                    })
                    .collect())
            },
        )
    }

    fn respond(
        &mut self,
        architecture: &Architecture,
        objective: &Objective,
        jobs: &[Job],
    ) -> Result<Vec<Response>> {
        let state_dim = architecture.state_dim();
        self.run_forward(
            architecture,
            objective,
            jobs,
            true,
            |places, of_states, outputs, loss| Response {
                loss,
                outputs,
                states: unpack(of_states, places, places.steps + 1, state_dim),
            },
        )
    }

    fn evaluate(
        &mut self,
        architecture: &Architecture,
        objective: &Objective,
        jobs: &[Job],
    ) -> Result<Vec<Evaluation>> {
        self.run_forward(
            architecture,
            objective,
            jobs,
            false,
            |_, _, outputs, loss| Evaluation { loss, outputs },
        )
    }

    fn advance(&mut self, plan: &Plan, learners: &mut [Learner]) -> Result<Vec<Progress>> {
        self.check(plan.architecture)?;
        // What the learners will be, once nothing can fail any more.
        let mut states: Vec<Option<LearnerState>> = learners.iter().map(|_| None).collect();
        let mut progress: Vec<Progress> = learners.iter().map(|_| Progress::default()).collect();
        if plan.regularisation.acts_on_condition(plan.architecture) {
            return Err(nullcline_data::Error::argument(
                "key \"training.observation_regularisation\" with a linear readout on a graphics card",
                plan.regularisation.observation.to_string(),
                "0, the identity as observation, or the cpu",
            ));
        }
        let mut alphas: Vec<f32> = learners.iter().map(|learner| *learner.alpha).collect();
        // Losses of so many updates at a time.
        let most = RECORDS as u64;
        let mut begin = plan.updates.start;
        while begin < plan.updates.end {
            let mut end = plan.updates.end.min(begin + most);
            let running: Vec<usize> = (0..learners.len())
                .filter(|&k| !progress[k].diverged)
                .collect();
            if let Strength::Adaptive(adaptation) = &plan.strength {
                if adaptation.acts_before(begin) {
                    let adapted: Vec<f32> = running
                        .par_iter()
                        .map(|&k| {
                            let parameters = match &states[k] {
                                Some(state) => &state.parameters,
                                None => &*learners[k].parameters,
                            };
                            let seed = learners[k].trial_seed;
                            let trials = plan.task.trials(Split::Training, seed, begin, plan.batch);
                            adaptation.adapt(alphas[k], plan.architecture, parameters, &trials)
                        })
                        .collect();
                    for (&k, alpha) in running.iter().zip(adapted) {
                        alphas[k] = alpha;
                    }
                }
                end = end.min((begin / adaptation.every + 1) * adaptation.every);
            }
            let span = begin..end;
            let advanced = {
                let members: Vec<Member> = running
                    .iter()
                    .map(|&k| {
                        let learner = &learners[k];
                        let rates = (begin - plan.updates.start) as usize..;
                        match &states[k] {
                            Some(state) => Member {
                                parameters: &state.parameters,
                                moments: &state.moments,
                                previous: &state.previous,
                                trial_seed: learner.trial_seed,
                                alpha: alphas[k],
                                learning_rates: &learner.learning_rates[rates],
                            },
                            None => Member {
                                parameters: learner.parameters,
                                moments: learner.moments,
                                previous: learner.previous,
                                trial_seed: learner.trial_seed,
                                alpha: alphas[k],
                                learning_rates: &learner.learning_rates[rates],
                            },
                        }
                    })
                    .collect();
                self.advance_span(plan, span.clone(), &members)?
            };
            for (&k, (state, made)) in running.iter().zip(advanced) {
                progress[k].losses.extend(made.losses);
                let seen = progress[k].alphas.len() as u64..progress[k].losses.len() as u64;
                for made in seen {
                    let of_update = plan.strength.of_update(plan.updates.start + made);
                    alphas[k] = of_update.unwrap_or(alphas[k]);
                    progress[k].alphas.push(alphas[k]);
                }
                progress[k].diverged = made.diverged;
                self.spare.extend(states[k].replace(state));
            }
            begin = span.end;
        }
        for ((learner, state), alpha) in learners.iter_mut().zip(states).zip(alphas) {
            let Some(mut state) = state else { continue };
            *learner.alpha = alpha;
            std::mem::swap(learner.parameters, &mut state.parameters);
            std::mem::swap(learner.moments, &mut state.moments);
            std::mem::swap(learner.previous, &mut state.previous);
            self.spare.push(state);
        }
        self.spare.truncate(learners.len());
        Ok(progress)
    }
}

/// A learner's state after a span of updates.
#[derive(Default)]
struct LearnerState {
    parameters: Vec<f32>,
    moments: Moments,
    previous: Vec<f32>,
}

/// A learner as a span of updates sees it.
struct Member<'a> {
    parameters: &'a [f32],
    moments: &'a Moments,
    previous: &'a [f32],
    trial_seed: u64,
    alpha: f32,
    /// From the span's first update on.
    learning_rates: &'a [f64],
}

/// Where trials come from.
enum Source {
    Device(TrialShader),
    Host,
}

impl GpuEngine {
    /// Makes a span of updates.
    fn advance_span(
        &mut self,
        plan: &Plan,
        span: Range<u64>,
        members: &[Member],
    ) -> Result<Vec<(LearnerState, Progress)>> {
        let Some(first) = members.first() else {
            return Ok(Vec::new());
        };
        let shader = plan.task.shader(Split::Training).filter(|shader| {
            drawable(shader)
                && 4 * shader.values.len() as u64 <= self.device.capabilities.binding_bytes
        });
        let (source, steps, observed) = match shader {
            Some(shader) => {
                let (steps, observed) = (shader.steps, shader.observed);
                (Source::Device(shader), steps, observed)
            }
            None => {
                let sample = plan
                    .task
                    .trials(Split::Training, first.trial_seed, span.start, 1);
                (Source::Host, sample.steps(), sample.initial.is_some())
            }
        };
        let problem = problem(plan.architecture, &plan.objective, observed, true);
        let places = Places::new(problem, steps, plan.batch);
        let (sets, _) = distinct(members.iter().map(|member| member.trial_seed));
        let bytes = places.bytes(true);
        let sets_per_network = u64::from(sets.len() > 1);
        let size = group_size(&bytes, members.len(), sets_per_network, &self.room())?;
        let count = members.len();
        self.in_groups(count, size, &bytes, sets_per_network, |engine, group| {
            let loaded = engine.load(places.clone(), plan.ensemble, true)?;
            let room = engine.room();
            let spare = &mut engine.spare;
            engine.device.guarded(|device| {
                let update = Update::new(device, plan, &source, &loaded.program.places)?;
                advance_group(
                    device,
                    spare,
                    plan,
                    &source,
                    &loaded,
                    &update,
                    &room,
                    span.clone(),
                    &members[group],
                )
            })
        })
    }
}

/// The kernels that end an update, and the one that draws its trials.
struct Update {
    decide: Arc<Compiled>,
    update: Arc<Compiled>,
    draw: Option<Arc<Compiled>>,
}

impl Update {
    fn new(
        device: &mut Device,
        plan: &Plan,
        source: &Source,
        places: &Places,
    ) -> std::result::Result<Self, Failure> {
        Ok(Update {
            decide: device.compile(&kernels::decide(places))?,
            update: device.compile(&kernels::update(
                places,
                &plan.optimiser,
                plan.leak.as_ref(),
            ))?,
            draw: match source {
                Source::Device(shader) => Some(device.compile(&trials::draw(places, shader))?),
                Source::Host => None,
            },
        })
    }
}

#[allow(clippy::too_many_arguments)]
fn advance_group(
    device: &mut Device,
    spare: &mut Vec<LearnerState>,
    plan: &Plan,
    source: &Source,
    loaded: &Loaded,
    update: &Update,
    room: &Room,
    span: Range<u64>,
    members: &[Member],
) -> std::result::Result<Vec<(LearnerState, Progress)>, Failure> {
    let places = &loaded.program.places;
    let networks = members.len();
    let count = places.layout.total;
    let updates = (span.end - span.start) as usize;
    let (sets, of_network) = distinct(members.iter().map(|member| member.trial_seed));
    let ahead = updates_ahead(places.bytes(true).per_set, sets.len(), room).min(updates);
    let table = Table::new(count, networks, sets.len(), ahead);
    let values: &[f32] = match source {
        Source::Device(shader) => &shader.values,
        Source::Host => &[],
    };
    device.reserve(&sizes(
        places,
        networks,
        sets.len() * ahead,
        table.words,
        true,
        updates * networks,
        values.len(),
    ))?;
    let parameters: Vec<&[f32]> = members.iter().map(|member| member.parameters).collect();
    write_parameters(device, places, &parameters)?;
    let training = places.training;
    let stride = training.stride();
    device.write_rows(buffer::TRAINING, stride, members, |member, row| {
        let sections = [
            &member.moments.first,
            &member.moments.second,
            member.previous,
        ];
        for (k, section) in sections.into_iter().enumerate() {
            row.put(k * training.parameters, section);
        }
        let mut words = [0.0; control::WORDS];
        words[control::TRAINS] = 1.0;
        row.put(training.control(), &words);
    })?;
    device.write_values(values)?;

    let mut kernels = loaded.kernels.clone();
    let mut add = |kernel: &Arc<Compiled>| {
        kernels.push(Arc::clone(kernel));
        kernels.len() - 1
    };
    let (decide, apply) = (add(&update.decide), add(&update.update));
    let draw = update.draw.as_ref().map(&mut add);
    let run = Run {
        trainable_at: table.trainable as u32,
        sets_at: table.sets as u32,
        seeds_at: table.seeds as u32,
        factors_at: table.factors as u32,
        record_at: (networks * training.stride()) as u32,
        clip: plan.clip as f32,
        pulls_at: table.pulls as u32,
        ..Program::run(networks, 0.0)
    };
    let mut pace = loaded.pace(networks);
    let mut begin = span.start;
    while begin < span.end {
        // The first update shows the pace, without which dispatches are small.
        let ahead = if begin == span.start { 1 } else { ahead };
        let end = span.end.min(begin + ahead as u64);
        let block = (end - begin) as usize;
        // Cut anew for every block of updates, at the pace that the last has shown.
        let capabilities = device.capabilities_at(&pace);
        let mut pass = loaded.program.pass(run, &capabilities)?;
        pass.extend(end_of_update(decide, apply, places, run, &capabilities)?);
        device.write(
            buffer::TABLE,
            0,
            &table_words(plan, &span, begin..end, members, &sets, &of_network, &table),
        )?;
        let mut steps: Vec<Step> = Vec::new();
        match draw {
            Some(kernel) => {
                let sets = sets.len() * block;
                steps.extend(draw_steps(kernel, places, sets, run, &capabilities)?);
            }
            None => {
                let drawn: Vec<Trials> = (begin..end)
                    .flat_map(|u| sets.iter().map(move |&at| (u, at)))
                    .collect::<Vec<_>>()
                    .into_par_iter()
                    .map(|(u, at)| {
                        plan.task
                            .trials(Split::Training, members[at].trial_seed, u, plan.batch)
                    })
                    .collect();
                write_trials(device, places, &drawn.iter().collect::<Vec<_>>())?;
            }
        }
        for u in begin..end {
            let in_block = (u - begin) as u32;
            steps.extend(pass.iter().map(|step| Step {
                run: Run {
                    first_set: in_block * sets.len() as u32,
                    update: (u - span.start) as u32,
                    update_in_block: in_block,
                    ..step.run
                },
                ..step.clone()
            }));
        }
        device.run(&kernels, &steps, &mut pace)?;
        begin = end;
    }
    device.finish(&mut pace)?;
    loaded.remember(pace);

    let mut out: Vec<(LearnerState, Progress)> = members
        .iter()
        .map(|_| (spare.pop().unwrap_or_default(), Progress::default()))
        .collect();
    let fill = |to: &mut Vec<f32>, from: &[f32]| {
        to.clear();
        to.extend_from_slice(&from[..count]);
    };
    device.read_rows(
        buffer::PARAMETERS,
        0,
        training.parameters,
        &mut out,
        |(state, _), numbers| fill(&mut state.parameters, numbers),
    )?;
    let mut made = vec![(0, false); networks];
    let mut rows: Vec<_> = out.iter_mut().zip(&mut made).zip(members).collect();
    device.read_rows(
        buffer::TRAINING,
        0,
        stride,
        &mut rows,
        |(((state, _), made), member), numbers| {
            let section = |n: usize| &numbers[n * training.parameters..];
            fill(&mut state.moments.first, section(0));
            fill(&mut state.moments.second, section(1));
            fill(&mut state.previous, section(2));
            let words = &numbers[training.control()..][..control::WORDS];
            let diverged = words[control::TRAINS] == 0.0;
            let count = if diverged {
                words[control::MADE] as usize
            } else {
                updates
            };
            state.moments.updates = member.moments.updates + count as u64;
            **made = (count, diverged);
        },
    )?;
    let floats = |n: usize| 4 * n as u64;
    let at = floats(networks * stride);
    let record = device.read(&[(buffer::TRAINING, at, floats(updates * networks))])?;
    for (k, ((_, progress), (made, diverged))) in out.iter_mut().zip(made).enumerate() {
        let seen = made + usize::from(diverged);
        progress.losses = (0..seen)
            .map(|u| f64::from(record[u * networks + k]))
            .collect();
        progress.diverged = diverged;
    }
    Ok(out)
}

/// Whether a trial is drawn within the iterations of one dispatch; the weights of its steps are set after it.
fn drawable(shader: &TrialShader) -> bool {
    shader.iterations + shader.steps < ITERATIONS
}

/// The dispatches that draw sets of trials.
fn draw_steps(
    kernel: usize,
    places: &Places,
    sets: usize,
    run: Run,
    capabilities: &Capabilities,
) -> Result<Vec<Step>> {
    let trials = places.quads * QUAD;
    let work = places.trials.stride * trials * 64;
    let affordable = capabilities.affordable(work).min(capabilities.workgroups);
    let chunks = chunks_of(sets, 0, 0, affordable)?;
    Ok(chunks
        .into_iter()
        .map(|(first_set, end)| Step {
            kernel,
            workgroups: [trials.div_ceil(64) as u32, end - first_set, 1],
            run: Run { first_set, ..run },
            work: work as u64 * u64::from(end - first_set),
            iterations: 0,
        })
        .collect())
}

/// The dispatches after the gradient: whether an update is made, and the optimiser's step.
fn end_of_update(
    decide: usize,
    apply: usize,
    places: &Places,
    run: Run,
    capabilities: &Capabilities,
) -> Result<Vec<Step>> {
    let mut list = List::new(run.networks as usize, capabilities);
    list.add(decide, &[1], run, places.steps + places.layout.total, 0)?;
    for (begin, end) in chunks_of(places.sums.blocks, 0, 0, capabilities.workgroups)? {
        let blocks = (end - begin) as usize;
        list.add(
            apply,
            &[blocks],
            Run { begin, ..run },
            blocks * BLOCK * 16,
            0,
        )?;
    }
    Ok(list.steps)
}

/// The table of one block of updates.
fn table_words(
    plan: &Plan,
    span: &Range<u64>,
    block: Range<u64>,
    members: &[Member],
    sets: &[usize],
    of_network: &[usize],
    table: &Table,
) -> Vec<u32> {
    let mut words = vec![0u32; table.words];
    for (word, trainable) in words[table.trainable..].iter_mut().zip(plan.trainable) {
        *word = u32::from(*trainable);
    }
    let mut pulls = vec![[0.0f32; 2]; plan.trainable.len()];
    for pull in plan.regularisation.pulls(plan.architecture) {
        // 2 lambda (p - target)
        let factor = 2.0 * pull.strength as f32;
        for [factors, offsets] in &mut pulls[pull.range] {
            *factors += factor;
            *offsets += factor * pull.target as f32;
        }
    }
    for (word, pull) in words[table.pulls..].iter_mut().zip(pulls.as_flattened()) {
        *word = pull.to_bits();
    }
    for (word, set) in words[table.sets..].iter_mut().zip(of_network) {
        *word = *set as u32;
    }
    for (u, update) in block.clone().enumerate() {
        for (s, &at) in sets.iter().enumerate() {
            let seed = trials::seed_words(members[at].trial_seed, update);
            words[table.seeds + 4 * (u * sets.len() + s)..][..4].copy_from_slice(&seed);
        }
        for (k, member) in members.iter().enumerate() {
            let made = update - span.start;
            let rate = member.learning_rates[made as usize];
            let mut factors = factors(&plan.optimiser, member.moments.updates + made + 1, rate);
            let alpha = plan.strength.of_update(update).unwrap_or(member.alpha);
            factors[ALPHA] = alpha.to_bits();
            words[table.factors + FACTORS * (u * members.len() + k)..][..FACTORS]
                .copy_from_slice(&factors);
        }
    }
    words
}

/// Which of the [`FACTORS`] is the strength of the forcing.
const ALPHA: usize = 7;

/// [`Optimiser::factors`] as the shader reads them.
fn factors(optimiser: &Optimiser, t: u64, learning_rate: f64) -> [u32; FACTORS] {
    let factors = optimiser.factors(t, learning_rate);
    [
        factors.step.to_bits(),
        factors.root2.to_bits(),
        factors.rectified_step.unwrap_or(0.0).to_bits(),
        factors.rate.to_bits(),
        factors.shrink.to_bits(),
        u32::from(factors.rectified_step.is_some()),
        u32::from(factors.first_update),
        0,
    ]
}
