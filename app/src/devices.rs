//! Where training runs: the words of `--device`, the devices there are, and the choice between them.

use crate::session::Outcome;
use eframe::wgpu;
use nullcline_data::Error;
use nullcline_gpu::{AdapterDescription, GpuEngine, Request};
use nullcline_models::engine::{CpuEngine, Engine};
use nullcline_models::training::Trainer;

/// What `--device` asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// The faster of CPU and graphics card, tried on the work at hand.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// The best graphics card.
    Gpu,
    /// The first device whose name contains this text, software drivers included.
    Named(String),
}

impl std::fmt::Display for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            Device::Auto => f.write_str("auto"),
            Device::Cpu => f.write_str("cpu"),
            Device::Gpu => f.write_str("gpu"),
            Device::Named(name) => write!(f, "gpu:{name}"),
        }
    }
}

/// Seconds that each device is tried for.
const TRIED_SECONDS: f64 = 0.4;

impl Device {
    /// Reads `auto`, `cpu`, `gpu` or `gpu:NAME`.
    ///
    /// # Errors
    /// Any other word.
    pub fn parse(text: &str) -> Outcome<Self> {
        match (text, text.strip_prefix("gpu:")) {
            ("auto", _) => Ok(Device::Auto),
            ("cpu", _) => Ok(Device::Cpu),
            ("gpu", _) => Ok(Device::Gpu),
            (_, Some(name)) if !name.is_empty() => Ok(Device::Named(name.to_owned())),
            _ => Err(Error::argument(
                "--device",
                text,
                "auto, cpu, gpu, or gpu: and part of a name that `nullcline list devices` shows",
            )
            .into()),
        }
    }
}

/// The window's own device, which training shares.
#[derive(Clone, Debug)]
pub struct WindowDevice {
    /// The adapter it was opened on.
    pub adapter: wgpu::Adapter,
    /// The device, opened as [`nullcline_gpu::device_descriptor`] says.
    pub device: wgpu::Device,
    /// Its queue.
    pub queue: wgpu::Queue,
}

/// Whether a device is one that is asked for: hardware, or one of this name.
fn answers(adapter: &AdapterDescription, request: Request) -> bool {
    match request {
        Request::Best => adapter.kind != SOFTWARE,
        Request::Named(name) => adapter.name.to_lowercase().contains(&name.to_lowercase()),
    }
}

/// The kind of an adapter that is the processor in disguise.
const SOFTWARE: &str = "software";

/// What training may run on.
#[derive(Clone, Debug, Default)]
pub struct Devices {
    /// What was asked for.
    pub asked: Device,
    /// The window's device, where there is a window.
    pub window: Option<WindowDevice>,
}

impl Devices {
    /// What a `--device` asks for.
    ///
    /// # Errors
    /// As [`Device::parse`].
    pub fn parse(text: &str) -> Outcome<Self> {
        Ok(Devices {
            asked: Device::parse(text)?,
            window: None,
        })
    }

    /// Opens the device asked for; for `auto`, the CPU, which is the faster where little is asked of it.
    ///
    /// # Errors
    /// If there is no such graphics card, or its driver refuses.
    pub fn open(&self) -> Outcome<Box<dyn Engine>> {
        let request = match &self.asked {
            Device::Auto | Device::Cpu => return Ok(Box::new(CpuEngine::new())),
            Device::Gpu => Request::Best,
            Device::Named(name) => Request::Named(name),
        };
        let adapters = nullcline_gpu::adapters();
        if adapters.iter().any(|adapter| answers(adapter, request)) {
            return Ok(Box::new(self.gpu(request)?));
        }
        let names: Vec<String> = adapters
            .iter()
            .map(|adapter| format!("gpu:{}", adapter.name))
            .collect();
        let allowed = match names.is_empty() {
            true => {
                "auto or cpu: no graphics card has a driver for Vulkan, Metal or DirectX 12".into()
            }
            false => format!("auto, cpu, or one of {}", names.join(", ")),
        };
        Err(Error::argument("--device", self.asked.to_string(), allowed).into())
    }

    /// Opens a graphics card: the window's device where it is the one asked for. A software driver works
    /// through one queue at a time, and frames would wait in it: there the window keeps its device to itself.
    fn gpu(&self, request: Request) -> nullcline_data::Result<GpuEngine> {
        let fits = |window: &&WindowDevice| {
            let info = window.adapter.get_info();
            let hardware = info.device_type != wgpu::DeviceType::Cpu;
            hardware
                && match request {
                    Request::Best => true,
                    Request::Named(name) => info.name.to_lowercase().contains(&name.to_lowercase()),
                }
        };
        match self.window.as_ref().filter(fits) {
            Some(window) => Ok(GpuEngine::from_device(
                &window.adapter,
                window.device.clone(),
                window.queue.clone(),
            )),
            None => GpuEngine::open(request),
        }
    }

    /// The engine to train on and, where the choice was free, a sentence that says why it was taken.
    ///
    /// A run that has begun, on the device `before`, goes on there: bits do not change on the way.
    ///
    /// # Errors
    /// If the device asked for cannot be opened.
    pub fn choose(
        &self,
        before: Option<&str>,
        trainer: &Trainer,
    ) -> Outcome<(Box<dyn Engine>, Option<String>)> {
        if self.asked != Device::Auto {
            return Ok((self.open()?, None));
        }
        let mut cpu = CpuEngine::new();
        if trainer.is_done() || before.is_some_and(|name| name.starts_with("cpu")) {
            return Ok((Box::new(cpu), None));
        }
        if !nullcline_gpu::adapters()
            .iter()
            .any(|adapter| answers(adapter, Request::Best))
        {
            let why = "training on the CPU: there is no graphics card".to_owned();
            return Ok((Box::new(cpu), Some(why)));
        }
        let mut gpu = match self.gpu(Request::Best) {
            Ok(gpu) => gpu,
            Err(error) => {
                let why = format!("training on the CPU: {error}");
                return Ok((Box::new(cpu), Some(why)));
            }
        };
        if before.is_some() {
            return Ok((Box::new(gpu), None));
        }
        let on_cpu = trainer.seconds_per_update(&mut cpu, TRIED_SECONDS)?;
        let on_gpu = match trainer.seconds_per_update(&mut gpu, TRIED_SECONDS) {
            Ok(seconds) => seconds,
            Err(error) => {
                let why = format!("training on the CPU: {error}");
                return Ok((Box::new(cpu), Some(why)));
            }
        };
        let (cpu_name, gpu_name) = (cpu.name(), gpu.name());
        let (engine, other): (Box<dyn Engine>, String) = if on_gpu < on_cpu {
            (Box::new(gpu), cpu_name)
        } else {
            (Box::new(cpu), gpu_name)
        };
        let why = format!(
            "training on {}: tried, {:.1} ms an update against {:.1} ms on {other}",
            engine.name(),
            on_gpu.min(on_cpu) * 1e3,
            on_gpu.max(on_cpu) * 1e3
        );
        Ok((engine, Some(why)))
    }
}

/// Name and description of every device, the processor first.
pub fn list() -> Vec<(String, String)> {
    let mut devices = vec![(
        "cpu".to_owned(),
        format!(
            "{} threads, {} instructions",
            rayon::current_num_threads(),
            nullcline_models::simd::Instructions::detect().name()
        ),
    )];
    for adapter in nullcline_gpu::adapters() {
        let asked = if adapter.kind == SOFTWARE {
            "; slow, used only when named"
        } else {
            ""
        };
        devices.push((
            format!("gpu:{}", adapter.name),
            format!(
                "{}, {}, {}, buffers of {:.1} GB{asked}",
                adapter.kind,
                adapter.backend,
                adapter.driver,
                adapter.binding_bytes as f64 / 1e9
            ),
        ));
    }
    devices
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_option() {
        assert_eq!(Device::parse("auto").ok(), Some(Device::Auto));
        assert_eq!(Device::parse("cpu").ok(), Some(Device::Cpu));
        assert_eq!(Device::parse("gpu").ok(), Some(Device::Gpu));
        let named = Device::Named("llvmpipe".into());
        assert_eq!(Device::parse("gpu:llvmpipe").ok(), Some(named));
        for wrong in ["tpu", "gpu:", "CPU"] {
            let message = Device::parse(wrong).err().map(|fault| fault.to_string());
            assert!(message.is_some_and(|m| m.contains("--device") && m.contains(wrong)));
        }
    }
}
