//! Lesions, perturbations and noise where it is known what they do.

mod common;

use common::{architecture, flip_flop_tanh, random_network, tanh_network, visited_states};
use ndarray::{Array2, Array3, Axis, array, s};
use nullcline_analysis::Error;
use nullcline_analysis::fixed_points::{FixedPointSettings, find_fixed_points};
use nullcline_analysis::lesions::{
    Direction, Fate, FixedPointChange, KnownPoint, Pair, ParameterGroup, fixed_points_after,
    mean_rates, perturbed_parameters, respond, respond_with_noise, spread, trajectory_distance,
};
use nullcline_analysis::starts::sample_starts;
use nullcline_models::architecture::{Architecture, CellKind, Readout};
use nullcline_models::network::{Lesion, Network};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use rand_distr::StandardNormal;

fn random_inputs(trials: usize, steps: usize, channels: usize, seed: u64) -> Array3<f64> {
    let mut rng = SmallRng::seed_from_u64(seed);
    Array3::from_shape_simple_fn((trials, steps, channels), || rng.sample(StandardNormal))
}

fn known(network: &Network, states: &Array2<f64>) -> Vec<KnownPoint> {
    let input = vec![0.0; network.architecture().inputs];
    let settings = FixedPointSettings::default();
    find_fixed_points(network, states.view(), &input, &settings, &mut |_| true)
        .unwrap()
        .fixed()
        .map(|point| KnownPoint {
            state: point.state.clone(),
            n_unstable: point.n_unstable,
        })
        .collect()
}

/// The fixed points of a network without input before and after a lesion, from a grid of starts.
fn change(network: &Network, lesion: &Lesion) -> (Vec<KnownPoint>, FixedPointChange) {
    let grid = [-1.0, -0.5, 0.1, 0.5, 1.0];
    let starts = Array2::from_shape_fn((25, 2), |(row, i)| grid[[row / 5, row % 5][i]]);
    let before = known(network, &starts);
    let lesioned = network.with_lesion(lesion).unwrap();
    let settings = FixedPointSettings::default();
    let change =
        fixed_points_after(network, &lesioned, &before, starts.view(), &[], &settings).unwrap();
    (before, change)
}

#[test]
fn silencing_half_of_a_latch_destroys_both_of_its_states() {
    // x = tanh(2 y), y = tanh(2 x): 0 and +-(a, a) with a = tanh(2 a); with x silenced y = tanh(0), x = tanh(0).
    let latch = tanh_network(&[0.0, 2.0, 2.0, 0.0], &[0.0, 0.0]);
    let (before, change) = change(&latch, &Lesion::new().silence(0));
    assert_eq!(before.len(), 3);
    assert_eq!(change.after.len(), 1);
    assert_eq!(change.after[0].state, [0.0, 0.0]);
    assert_eq!(change.after[0].n_unstable, Some(0));
    assert_eq!(change.count(Fate::Lost), 2);
    for pair in &change.pairs {
        let at_zero = before[pair.before.unwrap()].state[0].abs() < 0.5;
        if at_zero {
            // The saddle with eigenvalues +-2 becomes a stable point.
            assert_eq!(pair.fate, Fate::StabilityChanged);
            assert!(pair.displacement.unwrap() < 1e-12);
        } else {
            assert_eq!(pair.fate, Fate::Lost);
        }
    }
}

#[test]
fn silencing_one_of_two_latches_leaves_the_other() {
    // Nine points (x, y), x and y each 0 or +-a; with the first silenced x = tanh(0) = 0 and y as before.
    let latches = tanh_network(&[2.0, 0.0, 0.0, 2.0], &[0.0, 0.0]);
    let (before, change) = change(&latches, &Lesion::new().silence(0));
    assert_eq!(before.len(), 9);
    assert_eq!(change.after.len(), 3);
    assert_eq!(change.count(Fate::Lost), 6);
    assert_eq!(change.count(Fate::New), 0);
    // (0, 0) had two unstable directions and keeps one, (0, +-a) had one and keep none.
    assert_eq!(change.count(Fate::StabilityChanged), 3);
    for pair in &change.pairs {
        let x = before[pair.before.unwrap()].state[0];
        assert_eq!(pair.fate == Fate::Lost, x.abs() > 0.5);
    }
}

#[test]
fn a_clamped_unit_takes_two_points_from_a_latch_where_they_meet() {
    // x = tanh(2 x + y), y = tanh(0) = 0: three points. With y held at c there are three as long as |c| is below the fold
    // at sqrt(2) - atanh(sqrt(1/2)) = 0.5328..., and one beyond, which is the outer one on the side of c.
    let fold = 2.0_f64.sqrt() - 0.5_f64.sqrt().atanh();
    let latch = tanh_network(&[2.0, 1.0, 0.0, 0.0], &[0.0, 0.0]);
    for (c, lost) in [
        (0.3, 0),
        (fold - 1e-6, 0),
        (fold + 1e-6, 2),
        (-fold - 1e-6, 2),
        (3.0, 2),
    ] {
        let (before, change) = change(&latch, &Lesion::new().hold(1, c));
        assert_eq!(before.len(), 3);
        assert_eq!(change.count(Fate::Lost), lost, "{c}");
        assert_eq!(change.count(Fate::Kept), 3 - lost, "{c}");
        for pair in &change.pairs {
            let (from, to) = (&before[pair.before.unwrap()].state, pair.after);
            if let Some(to) = to.map(|to| &change.after[to].state) {
                let moved = pair.displacement.unwrap();
                assert!((moved - (to[0] - from[0]).abs()).abs() < 1e-12);
                assert!(lost == 0 || from[0] * c > 0.5, "{c} {from:?}");
            }
        }
    }
}

#[test]
fn a_clamped_unit_moves_the_points_of_the_others_as_it_must() {
    // y = tanh(0.5 y + 1.5 x), x held at c: y = tanh(0.5 y + 1.5 c) has one solution. x itself goes to tanh(0.5 x).
    let pair = tanh_network(&[0.5, 0.0, 1.5, 0.5], &[0.0, 0.0]);
    for c in [-0.6, 0.0, 0.3] {
        let (before, change) = change(&pair, &Lesion::new().hold(0, c));
        assert_eq!(before.len(), 1);
        assert!(before[0].state.iter().all(|x| x.abs() < 1e-15));
        let mut y = 0.0f64;
        for _ in 0..200 {
            y = (0.5 * y + 1.5 * c).tanh();
        }
        assert_eq!(change.after.len(), 1);
        let state = &change.after[0].state;
        // The held unit sees c through its own weight, not its state.
        assert!((state[0] - (0.5f64 * c).tanh()).abs() < 1e-15);
        assert!((state[1] - y).abs() < 1e-14);
        let moved = change.pairs[0].displacement.unwrap();
        assert!((moved - state[0].hypot(state[1])).abs() < 1e-15);
        assert_eq!(change.pairs[0].fate, Fate::Kept);
    }
}

#[test]
fn what_is_found_in_a_lesioned_network_is_proved_and_is_there_in_the_network_with_the_weights_cut()
{
    let (intact, _) = flip_flop_tanh();
    let visited = visited_states(&intact, 400, 1);
    let mut rng = SmallRng::seed_from_u64(2);
    let starts = sample_starts(visited.view(), 1024, 0.1, &mut rng).unwrap();
    let before = known(&intact, &starts);
    assert_eq!(before.len(), 27);
    let input = vec![0.0; 3];
    let settings = FixedPointSettings::default();
    let mut changed = 0;
    for unit in [0, 7, 15] {
        let lesioned = intact.with_lesion(&Lesion::new().silence(unit)).unwrap();
        let change = fixed_points_after(
            &intact,
            &lesioned,
            &before,
            starts.view(),
            &input,
            &settings,
        )
        .unwrap();
        changed += change.count(Fate::Lost);
        let units = intact.architecture().units;
        let mut parameters = intact.parameters().to_vec();
        let recurrent = intact.architecture().tensor("recurrent").unwrap().range;
        for row in parameters[recurrent].chunks_exact_mut(units) {
            row[unit] = 0.0;
        }
        let cut = Network::from_f64(intact.architecture().clone(), parameters);
        let same = known(&cut, &starts);
        assert!(!change.after.is_empty());
        for point in change.search.fixed() {
            let certificate = point.certificate().unwrap();
            let apart = |other: &KnownPoint| {
                let pairs = point.state.iter().zip(&other.state);
                pairs.fold(0.0f64, |d, (a, b)| d.max((a - b).abs()))
            };
            let nearest = same.iter().map(apart).fold(f64::INFINITY, f64::min);
            assert!(
                nearest <= certificate.existence + 1e-12,
                "{unit}: {nearest}"
            );
        }
    }
    assert!(changed > 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn silencing_a_unit_that_nobody_reads_changes_nothing(seed: u64, unit in 0usize..4) {
        // In the mean of a mean-centred network every unit is read by all.
        let cells = CellKind::ALL.iter().filter(|&&cell| cell != CellKind::MeanCentredPlrnn);
        for &cell in cells {
            let random = random_network(cell, 2, 4, 5, 0.8, seed);
            let layout = random.architecture().layout();
            let mut parameters = random.parameters().to_vec();
            let seen_by = if cell.shape().has_hidden { layout.hidden } else { layout.recurrent };
            for range in [seen_by, layout.readout] {
                for row in parameters[range].chunks_exact_mut(4) {
                    row[unit] = 0.0;
                }
            }
            let intact = Network::from_f64(random.architecture().clone(), parameters);
            let lesioned = intact.with_lesion(&Lesion::new().silence(unit)).unwrap();
            let inputs = random_inputs(3, 12, 2, seed);
            let initial = Array2::from_elem((3, intact.state_dim()), 0.3);
            let before = respond(&intact, inputs.view(), initial.view()).unwrap();
            let after = respond(&lesioned, inputs.view(), initial.view()).unwrap();
            prop_assert_eq!(&before, &after, "{}", cell.name());
            let distance = trajectory_distance(before.states.view(), after.states.view()).unwrap();
            prop_assert_eq!(distance, Some(0.0));
            // And the response is that of the network's own run.
            let trial = intact.run(&initial.row(1).to_vec(), inputs.index_axis(Axis(0), 1));
            prop_assert_eq!(before.states.index_axis(Axis(0), 1), trial.view());
            let outputs = intact.readouts(trial.slice(s![1.., ..]));
            prop_assert_eq!(before.outputs.index_axis(Axis(0), 1), outputs.view());
        }
    }

    #[test]
    fn a_perturbation_is_as_long_as_asked_and_touches_its_group_alone(
        seed: u64, relative_norm in 1e-4f64..2.0, one_sided: bool
    ) {
        let direction = if one_sided { Direction::OneSided } else { Direction::TwoSided };
        for &cell in CellKind::ALL {
            let network = random_network(cell, 2, 4, 5, 0.8, seed);
            for group in ParameterGroup::ALL {
                let draw = |relative_norm: f64| {
                    let mut rng = SmallRng::seed_from_u64(seed);
                    perturbed_parameters(&network, group, relative_norm, direction, &mut rng)
                };
                if !group.applies(network.architecture()) {
                    prop_assert_eq!(group, ParameterGroup::TimeConstants);
                    let lacks = matches!(draw(relative_norm), Err(Error::TooFew { .. }));
                    prop_assert!(lacks);
                    continue;
                }
                prop_assert_eq!(&draw(0.0).unwrap()[..], network.parameters());
                let moved = draw(relative_norm).unwrap();
                let tensors = network.architecture().tensors();
                let trainable = network.architecture().trainable();
                let (mut length, mut size) = (0.0, 0.0);
                for tensor in tensors {
                    let within = match group {
                        ParameterGroup::Recurrent => ["recurrent", "hidden"].contains(&&*tensor.name),
                        ParameterGroup::TimeConstants => tensor.name == "leak",
                        ParameterGroup::Trained => tensor.trainable,
                    };
                    for at in tensor.range {
                        // W of a PLRNN lacks its diagonal.
                        let within = within && (trainable[at] || !tensor.trainable);
                        let (mut old, mut new) = (network.parameters()[at], moved[at]);
                        if !within {
                            prop_assert_eq!(old, new);
                            continue;
                        }
                        if group == ParameterGroup::TimeConstants {
                            prop_assert!((1e-6..=1.0).contains(&new));
                            (old, new) = (1.0 / old, 1.0 / new);
                        }
                        prop_assert!(new >= old * (1.0 - 1e-15) || !one_sided);
                        length += (new - old) * (new - old);
                        size += old * old;
                    }
                }
                let ratio = (length / size).sqrt() / relative_norm;
                let exact = group != ParameterGroup::TimeConstants || one_sided;
                prop_assert!(ratio < 1.0 + 1e-9 && (ratio > 1.0 - 1e-9 || !exact), "{ratio}");
            }
        }
    }

    #[test]
    fn every_point_has_one_fate_and_that_of_nothing_is_to_be_kept(seed: u64, unit in 0usize..3) {
        for cell in [CellKind::VanillaTanh, CellKind::LeakyCurrentTanh, CellKind::Gru, CellKind::ClippedShallowPlrnn] {
            let intact = random_network(cell, 2, 3, 5, 2.0, seed);
            let mut rng = SmallRng::seed_from_u64(seed);
            let starts = Array2::from_shape_simple_fn((24, 3), || 2.0 * rng.random::<f64>() - 1.0);
            let before = known(&intact, &starts);
            let settings = FixedPointSettings::default();
            let after = |lesion: &Lesion| {
                let lesioned = intact.with_lesion(lesion).unwrap();
                fixed_points_after(&intact, &lesioned, &before, starts.view(), &[0.0; 2], &settings).unwrap()
            };
            let change = after(&Lesion::new().silence(unit));
            let places = |pick: fn(&Pair) -> Option<usize>| {
                let mut places: Vec<usize> = change.pairs.iter().filter_map(pick).collect();
                places.sort_unstable();
                places
            };
            prop_assert_eq!(places(|pair| pair.before), (0..before.len()).collect::<Vec<_>>());
            prop_assert_eq!(places(|pair| pair.after), (0..change.after.len()).collect::<Vec<_>>());
            for pair in &change.pairs {
                let both = (pair.before.is_some(), pair.after.is_some());
                let expected = match pair.fate {
                    Fate::Kept | Fate::StabilityChanged => (true, true),
                    Fate::Lost => (true, false),
                    Fate::New => (false, true),
                };
                prop_assert_eq!(both, expected);
            }
            let nothing = after(&Lesion::new());
            prop_assert_eq!(nothing.count(Fate::Kept), before.len());
            for pair in nothing.pairs.iter().filter(|pair| pair.fate == Fate::Kept) {
                prop_assert!(pair.displacement.unwrap() < 1e-9);
            }
        }
    }
}

#[test]
fn a_unit_clamped_to_the_rate_that_it_has_anyway_changes_nothing() {
    // Unit 0 sees nothing and is driven by its bias alone: from the first step on its rate is tanh(0.4).
    let mut rng = SmallRng::seed_from_u64(3);
    let architecture = Architecture {
        readout: Readout::Linear,
        outputs: 2,
        ..architecture(CellKind::VanillaTanh, 1, 3, 0)
    };
    let mut parameters: Vec<f64> = (0..architecture.parameter_count())
        .map(|_| rng.sample(StandardNormal))
        .collect();
    let layout = architecture.layout();
    parameters[layout.recurrent.start..][..3].fill(0.0);
    parameters[layout.input.start] = 0.0;
    parameters[layout.bias.start] = 0.4;
    let intact = Network::from_f64(architecture, parameters);
    let rate = 0.4_f64.tanh();
    let inputs = random_inputs(2, 30, 1, 4);
    let initial = array![[rate, 0.2, -0.3], [rate, 0.0, 0.9]];
    let before = respond(&intact, inputs.view(), initial.view()).unwrap();
    let means = mean_rates(&intact, before.states.view()).unwrap();
    assert!((means[0] - rate).abs() < 1e-15);
    let clamped = intact.with_lesion(&Lesion::new().hold(0, rate)).unwrap();
    assert_eq!(
        respond(&clamped, inputs.view(), initial.view()).unwrap(),
        before
    );
    // Another value does change something.
    let other = intact.with_lesion(&Lesion::new().hold(0, 0.0)).unwrap();
    assert_ne!(
        respond(&other, inputs.view(), initial.view()).unwrap(),
        before
    );
}

/// z' = A z: a PLRNN without weights.
fn linear(diagonal: &[f64]) -> Network {
    let architecture = architecture(CellKind::ShallowPlrnn, 1, diagonal.len(), 1);
    let mut parameters = vec![0.0; architecture.parameter_count()];
    parameters[architecture.layout().unit].copy_from_slice(diagonal);
    Network::from_f64(architecture, parameters)
}

#[test]
fn noise_on_linear_units_has_the_stationary_variance_of_an_autoregressive_process() {
    // x' = a x + sd xi: variance sd^2 / (1 - a^2), correlation of neighbours in time a.
    let (diagonal, sd) = ([0.0, 0.5, -0.8, 0.95], 0.3);
    let network = linear(&diagonal);
    let (trials, steps) = (64, 1200);
    let (inputs, initial) = (
        Array3::zeros((trials, steps, 1)),
        Array2::zeros((trials, 4)),
    );
    let stream = |trial: usize| SmallRng::seed_from_u64(100 + trial as u64);
    let noisy = respond_with_noise(&network, inputs.view(), initial.view(), sd, stream).unwrap();
    // Without the first 200 steps, in which the slowest unit comes to its distribution.
    let x = noisy.states.slice(s![.., 200.., ..]);
    let samples = (x.dim().0 * x.dim().1) as f64;
    for (unit, a) in diagonal.iter().enumerate() {
        let x = x.index_axis(Axis(2), unit);
        let variance = x.mapv(|x| x * x).sum() / samples;
        let expected = sd * sd / (1.0 - a * a);
        // The standard error of the variance of such a process, of which five are allowed.
        let error = expected * (2.0 / samples * (1.0 + a * a) / (1.0 - a * a)).sqrt();
        assert!(
            (variance - expected).abs() < 5.0 * error,
            "{a}: {variance} {expected}"
        );
        let neighbours = (&x.slice(s![.., 1..]) * &x.slice(s![.., ..-1])).sum();
        assert!((neighbours / samples / variance - a).abs() < 0.01);
    }
    // Trials have noise of their own, the same whatever trials there are beside them.
    let one = respond_with_noise(
        &network,
        inputs.slice(s![..1, .., ..]),
        initial.slice(s![..1, ..]),
        sd,
        stream,
    )
    .unwrap();
    assert_eq!(
        one.states.index_axis(Axis(0), 0),
        noisy.states.index_axis(Axis(0), 0)
    );
    assert_ne!(
        noisy.states.index_axis(Axis(0), 1),
        noisy.states.index_axis(Axis(0), 0)
    );
    let silent = respond_with_noise(&network, inputs.view(), initial.view(), 0.0, stream).unwrap();
    assert_eq!(
        silent,
        respond(&network, inputs.view(), initial.view()).unwrap()
    );
}

#[test]
fn distances_of_trajectories_are_in_units_of_their_spread() {
    // A square wave of +-1 in both dimensions has the spread sqrt(2); time 0 does not count.
    let before = Array3::from_shape_fn((2, 41, 2), |(_, t, _)| match t {
        0 => 77.0,
        t => [1.0, -1.0][t % 2],
    });
    assert!((spread(before.view()).unwrap() - 2.0_f64.sqrt()).abs() < 1e-15);
    let mut after = before.mapv(|x| x + 0.5);
    let distance = |after: &Array3<f64>| trajectory_distance(before.view(), after.view()).unwrap();
    // Moved by (1/2, 1/2), which is sqrt(1/2).
    assert!((distance(&after).unwrap() - 0.5).abs() < 1e-15);
    after.slice_mut(s![.., 0, ..]).fill(-1e9);
    assert!((distance(&after).unwrap() - 0.5).abs() < 1e-15);
    after[[1, 3, 0]] = f64::INFINITY;
    assert_eq!(distance(&after), None);
    let still = Array3::zeros((2, 5, 2));
    assert_eq!(
        trajectory_distance(still.view(), still.view()).unwrap(),
        None
    );
}

#[test]
fn what_does_not_fit_is_an_error() {
    let network = tanh_network(&[0.5, 0.0, 1.5, 0.5], &[0.0, 0.0]);
    let (inputs, initial) = (Array3::zeros((2, 3, 0)), Array2::zeros((2, 2)));
    let shape = |error: Error| matches!(error, Error::Shape { .. });
    let too_many = Array3::zeros((2, 3, 1));
    assert!(shape(
        respond(&network, too_many.view(), initial.view()).unwrap_err()
    ));
    let too_few = Array2::zeros((1, 2));
    assert!(shape(
        respond(&network, inputs.view(), too_few.view()).unwrap_err()
    ));
    let too_wide = Array2::zeros((2, 3));
    assert!(shape(
        respond(&network, inputs.view(), too_wide.view()).unwrap_err()
    ));
    let states = Array3::zeros((2, 4, 2));
    let longer = Array3::zeros((2, 5, 2));
    assert!(shape(
        trajectory_distance(states.view(), longer.view()).unwrap_err()
    ));
    assert!(matches!(
        spread(Array3::zeros((0, 4, 2)).view()),
        Err(Error::TooFew { .. })
    ));
    let rng = |trial: usize| SmallRng::seed_from_u64(trial as u64);
    for sd in [-0.1, f64::NAN] {
        let refused = respond_with_noise(&network, inputs.view(), initial.view(), sd, rng);
        assert!(matches!(refused, Err(Error::Setting { .. })));
        let refused = perturbed_parameters(
            &network,
            ParameterGroup::Recurrent,
            sd,
            Direction::TwoSided,
            &mut rng(0),
        );
        assert!(matches!(refused, Err(Error::Setting { .. })));
    }
    let known = |state: Vec<f64>| KnownPoint {
        state,
        n_unstable: None,
    };
    let (two, three) = (known(vec![0.0; 2]), known(vec![0.0; 3]));
    let settings = FixedPointSettings::default();
    let other = tanh_network(&[0.5], &[0.0]);
    for (changed, point) in [(&network, three), (&other, two)] {
        let refused =
            fixed_points_after(&network, changed, &[point], initial.view(), &[], &settings);
        assert!(shape(refused.unwrap_err()));
    }
}
