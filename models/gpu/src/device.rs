//! The device at work: buffers that are kept from call to call, compiled kernels, submissions.

use crate::launch::{Capabilities, Run, Step};
use crate::sweeps::Kernel;
use crate::text::BUFFERS;
use nullcline_data::{Error, Result};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

/// Bytes between the uniform values of two dispatches.
const SLOT: u64 = 256;

/// Submissions that wait in the queue: enough that the device never idles, few enough that a window which
/// shares it gets its turn.
const IN_FLIGHT: usize = 2;

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
#[derive(Clone)]
pub(crate) struct Compiled {
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
    lost: Arc<Mutex<Option<String>>>,
    buffers: [Option<wgpu::Buffer>; 8],
    uniforms: Option<wgpu::Buffer>,
    staging: Option<wgpu::Buffer>,
    layouts: HashMap<u8, (wgpu::BindGroupLayout, wgpu::PipelineLayout)>,
    bind_groups: HashMap<u8, wgpu::BindGroup>,
    compiled: HashMap<String, Compiled>,
    in_flight: VecDeque<wgpu::SubmissionIndex>,
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
        let discrete = info.device_type == wgpu::DeviceType::DiscreteGpu;
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
                binding_bytes: limits
                    .max_storage_buffer_binding_size
                    .min(limits.max_buffer_size),
                // Two workgroups for each of the 132 processors of the largest card of today.
                busy: if software { 4 } else { 264 },
                // A tenth of a second at most on a small integrated card, milliseconds on a discrete one.
                dispatch_work: if discrete { 1 << 36 } else { 1 << 34 },
                submission_work: if discrete { 1 << 36 } else { 1 << 34 },
            },
            memory: None,
            unchecked: !software,
            device,
            queue,
            lost,
            buffers: Default::default(),
            uniforms: None,
            staging: None,
            layouts: HashMap::new(),
            bind_groups: HashMap::new(),
            compiled: HashMap::new(),
            in_flight: VecDeque::new(),
        }
    }

    /// An error of this device.
    pub fn error(&self, what: impl std::fmt::Display) -> Error {
        Error::device(self.name.clone(), format!("{what}; use the cpu to go on"))
    }

    /// Runs `work` and turns what the device says into a result.
    pub fn guarded<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> std::result::Result<T, Failure>,
    ) -> std::result::Result<T, Failure> {
        let scopes = [
            wgpu::ErrorFilter::Internal,
            wgpu::ErrorFilter::Validation,
            wgpu::ErrorFilter::OutOfMemory,
        ]
        .map(|filter| self.device.push_error_scope(filter));
        let result = work(self);
        let mut found = None;
        for scope in scopes.into_iter().rev() {
            found = pollster::block_on(scope.pop()).or(found);
        }
        match found {
            Some(wgpu::Error::OutOfMemory { .. }) => {
                self.release();
                Err(Failure::Memory)
            }
            Some(error) => Err(self.error(error).into()),
            None => {
                let lost = self.lost.lock().ok().and_then(|lost| lost.clone());
                match lost {
                    Some(what) => Err(self.error(what).into()),
                    None => result,
                }
            }
        }
    }

    /// Gives all buffers back.
    fn release(&mut self) {
        self.bind_groups.clear();
        self.buffers = Default::default();
        self.uniforms = None;
        self.staging = None;
    }

    /// Makes every buffer at least as large as asked.
    pub fn reserve(&mut self, sizes: &Sizes) -> std::result::Result<(), Failure> {
        let padded = sizes.map(|size| size.max(SLOT).next_multiple_of(16));
        if let Some(memory) = self.memory {
            let total: u64 = padded.iter().sum();
            if total > memory {
                self.release();
                return Err(Failure::Memory);
            }
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
                self.release();
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
    pub fn write<T: bytemuck::Pod>(&self, k: usize, offset: u64, data: &[T]) -> Result<()> {
        if !data.is_empty() {
            self.queue
                .write_buffer(self.buffer(k)?, offset, bytemuck::cast_slice(data));
        }
        Ok(())
    }

    /// Compiles a kernel, or finds it compiled.
    pub fn compile(&mut self, kernel: &Kernel) -> Compiled {
        if let Some(compiled) = self.compiled.get(&kernel.source) {
            return compiled.clone();
        }
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
        let compiled = Compiled {
            pipeline,
            writes: kernel.writes,
        };
        self.compiled
            .insert(kernel.source.clone(), compiled.clone());
        compiled
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

    /// Queues dispatches in order, a bounded amount of work in each submission.
    pub fn run(&mut self, kernels: &[Compiled], steps: &[Step]) -> Result<()> {
        let mut first = 0;
        while first < steps.len() {
            let mut work = 0;
            let mut end = first;
            while end < steps.len()
                && (end == first || work + steps[end].work <= self.capabilities.submission_work)
                && end - first < 4096
            {
                work += steps[end].work;
                end += 1;
            }
            self.submit(kernels, &steps[first..end])?;
            first = end;
        }
        Ok(())
    }

    fn submit(&mut self, kernels: &[Compiled], steps: &[Step]) -> Result<()> {
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
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            for (slot, step) in steps.iter().enumerate() {
                let kernel = &kernels[step.kernel];
                pass.set_pipeline(&kernel.pipeline);
                pass.set_bind_group(
                    0,
                    self.bind_groups.get(&kernel.writes),
                    &[(slot as u64 * SLOT) as u32],
                );
                let [x, y, z] = step.workgroups;
                pass.dispatch_workgroups(x, y, z);
            }
        }
        let index = self.queue.submit([encoder.finish()]);
        self.in_flight.push_back(index);
        while self.in_flight.len() > IN_FLIGHT {
            if let Some(oldest) = self.in_flight.pop_front() {
                self.wait(oldest)?;
            }
        }
        Ok(())
    }

    fn wait(&self, index: wgpu::SubmissionIndex) -> Result<()> {
        self.device
            .poll(wgpu::PollType::Wait {
                submission_index: Some(index),
                timeout: None,
            })
            .map(|_| ())
            .map_err(|error| self.error(error))
    }

    /// Brings ranges of buffers (buffer, first byte, bytes) to the host, one after the other.
    pub fn read(&mut self, ranges: &[(usize, u64, u64)]) -> std::result::Result<Vec<f32>, Failure> {
        let total: u64 = ranges.iter().map(|range| range.2).sum();
        if total == 0 {
            return Ok(Vec::new());
        }
        if self.staging.as_ref().is_none_or(|b| b.size() < total) {
            self.staging = None;
            let scope = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
            let made = self.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("staging"),
                size: total.next_multiple_of(16),
                usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            });
            if pollster::block_on(scope.pop()).is_some() {
                self.release();
                return Err(Failure::Memory);
            }
            self.staging = Some(made);
        }
        let staging = self
            .staging
            .as_ref()
            .ok_or_else(|| self.error("a buffer was not allocated"))?;
        let mut encoder = self
            .device
            .create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let mut at = 0;
        for &(k, offset, bytes) in ranges {
            if bytes > 0 {
                encoder.copy_buffer_to_buffer(self.buffer(k)?, offset, staging, at, bytes);
            }
            at += bytes;
        }
        let index = self.queue.submit([encoder.finish()]);
        self.in_flight.clear();
        let slice = staging.slice(..total);
        let (sender, receiver) = std::sync::mpsc::channel();
        slice.map_async(wgpu::MapMode::Read, move |result| {
            // The receiver waits below, unless the device failed first.
            let _ = sender.send(result);
        });
        self.wait(index)?;
        match receiver.try_recv() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(self.error(error).into()),
            Err(_) => return Err(self.error("it did not finish its work").into()),
        }
        let numbers = {
            let view = slice
                .get_mapped_range()
                .map_err(|error| self.error(error))?;
            bytemuck::pod_collect_to_vec::<u8, f32>(&view)
        };
        staging.unmap();
        Ok(numbers)
    }

    /// What a dispatch takes from [`Run`] must fit its slot.
    const _FITS: () = assert!(std::mem::size_of::<Run>() as u64 <= SLOT);
}

fn remember(note: &Mutex<Option<String>>, what: String) {
    if let Ok(mut note) = note.lock() {
        note.get_or_insert(what);
    }
}
