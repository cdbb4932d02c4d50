//! Which graphics cards there are, and how one is opened.

use nullcline_data::{Error, Result};

/// A device that training could run on, as `nullcline list devices` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdapterDescription {
    /// The driver's name of the device.
    pub name: String,
    /// `vulkan`, `metal` or `dx12`.
    pub backend: &'static str,
    /// `discrete`, `integrated`, `virtual`, `software` or `other`.
    pub kind: &'static str,
    /// The driver, with its version; where the device cannot train, why.
    pub driver: String,
    /// Bytes of the largest buffer that a kernel can see: what bounds a group of networks.
    pub binding_bytes: u64,
    /// Bytes of memory that the threads of a workgroup share: what bounds weights kept on the chip.
    pub workgroup_bytes: u32,
    /// Threads of a workgroup.
    pub workgroup_threads: u32,
}

/// Which device to open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// The fastest kind of hardware there is: discrete before integrated before other. Never software.
    Best,
    /// The first whose name contains this text, in upper or lower case; software only this way.
    Named(&'a str),
}

impl AdapterDescription {
    /// The description of an adapter, such as the window's.
    pub fn of(adapter: &wgpu::Adapter) -> Self {
        let info = adapter.get_info();
        let limits = adapter.limits();
        AdapterDescription {
            backend: backend_name(&info),
            kind: kind_name(&info),
            driver: [format!("{} {}", info.driver, info.driver_info)
                .trim()
                .to_owned()]
            .into_iter()
            .chain(unsuitable(&limits))
            .collect::<Vec<_>>()
            .join("; "),
            name: info.name,
            binding_bytes: limits
                .max_storage_buffer_binding_size
                .min(limits.max_buffer_size),
            workgroup_bytes: limits.max_compute_workgroup_storage_size,
            workgroup_threads: limits.max_compute_invocations_per_workgroup,
        }
    }

    /// Whether it is the processor in disguise.
    pub fn is_software(&self) -> bool {
        self.kind == SOFTWARE
    }
}

impl Request<'_> {
    /// Whether a device is one that is asked for.
    pub fn accepts(&self, adapter: &AdapterDescription) -> bool {
        match self {
            Request::Best => !adapter.is_software(),
            Request::Named(name) => adapter.name.to_lowercase().contains(&name.to_lowercase()),
        }
    }
}

/// The kind of an adapter that is the processor in disguise.
const SOFTWARE: &str = "software";

/// OpenGL is left out: where there is no Vulkan driver, its software adapter would be taken in silence.
const BACKENDS: wgpu::Backends = wgpu::Backends::VULKAN
    .union(wgpu::Backends::METAL)
    .union(wgpu::Backends::DX12);

/// Every device, hardware first.
pub fn adapters() -> Vec<AdapterDescription> {
    enumerate().iter().map(AdapterDescription::of).collect()
}

/// The device that an adapter should be opened with: its own limits, because the defaults of WebGPU, with 16 KiB
/// of workgroup memory, hold not even the weights of 64 units. For a window that shares its device.
pub fn device_descriptor(adapter: &wgpu::Adapter) -> wgpu::DeviceDescriptor<'static> {
    wgpu::DeviceDescriptor {
        label: Some("nullcline"),
        // A clock, for those who ask where the time goes.
        required_features: adapter.features() & wgpu::Features::TIMESTAMP_QUERY,
        required_limits: adapter.limits(),
        ..Default::default()
    }
}

/// Buffers that a kernel sees.
const KERNEL_BUFFERS: u32 = crate::text::BUFFERS.len() as u32;

/// Threads of the largest workgroups that do not adapt to the device.
const KERNEL_THREADS: u32 = 256;

/// Why kernels cannot run within these limits, if they cannot.
pub(crate) fn unsuitable(limits: &wgpu::Limits) -> Option<String> {
    let threads = limits
        .max_compute_invocations_per_workgroup
        .min(limits.max_compute_workgroup_size_x);
    if limits.max_storage_buffers_per_shader_stage < KERNEL_BUFFERS {
        Some(format!(
            "it cannot train: its kernels see {} buffers at most, and {KERNEL_BUFFERS} are needed",
            limits.max_storage_buffers_per_shader_stage
        ))
    } else if threads < KERNEL_THREADS {
        Some(format!(
            "it cannot train: its workgroups have {threads} threads at most, and {KERNEL_THREADS} are needed"
        ))
    } else {
        None
    }
}

/// An open device.
pub(crate) struct Opened {
    pub adapter: wgpu::Adapter,
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
}

/// Opens a device.
///
/// # Errors
/// If there is no such device, or its driver refuses.
pub(crate) fn open(request: Request) -> Result<Opened> {
    let all = enumerate();
    let wanted = |adapter: &&wgpu::Adapter| request.accepts(&AdapterDescription::of(adapter));
    let Some(adapter) = all.iter().find(wanted) else {
        let names: Vec<String> = all
            .iter()
            .map(|adapter| format!("\"{}\"", adapter.get_info().name))
            .collect();
        let names = if names.is_empty() {
            "there is none with a Vulkan, Metal or DirectX 12 driver".to_owned()
        } else {
            format!("there is {}", names.join(", "))
        };
        return Err(match request {
            Request::Best => Error::device(
                "gpu",
                format!(
                    "no graphics card was found ({names}; software devices are used only when named); \
                     use the cpu"
                ),
            ),
            Request::Named(name) => Error::argument(
                "device",
                format!("\"{name}\""),
                format!("part of the name of a graphics card; {names}"),
            ),
        });
    };
    let name = adapter.get_info().name;
    if let Some(why) = unsuitable(&adapter.limits()) {
        return Err(Error::device(name, format!("{why}; use the cpu")));
    }
    let (device, queue) =
        pollster::block_on(adapter.request_device(&device_descriptor(adapter)))
            .map_err(|error| Error::device(name, format!("cannot be opened: {error}")))?;
    Ok(Opened {
        adapter: adapter.clone(),
        device,
        queue,
    })
}

fn enumerate() -> Vec<wgpu::Adapter> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = BACKENDS;
    let instance = wgpu::Instance::new(descriptor);
    let mut all = pollster::block_on(instance.enumerate_adapters(BACKENDS));
    all.sort_by_key(|adapter| match adapter.get_info().device_type {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    });
    all
}

/// `vulkan`, `metal`, `dx12`.
pub(crate) fn backend_name(info: &wgpu::AdapterInfo) -> &'static str {
    match info.backend {
        wgpu::Backend::Vulkan => "vulkan",
        wgpu::Backend::Metal => "metal",
        wgpu::Backend::Dx12 => "dx12",
        _ => "other",
    }
}

fn kind_name(info: &wgpu::AdapterInfo) -> &'static str {
    match info.device_type {
        wgpu::DeviceType::DiscreteGpu => "discrete",
        wgpu::DeviceType::IntegratedGpu => "integrated",
        wgpu::DeviceType::VirtualGpu => "virtual",
        wgpu::DeviceType::Cpu => SOFTWARE,
        wgpu::DeviceType::Other => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_is_not_there_is_refused_with_those_that_are() {
        let error = open(Request::Named("no such card")).err().unwrap();
        let message = error.to_string();
        assert!(error.is_bad_input());
        assert!(message.contains("\"no such card\"") && message.contains("there is"));
    }

    #[test]
    fn a_device_that_cannot_train_says_what_it_lacks() {
        let enough = wgpu::Limits::default();
        assert_eq!(unsuitable(&enough), None);
        let few_buffers = wgpu::Limits {
            max_storage_buffers_per_shader_stage: 4,
            ..enough.clone()
        };
        let found = unsuitable(&few_buffers).unwrap();
        assert!(
            found.contains("4 buffers at most, and 8 are needed"),
            "{found}"
        );
        let few_threads = wgpu::Limits {
            max_compute_workgroup_size_x: 128,
            ..enough
        };
        let found = unsuitable(&few_threads).unwrap();
        assert!(found.contains("128 threads at most, and 256"), "{found}");
    }

    #[test]
    fn software_is_never_the_best() {
        match open(Request::Best) {
            Ok(opened) => assert!(!AdapterDescription::of(&opened.adapter).is_software()),
            Err(error) => assert!(error.to_string().contains("no graphics card was found")),
        }
    }
}
