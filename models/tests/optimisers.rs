//! Optimisers, clipping and schedules against torch's; `fixtures/make_optimiser_fixtures.py` made the numbers
//! and has the same settings.

use nullcline_data::tensors::{Tensors, read_safetensors};
use nullcline_models::optimisers::{
    Moments, Optimiser, Plateau, Rule, Schedule, clip_by_global_norm,
};
use std::path::Path;

fn fixture() -> Tensors {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    read_safetensors(&folder.join("optimisers.safetensors")).unwrap()
}

fn rows(tensors: &Tensors, name: &str) -> Vec<Vec<f32>> {
    tensors
        .f32(name)
        .unwrap()
        .outer_iter()
        .map(|row| row.iter().copied().collect())
        .collect()
}

/// Compares row `t` of a trajectory, relative to the largest value that each number has had so far: a moment
/// that passes through zero keeps the rounding of the values before.
fn assert_close(ours: &[f32], torch: &[Vec<f32>], t: usize, what: &str) {
    for (k, (a, b)) in ours.iter().zip(&torch[t]).enumerate() {
        let largest = torch[..=t]
            .iter()
            .map(|row| row[k].abs())
            .fold(0.0, f32::max);
        assert!(
            (a - b).abs() <= 1e-6 * largest,
            "{what}, update {t}, parameter {k}: ours {a:e}, torch {b:e}"
        );
    }
}

#[test]
fn every_rule_moves_parameters_as_torch_does() {
    let base = Optimiser {
        rule: Rule::Adam,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        weight_decay: 0.0,
        momentum: 0.0,
        nesterov: false,
    };
    let decayed = Optimiser {
        beta1: 0.8,
        beta2: 0.99,
        epsilon: 1e-6,
        weight_decay: 0.1,
        ..base
    };
    let sgd = Optimiser {
        rule: Rule::Sgd,
        ..base
    };
    let cases = [
        ("adam", base),
        ("adam_decay", decayed),
        (
            "adamw",
            Optimiser {
                rule: Rule::AdamW,
                weight_decay: 0.1,
                ..base
            },
        ),
        (
            "radam",
            Optimiser {
                rule: Rule::RAdam,
                ..base
            },
        ),
        (
            "radam_decay",
            Optimiser {
                rule: Rule::RAdam,
                ..decayed
            },
        ),
        ("sgd", sgd),
        (
            "sgd_momentum",
            Optimiser {
                momentum: 0.9,
                ..sgd
            },
        ),
        (
            "sgd_nesterov_decay",
            Optimiser {
                momentum: 0.9,
                nesterov: true,
                weight_decay: 0.1,
                ..sgd
            },
        ),
    ];
    let tensors = fixture();
    let gradients = rows(&tensors, "gradients");
    for (name, optimiser) in cases {
        let mut parameters: Vec<f32> = tensors.f32("start").unwrap().iter().copied().collect();
        let mut moments = Moments::new(parameters.len());
        let trainable = vec![true; parameters.len()];
        let expected = rows(&tensors, &format!("{name}.parameters"));
        assert_eq!(expected.len(), gradients.len());
        let moment = |which: &str| {
            let key = format!("{name}.{which}");
            tensors.get(&key).map(|_| rows(&tensors, &key))
        };
        let (first, second) = (moment("first"), moment("second"));
        for (t, gradient) in gradients.iter().enumerate() {
            optimiser.update(&mut parameters, gradient, &trainable, &mut moments, 0.05);
            assert_close(&parameters, &expected, t, &format!("{name}, parameters"));
            if let Some(first) = &first {
                assert_close(&moments.first, first, t, &format!("{name}, first moment"));
            }
            if let Some(second) = &second {
                assert_close(
                    &moments.second,
                    second,
                    t,
                    &format!("{name}, second moment"),
                );
            }
        }
    }
}

#[test]
fn parameters_that_are_not_trained_stay() {
    for rule in [Rule::Adam, Rule::AdamW, Rule::RAdam, Rule::Sgd] {
        let optimiser = Optimiser {
            rule,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.1,
            momentum: 0.9,
            nesterov: false,
        };
        let mut parameters = vec![1.0, 1.0];
        let mut moments = Moments::new(2);
        optimiser.update(
            &mut parameters,
            &[1.0, 1.0],
            &[true, false],
            &mut moments,
            0.1,
        );
        assert!(parameters[0] < 1.0, "{rule:?}");
        assert_eq!(
            (parameters[1], moments.first[1], moments.second[1]),
            (1.0, 0.0, 0.0),
            "{rule:?}"
        );
    }
}

#[test]
fn clipping_is_that_of_torch() {
    let tensors = fixture();
    let (gradients, clipped) = (
        rows(&tensors, "clip.gradients"),
        rows(&tensors, "clip.clipped"),
    );
    let norms = tensors.f32("clip.norms").unwrap();
    for (k, gradient) in gradients.iter().enumerate() {
        let mut ours = gradient.clone();
        let norm = clip_by_global_norm(&mut ours, 1.0);
        let torch = f64::from(norms[[k]]);
        assert!(
            (norm - torch).abs() <= 1e-6 * torch,
            "gradient {k}: norm {norm}, torch {torch}"
        );
        for (a, b) in ours.iter().zip(&clipped[k]) {
            // Tighter than elsewhere: a norm of exactly the limit is scaled by 1 - 1e-6.
            assert!(
                (a - b).abs() <= 3e-7 * b.abs(),
                "gradient {k}: ours {a:e}, torch {b:e}"
            );
        }
        let mut untouched = gradient.clone();
        clip_by_global_norm(&mut untouched, 0.0);
        assert_eq!(&untouched, gradient);
    }
}

#[test]
fn schedules_are_those_of_torch() {
    let tensors = fixture();
    let losses = tensors.f64("plateau.losses").unwrap();
    let updates = losses.len() as u64;
    for (name, schedule) in [
        (
            "plateau",
            Schedule::Plateau {
                factor: 0.5,
                patience: 2,
                end: 1e-3,
            },
        ),
        ("cosine", Schedule::Cosine { end: 1e-3 }),
        ("exponential", Schedule::Exponential { end: 5e-4 }),
    ] {
        let expected = tensors.f64(&format!("{name}.learning_rates")).unwrap();
        let mut plateau = Plateau::default();
        for (t, (&torch, &loss)) in (0_u64..).zip(expected.iter().zip(losses)) {
            let ours = schedule.learning_rate(0.05, t, updates, &plateau);
            assert!(
                (ours - torch).abs() <= 1e-9 * torch,
                "{name}, update {t}: ours {ours}, torch {torch}"
            );
            schedule.observe(loss, &mut plateau);
        }
    }
}
