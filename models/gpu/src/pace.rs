//! How much work goes to the device at a time.

/// What a device has done of a program, from which follows what it can do in a few milliseconds.
///
/// Multiplications a second differ by four orders of magnitude between an integrated card and a large one, and
/// by three between a single network and an ensemble on the same card. A window that shares the device waits for
/// what has been submitted, and a driver takes a device away that is busy for two seconds, so that a number for
/// all of them would be wrong for most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    per_second: f64,
    /// Networks that it was measured with.
    networks: usize,
}

/// Multiplications a second that every device can do, with a single network.
const SLOWEST: f64 = 1e9;

/// By how much a single measurement changes the pace at most: a frame of the window between two submissions is
/// not a slower device.
const CHANGE: f64 = 4.0;

impl Pace {
    /// Nothing is known yet: it starts small.
    pub fn new(networks: usize) -> Self {
        Pace {
            per_second: SLOWEST,
            networks,
        }
    }

    /// The pace with another number of networks. Fewer fill the device less, but none of them takes longer than
    /// it did in company.
    pub fn with(self, networks: usize) -> Self {
        let fewer = networks as f64 / self.networks.max(1) as f64;
        Pace {
            per_second: self.per_second * fewer.min(1.0),
            networks,
        }
    }

    /// Multiplications that take so many seconds.
    pub fn work(&self, seconds: f64) -> u64 {
        ((self.per_second * seconds) as u64).max(1)
    }

    /// Takes note that `work` took `seconds` where `wanted` were meant to be filled. What took less than that says
    /// nothing against the pace: short work is mostly the way there and back.
    pub fn measured(&mut self, work: u64, seconds: f64, wanted: f64) {
        let found = work as f64 / seconds.max(1e-6);
        if found > self.per_second || seconds > wanted {
            self.per_second = found
                .clamp(self.per_second / CHANGE, self.per_second * CHANGE)
                .max(1.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: f64 = 4e-3;

    /// Submissions on a device that does `rate` multiplications a second after `latency` seconds come to fill
    /// what was wanted, from below, whatever the device.
    #[test]
    fn submissions_come_to_fill_their_time() {
        for rate in [1e8, 1e10, 1e13] {
            let latency = 5e-5;
            let mut pace = Pace::new(1);
            let mut seconds = 0.0;
            for k in 0..40 {
                let work = pace.work(WANTED);
                seconds = latency + work as f64 / rate;
                assert!(
                    k == 0 || rate < SLOWEST || seconds < 1.1 * WANTED,
                    "{seconds}"
                );
                pace.measured(work, seconds, WANTED);
            }
            assert!((0.8 * WANTED..1.1 * WANTED).contains(&seconds), "{seconds}");
        }
    }

    #[test]
    fn short_work_and_one_hiccup_change_little() {
        let mut pace = Pace::new(10);
        for _ in 0..20 {
            let work = pace.work(WANTED);
            pace.measured(work, work as f64 / 1e12, WANTED);
        }
        let before = pace.work(WANTED);
        pace.measured(100, 1e-4, WANTED);
        assert_eq!(pace.work(WANTED), before);
        pace.measured(before, 1.0, WANTED);
        assert!(pace.work(WANTED) >= before / 5);
    }

    #[test]
    fn fewer_networks_are_not_trusted_with_as_much_work() {
        let pace = Pace::new(10);
        assert_eq!(pace.with(1).work(1.0), pace.work(1.0) / 10);
        assert_eq!(pace.with(20).work(1.0), pace.work(1.0));
    }
}
