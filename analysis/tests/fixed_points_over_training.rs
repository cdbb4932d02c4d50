//! Fixed points followed through snapshots whose bifurcations are known.

mod common;

use nullcline_analysis::continuation::{BifurcationKind, ContinuationSettings, NetworkFamily};
use nullcline_analysis::fixed_points::{FixedPointSettings, find_fixed_points};
use nullcline_analysis::fixed_points_over_training::{
    Cause, TrackEventKind, Tracking, follow_fixed_points,
};
use nullcline_models::architecture::CellKind;
use nullcline_models::network::Network;
use proptest::prelude::*;

fn settings() -> ContinuationSettings {
    ContinuationSettings {
        max_step: 0.1,
        ..ContinuationSettings::new(0.0, 1.0)
    }
}

fn follow(networks: &[Network], given: &[Vec<Vec<f64>>]) -> Tracking {
    let families: Vec<NetworkFamily> = networks
        .windows(2)
        .map(|pair| NetworkFamily::between(pair[0].clone(), &pair[1], &[]).unwrap())
        .collect();
    follow_fixed_points(&families, given, &settings(), &mut |_| true).unwrap()
}

/// Fixed points of x = tanh(w x + b), by bisection between the extrema of w x + b - atanh(x).
fn fixed_points(w: f64, b: f64) -> Vec<Vec<f64>> {
    let f = |x: f64| w * x + b - x.atanh();
    let fold = (1.0 - 1.0 / w).max(0.0).sqrt();
    let edges = [-1.0 + 1e-15, -fold, fold, 1.0 - 1e-15];
    let mut found = Vec::new();
    for pair in edges.windows(2) {
        let (mut low, mut high) = (pair[0], pair[1]);
        if low < high && f(low) * f(high) < 0.0 {
            for _ in 0..200 {
                let middle = 0.5 * (low + high);
                if f(low) * f(middle) <= 0.0 {
                    high = middle;
                } else {
                    low = middle;
                }
            }
            found.push(vec![0.5 * (low + high)]);
        }
    }
    found
}

#[test]
fn births_and_deaths_are_where_the_folds_are() {
    // The bias of x' = tanh(2 x + b) goes from -1 to 1: a pair is born at -b*, and another dies at b*.
    let fold = {
        let x = 0.5_f64.sqrt();
        2.0 * x - x.atanh()
    };
    let biases = [-1.0, 0.0, 1.0];
    let networks = biases.map(|b| common::tanh_network(&[2.0], &[b]));
    let given = biases.map(|b| fixed_points(2.0, b));
    assert_eq!(given.each_ref().map(Vec::len), [1, 3, 1]);
    let tracking = follow(&networks, &given);
    assert_eq!(tracking.tracks, 3);
    let tracks: Vec<(usize, usize)> = tracking
        .points
        .iter()
        .map(|p| (p.snapshot, p.track))
        .collect();
    // The lower point is there from the beginning and meets the saddle; the upper one stays.
    assert_eq!(tracks.len(), 5);
    assert_eq!(tracks[..4], [(0, 0), (1, 0), (1, 1), (1, 2)]);
    let expected = [
        (0, 1.0 - fold, true),
        (0, 1.0 - fold, true),
        (1, fold, false),
        (1, fold, false),
    ];
    assert_eq!(tracking.events.len(), 4, "{:?}", tracking.events);
    let cause = Cause::Bifurcation(BifurcationKind::Fold);
    for (event, (snapshot, part, is_birth)) in tracking.events.iter().zip(expected) {
        assert_eq!(event.snapshot, snapshot);
        assert!((event.part - part).abs() < 1e-8, "{event:?}");
        let kind = if is_birth {
            TrackEventKind::Birth(cause)
        } else {
            TrackEventKind::Death(cause)
        };
        assert_eq!(event.kind, kind);
    }
    let [first, second, third, fourth] = &tracking.events[..] else {
        unreachable!()
    };
    assert_eq!(
        (first.partner, second.partner),
        (Some(second.track), Some(first.track))
    );
    assert_eq!(
        (third.partner, fourth.partner),
        (Some(fourth.track), Some(third.track))
    );
    let mut unstable = [first.n_unstable_after, second.n_unstable_after];
    unstable.sort();
    assert_eq!(unstable, [Some(0), Some(1)]);
    assert!(third.track == 0 && third.n_unstable_before == Some(0));
}

#[test]
fn what_a_search_missed_is_found_along_the_branches() {
    let biases = [-0.4, 0.0, 0.4];
    let networks = biases.map(|b| common::tanh_network(&[2.0], &[b]));
    let mut given = biases.map(|b| fixed_points(2.0, b));
    // The saddle is found at the end only, the upper point at the beginning only.
    given[0].remove(1);
    given[1] = vec![given[1][0].clone()];
    given[2].remove(2);
    let tracking = follow(&networks, &given);
    assert_eq!(tracking.tracks, 3);
    assert!(tracking.events.is_empty(), "{:?}", tracking.events);
    assert_eq!(tracking.points.len(), 9);
    let missed = tracking.points.iter().filter(|p| p.given.is_none());
    assert_eq!(missed.count(), 4);
}

#[test]
fn a_flip_on_the_way_changes_the_stability_of_a_track() {
    // x' = tanh(w x) loses the stability of 0 at w = -1.
    let networks = [0.0, -2.0].map(|w| common::tanh_network(&[w], &[0.0]));
    let tracking = follow(&networks, &[vec![vec![0.0]], vec![vec![0.0]]]);
    let [event] = &tracking.events[..] else {
        panic!("{:?}", tracking.events)
    };
    assert_eq!(event.kind, TrackEventKind::Stability(BifurcationKind::Flip));
    assert!((event.part - 0.5).abs() < 1e-8);
    assert_eq!(
        (event.n_unstable_before, event.n_unstable_after),
        (Some(0), Some(1))
    );
}

#[test]
fn a_pair_that_comes_and_goes_between_two_snapshots_leaves_its_branch_two_tracks() {
    // From the lower branch at b = -1 to the upper at b = 1 in one interval: born at -b*, dead at b*.
    let networks = [-1.0, 1.0].map(|b| common::tanh_network(&[2.0], &[b]));
    let tracking = follow(
        &networks,
        &[fixed_points(2.0, -1.0), fixed_points(2.0, 1.0)],
    );
    assert_eq!(tracking.tracks, 3);
    let kinds: Vec<bool> = tracking
        .events
        .iter()
        .map(|e| matches!(e.kind, TrackEventKind::Birth(_)))
        .collect();
    assert_eq!(kinds, [true, true, false, false]);
    assert_eq!(tracking.points[0].track, 0);
    assert_ne!(tracking.points[1].track, 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn the_balance_of_births_and_deaths_is_the_change_in_number(seed in 0u64..1 << 32) {
        for &cell in &[CellKind::VanillaTanh, CellKind::LeakyRateTanh, CellKind::Gru, CellKind::ShallowPlrnn] {
            let networks: Vec<Network> =
                (0..3).map(|k| common::random_network(cell, 0, 3, 5, 2.0, seed + k)).collect();
            let starts = ndarray::Array2::from_shape_fn((32, 3), |(k, i)| ((7 * k + 3 * i) as f64).sin());
            let given: Vec<Vec<Vec<f64>>> = networks
                .iter()
                .map(|network| {
                    let settings = FixedPointSettings::default();
                    let search = find_fixed_points(network, starts.view(), &[], &settings, &mut |_| true).unwrap();
                    search.fixed().map(|point| point.state.clone()).collect()
                })
                .collect();
            let tracking = follow(&networks, &given);
            for snapshot in 0..2 {
                let at = |s: usize| tracking.points.iter().filter(|p| p.snapshot == s).count() as i64;
                let change: i64 = tracking
                    .events
                    .iter()
                    .filter(|event| event.snapshot == snapshot)
                    .map(|event| match event.kind {
                        TrackEventKind::Birth(_) => 1,
                        TrackEventKind::Death(_) => -1,
                        TrackEventKind::Stability(_) => 0,
                    })
                    .sum();
                prop_assert_eq!(at(snapshot) + change, at(snapshot + 1), "{} {:?}", cell.name(), tracking);
            }
            // A track has one point in a snapshot at most, and every point given is on one.
            let mut places: Vec<_> = tracking.points.iter().map(|p| (p.snapshot, p.track)).collect();
            places.dedup();
            prop_assert_eq!(places.len(), tracking.points.len());
            let known = tracking.points.iter().filter(|p| p.given.is_some()).count();
            prop_assert_eq!(known, given.iter().map(Vec::len).sum::<usize>());
        }
    }
}
