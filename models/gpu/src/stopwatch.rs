//! Where the time of a device goes: seconds of every kernel, from its own clock.

use std::collections::BTreeMap;

/// Dispatches of a submission that is timed, at most.
pub(crate) const TIMED: usize = wgpu::QUERY_SET_MAX_QUERIES as usize / 2;

/// Dispatches of one kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct KernelTime {
    /// How many.
    pub dispatches: u64,
    /// How long they took together.
    pub seconds: f64,
}

/// The device's clock before and after every dispatch.
pub(crate) struct Stopwatch {
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    pub staging: wgpu::Buffer,
    nanoseconds: f64,
    pub times: BTreeMap<&'static str, KernelTime>,
}

impl Stopwatch {
    pub fn new(device: &wgpu::Device, queue: &wgpu::Queue) -> Self {
        let buffer = |usage| {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("stopwatch"),
                size: 16 * TIMED as u64,
                usage,
                mapped_at_creation: false,
            })
        };
        Stopwatch {
            queries: device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("stopwatch"),
                ty: wgpu::QueryType::Timestamp,
                count: 2 * TIMED as u32,
            }),
            resolved: buffer(wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC),
            staging: buffer(wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST),
            nanoseconds: f64::from(queue.get_timestamp_period()),
            times: BTreeMap::new(),
        }
    }

    /// The timing of a submission's dispatch `k`, which is a pass of its own.
    pub fn around(&self, k: usize) -> wgpu::ComputePassTimestampWrites<'_> {
        wgpu::ComputePassTimestampWrites {
            query_set: &self.queries,
            beginning_of_pass_write_index: Some(2 * k as u32),
            end_of_pass_write_index: Some(2 * k as u32 + 1),
        }
    }

    /// Brings the times of so many dispatches to where the host can read them; how many bytes.
    pub fn resolve(&self, encoder: &mut wgpu::CommandEncoder, dispatches: usize) -> u64 {
        let bytes = 16 * dispatches as u64;
        encoder.resolve_query_set(&self.queries, 0..2 * dispatches as u32, &self.resolved, 0);
        encoder.copy_buffer_to_buffer(&self.resolved, 0, &self.staging, 0, bytes);
        bytes
    }

    /// Adds what was brought.
    pub fn add(&mut self, labels: impl Iterator<Item = &'static str>, clock: &[u64]) {
        for (label, ticks) in labels.zip(clock.chunks_exact(2)) {
            let time = self.times.entry(label).or_default();
            time.dispatches += 1;
            time.seconds += ticks[1].saturating_sub(ticks[0]) as f64 * self.nanoseconds * 1e-9;
        }
    }
}
