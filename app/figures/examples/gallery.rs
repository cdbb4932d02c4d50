//! Draws one figure of every kind, from made-up but realistic numbers, into a folder.
//!
//! ```text
//! cargo run -p nullcline-figures --example gallery -- FOLDER
//! ```
//! Each is written as SVG, PDF and PNG (300 dots per inch) at the three widths of journals: 89, 120 and
//! 183 mm.

use std::path::PathBuf;

use nullcline_figures::export;
use nullcline_figures::figure::{
    Axis, ColorMap, ColorScale, Figure, Panel, Plane, Role, Scale, Series, Space, Style,
};

/// Pseudo-random numbers in [0, 1): a linear congruential generator does for a picture.
struct Noise(u64);

impl Noise {
    fn uniform(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "gallery".into()));
    std::fs::create_dir_all(&folder)?;
    let figures = [
        training_curve(),
        trial(),
        state_space(),
        spectrum(),
        heartbeat(),
        heat_map(),
        mechanism(),
    ];
    for figure in figures {
        for width in [89.0, 120.0, 183.0] {
            let stem = folder.join(format!("{}_{width}mm", figure.name));
            std::fs::write(stem.with_extension("svg"), export::svg(&figure, width)?)?;
            std::fs::write(stem.with_extension("pdf"), export::pdf(&figure, width)?)?;
            std::fs::write(
                stem.with_extension("png"),
                export::png(&figure, width, 300.0)?,
            )?;
        }
        std::fs::write(folder.join(format!("{}.csv", figure.name)), figure.csv())?;
        println!("{}", figure.name);
    }
    Ok(())
}

fn with_origin(figure: Figure) -> Figure {
    figure.metadata("program", "nullcline 0.1.0").metadata(
        "experiment",
        "name = \"gallery\"\nseed = 1\n\n[task]\nkind = \"flip_flop\"\nbits = 3\n",
    )
}

fn training_curve() -> Figure {
    let mut noise = Noise(1);
    let updates: Vec<f64> = (0..2000).map(f64::from).collect();
    let mut plane = Plane::new(
        Axis::new("Update", "count"),
        Axis::new("Loss", "mean squared error").scale(Scale::Log),
    );
    let mut all: Vec<Vec<f64>> = Vec::new();
    for network in 0..5 {
        let rate = 150.0 + 60.0 * f64::from(network);
        all.push(
            updates
                .iter()
                .map(|u| {
                    let clean = 0.25 / (1.0 + (u / rate).powf(2.2)) + 2e-4;
                    clean * (0.15 * noise.normal()).exp()
                })
                .collect(),
        );
    }
    let at = |i: usize| all.iter().map(move |loss| loss[i]);
    let lower = (0..updates.len())
        .map(|i| at(i).fold(f64::INFINITY, f64::min))
        .collect();
    let upper = (0..updates.len())
        .map(|i| at(i).fold(0.0, f64::max))
        .collect();
    let median = (0..updates.len())
        .map(|i| {
            let mut values: Vec<f64> = at(i).collect();
            values.sort_by(f64::total_cmp);
            values[2]
        })
        .collect();
    plane = plane
        .with(
            Series::band(updates.clone(), lower, upper, Role::Category(0))
                .label("range of 5 networks"),
        )
        .with(Series::line(updates, median, Role::Category(0)).label("median"))
        .with(Series::horizontal_rule(1e-3, Role::Guide).label("stop"));
    with_origin(
        Figure::new("training_curve")
            .caption("Loss over training. Line: median of five networks; band: their range.")
            .panel(Panel::plane(plane)),
    )
}

/// Inputs, targets and outputs of three bits over 200 steps.
fn bits() -> Vec<[Vec<f64>; 3]> {
    let mut noise = Noise(7);
    (0..3)
        .map(|_| {
            let (mut held, mut out) = (0.0, 0.0);
            let (mut inputs, mut targets, mut outputs) = (Vec::new(), Vec::new(), Vec::new());
            for _ in 0..200 {
                let pulse = if noise.uniform() < 0.04 {
                    if noise.uniform() < 0.5 { -1.0 } else { 1.0 }
                } else {
                    0.0
                };
                if pulse != 0.0 {
                    held = pulse;
                }
                out += 0.6 * (held - out) + 0.02 * noise.normal();
                inputs.push(pulse);
                targets.push(held);
                outputs.push(out);
            }
            [inputs, targets, outputs]
        })
        .collect()
}

fn trial() -> Figure {
    let steps: Vec<f64> = (0..200).map(f64::from).collect();
    let mut figure = Figure::new("trial").caption("One held-out trial of the three-bit flip-flop.");
    for (bit, [input, target, output]) in bits().into_iter().enumerate() {
        let named = |series: Series, label: &str| {
            if bit == 0 {
                series.label(label)
            } else {
                series
            }
        };
        let mut plane = Plane::new(
            Axis::new("Time", "steps"),
            Axis::new(format!("Bit {}", bit + 1), "a.u.").range(-1.3, 1.3),
        )
        .with(named(
            Series::line(steps.clone(), input, Role::Input),
            "input",
        ))
        .with(named(
            Series::line(steps.clone(), target, Role::Target),
            "target",
        ))
        .with(named(
            Series::line(steps.clone(), output, Role::Output),
            "output",
        ));
        if bit < 2 {
            plane = plane.shares_x();
        }
        figure = figure.panel(Panel::plane(plane).aspect(0.16));
    }
    with_origin(figure)
}

/// Fixed points on the corners, edges, faces and centre of a cube, with orbits between the corners.
fn cube() -> Space {
    let mut noise = Noise(3);
    let place = |p: [f64; 3]| {
        let bend = |c: f64| 2.2 * c + 0.12 * c * (p[0] + 0.5 * p[1] - 0.3 * p[2]);
        [bend(p[0]), bend(p[1]), bend(p[2])]
    };
    let mut points: Vec<(usize, [f64; 3], [f64; 3])> = Vec::new();
    for i in 0..27 {
        let p = [i % 3, i / 3 % 3, i / 9].map(|c| f64::from(c) - 1.0);
        let unstable = p.iter().filter(|c| **c == 0.0).count();
        points.push((unstable, place(p), p));
    }
    let coordinate = |which: &dyn Fn(usize) -> bool, axis: usize| -> Vec<f64> {
        points
            .iter()
            .filter(|(n, ..)| which(*n))
            .map(|(_, p, _)| p[axis])
            .collect()
    };
    let ids = |which: &dyn Fn(usize) -> bool| -> Vec<u64> {
        points
            .iter()
            .enumerate()
            .filter(|(_, (n, ..))| which(*n))
            .map(|(i, _)| i as u64)
            .collect()
    };
    let of = |which: &dyn Fn(usize) -> bool, role: Role| {
        Series::points_3d(
            coordinate(which, 0),
            coordinate(which, 1),
            coordinate(which, 2),
            role,
        )
        .ids(ids(which))
    };
    let mut orbits: Vec<Vec<f64>> = vec![Vec::new(); 3];
    for _ in 0..24 {
        let mut corner = [0; 3].map(|_: i32| if noise.uniform() < 0.5 { -1.0 } else { 1.0 });
        let mut state = place(corner);
        for step in 0..240 {
            if step % 40 == 20 {
                let axis = (noise.uniform() * 3.0) as usize % 3;
                corner[axis] = -corner[axis];
            }
            let goal = place(corner);
            for axis in 0..3 {
                let swirl = 0.08 * (goal[(axis + 1) % 3] - state[(axis + 1) % 3]);
                state[axis] += 0.12 * (goal[axis] - state[axis]) + swirl + 0.012 * noise.normal();
                orbits[axis].push(state[axis]);
            }
        }
        orbits.iter_mut().for_each(|axis| axis.push(f64::NAN));
    }
    let (mut from, mut to) = (Vec::new(), Vec::new());
    for (_, p, sign) in &points {
        for axis in (0..3).filter(|&axis| sign[axis] == 0.0) {
            let (mut a, mut b) = (*p, *p);
            a[axis] -= 0.45;
            b[axis] += 0.45;
            from.push(a);
            to.push(b);
        }
    }
    let axis = |n: u8| Axis::new(format!("PC {n}"), "a.u.");
    let [x, y, z] = <[Vec<f64>; 3]>::try_from(orbits).unwrap_or_default();
    Space::new([axis(1), axis(2), axis(3)])
        .with(
            Series::line_3d(x, y, z, Style::from(Role::Trajectory).opacity(0.6))
                .label("trajectory"),
        )
        .with(of(&|n| n == 0, Role::Stable).label("stable"))
        .with(of(&|n| n > 0, Role::Unstable).label("unstable"))
        .with(Series::segments_3d(from, to, Role::UnstableMode).label("unstable mode"))
}

fn state_space() -> Figure {
    with_origin(
        Figure::new("state_space")
            .caption("Fixed points of the three-bit flip-flop in three principal components.")
            .panel(Panel::space(cube())),
    )
}

fn eigenvalues() -> Plane {
    let mut noise = Noise(11);
    let (mut stable, mut unstable) = ((Vec::new(), Vec::new()), (Vec::new(), Vec::new()));
    for i in 0..32 {
        let (radius, angle) = (
            0.95 * noise.uniform().sqrt(),
            std::f64::consts::PI * noise.uniform(),
        );
        let angle = if i % 5 == 0 { 0.0 } else { angle };
        for sign in [1.0, -1.0] {
            stable.0.push(radius * angle.cos());
            stable.1.push(sign * radius * angle.sin());
        }
    }
    for (re, im) in [(1.31, 0.0), (1.08, 0.31), (1.08, -0.31)] {
        unstable.0.push(re);
        unstable.1.push(im);
    }
    Plane::new(Axis::new("Re *λ*", "1/step"), Axis::new("Im *λ*", "1/step"))
        .equal_aspect()
        .with(Series::circle((0.0, 0.0), 1.0, Role::Guide).label("unit circle"))
        .with(Series::points(stable.0, stable.1, Role::Stable).label("|*λ*| < 1"))
        .with(Series::points(unstable.0, unstable.1, Role::Unstable).label("|*λ*| ≥ 1"))
}

fn spectrum() -> Figure {
    with_origin(
        Figure::new("eigenvalue_spectrum")
            .caption("Eigenvalues of the linearisation at one fixed point.")
            .panel(Panel::plane(eigenvalues()).aspect(0.9)),
    )
}

/// An electrocardiogram in millivolts at 360 Hz, from five bells per beat.
fn ecg(seed: u64, seconds: f64) -> (Vec<f64>, Vec<f64>) {
    let mut noise = Noise(seed);
    let bells = [
        (-0.2, 0.12, 0.025),
        (-0.03, -0.12, 0.01),
        (0.0, 1.35, 0.011),
        (0.03, -0.28, 0.011),
        (0.25, 0.3, 0.05),
    ];
    let mut beats = Vec::new();
    let mut at = 0.2;
    while at < seconds + 1.0 {
        beats.push(at);
        at += 0.72 + 0.04 * noise.normal();
    }
    let times: Vec<f64> = (0..(seconds * 360.0) as usize)
        .map(|i| i as f64 / 360.0)
        .collect();
    let signal = times
        .iter()
        .map(|t| {
            let beat: f64 = beats
                .iter()
                .flat_map(|b| {
                    bells
                        .iter()
                        .map(move |(d, h, w)| h * (-((t - b - d) / w).powi(2) / 2.0).exp())
                })
                .sum();
            beat + 0.05 * (t * 1.3).sin() + 0.012 * noise.normal() - 0.15
        })
        .collect();
    (times, signal)
}

fn heartbeat() -> Figure {
    let (times, recorded) = ecg(5, 8.0);
    let (_, generated) = ecg(9, 8.0);
    let row = |signal: &[f64], role: Role, label: &str| {
        Plane::new(
            Axis::new("Time", "s"),
            Axis::new("Potential", "mV").range(-0.7, 1.5),
        )
        .with(Series::line(times.clone(), signal.to_vec(), role).label(label))
    };
    let delayed = |signal: &[f64], role: Role| {
        let lag = 10;
        Plane::new(
            Axis::new("*x*(*t*)", "mV"),
            Axis::new("*x*(*t* − 28 ms)", "mV"),
        )
        .equal_aspect()
        .with(Series::line(
            signal[lag..].to_vec(),
            signal[..signal.len() - lag].to_vec(),
            role,
        ))
    };
    with_origin(
        Figure::new("heartbeat")
            .caption("Recorded and generated electrocardiogram over time and in delay space.")
            .columns(2)
            .panel(Panel::plane(row(&recorded, Role::Recorded, "recorded").shares_x()).aspect(0.5))
            .panel(Panel::plane(delayed(&recorded, Role::Recorded)).aspect(0.5))
            .panel(Panel::plane(row(&generated, Role::Generated, "generated")).aspect(0.5))
            .panel(Panel::plane(delayed(&generated, Role::Generated)).aspect(0.5))
            .lettered(),
    )
}

fn heat_map() -> Figure {
    let (rows, columns) = (32, 32);
    let mut values = Vec::new();
    for i in 0..rows {
        for j in 0..columns {
            let (a, b) = (i / 8, j / 8);
            let distance = f64::from(i32::abs(a - b)) * 0.3;
            values.push(
                distance
                    + if i == j {
                        0.0
                    } else {
                        0.05 + 0.02 * f64::from((i * 7 + j * 13) % 9)
                    },
            );
        }
    }
    values[70] = f64::NAN;
    let edges = (0.5, 32.5);
    let distances = Plane::new(Axis::new("Network", "index"), Axis::new("Network", "index")).with(
        Series::heatmap(
            edges,
            edges,
            32,
            32,
            values,
            ColorScale::new("Distance", "rad").map(ColorMap::Cividis),
        ),
    );
    let times: Vec<f64> = (0..4000).map(|i| f64::from(i) * 0.01).collect();
    let x = times.iter().map(|t| t.cos() * (-t / 30.0).exp()).collect();
    let y = times.iter().map(|t| t.sin() * (-t / 30.0).exp()).collect();
    let spiral = Plane::new(Axis::new("*x*_{1}", "a.u."), Axis::new("*x*_{2}", "a.u."))
        .equal_aspect()
        .with(Series::line(x, y, Role::Trajectory).colored_by(times, ColorScale::new("Time", "s")));
    with_origin(
        Figure::new("heat_map")
            .caption("Distances over pairs of networks, and a decaying orbit coloured by time.")
            .columns(2)
            .panel(
                Panel::plane(distances)
                    .aspect(1.0)
                    .title("Distance over pairs"),
            )
            .panel(Panel::plane(spiral).aspect(1.0).title("Orbit"))
            .lettered(),
    )
}

fn mechanism() -> Figure {
    let mut figure = Figure::new("mechanism")
        .columns(2)
        .caption("Everything at once.");
    let steps: Vec<f64> = (0..200).map(f64::from).collect();
    let [input, target, output] = bits().remove(0);
    let trial = Plane::new(Axis::new("Time", "steps"), Axis::new("Bit 1", "a.u."))
        .with(Series::line(steps.clone(), input, Role::Input).label("input"))
        .with(Series::line(steps.clone(), target, Role::Target).label("target"))
        .with(Series::line(steps, output, Role::Output).label("output"));
    let speeds: Vec<f64> = (0..40).map(|i| 10f64.powf(-f64::from(i) * 0.45)).collect();
    let convergence = Plane::new(
        Axis::new("Iteration", "count"),
        Axis::new("Speed *q*", "a.u.").scale(Scale::Log),
    )
    .with(Series::line(
        (0..40).map(f64::from).collect(),
        speeds,
        Role::Category(1),
    ));
    figure = figure
        .panel(Panel::plane(trial))
        .panel(Panel::space(cube()))
        .panel(Panel::plane(eigenvalues()).aspect(0.8))
        .panel(Panel::plane(convergence).aspect(0.8));
    with_origin(figure.lettered())
}
