//! How weight matrices start, by name.

use nullcline_data::random::Random;

/// A distribution of weight matrices [to, from] with `fan_in` columns and `fan_out` rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Initialiser {
    /// Uniform in +-1/sqrt(units), as torch's recurrent layers.
    Torch,
    /// Uniform in +-1/sqrt(fan_in), as torch's linear layers and the PLRNN literature.
    FanInUniform,
    /// Normal with variance 1/fan_in; times a gain g, the field's random network of gain g.
    Normal,
    /// Uniform in +-sqrt(6 / (fan_in + fan_out)) (Glorot & Bengio 2010).
    GlorotUniform,
    /// Normal with variance 2 / (fan_in + fan_out) (Glorot & Bengio 2010).
    GlorotNormal,
    /// Normal with variance 2 / fan_in (He et al. 2015).
    KaimingNormal,
    /// Orthonormal rows or columns, whichever are fewer (Saxe et al. 2014).
    Orthogonal,
    /// Ones on the diagonal (Le et al. 2015).
    Identity,
    /// Zeros.
    Zeros,
}

impl Initialiser {
    /// The names written in experiment files.
    pub const NAMES: &'static [&'static str] = &[
        "torch",
        "fan_in_uniform",
        "normal",
        "glorot_uniform",
        "glorot_normal",
        "kaiming_normal",
        "orthogonal",
        "identity",
        "zeros",
    ];

    /// The initialiser of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        const ALL: [Initialiser; 9] = [
            Initialiser::Torch,
            Initialiser::FanInUniform,
            Initialiser::Normal,
            Initialiser::GlorotUniform,
            Initialiser::GlorotNormal,
            Initialiser::KaimingNormal,
            Initialiser::Orthogonal,
            Initialiser::Identity,
            Initialiser::Zeros,
        ];
        Self::NAMES
            .iter()
            .position(|n| *n == name)
            .and_then(|i| ALL.get(i).copied())
    }

    /// Fills `values`, a row-major matrix [rows, columns] of a network with `units` units.
    pub fn fill(
        self,
        values: &mut [f32],
        rows: usize,
        columns: usize,
        units: usize,
        random: &mut Random,
    ) {
        let (fan_in, fan_out) = (columns.max(1) as f64, rows.max(1) as f64);
        let mut uniform = |bound: f64, random: &mut Random| {
            for value in values.iter_mut() {
                *value = ((2.0 * random.uniform() - 1.0) * bound) as f32;
            }
        };
        match self {
            Initialiser::Torch => uniform(1.0 / (units.max(1) as f64).sqrt(), random),
            Initialiser::FanInUniform => uniform(1.0 / fan_in.sqrt(), random),
            Initialiser::GlorotUniform => uniform((6.0 / (fan_in + fan_out)).sqrt(), random),
            Initialiser::Normal => normal(values, (1.0 / fan_in).sqrt(), random),
            Initialiser::GlorotNormal => normal(values, (2.0 / (fan_in + fan_out)).sqrt(), random),
            Initialiser::KaimingNormal => normal(values, (2.0 / fan_in).sqrt(), random),
            Initialiser::Orthogonal => orthogonal(values, rows, columns, random),
            Initialiser::Identity => {
                for (k, value) in values.iter_mut().enumerate() {
                    *value = f32::from(u8::from(k / columns.max(1) == k % columns.max(1)));
                }
            }
            Initialiser::Zeros => values.fill(0.0),
        }
    }
}

fn normal(values: &mut [f32], standard_deviation: f64, random: &mut Random) {
    for value in values {
        *value = (random.standard_normal() * standard_deviation) as f32;
    }
}

/// Gram-Schmidt, twice for rounding, on Gaussian vectors: rows where there are no more rows than columns,
/// else columns.
fn orthogonal(values: &mut [f32], rows: usize, columns: usize, random: &mut Random) {
    let (count, length) = if rows <= columns {
        (rows, columns)
    } else {
        (columns, rows)
    };
    let mut basis: Vec<Vec<f64>> = Vec::with_capacity(count);
    while basis.len() < count {
        let mut v: Vec<f64> = (0..length).map(|_| random.standard_normal()).collect();
        for _ in 0..2 {
            for b in &basis {
                let overlap: f64 = b.iter().zip(&v).map(|(b, v)| b * v).sum();
                for (v, b) in v.iter_mut().zip(b) {
                    *v -= overlap * b;
                }
            }
        }
        let norm = v.iter().map(|v| v * v).sum::<f64>().sqrt();
        // A Gaussian vector inside the span of the others has probability zero; draw again if rounding
        // makes it look so.
        if norm > 1e-9 {
            basis.push(v.into_iter().map(|v| v / norm).collect());
        }
    }
    for (k, value) in values.iter_mut().enumerate() {
        let (i, j) = (k / columns, k % columns);
        *value = if rows <= columns {
            basis[i][j]
        } else {
            basis[j][i]
        } as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nullcline_data::random::Stream;

    fn drawn(initialiser: Initialiser, rows: usize, columns: usize) -> Vec<f32> {
        let mut values = vec![f32::NAN; rows * columns];
        let mut random = Random::new(5, Stream::WEIGHTS, 0);
        initialiser.fill(&mut values, rows, columns, 50, &mut random);
        values
    }

    #[test]
    fn every_name_is_an_initialiser_and_fills_everything() {
        for name in Initialiser::NAMES {
            let initialiser = Initialiser::from_name(name).unwrap();
            assert!(
                drawn(initialiser, 13, 7).iter().all(|x| x.is_finite()),
                "{name}"
            );
        }
        assert_eq!(Initialiser::from_name("xavier"), None);
    }

    #[test]
    fn variances_are_those_of_the_definitions() {
        let variance = |initialiser| {
            let values = drawn(initialiser, 150, 200);
            values.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / values.len() as f64
        };
        for (initialiser, want) in [
            (Initialiser::Torch, 1.0 / (3.0 * 50.0)),
            (Initialiser::FanInUniform, 1.0 / (3.0 * 200.0)),
            (Initialiser::Normal, 1.0 / 200.0),
            (Initialiser::GlorotUniform, 2.0 / 350.0),
            (Initialiser::GlorotNormal, 2.0 / 350.0),
            (Initialiser::KaimingNormal, 2.0 / 200.0),
        ] {
            let got = variance(initialiser);
            assert!(
                (got / want - 1.0).abs() < 0.05,
                "{initialiser:?}: {got} and {want}"
            );
        }
    }

    #[test]
    fn orthogonal_matrices_are_orthogonal() {
        for (rows, columns) in [(6, 6), (4, 9), (9, 4)] {
            let q = drawn(Initialiser::Orthogonal, rows, columns);
            let at = |i: usize, j: usize| f64::from(q[i * columns + j]);
            let small = rows.min(columns);
            for i in 0..small {
                for j in 0..small {
                    let dot: f64 = if rows <= columns {
                        (0..columns).map(|k| at(i, k) * at(j, k)).sum()
                    } else {
                        (0..rows).map(|k| at(k, i) * at(k, j)).sum()
                    };
                    assert!((dot - f64::from(u8::from(i == j))).abs() < 1e-6);
                }
            }
        }
    }
}
