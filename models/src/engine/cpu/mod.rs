//! The CPU engine.
//!
//! The batch is cut into shards of at most [`SHARD_VECTORS`] x 16 trials, the same whatever the number of
//! threads; a shard runs its whole sequence forward and backward on one thread, and the gradients of the
//! shards are added in order: one join per update. Within a shard every array is [time][row][trial] with
//! trials side by side in [`Lanes`], so that a row of a matrix product and the pointwise part of a cell are
//! both plain vector code. Operations per step, trial and network: 2 m n for each matrix of the cell forward,
//! 4 m n backward.
//!
//! Work is spread over networks first: a thread takes a network and makes all updates of a plan, without
//! waiting for anyone. What that leaves uneven, and networks that share their trials, advance in step, spread
//! over shards.

mod initial;
mod pass;
mod prepared;
mod workspace;

use super::{Engine, Gradient, Job, Learner, Objective, Plan, Progress, Response};
use crate::architecture::Architecture;
use crate::simd::{Instructions, LANES, Lanes, Vector};
use ndarray::{Array3, ArrayView3};
use nullcline_data::Result;
use nullcline_tasks::{Split, Trials};
use pass::Pass;
use prepared::Prepared;
use rayon::prelude::*;
use std::sync::Mutex;
use workspace::Workspace;

/// Vectors of sixteen trials in a shard.
const SHARD_VECTORS: usize = 2;

/// Trains on the processor's cores, with the widest vector instructions that it has.
#[derive(Debug)]
pub struct CpuEngine {
    instructions: Instructions,
    /// Buffers not in use. A shard takes the one that was given back last, which is the likeliest to be in
    /// cache; there are as many as shards have ever run at once.
    workspaces: Mutex<Vec<Workspace>>,
}

impl Default for CpuEngine {
    fn default() -> Self {
        CpuEngine::new()
    }
}

impl CpuEngine {
    /// An engine for this processor. Threads are those of the rayon pool it is called in.
    pub fn new() -> Self {
        CpuEngine::with_instructions(Instructions::detect())
    }

    /// An engine that uses one instruction set, for tests and benchmarks. A set that this processor lacks
    /// is replaced by what it has.
    pub fn with_instructions(instructions: Instructions) -> Self {
        let available = Instructions::available();
        let usable = if available.contains(&instructions) {
            instructions
        } else {
            available[0]
        };
        CpuEngine {
            instructions: usable,
            workspaces: Mutex::new(Vec::new()),
        }
    }

    /// Runs one shard of one job and gives what `take` makes of its workspace.
    #[allow(clippy::too_many_arguments)]
    fn shard<T>(
        &self,
        architecture: &Architecture,
        objective: &Objective,
        job: &Job,
        prepared: &Prepared,
        shard: usize,
        backward: bool,
        take: impl FnOnce(&mut Workspace) -> T,
    ) -> T {
        let pool = || self.workspaces.lock().unwrap_or_else(|e| e.into_inner());
        let mut workspace = pool().pop().unwrap_or_default();
        let pass = Pass {
            architecture,
            layout: &prepared.layout,
            objective,
            job,
            prepared,
            shard,
            backward,
        };
        pass.run(self.instructions, &mut workspace);
        let taken = take(&mut workspace);
        pool().push(workspace);
        taken
    }

    /// Loss and gradient of one job, its shards one after another on this thread.
    fn gradient(&self, architecture: &Architecture, objective: &Objective, job: &Job) -> Gradient {
        let prepared = Prepared::new(architecture, objective, job);
        let mut total = Gradient {
            loss: 0.0,
            gradient: vec![0.0; prepared.layout.total],
        };
        for shard in 0..prepared.shards {
            self.shard(architecture, objective, job, &prepared, shard, true, |w| {
                total.add(w.loss, &w.gradient);
            });
        }
        total
    }

    /// One learner through all updates of the plan, on this thread.
    fn advance_alone(&self, plan: &Plan, learner: &mut Learner) -> Progress {
        let mut progress = Progress::default();
        for update in plan.updates.clone() {
            let trials = plan
                .task
                .trials(Split::Training, learner.trial_seed, update, plan.batch);
            let job = Job {
                parameters: learner.parameters,
                trials: &trials,
            };
            let mut gradient = self.gradient(plan.architecture, &plan.objective, &job);
            progress.losses.push(gradient.loss);
            if !learner.apply(plan, update, gradient.loss, &mut gradient.gradient) {
                progress.diverged = true;
                break;
            }
        }
        progress
    }

    /// Learners through all updates of the plan in step, spread over their shards.
    fn advance_in_step(&self, plan: &Plan, learners: &mut [Learner]) -> Vec<Progress> {
        let mut progress = vec![Progress::default(); learners.len()];
        for update in plan.updates.clone() {
            let mut running: Vec<(&mut Learner, &mut Progress)> = learners
                .iter_mut()
                .zip(&mut progress)
                .filter(|(_, progress)| !progress.diverged)
                .collect();
            // Trials are drawn once where learners share them.
            let mut seeds: Vec<u64> = running.iter().map(|(l, _)| l.trial_seed).collect();
            seeds.dedup();
            let trials: Vec<Trials> = seeds
                .par_iter()
                .map(|&seed| plan.task.trials(Split::Training, seed, update, plan.batch))
                .collect();
            let mut at = 0;
            let jobs: Vec<Job> = running
                .iter()
                .map(|(learner, _)| {
                    while seeds[at] != learner.trial_seed {
                        at += 1;
                    }
                    Job {
                        parameters: learner.parameters,
                        trials: &trials[at],
                    }
                })
                .collect();
            let gradients = self.gradients_of(plan.architecture, &plan.objective, &jobs);
            running.par_iter_mut().zip(gradients).for_each(
                |((learner, progress), mut gradient)| {
                    progress.losses.push(gradient.loss);
                    progress.diverged =
                        !learner.apply(plan, update, gradient.loss, &mut gradient.gradient);
                },
            );
        }
        progress
    }

    fn advance_all(&self, plan: &Plan, learners: &mut [Learner]) -> Vec<Progress> {
        let shared = learners.len() > 1
            && learners
                .windows(2)
                .all(|pair| pair[0].trial_seed == pair[1].trial_seed);
        let threads = rayon::current_num_threads();
        let alone = if shared {
            0
        } else {
            learners.len() - learners.len() % threads
        };
        let (apart, rest) = learners.split_at_mut(alone);
        let mut progress: Vec<Progress> = apart
            .par_iter_mut()
            .with_max_len(1)
            .map(|learner| self.advance_alone(plan, learner))
            .collect();
        progress.extend(self.advance_in_step(plan, rest));
        progress
    }

    fn gradients_of(
        &self,
        architecture: &Architecture,
        objective: &Objective,
        jobs: &[Job],
    ) -> Vec<Gradient> {
        let (prepared, shards) = prepare(architecture, objective, jobs);
        let parts: Vec<Gradient> = shards
            .par_iter()
            .map(|&(j, shard)| {
                self.shard(
                    architecture,
                    objective,
                    &jobs[j],
                    &prepared[j],
                    shard,
                    true,
                    |w| Gradient {
                        loss: w.loss,
                        gradient: w.gradient.clone(),
                    },
                )
            })
            .collect();
        let mut parts = parts.into_iter();
        prepared
            .iter()
            .map(|p| {
                let mut total = Gradient {
                    loss: 0.0,
                    gradient: vec![0.0; p.layout.total],
                };
                for part in parts.by_ref().take(p.shards) {
                    total.add(part.loss, &part.gradient);
                }
                total
            })
            .collect()
    }
}

/// What the shards of each job share, and the list of all shards: (job, shard of the job).
fn prepare(
    architecture: &Architecture,
    objective: &Objective,
    jobs: &[Job],
) -> (Vec<Prepared>, Vec<(usize, usize)>) {
    let prepared: Vec<Prepared> = jobs
        .iter()
        .map(|job| Prepared::new(architecture, objective, job))
        .collect();
    let shards = prepared
        .iter()
        .enumerate()
        .flat_map(|(j, p)| (0..p.shards).map(move |s| (j, s)))
        .collect();
    (prepared, shards)
}

impl Gradient {
    /// Adds the share of one shard.
    fn add(&mut self, loss: f64, gradient: &[f32]) {
        self.loss += loss;
        for (sum, g) in self.gradient.iter_mut().zip(gradient) {
            *sum += g;
        }
    }
}

impl Engine for CpuEngine {
    fn name(&self) -> String {
        format!("cpu ({})", self.instructions.name())
    }

    fn gradients(
        &mut self,
        architecture: &Architecture,
        objective: &Objective,
        jobs: &[Job],
    ) -> Result<Vec<Gradient>> {
        Ok(self.gradients_of(architecture, objective, jobs))
    }

    fn respond(
        &mut self,
        architecture: &Architecture,
        objective: &Objective,
        jobs: &[Job],
    ) -> Result<Vec<Response>> {
        let (prepared, shards) = prepare(architecture, objective, jobs);
        // Shards hold different trials of a response, so that each could write its own; copies are cheap
        // beside the pass that made them.
        let mut responses: Vec<Mutex<Response>> = jobs
            .iter()
            .map(|job| {
                let (batch, steps) = (job.trials.batch(), job.trials.steps());
                Mutex::new(Response {
                    loss: 0.0,
                    outputs: Array3::zeros((batch, steps, architecture.outputs)),
                    states: Array3::zeros((batch, steps + 1, architecture.state_dim())),
                })
            })
            .collect();
        let losses: Vec<f64> = shards
            .par_iter()
            .map(|&(j, shard)| {
                let (job, prepared) = (&jobs[j], &prepared[j]);
                self.shard(architecture, objective, job, prepared, shard, false, |w| {
                    let mut response = responses[j].lock().unwrap_or_else(|e| e.into_inner());
                    let first = shard * SHARD_VECTORS * LANES;
                    from_lanes(&w.outputs, w.vectors, first, &mut response.outputs);
                    from_lanes(&w.states, w.vectors, first, &mut response.states);
                    w.loss
                })
            })
            .collect();
        for (&(j, _), loss) in shards.iter().zip(losses) {
            responses[j]
                .get_mut()
                .unwrap_or_else(|e| e.into_inner())
                .loss += loss;
        }
        Ok(responses
            .into_iter()
            .map(|response| response.into_inner().unwrap_or_else(|e| e.into_inner()))
            .collect())
    }

    fn advance(&mut self, plan: &Plan, learners: &mut [Learner]) -> Result<Vec<Progress>> {
        // One entry into the pool for all updates, from whatever thread the caller is on.
        rayon::scope(|_| Ok(self.advance_all(plan, learners)))
    }
}
/// Copies [batch, time, dim] of the trials from `first` on into [time][dim][lane]. Lanes beyond the batch repeat
/// the last trial: they have no weight in the loss, but what overflowed there would be 0 x inf in it.
#[inline(always)]
fn to_lanes<V: Vector>(from: ArrayView3<f32>, vectors: usize, first: usize, to: &mut Vec<Lanes>) {
    let (batch, steps, dim) = from.dim();
    let length = steps * dim;
    workspace::sized(to, length * vectors);
    let from = from.as_standard_layout();
    let numbers = from.as_slice().unwrap_or_default();
    for v in 0..vectors {
        // Sixteen numbers of sixteen trials at a time.
        for k in (0..length).step_by(LANES) {
            let count = LANES.min(length - k);
            let mut tile = [V::splat(0.0); LANES];
            for (lane, row) in tile.iter_mut().enumerate() {
                let trial = (first + v * LANES + lane).min(batch - 1);
                let from = &numbers[trial * length + k..][..count];
                let mut sixteen = Lanes::ZERO;
                match <&[f32; LANES]>::try_from(from) {
                    Ok(from) => sixteen.0 = *from,
                    Err(_) => sixteen.0[..count].copy_from_slice(from),
                }
                *row = V::load(&sixteen);
            }
            for (j, column) in V::transpose(tile).into_iter().take(count).enumerate() {
                column.store(&mut to[(k + j) * vectors + v]);
            }
        }
    }
}

/// The reverse of [`to_lanes`].
fn from_lanes(from: &[Lanes], vectors: usize, first: usize, to: &mut Array3<f32>) {
    let (batch, steps, dim) = to.dim();
    for b in first..batch.min(first + vectors * LANES) {
        let (v, lane) = ((b - first) / LANES, (b - first) % LANES);
        for t in 0..steps {
            for d in 0..dim {
                to[[b, t, d]] = from[(t * dim + d) * vectors + v].0[lane];
            }
        }
    }
}
