//! The device at work: buffers that are kept from call to call, compiled kernels, submissions.

use crate::launch::{Capabilities, Run, Step};
use crate::pace::Pace;
use crate::stopwatch::{Stopwatch, TIMED};
use crate::sweeps::Kernel;
use crate::text::BUFFERS;
use nullcline_data::{Error, Result};
use rayon::prelude::*;
use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Bytes between the uniform values of two dispatches.
const SLOT: u64 = 256;

/// Seconds that a submission should take, where a window shares the device and waits for its end to draw, and
/// where none does.
const SHARED_SECONDS: f64 = 4e-3;
const OWN_SECONDS: f64 = 20e-3;

/// How long it is between two looks at what another thread may have to do first.
const MOMENT: Duration = Duration::from_micros(100);

/// A shorter wait was for work that had been done.
const LATE: Duration = Duration::from_micros(50);

/// Bytes that are brought to the device, or back, at a time: each waits in memory that the host sees, which is
/// scarce, and whose end the driver answers with the loss of the device.
const UPLOAD: u64 = 64 << 20;
const DOWNLOAD: u64 = 256 << 20;

/// Why a group of networks did not go through.
#[derive(Debug)]
pub(crate) enum Failure {
    /// There is no memory for so many; fewer may fit.
    Memory,
    /// Anything else.
    Fatal(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Fatal(error)
    }
}

/// Bytes of each buffer of [`BUFFERS`].
pub(crate) type Sizes = [u64; 8];

/// Positions in [`BUFFERS`].
pub(crate) mod buffer {
    pub const PARAMETERS: usize = 0;
    pub const TRIALS: usize = 2;
    pub const HISTORY: usize = 3;
    pub const SUMS: usize = 4;
    pub const TRAINING: usize = 5;
    pub const TABLE: usize = 6;
    pub const VALUES: usize = 7;
}

/// A compiled kernel and which buffers it writes.
pub(crate) struct Compiled {
    label: &'static str,
    pipeline: wgpu::ComputePipeline,
    writes: u8,
}

/// An open device with its buffers and kernels.
pub(crate) struct Device {
    pub name: String,
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
    pub capabilities: Capabilities,
    /// Bytes that all buffers together may take, where a test plays a small device.
    pub memory: Option<u64>,
    /// Whether kernels run without checks of indices and loops. Not on software devices, whose compilers then
    /// unroll every loop and take ten times as long as the work itself.
    pub unchecked: bool,
    /// Whether a window draws on the device too.
    shared: bool,
    /// Why kernels cannot run on it, if they cannot.
    unsuitable: Option<String>,
    lost: Arc<Mutex<Option<String>>>,
    buffers: [Option<wgpu::Buffer>; 8],
    uniforms: Option<wgpu::Buffer>,
    staging: Option<wgpu::Buffer>,
    upload: Option<wgpu::Buffer>,
    layouts: HashMap<u8, (wgpu::BindGroupLayout, wgpu::PipelineLayout)>,
    bind_groups: HashMap<u8, wgpu::BindGroup>,
    compiled: HashMap<String, Arc<Compiled>>,
    /// The numbers that lie in the buffer of values.
    values: Vec<f32>,
    /// Bytes on their way since the device was last waited for.
    uploading: u64,
    in_flight: VecDeque<Submission>,
    /// When the last submission was seen to be done.
    done: Instant,
    /// Times every dispatch, where that was asked for.
    pub stopwatch: Option<Stopwatch>,
}

/// A row of numbers on its way to the device.
pub(crate) struct Row<'a>(wgpu::WriteOnly<'a, [u8]>);

impl Row<'_> {
    /// Puts numbers at a place of the row.
    pub fn put(&mut self, at: usize, numbers: &[f32]) {
        self.0
            .slice(4 * at..4 * (at + numbers.len()))
            .copy_from_slice(bytemuck::cast_slice(numbers));
    }
}

/// Work that was submitted and not waited for.
struct Submission {
    index: wgpu::SubmissionIndex,
    at: Instant,
    work: u64,
}

impl Device {
    pub fn new(
        adapter: &wgpu::Adapter,
        device: wgpu::Device,
        queue: wgpu::Queue,
        own: bool,
    ) -> Self {
        let info = adapter.get_info();
        let limits = device.limits();
        let software = info.device_type == wgpu::DeviceType::Cpu;
        let name = format!("{} ({})", info.name, crate::adapters::backend_name(&info));
        let lost = Arc::new(Mutex::new(None));
        if own {
            // Left alone, an error that nobody waits for ends the program.
            let note = Arc::clone(&lost);
            device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
                remember(&note, error.to_string());
            }));
            let note = Arc::clone(&lost);
            device.set_device_lost_callback(move |reason, message| {
                if reason != wgpu::DeviceLostReason::Destroyed {
                    remember(&note, format!("the device was lost: {message}"));
                }
            });
        }
        Device {
            name,
            capabilities: Capabilities {
                workgroup_bytes: limits.max_compute_workgroup_storage_size as usize,
                threads: limits
                    .max_compute_invocations_per_workgroup
                    .min(limits.max_compute_workgroup_size_x) as usize,
                workgroups: limits.max_compute_workgroups_per_dimension.min(65_535) as usize,
                // Kernels count in words of 32 bits.
                binding_bytes: limits
                    .max_storage_buffer_binding_size
                    .min(limits.max_buffer_size)
                    .min(u64::from(!15u32)),
                // One workgroup for each of the 132 processors of the largest card of today.
                busy: if software { 4 } else { 132 },
                dispatch_work: 1 << 36,
                gathers: true,
            },
            memory: None,
            unchecked: !software,
            shared: !own,
            unsuitable: crate::adapters::unsuitable(&limits),
            device,
            queue,
            lost,
            buffers: Default::default(),
            uniforms: None,
            staging: None,
            upload: None,
            layouts: HashMap::new(),
            bind_groups: HashMap::new(),
            compiled: HashMap::new(),
            values: Vec::new(),
            uploading: 0,
            in_flight: VecDeque::new(),
            done: Instant::now(),
            stopwatch: None,
        }
    }

    /// An error of this device.
    pub fn error(&self, what: impl std::fmt::Display) -> Error {
        Error::device(self.name.clone(), format!("{what}; use the cpu to go on"))
    }

    /// Runs `work` and turns what the device says into a result. Nothing is kept of what failed.
    pub fn guarded<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> std::result::Result<T, Failure>,
    ) -> std::result::Result<T, Failure> {
        if let Some(why) = &self.unsuitable {
            return Err(self.error(why).into());
        }
        let scopes = [
            wgpu::ErrorFilter::Internal,
            wgpu::ErrorFilter::Validation,
            wgpu::ErrorFilter::OutOfMemory,
        ]
        .map(|filter| self.device.push_error_scope(filter));
        let result = work(self);
        let found: Vec<wgpu::Error> = scopes
            .into_iter()
            .rev()
            .filter_map(|scope| pollster::block_on(scope.pop()))
            .collect();
        let lost = self.lost.lock().ok().and_then(|lost| lost.clone());
        // What cannot be allocated is invalid wherever it is used: then those errors mean nothing.
        let memory = matches!(result, Err(Failure::Memory))
            || found
                .iter()
                .any(|error| matches!(error, wgpu::Error::OutOfMemory { .. }));
        let result = match (lost, found.first()) {
            (Some(what), _) => Err(self.error(what).into()),
            _ if memory => Err(Failure::Memory),
            (None, Some(error)) => Err(self.error(error).into()),
            (None, None) => result,
        };
        if result.is_err() {
            self.release();
        }
        result
    }

    /// Gives all buffers back.
    fn release(&mut self) {
        self.bind_groups.clear();
        self.layouts.clear();
        self.in_flight.clear();
        self.values.clear();
        self.buffers = Default::default();
        self.uniforms = None;
        self.staging = None;
        self.upload = None;
    }

    /// Makes every buffer at least as large as asked.
    pub fn reserve(&mut self, sizes: &Sizes) -> std::result::Result<(), Failure> {
        let padded = sizes.map(|size| size.max(SLOT).next_multiple_of(16));
        let total: u64 = padded.iter().sum();
        if self.memory.is_some_and(|memory| total > memory) {
            return Err(Failure::Memory);
        }
        for (k, &size) in padded.iter().enumerate() {
            if self.buffers[k].as_ref().is_some_and(|b| b.size() >= size) {
                continue;
            }
            // A little more than asked, so that a slowly growing problem does not allocate every time.
            let room = self.capabilities.binding_bytes / 16 * 16;
            let size = if self.memory.is_none() {
                (size + size / 8).next_multiple_of(16).min(room.max(size))
            } else {
                size
            };
            self.bind_groups.clear();
            self.buffers[k] = None;
            if k == buffer::VALUES {
                self.values.clear();
            }
            let scope = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
            let made = self.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some(BUFFERS[k]),
                size,
                usage: wgpu::BufferUsages::STORAGE
                    | wgpu::BufferUsages::COPY_SRC
                    | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            });
            if pollster::block_on(scope.pop()).is_some() {
                return Err(Failure::Memory);
            }
            self.buffers[k] = Some(made);
        }
        Ok(())
    }

    fn buffer(&self, k: usize) -> Result<&wgpu::Buffer> {
        self.buffers
            .get(k)
            .and_then(Option::as_ref)
            .ok_or_else(|| self.error("a buffer was not allocated"))
    }

    /// Brings numbers to a buffer.
    pub fn write<T: bytemuck::Pod>(&mut self, k: usize, offset: u64, data: &[T]) -> Result<()> {
        let mut at = offset;
        for piece in bytemuck::cast_slice::<T, u8>(data).chunks(UPLOAD as usize) {
            self.queue.write_buffer(self.buffer(k)?, at, piece);
            at += piece.len() as u64;
            self.uploading += piece.len() as u64;
            if self.uploading >= UPLOAD {
                let index = self.queue.submit([]);
                self.uploading = 0;
                self.wait(&index)?;
            }
        }
        Ok(())
    }

    /// Brings one row of `length` numbers for each of `rows` to a buffer, as `put` writes it: straight into memory
    /// that the device copies from, and which is kept, since fresh memory costs several times the copy.
    pub fn write_rows<T>(
        &mut self,
        k: usize,
        length: usize,
        rows: &[T],
        put: impl Fn(&T, &mut Row),
    ) -> std::result::Result<(), Failure> {
        let bytes = 4 * length as u64;
        let at_a_time = (UPLOAD / bytes.max(1)).max(1) as usize;
        for (piece, rows) in rows.chunks(at_a_time).enumerate() {
            let size = bytes * rows.len() as u64;
            let upload = self.staging_of(size, wgpu::BufferUsages::MAP_WRITE)?;
            self.map(&upload, size, wgpu::MapMode::Write, None)?;
            let mut view = upload
                .get_mapped_range_mut(..size)
                .map_err(|error| self.error(error))?;
            for (row, at) in rows.iter().zip((0..).step_by(bytes as usize)) {
                put(row, &mut Row(view.slice(at..at + bytes as usize)));
            }
            drop(view);
            upload.unmap();
            let mut encoder = self
                .device
                .create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            let at = (piece * at_a_time) as u64 * bytes;
            encoder.copy_buffer_to_buffer(&upload, 0, self.buffer(k)?, at, size);
            self.queue.submit([encoder.finish()]);
            self.uploading = 0;
        }
        Ok(())
    }

    /// The buffer by which numbers come and go, at least this large.
    fn staging_of(
        &mut self,
        size: u64,
        mode: wgpu::BufferUsages,
    ) -> std::result::Result<wgpu::Buffer, Failure> {
        let (kept, copy) = if mode == wgpu::BufferUsages::MAP_WRITE {
            (&mut self.upload, wgpu::BufferUsages::COPY_SRC)
        } else {
            (&mut self.staging, wgpu::BufferUsages::COPY_DST)
        };
        if let Some(buffer) = kept
            && buffer.size() >= size
        {
            return Ok(buffer.clone());
        }
        *kept = None;
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let made = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("staging"),
            size: size.next_multiple_of(16),
            usage: mode | copy,
            mapped_at_creation: false,
        });
        if pollster::block_on(scope.pop()).is_some() {
            return Err(Failure::Memory);
        }
        *kept = Some(made.clone());
        Ok(made)
    }

    /// Brings the numbers that a task reads, such as a recording, unless they are there.
    pub fn write_values(&mut self, values: &[f32]) -> Result<()> {
        if self.values != values {
            self.write(buffer::VALUES, 0, values)?;
            values.clone_into(&mut self.values);
        }
        Ok(())
    }

    /// Compiles a kernel, or finds it compiled.
    pub fn compile(&mut self, kernel: &Kernel) -> std::result::Result<Arc<Compiled>, Failure> {
        if let Some(compiled) = self.compiled.get(&kernel.source) {
            return Ok(Arc::clone(compiled));
        }
        let compiled = self.guarded(|device| Ok(Arc::new(device.pipeline(kernel))))?;
        self.compiled
            .insert(kernel.source.clone(), Arc::clone(&compiled));
        Ok(compiled)
    }

    /// Forgets the kernels that nothing holds.
    pub fn forget_unused(&mut self) {
        self.compiled
            .retain(|_, compiled| Arc::strong_count(compiled) > 1);
    }

    fn pipeline(&mut self, kernel: &Kernel) -> Compiled {
        let (_, layout) = self.layout(kernel.writes);
        let layout = layout.clone();
        let mut checks = wgpu::ShaderRuntimeChecks::checked();
        if kernel.trusted && self.unchecked {
            // Clamped indices and counted loops would cost a good part of the innermost loops.
            checks.bounds_checks = false;
            checks.force_loop_bounding = false;
            checks.int_div_checks = false;
        }
        let descriptor = wgpu::ShaderModuleDescriptor {
            label: Some(kernel.label),
            source: wgpu::ShaderSource::Wgsl(kernel.source.as_str().into()),
        };
        // SAFETY: the kernels that are trusted are this crate's own. Their loops are bounded by numbers of the
        // problem, they divide by sizes that are at least 1, and their indices stay in the places that `layout`
        // gives them: rows and columns beyond a matrix are cut off or clamped where they are read.
        let module = unsafe { self.device.create_shader_module_trusted(descriptor, checks) };
        let pipeline = self
            .device
            .create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(kernel.label),
                layout: Some(&layout),
                module: &module,
                entry_point: Some("main"),
                compilation_options: wgpu::PipelineCompilationOptions {
                    // Every kernel writes what it reads.
                    zero_initialize_workgroup_memory: false,
                    ..Default::default()
                },
                cache: None,
            });
        Compiled {
            label: kernel.label,
            pipeline,
            writes: kernel.writes,
        }
    }

    fn layout(&mut self, writes: u8) -> &(wgpu::BindGroupLayout, wgpu::PipelineLayout) {
        let device = &self.device;
        self.layouts.entry(writes).or_insert_with(|| {
            let entry = |binding: u32, ty: wgpu::BufferBindingType, dynamic: bool| {
                wgpu::BindGroupLayoutEntry {
                    binding,
                    visibility: wgpu::ShaderStages::COMPUTE,
                    ty: wgpu::BindingType::Buffer {
                        ty,
                        has_dynamic_offset: dynamic,
                        min_binding_size: None,
                    },
                    count: None,
                }
            };
            let mut entries = vec![entry(0, wgpu::BufferBindingType::Uniform, true)];
            for k in 0..BUFFERS.len() {
                let read_only = writes >> k & 1 == 0;
                entries.push(entry(
                    k as u32 + 1,
                    wgpu::BufferBindingType::Storage { read_only },
                    false,
                ));
            }
            let groups = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
                label: None,
                entries: &entries,
            });
            let pipelines = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label: None,
                bind_group_layouts: &[Some(&groups)],
                immediate_size: 0,
            });
            (groups, pipelines)
        })
    }

    /// The buffers as a kernel with these writes sees them.
    fn bind(&mut self, writes: u8) -> Result<()> {
        if self.bind_groups.contains_key(&writes) {
            return Ok(());
        }
        let layout = self.layout(writes).0.clone();
        let uniforms = self
            .uniforms
            .as_ref()
            .ok_or_else(|| self.error("a buffer was not allocated"))?;
        let mut entries = vec![wgpu::BindGroupEntry {
            binding: 0,
            resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                buffer: uniforms,
                offset: 0,
                size: std::num::NonZeroU64::new(SLOT),
            }),
        }];
        for k in 0..BUFFERS.len() {
            entries.push(wgpu::BindGroupEntry {
                binding: k as u32 + 1,
                resource: self.buffer(k)?.as_entire_binding(),
            });
        }
        let group = self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &layout,
            entries: &entries,
        });
        self.bind_groups.insert(writes, group);
        Ok(())
    }

    /// Seconds that a submission should take.
    fn seconds(&self) -> f64 {
        if self.shared {
            SHARED_SECONDS
        } else {
            OWN_SECONDS
        }
    }

    /// What bears on how work is cut, at a pace.
    pub fn capabilities_at(&self, pace: &Pace) -> Capabilities {
        Capabilities {
            dispatch_work: self
                .capabilities
                .dispatch_work
                .min(pace.work(self.seconds())),
            ..self.capabilities
        }
    }

    /// Queues dispatches in order, in submissions that take the time they should at the pace that shows.
    pub fn run(
        &mut self,
        kernels: &[Arc<Compiled>],
        steps: &[Step],
        pace: &mut Pace,
    ) -> Result<()> {
        // One more keeps the device from idling; where a window shares it, its turn comes first.
        let in_flight = if self.shared { 0 } else { 1 };
        let longest = if self.stopwatch.is_some() {
            TIMED
        } else {
            4096
        };
        let mut first = 0;
        while first < steps.len() {
            let most = pace.work(self.seconds());
            let mut work = 0;
            let mut end = first;
            while end < steps.len()
                && (end == first || work + steps[end].work <= most)
                && end - first < longest
            {
                work += steps[end].work;
                end += 1;
            }
            self.submit(kernels, &steps[first..end], work)?;
            self.settle(in_flight, pace)?;
            first = end;
        }
        Ok(())
    }

    /// Waits for all that was queued.
    pub fn finish(&mut self, pace: &mut Pace) -> Result<()> {
        self.settle(0, pace)
    }

    /// Waits until no more than so many submissions are in the queue.
    fn settle(&mut self, in_flight: usize, pace: &mut Pace) -> Result<()> {
        while self.in_flight.len() > in_flight {
            let Some(oldest) = self.in_flight.pop_front() else {
                break;
            };
            let asked = Instant::now();
            self.wait(&oldest.index)?;
            let begun = oldest.at.max(self.done);
            self.done = Instant::now();
            let seconds = self.done.duration_since(begun).as_secs_f64();
            // Where the host comes late, the work was done before, and the time is no more than a bound.
            let late = self.done.duration_since(asked) < LATE;
            let wanted = if late { f64::INFINITY } else { self.seconds() };
            pace.measured(oldest.work, seconds, wanted);
        }
        Ok(())
    }

    fn submit(&mut self, kernels: &[Arc<Compiled>], steps: &[Step], work: u64) -> Result<()> {
        let slots = steps.len() as u64 * SLOT;
        if self.uniforms.as_ref().is_none_or(|b| b.size() < slots) {
            self.bind_groups.clear();
            self.uniforms = Some(self.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("uniforms"),
                size: slots.next_power_of_two().max(256 * SLOT),
                usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            }));
        }
        let mut values = vec![0u8; slots as usize];
        for (slot, step) in values.chunks_exact_mut(SLOT as usize).zip(steps) {
            let bytes = bytemuck::bytes_of(&step.run);
            slot[..bytes.len()].copy_from_slice(bytes);
        }
        if let Some(uniforms) = &self.uniforms {
            self.queue.write_buffer(uniforms, 0, &values);
        }
        for step in steps {
            self.bind(kernels[step.kernel].writes)?;
        }
        let mut encoder = self
            .device
            .create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let dispatch = |pass: &mut wgpu::ComputePass, slot: usize, step: &Step| {
            let kernel = &kernels[step.kernel];
            pass.set_pipeline(&kernel.pipeline);
            pass.set_bind_group(
                0,
                self.bind_groups.get(&kernel.writes),
                &[(slot as u64 * SLOT) as u32],
            );
            let [x, y, z] = step.workgroups;
            pass.dispatch_workgroups(x, y, z);
        };
        let mut timed = 0;
        if let Some(stopwatch) = &self.stopwatch {
            for (slot, step) in steps.iter().enumerate() {
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                    label: None,
                    timestamp_writes: Some(stopwatch.around(slot)),
                });
                dispatch(&mut pass, slot, step);
            }
            timed = stopwatch.resolve(&mut encoder, steps.len());
        } else {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            for (slot, step) in steps.iter().enumerate() {
                dispatch(&mut pass, slot, step);
            }
        }
        let at = Instant::now();
        let index = self.queue.submit([encoder.finish()]);
        self.uploading = 0;
        if let Some(mut stopwatch) = self.stopwatch.take() {
            let labels = steps.iter().map(|step| kernels[step.kernel].label);
            self.mapped(&stopwatch.staging.clone(), timed, &index, |clock| {
                stopwatch.add(labels, bytemuck::cast_slice(clock));
            })?;
            self.stopwatch = Some(stopwatch);
        }
        self.in_flight.push_back(Submission { index, at, work });
        Ok(())
    }

    /// Waits for a submission. While wgpu waits, it holds a lock that a window needs to show a frame, and a wait that
    /// gives up after a moment panics in wgpu 30 if another thread sees the end of the work just then (wgpu #9958):
    /// where there is a window, it looks from time to time, and waits for all that was submitted.
    fn wait(&self, index: &wgpu::SubmissionIndex) -> Result<()> {
        if self.shared {
            let (sender, receiver) = channel();
            // The receiver waits below, unless the device failed first.
            self.queue.on_submitted_work_done(move || {
                let _ = sender.send(());
            });
            return self.look_for(&receiver);
        }
        let asked = wgpu::PollType::Wait {
            submission_index: Some(index.clone()),
            timeout: None,
        };
        match self.unless_lost(|| self.device.poll(asked))? {
            Ok(_) => Ok(()),
            // A submission that there has not been was refused, as all are once the device is gone.
            Err(wgpu::PollError::WrongSubmissionIndex(..)) => {
                Err(self.error("the device was lost: it takes no more work"))
            }
            Err(error) => Err(self.error(error)),
        }
    }

    /// Looks how far the device is until a call of it sends something. Another thread that uses the device may be the
    /// one to make the call, and not have come to it yet.
    fn look_for<T>(&self, receiver: &Receiver<T>) -> Result<T> {
        loop {
            self.unless_lost(|| self.device.poll(wgpu::PollType::Poll))?
                .map_err(|error| self.error(error))?;
            match receiver.recv_timeout(MOMENT) {
                Ok(sent) => return Ok(sent),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(self.error("it did not finish its work"));
                }
            }
        }
    }

    /// Calls what panics in wgpu where it finds that the device was lost.
    fn unless_lost<T>(&self, call: impl FnOnce() -> T) -> Result<T> {
        catch_unwind(AssertUnwindSafe(call)).map_err(|panic| {
            let what = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or_default();
            let cause = what.lines().map(str::trim).rfind(|line| !line.is_empty());
            let what = format!(
                "the device was lost: {}",
                cause.unwrap_or("no reason is given")
            );
            remember(&self.lost, what.clone());
            self.error(what)
        })
    }

    /// Brings ranges of buffers (buffer, first byte, bytes) to the host, one after the other.
    pub fn read(&mut self, ranges: &[(usize, u64, u64)]) -> std::result::Result<Vec<f32>, Failure> {
        let total: u64 = ranges.iter().map(|range| range.2).sum();
        let mut numbers = Vec::with_capacity(total as usize / 4);
        let mut piece = Vec::new();
        let mut room = DOWNLOAD;
        for &(k, mut offset, mut bytes) in ranges {
            while bytes > 0 {
                let part = bytes.min(room);
                piece.push((k, offset, part));
                offset += part;
                bytes -= part;
                room -= part;
                if room == 0 {
                    self.read_piece(&piece, |seen| numbers.extend_from_slice(seen))?;
                    piece.clear();
                    room = DOWNLOAD;
                }
            }
        }
        if !piece.is_empty() {
            self.read_piece(&piece, |seen| numbers.extend_from_slice(seen))?;
        }
        Ok(numbers)
    }

    /// Brings a row of `length` numbers to the host for each of `out`, from this byte of a buffer on.
    pub fn read_rows<T: Send>(
        &mut self,
        k: usize,
        offset: u64,
        length: usize,
        out: &mut [T],
        take: impl Fn(&mut T, &[f32]) + Sync,
    ) -> std::result::Result<(), Failure> {
        let bytes = 4 * length as u64;
        let at_a_time = (DOWNLOAD / bytes.max(1)).max(1) as usize;
        for (piece, out) in out.chunks_mut(at_a_time).enumerate() {
            let at = offset + (piece * at_a_time) as u64 * bytes;
            self.read_piece(&[(k, at, bytes * out.len() as u64)], |numbers| {
                out.par_iter_mut()
                    .zip(numbers.par_chunks_exact(length))
                    .for_each(|(out, numbers)| take(out, numbers));
            })?;
        }
        Ok(())
    }

    fn read_piece(
        &mut self,
        ranges: &[(usize, u64, u64)],
        see: impl FnOnce(&[f32]),
    ) -> std::result::Result<(), Failure> {
        let total: u64 = ranges.iter().map(|range| range.2).sum();
        let staging = self.staging_of(total, wgpu::BufferUsages::MAP_READ)?;
        let mut encoder = self
            .device
            .create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let mut at = 0;
        for &(k, offset, bytes) in ranges {
            encoder.copy_buffer_to_buffer(self.buffer(k)?, offset, &staging, at, bytes);
            at += bytes;
        }
        let index = self.queue.submit([encoder.finish()]);
        self.uploading = 0;
        self.mapped(&staging, total, &index, |bytes| {
            see(bytemuck::cast_slice(bytes))
        })?;
        Ok(())
    }

    /// Shows the first bytes of a buffer to the host, once a submission that fills it is done.
    fn mapped(
        &self,
        staging: &wgpu::Buffer,
        bytes: u64,
        index: &wgpu::SubmissionIndex,
        see: impl FnOnce(&[u8]),
    ) -> Result<()> {
        self.map(staging, bytes, wgpu::MapMode::Read, Some(index))?;
        let view = staging
            .get_mapped_range(..bytes)
            .map_err(|error| self.error(error))?;
        see(&view);
        drop(view);
        staging.unmap();
        Ok(())
    }

    /// Maps the first bytes of a buffer, once this submission, or all that were made, are done.
    fn map(
        &self,
        buffer: &wgpu::Buffer,
        bytes: u64,
        mode: wgpu::MapMode,
        index: Option<&wgpu::SubmissionIndex>,
    ) -> Result<()> {
        let (sender, receiver) = channel();
        buffer.map_async(mode, ..bytes, move |result| {
            // The receiver waits below, unless the device failed first.
            let _ = sender.send(result);
        });
        if let Some(index) = index {
            self.wait(index)?;
        }
        self.look_for(&receiver)?.map_err(|error| self.error(error))
    }

    /// What a dispatch takes from [`Run`] must fit its slot.
    const _FITS: () = assert!(std::mem::size_of::<Run>() as u64 <= SLOT);
}

fn remember(note: &Mutex<Option<String>>, what: String) {
    if let Ok(mut note) = note.lock() {
        note.get_or_insert(what);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::{Request, adapters, open};

    fn device() -> Option<Device> {
        let Some(adapter) = adapters().into_iter().next() else {
            println!(
                "skipped: there is no Vulkan, Metal or DirectX 12 device, software ones included"
            );
            return None;
        };
        let opened = open(Request::Named(&adapter.name)).unwrap();
        Some(Device::new(
            &opened.adapter,
            opened.device,
            opened.queue,
            true,
        ))
    }

    #[test]
    fn the_panic_of_a_lost_device_is_an_error() {
        let Some(device) = device() else { return };
        let lost = device.unless_lost(|| {
            panic!("Error in Device::poll: Validation Error\n\nCaused by:\n  Device is lost\n")
        });
        let message = Result::<()>::unwrap_err(lost).to_string();
        assert!(
            message.contains("the device was lost: Device is lost; use the cpu"),
            "{message}"
        );
        assert_eq!(device.unless_lost(|| 3).unwrap(), 3);
    }

    /// More than goes up or down at a time arrives whole and in order.
    #[test]
    fn much_goes_in_pieces() {
        let Some(mut device) = device() else { return };
        let numbers: Vec<f32> = (0..(UPLOAD as u32 + (1 << 20)) / 4)
            .map(|k| k as f32)
            .collect();
        let bytes = 4 * numbers.len() as u64;
        let mut sizes = Sizes::default();
        sizes[buffer::PARAMETERS] = bytes;
        let copies = 1 + (DOWNLOAD / bytes) as usize;
        let got = device
            .guarded(|device| {
                device.reserve(&sizes)?;
                device.write(buffer::PARAMETERS, 0, &numbers)?;
                device.read(&vec![(buffer::PARAMETERS, 0, bytes); copies])
            })
            .unwrap();
        assert_eq!(got.len(), copies * numbers.len());
        assert!(got.chunks(numbers.len()).all(|got| *got == numbers[..]));
    }

    /// What is allocated beyond the device's memory is a failure of memory, whatever else is said of it, and leaves
    /// the device as it was.
    #[test]
    fn memory_comes_before_other_errors() {
        let Some(mut device) = device() else { return };
        let mut sizes = Sizes::default();
        sizes[buffer::TABLE] = 64;
        let failed = device.guarded(|device| {
            device.reserve(&sizes)?;
            device.write(buffer::TABLE, 1 << 20, &[1u32])?;
            Err::<(), _>(Failure::Memory)
        });
        assert!(matches!(failed, Err(Failure::Memory)));
        assert!(device.buffers.iter().all(Option::is_none));
        let failed = device.guarded(|device| {
            device.reserve(&sizes)?;
            Ok(device.write(buffer::TABLE, 1 << 20, &[1u32])?)
        });
        assert!(matches!(failed, Err(Failure::Fatal(_))));
        let got = device.guarded(|device| {
            device.reserve(&sizes)?;
            device.write(buffer::TABLE, 0, &[1.5f32])?;
            device.read(&[(buffer::TABLE, 0, 4)])
        });
        assert_eq!(got.unwrap(), [1.5]);
    }

    #[test]
    fn what_does_not_compile_is_not_kept() {
        let Some(mut device) = device() else { return };
        let kernel = Kernel {
            label: "broken",
            source: "fn".to_owned(),
            writes: 0,
            trusted: true,
        };
        for _ in 0..2 {
            assert!(matches!(device.compile(&kernel), Err(Failure::Fatal(_))));
        }
        assert!(device.compiled.is_empty());
    }
}
