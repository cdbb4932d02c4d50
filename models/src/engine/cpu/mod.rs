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

use super::kernels::{Start, Term};
use super::{Engine, Evaluation, Gradient, Job, Learner, Objective, Plan, Progress, Response};
use crate::architecture::Architecture;
use crate::simd::{Instructions, LANES, Lanes, Vector};
use ndarray::{Array3, ArrayView3};
use nullcline_data::Result;
use nullcline_tasks::{Split, Trials};
use pass::Pass;
use prepared::Prepared;
use rayon::prelude::*;
use std::sync::Mutex;
use std::time::Instant;
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

    /// Operations per second of the matrix product alone, on one thread and operands in first-level cache: the
    /// most that training can come near. The best of many short runs, `seconds` in all.
    pub fn peak(&self, seconds: f64) -> f64 {
        const ROWS: usize = 48;
        const K: usize = 64;
        let a = vec![1.0f32; ROWS * K];
        let b = vec![Lanes([1e-3; LANES]); K * SHARD_VECTORS];
        let mut c = vec![Lanes::ZERO; ROWS * SHARD_VECTORS];
        let terms = [Term { k: K, a: &a, b: &b }];
        let mut product = || {
            let (set, c) = (self.instructions, &mut c[..]);
            // SAFETY: an engine only holds instruction sets that were detected on this processor.
            unsafe { set.product(Start::Zero, &terms, ROWS, SHARD_VECTORS, c) };
            std::hint::black_box(&mut *c);
        };
        const AT_A_TIME: usize = 200;
        let begun = Instant::now();
        let mut best = f64::INFINITY;
        while begun.elapsed().as_secs_f64() < seconds {
            let started = Instant::now();
            (0..AT_A_TIME).for_each(|_| product());
            best = best.min(started.elapsed().as_secs_f64() / AT_A_TIME as f64);
        }
        (2 * ROWS * K * SHARD_VECTORS * LANES) as f64 / best
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

    /// One update of a learner that has not diverged, on this thread.
    fn update(
        &self,
        plan: &Plan,
        update: u64,
        trials: &Trials,
        learner: &mut Learner,
        progress: &mut Progress,
    ) {
        if progress.diverged {
            return;
        }
        let objective = Objective {
            forcing: learner.adapt(plan, update, trials),
            ..plan.objective
        };
        let job = Job {
            parameters: learner.parameters,
            trials,
        };
        let mut gradient = self.gradient(plan.architecture, &objective, &job);
        progress.finish(plan, update, learner, &mut gradient);
    }

    /// One update of learners that have not diverged, spread over their shards. `trials[k % trials.len()]` are
    /// those of learner k.
    fn update_by_shards(
        &self,
        plan: &Plan,
        update: u64,
        trials: &[Trials],
        learners: &mut [Learner],
        progress: &mut [Progress],
    ) {
        let mut running: Vec<(&Trials, &mut Learner, &mut Progress)> = trials
            .iter()
            .cycle()
            .zip(learners.iter_mut().zip(progress))
            .map(|(trials, (learner, progress))| (trials, learner, progress))
            .filter(|(_, _, progress)| !progress.diverged)
            .collect();
        let objectives: Vec<Objective> = running
            .par_iter_mut()
            .map(|(trials, learner, _)| Objective {
                forcing: learner.adapt(plan, update, trials),
                ..plan.objective
            })
            .collect();
        let jobs: Vec<Job> = running
            .iter()
            .map(|(trials, learner, _)| Job {
                parameters: learner.parameters,
                trials,
            })
            .collect();
        let gradients = self.gradients_of(plan.architecture, &objectives, &jobs);
        running
            .par_iter_mut()
            .zip(gradients)
            .for_each(|((_, learner, progress), mut gradient)| {
                progress.finish(plan, update, learner, &mut gradient);
            });
    }

    fn advance_all(&self, plan: &Plan, learners: &mut [Learner]) -> Vec<Progress> {
        let draw =
            |seed: u64, update: u64| plan.task.trials(Split::Training, seed, update, plan.batch);
        let mut progress = vec![Progress::default(); learners.len()];
        let shared = learners
            .windows(2)
            .all(|pair| pair[0].trial_seed == pair[1].trial_seed);
        // As many learners as make a whole number for every thread, and the rest.
        let apart = learners.len() - learners.len() % rayon::current_num_threads();
        let (learners, rest) = learners.split_at_mut(apart);
        let (progress_apart, progress_rest) = progress.split_at_mut(apart);
        let mut alone: Vec<(&mut Learner, &mut Progress)> =
            learners.iter_mut().zip(progress_apart).collect();
        if shared {
            let Some(seed) = alone
                .first()
                .map(|(learner, _)| learner.trial_seed)
                .or_else(|| rest.first().map(|learner| learner.trial_seed))
            else {
                return progress;
            };
            for update in plan.updates.clone() {
                let trials = [draw(seed, update)];
                alone
                    .par_iter_mut()
                    .with_max_len(1)
                    .for_each(|(learner, progress)| {
                        self.update(plan, update, &trials[0], learner, progress);
                    });
                self.update_by_shards(plan, update, &trials, rest, progress_rest);
            }
        } else {
            alone
                .par_iter_mut()
                .with_max_len(1)
                .for_each(|(learner, progress)| {
                    for update in plan.updates.clone() {
                        let trials = draw(learner.trial_seed, update);
                        self.update(plan, update, &trials, learner, progress);
                        if progress.diverged {
                            break;
                        }
                    }
                });
            for update in plan.updates.clone() {
                let seeds: Vec<u64> = rest.iter().map(|learner| learner.trial_seed).collect();
                let trials: Vec<Trials> = seeds.par_iter().map(|&s| draw(s, update)).collect();
                self.update_by_shards(plan, update, &trials, rest, progress_rest);
            }
        }
        progress
    }

    /// Responses of networks to their trials; without states, theirs have no steps.
    fn responses(
        &self,
        architecture: &Architecture,
        objective: &Objective,
        jobs: &[Job],
        with_states: bool,
    ) -> Vec<Response> {
        let (prepared, shards) = prepare(architecture, &vec![*objective; jobs.len()], jobs);
        let kept = |steps: usize| if with_states { steps + 1 } else { 0 };
        // Shards hold different trials of a response, so that each could write its own; copies are cheap
        // beside the pass that made them.
        let mut responses: Vec<Mutex<Response>> = jobs
            .iter()
            .map(|job| {
                let (batch, steps) = (job.trials.batch(), job.trials.steps());
                Mutex::new(Response {
                    loss: 0.0,
                    outputs: Array3::zeros((batch, steps, architecture.outputs)),
                    states: Array3::zeros((batch, kept(steps), architecture.state_dim())),
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
                    if with_states {
                        from_lanes(&w.states, w.vectors, first, &mut response.states);
                    }
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
        responses
            .into_iter()
            .map(|response| response.into_inner().unwrap_or_else(|e| e.into_inner()))
            .collect()
    }

    /// Loss and gradient of every job, each with its own objective.
    fn gradients_of(
        &self,
        architecture: &Architecture,
        objectives: &[Objective],
        jobs: &[Job],
    ) -> Vec<Gradient> {
        let (prepared, shards) = prepare(architecture, objectives, jobs);
        let parts: Vec<Gradient> = shards
            .par_iter()
            .map(|&(j, shard)| {
                self.shard(
                    architecture,
                    &objectives[j],
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
    objectives: &[Objective],
    jobs: &[Job],
) -> (Vec<Prepared>, Vec<(usize, usize)>) {
    let prepared: Vec<Prepared> = jobs
        .par_iter()
        .zip(objectives)
        .map(|(job, objective)| Prepared::new(architecture, objective, job))
        .collect();
    let shards = prepared
        .iter()
        .enumerate()
        .flat_map(|(j, p)| (0..p.shards).map(move |s| (j, s)))
        .collect();
    (prepared, shards)
}

impl Progress {
    /// The end of an update, from its gradient on.
    fn finish(&mut self, plan: &Plan, update: u64, learner: &mut Learner, gradient: &mut Gradient) {
        self.losses.push(gradient.loss);
        self.alphas.push(*learner.alpha);
        self.diverged = !learner.apply(plan, update, gradient.loss, &mut gradient.gradient);
    }
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
        Ok(self.gradients_of(architecture, &vec![*objective; jobs.len()], jobs))
    }

    fn respond(
        &mut self,
        architecture: &Architecture,
        objective: &Objective,
        jobs: &[Job],
    ) -> Result<Vec<Response>> {
        Ok(self.responses(architecture, objective, jobs, true))
    }

    fn evaluate(
        &mut self,
        architecture: &Architecture,
        objective: &Objective,
        jobs: &[Job],
    ) -> Result<Vec<Evaluation>> {
        let responses = self.responses(architecture, objective, jobs, false);
        Ok(responses.into_iter().map(Evaluation::from).collect())
    }

    fn advance(&mut self, plan: &Plan, learners: &mut [Learner]) -> Result<Vec<Progress>> {
        // One entry into the pool for all updates, from whatever thread the caller is on.
        Ok(rayon::scope(|_| self.advance_all(plan, learners)))
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
