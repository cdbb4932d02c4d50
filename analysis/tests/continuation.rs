//! Continuation against bifurcations in closed form, and what must hold on every branch.

mod common;

use std::f64::consts::PI;

use ndarray::{Array2, arr2};
use nullcline_analysis::Error;
use nullcline_analysis::continuation::{
    BifurcationKind, Branch, ContinuationSettings, Directions, End, Family, NetworkFamily,
    NetworkParameter, PointKind, continue_branch, continue_branches,
};
use nullcline_analysis::fixed_points::{FixedPointSettings, find_fixed_points};
use nullcline_models::architecture::CellKind;
use nullcline_models::network::Network;
use proptest::prelude::*;

/// A family from a function that returns x', row by row its Jacobian, and its derivative by p.
struct Map<const N: usize, F>(F);

impl<const N: usize, F> Family for Map<N, F>
where
    F: Fn([f64; N], f64) -> ([f64; N], [[f64; N]; N], [f64; N]) + Sync,
{
    fn state_dim(&self) -> usize {
        N
    }

    fn step_with_derivatives(
        &self,
        state: &[f64],
        parameter: f64,
        next: &mut [f64],
        jacobian: &mut [f64],
        by_parameter: &mut [f64],
    ) {
        let (value, by_state, by_p) = (self.0)(state.try_into().unwrap(), parameter);
        next.copy_from_slice(&value);
        jacobian.copy_from_slice(by_state.as_flattened());
        by_parameter.copy_from_slice(&by_p);
    }
}

fn follow<F: Family>(family: &F, state: &[f64], p: f64, settings: &ContinuationSettings) -> Branch {
    continue_branch(family, state, p, settings, &mut |_| true).unwrap()
}

/// Kind and parameter of every bifurcation, by parameter.
fn bifurcations(branch: &Branch) -> Vec<(BifurcationKind, f64)> {
    let mut found: Vec<_> = branch
        .bifurcations
        .iter()
        .map(|b| (b.kind, branch.points[b.point].parameter))
        .collect();
    found.sort_by(|a, b| a.1.total_cmp(&b.1));
    found
}

fn assert_bifurcations(branch: &Branch, expected: &[(BifurcationKind, f64)]) {
    let found = bifurcations(branch);
    let near = found
        .iter()
        .zip(expected)
        .all(|(a, b)| a.0 == b.0 && (a.1 - b.1).abs() < 1e-8);
    assert!(
        near && found.len() == expected.len(),
        "{found:?}, not {expected:?}"
    );
}

#[test]
fn henon_map_folds_and_flips_where_the_closed_form_says() {
    let b = 0.3;
    let family = Map(|[x, y]: [f64; 2], a: f64| {
        (
            [1.0 - a * x * x + y, b * x],
            [[-2.0 * a * x, 1.0], [b, 0.0]],
            [-x * x, 0.0],
        )
    });
    let x = (-0.7 + (0.49 + 4.0 * 0.2_f64).sqrt()) / 0.4;
    let branch = follow(
        &family,
        &[x, b * x],
        0.2,
        &ContinuationSettings {
            largest_state: 10.0,
            ..ContinuationSettings::new(-0.5, 0.6)
        },
    );
    assert_bifurcations(
        &branch,
        &[
            (BifurcationKind::Fold, -(1.0 - b) * (1.0 - b) / 4.0),
            (BifurcationKind::Flip, 3.0 * (1.0 - b) * (1.0 - b) / 4.0),
        ],
    );
    // From the unstable point that runs off as a comes to 0, over the fold, to the right end.
    assert_eq!(branch.ends, [End::State, End::Parameter]);
    let fold = &branch.bifurcations[0];
    assert_eq!((fold.n_unstable_before, fold.n_unstable_after), (1, 0));
    assert!(fold.turns && (fold.critical.re - 1.0).abs() < 1e-6);
    assert_eq!(branch.bifurcations[1].period(), 2.0);
    assert_eq!(branch.points.last().unwrap().parameter, 0.6);
}

#[test]
fn delayed_logistic_map_has_a_neimark_sacker_bifurcation_at_two() {
    let family = Map(|[x, y]: [f64; 2], r: f64| {
        (
            [r * x * (1.0 - y), x],
            [[r * (1.0 - y), -r * x], [1.0, 0.0]],
            [x * (1.0 - y), 0.0],
        )
    });
    let x = 1.0 - 1.0 / 1.5;
    let branch = follow(&family, &[x, x], 1.5, &ContinuationSettings::new(0.5, 2.5));
    assert_bifurcations(
        &branch,
        &[
            (BifurcationKind::BranchPoint, 1.0),
            (BifurcationKind::NeimarkSacker, 2.0),
        ],
    );
    let pair = &branch.bifurcations[1];
    assert!((pair.angle() - PI / 3.0).abs() < 1e-8, "{}", pair.angle());
    assert!((pair.period() - 6.0).abs() < 1e-7);
    assert_eq!((pair.n_unstable_before, pair.n_unstable_after), (0, 2));
}

#[test]
fn logistic_map_has_a_transcritical_bifurcation_on_both_branches() {
    let family = Map(|[x]: [f64; 1], r: f64| {
        (
            [r * x * (1.0 - x)],
            [[r * (1.0 - 2.0 * x)]],
            [x * (1.0 - x)],
        )
    });
    let settings = ContinuationSettings::new(0.4, 3.5);
    let starts = arr2(&[[0.5], [0.0]]);
    let found = continue_branches(&family, starts.view(), 2.0, &settings, &mut |_| true).unwrap();
    assert_eq!(found.branch_of, [Some(0), Some(1)]);
    assert_bifurcations(
        &found.branches[0],
        &[
            (BifurcationKind::BranchPoint, 1.0),
            (BifurcationKind::Flip, 3.0),
        ],
    );
    assert_bifurcations(&found.branches[1], &[(BifurcationKind::BranchPoint, 1.0)]);
}

/// x' = tanh(w x + u + b), u an input.
fn unit(w: f64, b: f64) -> Network {
    let architecture = common::architecture(CellKind::VanillaTanh, 1, 1, 0);
    let layout = architecture.layout();
    let mut parameters = vec![0.0; layout.total];
    parameters[layout.recurrent][0] = w;
    parameters[layout.input][0] = 1.0;
    parameters[layout.bias][0] = b;
    Network::from_f64(architecture, parameters)
}

/// At the folds of x = tanh(w x + u), w (1 - x^2) = 1 and u = atanh(x) - w x; here the one with x > 0.
fn cusp(w: f64) -> f64 {
    let x = (1.0 - 1.0 / w).sqrt();
    x.atanh() - w * x
}

#[test]
fn a_tanh_unit_has_a_pitchfork_where_its_weight_is_one() {
    let scale = NetworkParameter::Scale("recurrent".into());
    let (family, at) = NetworkFamily::new(unit(0.6, 0.0), &[0.0], &scale).unwrap();
    assert_eq!(at, 1.0);
    let settings = ContinuationSettings::new(0.0, 3.0);
    let branch = follow(&family, &[0.0], at, &settings);
    assert_bifurcations(&branch, &[(BifurcationKind::BranchPoint, 1.0 / 0.6)]);
    assert_eq!(branch.ends, [End::Parameter; 2]);

    // On the branch that bifurcates the weight turns back there, and both arms are one branch.
    let arms = arr2(&[[0.9], [0.0], [-0.9]]);
    let found = continue_branches(&family, arms.view(), 2.5, &settings, &mut |_| true).unwrap();
    assert_eq!(found.branch_of, [Some(0), Some(1), Some(0)]);
    assert_bifurcations(
        &found.branches[0],
        &[(BifurcationKind::BranchPoint, 1.0 / 0.6)],
    );
    assert!(found.branches[0].bifurcations[0].turns);
    let starts: Vec<usize> = found.branches[0]
        .points
        .iter()
        .filter_map(|p| p.start)
        .collect();
    assert_eq!(starts.len(), 2);
}

#[test]
fn a_tanh_unit_folds_on_the_lines_of_the_cusp() {
    let input = NetworkParameter::Input(0);
    let (family, at) = NetworkFamily::new(unit(2.0, 0.0), &[0.0], &input).unwrap();
    assert_eq!(at, 0.0);
    let settings = ContinuationSettings::new(-2.0, 2.0);
    let starts = arr2(&[[0.95], [0.0], [-0.95]]);
    let found = continue_branches(&family, starts.view(), at, &settings, &mut |_| true).unwrap();
    // One S-shaped branch through all three.
    assert_eq!(found.branch_of, [Some(0); 3]);
    let fold = cusp(2.0);
    assert_bifurcations(
        &found.branches[0],
        &[
            (BifurcationKind::Fold, fold),
            (BifurcationKind::Fold, -fold),
        ],
    );
    let unstable: Vec<usize> = found.branches[0]
        .bifurcations
        .iter()
        .flat_map(|b| [b.n_unstable_before, b.n_unstable_after])
        .collect();
    assert_eq!(unstable, [0, 1, 1, 0]);

    // Through the weight at a fixed bias, as a scale and as an element.
    let bias = cusp(1.5);
    for (parameter, factor) in [
        (NetworkParameter::Scale("recurrent".into()), 3.0),
        (NetworkParameter::Element("recurrent".into(), 0), 1.0),
        (NetworkParameter::Value("recurrent".into()), 1.0),
    ] {
        let (family, at) = NetworkFamily::new(unit(3.0, bias), &[0.0], &parameter).unwrap();
        assert_eq!(at, 3.0 / factor);
        let settings = ContinuationSettings::new(0.5 / factor, 4.0 / factor);
        let branch = follow(&family, &[0.9], at, &settings);
        assert_bifurcations(&branch, &[(BifurcationKind::Fold, 1.5 / factor)]);
    }
}

#[test]
fn the_line_between_two_networks_begins_and_ends_at_them() {
    let first = unit(3.0, 0.0);
    let second = unit(3.0, 1.3 * cusp(3.0));
    let family = NetworkFamily::between(first.clone(), &second, &[0.0]).unwrap();
    assert_eq!(family.at(0.0).0.parameters(), first.parameters());
    assert_eq!(family.at(1.0).0.parameters(), second.parameters());
    let settings = ContinuationSettings {
        directions: Directions::Rising,
        ..ContinuationSettings::new(0.0, 1.0)
    };
    let branch = follow(&family, &[0.95], 0.0, &settings);
    // The bias comes to the fold after 1 / 1.3 of the way; the branch goes back to the saddle at the start.
    assert_bifurcations(&branch, &[(BifurcationKind::Fold, 1.0 / 1.3)]);
    assert_eq!(branch.ends, [End::NotFollowed, End::Parameter]);
    let last = branch.points.last().unwrap();
    assert_eq!((last.parameter, last.n_unstable), (0.0, 1));
    assert!(last.state[0].abs() < 1e-12);
}

#[test]
fn an_isola_closes_on_itself() {
    // Fixed points where x^2 + p^2 = 1.
    let family =
        Map(|[x]: [f64; 1], p: f64| ([x - 0.5 * (x * x + p * p - 1.0)], [[1.0 - x]], [-p]));
    let branch = follow(&family, &[0.8], 0.6, &ContinuationSettings::new(-2.0, 2.0));
    assert!(branch.is_closed());
    assert_eq!(branch.points[0].state, branch.points.last().unwrap().state);
    assert_bifurcations(
        &branch,
        &[(BifurcationKind::Fold, -1.0), (BifurcationKind::Fold, 1.0)],
    );
    // One start for all that lies on the circle at p = 0.6.
    let starts = arr2(&[[0.8], [-0.8]]);
    let settings = ContinuationSettings::new(-2.0, 2.0);
    let found = continue_branches(&family, starts.view(), 0.6, &settings, &mut |_| true).unwrap();
    assert_eq!(found.branch_of, [Some(0), Some(0)]);
}

#[test]
fn bifurcations_within_one_step_are_told_apart() {
    // Eigenvalues -p, p - 1e-5 and (p - 2e-5) e^(+-i) on the branch x = 0.
    let family = Map(|x: [f64; 4], p: f64| {
        let (r, (sin, cos)) = (p - 2e-5, 1.0_f64.sin_cos());
        let jacobian = [
            [-p, 0.0, 0.0, 0.0],
            [0.0, p - 1e-5, 0.0, 0.0],
            [0.0, 0.0, r * cos, -r * sin],
            [0.0, 0.0, r * sin, r * cos],
        ];
        let next = std::array::from_fn(|i| (0..4).map(|j| jacobian[i][j] * x[j]).sum());
        (next, jacobian, [0.0; 4])
    });
    let settings = ContinuationSettings {
        max_step: 10.0,
        ..ContinuationSettings::new(0.0, 3.0)
    };
    let branch = follow(&family, &[0.0; 4], 0.3, &settings);
    assert!(branch.points.len() < 20, "{}", branch.points.len());
    assert_bifurcations(
        &branch,
        &[
            (BifurcationKind::Flip, 1.0),
            (BifurcationKind::BranchPoint, 1.0 + 1e-5),
            (BifurcationKind::NeimarkSacker, 1.0 + 2e-5),
        ],
    );
    let unstable: Vec<usize> = branch
        .bifurcations
        .iter()
        .map(|b| b.n_unstable_after)
        .collect();
    assert_eq!(unstable, [1, 2, 4]);
}

/// z' = a z + w relu(z) + b, piecewise linear with its corner at 0.
fn corner(a: f64, w: f64, b: f64) -> Network {
    let architecture = common::architecture(CellKind::ShallowPlrnn, 0, 1, 1);
    let layout = architecture.layout();
    let mut parameters = vec![0.0; layout.total];
    parameters[layout.recurrent][0] = w;
    parameters[layout.hidden][0] = 1.0;
    parameters[layout.bias][0] = b;
    parameters[layout.unit][0] = a;
    Network::from_f64(architecture, parameters)
}

#[test]
fn a_piecewise_linear_branch_turns_at_the_border() {
    // Slopes 1/2 and 2: z = 2 b, and z = -b for z > 0. Both need b < 0, and meet at 0.
    let bias = NetworkParameter::Element("bias".into(), 0);
    let (family, at) = NetworkFamily::new(corner(0.5, 1.5, -0.7), &[], &bias).unwrap();
    let branch = follow(&family, &[-1.4], at, &ContinuationSettings::new(-1.0, 1.0));
    assert_bifurcations(&branch, &[(BifurcationKind::BorderCollision, 0.0)]);
    let collision = &branch.bifurcations[0];
    assert!(collision.turns);
    assert_eq!(
        (collision.n_unstable_before, collision.n_unstable_after),
        (0, 1)
    );
    assert_eq!(branch.ends, [End::Parameter; 2]);
    assert!((branch.points.last().unwrap().state[0] - 1.0).abs() < 1e-12);

    // Slopes 1/2 and -3: the branch goes on, and loses its stability in a jump over -1.
    let (family, at) = NetworkFamily::new(corner(0.5, -3.5, -0.7), &[], &bias).unwrap();
    let branch = follow(&family, &[-1.4], at, &ContinuationSettings::new(-1.0, 1.0));
    assert_bifurcations(&branch, &[(BifurcationKind::BorderCollision, 0.0)]);
    assert!(!branch.bifurcations[0].turns);
}

#[test]
fn what_cannot_be_followed_is_said() {
    let settings = ContinuationSettings::new(0.0, 1.0);
    let none = Map(|[x]: [f64; 1], p: f64| ([x + 1.0 + p * p], [[1.0]], [2.0 * p]));
    let refused = |family: &dyn Family, p: f64, settings: &ContinuationSettings| {
        continue_branch(family, &[0.1], p, settings, &mut |_| true).unwrap_err()
    };
    assert_eq!(
        refused(&none, 0.5, &settings),
        Error::NotConverged { what: "the start" }
    );
    let half = Map(|[x]: [f64; 1], p: f64| ([0.5 * x + p], [[0.5]], [1.0]));
    for (p, wrong) in [
        (2.0, settings.clone()),
        (f64::NAN, settings.clone()),
        (0.5, ContinuationSettings::new(1.0, 0.0)),
        (
            0.5,
            ContinuationSettings {
                max_step: 0.0,
                ..settings.clone()
            },
        ),
    ] {
        assert!(
            matches!(refused(&half, p, &wrong), Error::Setting { .. }),
            "{p} {wrong:?}"
        );
    }
    let stopped = continue_branch(&half, &[1.0], 0.5, &settings, &mut |_| false);
    assert_eq!(stopped.unwrap_err(), Error::Stopped);
    for (parameter, input) in [
        (NetworkParameter::Input(1), 1),
        (NetworkParameter::Scale("leak".into()), 1),
        (NetworkParameter::Element("bias".into(), 1), 1),
    ] {
        let inputs = vec![0.0; input];
        assert!(matches!(
            NetworkFamily::new(unit(1.0, 0.0), &inputs, &parameter),
            Err(Error::Setting { .. })
        ));
    }
}

/// What may be varied of a network in the random tests.
fn parameters(cell: CellKind) -> Vec<NetworkParameter> {
    let mut parameters = vec![
        NetworkParameter::Input(0),
        NetworkParameter::Scale("recurrent".into()),
        NetworkParameter::Element("bias".into(), 1),
    ];
    let names = cell.shape().unit_parameters.iter();
    parameters.extend(names.map(|name| NetworkParameter::Scale((*name).into())));
    parameters
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn every_point_of_a_branch_is_a_fixed_point_and_the_way_back_leads_to_the_start(seed in 0u64..1 << 32) {
        for &cell in CellKind::ALL {
            let network = common::random_network(cell, 2, 4, 6, 1.6, seed);
            let input = [0.3, -0.2];
            let starts = Array2::zeros((1, network.state_dim()));
            let search =
                find_fixed_points(&network, starts.view(), &input, &FixedPointSettings::default(), &mut |_| true).unwrap();
            let Some(found) = search.fixed().next() else { continue };
            let choices = parameters(cell);
            let parameter = &choices[seed as usize % choices.len()];
            let (family, at) = NetworkFamily::new(network, &input, parameter).unwrap();
            let settings = ContinuationSettings {
                max_points: 200,
                ..ContinuationSettings::new(at - 0.5, at + 0.5)
            };
            let branch = follow(&family, &found.state, at, &settings);
            prop_assert!(branch.points.len() > 2, "{} {parameter:?}", cell.name());
            for (k, point) in branch.points.iter().enumerate() {
                let (map, u) = family.at(point.parameter);
                let mut next = vec![0.0; point.state.len()];
                map.step(&point.state, &u, &mut next);
                let pairs = point.state.iter().zip(&next);
                let size = point.state.iter().fold(1.0_f64, |m, x| m.max(x.abs()));
                let residual = pairs.fold(0.0_f64, |m, (x, y)| m.max((x - y).abs()));
                prop_assert!(residual <= 1e-13 * size, "{} {parameter:?}: {residual}", cell.name());
                prop_assert!((settings.from..=settings.to).contains(&point.parameter));
                prop_assert!(k == 0 || point.arclength > branch.points[k - 1].arclength);
            }
            let is_start = |k: &usize| branch.points[*k].kind == PointKind::Start;
            let Some(start) = (0..branch.points.len()).find(is_start) else { continue };
            // Some way on, but not around a turn, the start is the end of the way back.
            let on = (start + 8).min(branch.points.len() - 1);
            let turned = branch.bifurcations.iter().any(|b| b.turns && (start..=on).contains(&b.point));
            if !turned && branch.points[on].parameter > at {
                let there = &branch.points[on];
                let back = ContinuationSettings {
                    directions: Directions::Falling,
                    ..ContinuationSettings::new(at, there.parameter)
                };
                let branch = follow(&family, &there.state, there.parameter, &back);
                let last = branch.points.last().unwrap();
                prop_assert_eq!(last.parameter, at);
                for (x, y) in last.state.iter().zip(&found.state) {
                    prop_assert!((x - y).abs() < 1e-8, "{} {:?}: {} and {}", cell.name(), parameter, x, y);
                }
            }
        }
    }
}
