//! Optimisers and learning-rate schedules, in the definitions of torch.optim.

use nullcline_data::vectorised;

/// The update rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Adam (Kingma & Ba 2015); weight decay enters the gradient.
    Adam,
    /// AdamW (Loshchilov & Hutter 2019); weight decay shrinks the weights directly.
    AdamW,
    /// RAdam (Liu et al. 2020): Adam whose step is plain momentum until its variance is known.
    RAdam,
    /// Stochastic gradient descent with momentum, optionally Nesterov's.
    Sgd,
}

impl Rule {
    /// The names written in experiment files, in the order of the variants.
    pub const NAMES: &'static [&'static str] = &["adam", "adamw", "radam", "sgd"];

    /// The rule of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        const ALL: [Rule; 4] = [Rule::Adam, Rule::AdamW, Rule::RAdam, Rule::Sgd];
        Self::NAMES
            .iter()
            .position(|n| *n == name)
            .and_then(|i| ALL.get(i).copied())
    }
}

/// An update rule with its constants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Optimiser {
    /// The rule.
    pub rule: Rule,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Weight decay; 0 for none.
    pub weight_decay: f64,
    /// Momentum of `Sgd`.
    pub momentum: f64,
    /// Whether `Sgd` takes Nesterov's look-ahead.
    pub nesterov: bool,
}

/// What an optimiser remembers of one network.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Moments {
    /// First moment, or the velocity of `Sgd`.
    pub first: Vec<f32>,
    /// Second moment.
    pub second: Vec<f32>,
    /// Updates made.
    pub updates: u64,
}

impl Moments {
    /// Nothing remembered yet, for `count` parameters.
    pub fn new(count: usize) -> Self {
        Moments {
            first: vec![0.0; count],
            second: vec![0.0; count],
            updates: 0,
        }
    }
}

/// What of a rule depends on the number of the update and on the learning rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Factors {
    /// Learning rate / (1 - beta1^t).
    pub step: f32,
    /// 1 / sqrt(1 - beta2^t).
    pub root2: f32,
    /// The adaptive step of RAdam; `None` while the variance is not known.
    pub rectified_step: Option<f32>,
    /// The learning rate.
    pub rate: f32,
    /// What AdamW leaves of the weights: 1 - learning rate x weight decay.
    pub shrink: f32,
    /// Whether there is no velocity yet.
    pub first_update: bool,
}

impl Optimiser {
    /// The factors of update `t`, from 1.
    pub fn factors(&self, t: u64, learning_rate: f64) -> Factors {
        let first_update = t == 1;
        let t = t as f64;
        let correction1 = 1.0 - self.beta1.powf(t);
        let correction2 = 1.0 - self.beta2.powf(t);
        // RAdam: rho_inf = 2 / (1 - beta2) - 1, rho_t = rho_inf - 2 t beta2^t / (1 - beta2^t); above 5 the
        // adaptive step is taken, times r_t.
        let rho_infinity = 2.0 / (1.0 - self.beta2) - 1.0;
        let rho = rho_infinity - 2.0 * t * (1.0 - correction2) / correction2;
        let r = ((rho - 4.0) * (rho - 2.0) * rho_infinity
            / ((rho_infinity - 4.0) * (rho_infinity - 2.0) * rho))
            .sqrt();
        let rectified_step = (learning_rate / correction1 * r * correction2.sqrt()) as f32;
        Factors {
            step: (learning_rate / correction1) as f32,
            root2: (1.0 / correction2.sqrt()) as f32,
            rectified_step: (rho > 5.0).then_some(rectified_step),
            rate: learning_rate as f32,
            shrink: (1.0 - learning_rate * self.weight_decay) as f32,
            first_update,
        }
    }

    /// Moves `parameters` along `gradient` with this learning rate. Parameters with `trainable` false stay.
    pub fn update(
        &self,
        parameters: &mut [f32],
        gradient: &[f32],
        trainable: &[bool],
        moments: &mut Moments,
        learning_rate: f64,
    ) {
        moments.updates += 1;
        let factors = self.factors(moments.updates, learning_rate);
        let moments = (&mut moments.first[..], &mut moments.second[..]);
        update(self, &factors, parameters, gradient, trainable, moments);
    }
}

vectorised! {
    /// [`Optimiser::update`] with the factors of the update.
    fn update(
        optimiser: &Optimiser,
        factors: &Factors,
        parameters: &mut [f32],
        gradient: &[f32],
        trainable: &[bool],
        moments: (&mut [f32], &mut [f32]),
    ) {
        let beta2 = optimiser.beta2 as f32;
        // Rounded after the subtraction: 1 - 0.999 in f32 is wrong in its fifth digit.
        let (rest1, rest2) = ((1.0 - optimiser.beta1) as f32, (1.0 - optimiser.beta2) as f32);
        let (epsilon, momentum) = (optimiser.epsilon as f32, optimiser.momentum as f32);
        // Weight decay: p becomes shrink p, g becomes g + decay p.
        let (shrink, decay) = match optimiser.rule {
            Rule::AdamW => (factors.shrink, 0.0),
            _ => (1.0, optimiser.weight_decay as f32),
        };
        let numbers = parameters
            .iter_mut()
            .zip(gradient)
            .zip(trainable)
            .zip(moments.0.iter_mut().zip(moments.1))
            .map(|(((p, g), trainable), (m, v))| {
                let shrunk = *p * shrink;
                (p, shrunk, g + decay * shrunk, *trainable, m, v)
            });
        let adam = |g: f32, m: f32, v: f32| (m + rest1 * (g - m), beta2 * v + rest2 * g * g);
        // What becomes of p, m, v. Stored without a branch, so that it is vector code.
        macro_rules! each {
            (|$p:ident, $g:ident, $m:ident, $v:ident| $new:expr) => {
                for (to_p, $p, $g, trainable, to_m, to_v) in numbers {
                    let ($m, $v) = (*to_m, *to_v);
                    let (p, m, v) = $new;
                    *to_p = if trainable { p } else { *to_p };
                    *to_m = if trainable { m } else { *to_m };
                    *to_v = if trainable { v } else { *to_v };
                }
            };
        }
        match (optimiser.rule, factors.rectified_step) {
            (Rule::Sgd, _) => each!(|p, g, m, v| {
                let m = if factors.first_update { g } else { momentum * m + g };
                let along = if optimiser.nesterov { g + momentum * m } else { m };
                (p - factors.rate * along, m, v)
            }),
            (Rule::RAdam, Some(step)) => each!(|p, g, m, v| {
                let (m, v) = adam(g, m, v);
                (p - step * m / (v.sqrt() + epsilon), m, v)
            }),
            (Rule::RAdam, None) => each!(|p, g, m, v| {
                let (m, v) = adam(g, m, v);
                (p - factors.step * m, m, v)
            }),
            // p -= lr / (1 - beta1^t) m / (sqrt(v / (1 - beta2^t)) + eps)
            (Rule::Adam | Rule::AdamW, _) => each!(|p, g, m, v| {
                let (m, v) = adam(g, m, v);
                (p - factors.step * m / (v.sqrt() * factors.root2 + epsilon), m, v)
            }),
        }
    }
}

/// Scales a gradient so that its Euclidean norm is at most `limit`, as `clip_grad_norm_`; returns the norm
/// before. A limit of 0 leaves it alone.
pub fn clip_by_global_norm(gradient: &mut [f32], limit: f64) -> f64 {
    let norm = sum_of_squares(gradient).sqrt();
    let factor = limit / (norm + 1e-6);
    if limit > 0.0 && factor < 1.0 {
        gradient.iter_mut().for_each(|g| *g *= factor as f32);
    }
    norm
}

vectorised! {
    /// In sixteen parts, so that no addition waits for the one before it.
    fn sum_of_squares(numbers: &[f32]) -> f64 {
        let (whole, rest) = numbers.as_chunks::<16>();
        let mut sums = [0.0f64; 16];
        for numbers in whole {
            for (sum, &x) in sums.iter_mut().zip(numbers) {
                *sum += f64::from(x) * f64::from(x);
            }
        }
        let rest = rest.iter().map(|&x| f64::from(x) * f64::from(x));
        sums.into_iter().sum::<f64>() + rest.sum::<f64>()
    }
}

/// How the learning rate changes over training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Schedule {
    /// Always the same.
    Constant,
    /// Geometric from the learning rate to `end` over all updates.
    Exponential {
        /// The last learning rate.
        end: f64,
    },
    /// Half a cosine from the learning rate to `end` over all updates.
    Cosine {
        /// The last learning rate.
        end: f64,
    },
    /// Times `factor` whenever the held-out loss has not fallen for `patience` evaluations (torch's
    /// ReduceLROnPlateau with its relative threshold of 1e-4, without its rule that changes below 1e-8 are
    /// not made), never below `end`.
    Plateau {
        /// What the learning rate is multiplied by.
        factor: f64,
        /// Evaluations without improvement before that happens.
        patience: u64,
        /// The smallest learning rate.
        end: f64,
    },
}

/// The plateau schedule's memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plateau {
    /// The best held-out loss so far.
    pub best: f64,
    /// Evaluations since it.
    pub waited: u64,
    /// The product of all factors applied.
    pub scale: f64,
}

impl Default for Plateau {
    fn default() -> Self {
        Plateau {
            best: f64::INFINITY,
            waited: 0,
            scale: 1.0,
        }
    }
}

impl Schedule {
    /// The learning rate of update `update` (from 0) of `updates`.
    pub fn learning_rate(&self, start: f64, update: u64, updates: u64, plateau: &Plateau) -> f64 {
        let fraction = update as f64 / updates.max(1) as f64;
        match *self {
            Schedule::Constant => start,
            Schedule::Exponential { end } => start * (end / start).powf(fraction),
            Schedule::Cosine { end } => {
                end + 0.5 * (start - end) * (1.0 + (std::f64::consts::PI * fraction).cos())
            }
            Schedule::Plateau { end, .. } => (start * plateau.scale).max(end.min(start)),
        }
    }

    /// Tells the schedule a held-out loss.
    pub fn observe(&self, loss: f64, plateau: &mut Plateau) {
        if let Schedule::Plateau {
            factor, patience, ..
        } = *self
        {
            if loss < plateau.best * (1.0 - 1e-4) {
                plateau.best = loss;
                plateau.waited = 0;
            } else {
                plateau.waited += 1;
                if plateau.waited > patience {
                    plateau.scale *= factor;
                    plateau.waited = 0;
                }
            }
        }
    }
}
