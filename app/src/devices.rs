//! Where training runs: the words of `--device`, the devices there are, and the choice between them.

use crate::session::{Control, Outcome};
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

impl Device {
    /// The device of this name in a run's provenance; `None` where no engine of ours has trained it.
    fn recorded(name: &str) -> Option<Self> {
        if name.starts_with("cpu") {
            return Some(Device::Cpu);
        }
        // gpu: NAME (backend)
        let (name, _) = name.strip_prefix("gpu: ")?.rsplit_once(" (")?;
        Some(Device::Named(name.to_owned()))
    }
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
const TRIED_SECONDS: f64 = 0.8;

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

    /// Refuses a graphics card that is not there, without opening one.
    ///
    /// # Errors
    /// If no device answers to what was asked for.
    pub fn check(&self) -> Outcome<()> {
        let Some(request) = self.request() else {
            return Ok(());
        };
        let adapters = nullcline_gpu::adapters();
        if adapters.iter().any(|adapter| request.accepts(adapter)) {
            return Ok(());
        }
        let names: Vec<String> = adapters
            .iter()
            .map(|adapter| format!("gpu:{}", adapter.name))
            .collect();
        let allowed = if names.is_empty() {
            "auto or cpu: no graphics card has a driver for Vulkan, Metal or DirectX 12".to_owned()
        } else {
            format!("auto, cpu, or one of {}", names.join(", "))
        };
        Err(Error::argument("--device", self.asked.to_string(), allowed).into())
    }

    /// Opens the device asked for; for `auto`, the CPU, which is the faster where little is asked of it.
    ///
    /// # Errors
    /// If there is no such graphics card, or its driver refuses.
    pub fn open(&self) -> Outcome<Box<dyn Engine>> {
        self.check()?;
        Ok(match self.request() {
            Some(request) => Box::new(self.gpu(request)?),
            None => Box::new(CpuEngine::new()),
        })
    }

    /// The graphics card that is asked for.
    fn request(&self) -> Option<Request<'_>> {
        match &self.asked {
            Device::Auto | Device::Cpu => None,
            Device::Gpu => Some(Request::Best),
            Device::Named(name) => Some(Request::Named(name)),
        }
    }

    /// Opens a graphics card: the window's device where it is the one asked for. A software driver works
    /// through one queue at a time, and frames would wait in it: there the window keeps its device to itself.
    fn gpu(&self, request: Request) -> nullcline_data::Result<GpuEngine> {
        let fits = |window: &&WindowDevice| {
            let own = AdapterDescription::of(&window.adapter);
            let best = || nullcline_gpu::adapters().into_iter().next();
            !own.is_software()
                && window.adapter.get_info().backend != wgpu::Backend::Gl
                && request.accepts(&own)
                && (request != Request::Best || best().is_some_and(|best| best.name == own.name))
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
    /// If the device asked for, or the one that the run began on, cannot be opened.
    pub fn choose(
        &self,
        before: Option<&str>,
        trainer: &Trainer,
        control: &Control,
    ) -> Outcome<(Box<dyn Engine>, Option<String>)> {
        if trainer.is_done() {
            return Ok((Box::new(CpuEngine::new()), None));
        }
        if self.asked != Device::Auto {
            return Ok((self.open()?, None));
        }
        if let (Some(name), Some(asked)) = (before, before.and_then(Device::recorded)) {
            let same = Devices {
                asked,
                window: self.window.clone(),
            };
            return match same.check() {
                Ok(()) => Ok((same.open()?, None)),
                Err(_) => Err(Error::device(
                    name,
                    "has trained this run so far and is not here; --device cpu goes on, with other rounding",
                )
                .into()),
            };
        }
        let mut cpu = CpuEngine::new();
        let on_cpu = |why: String| Ok((Box::new(CpuEngine::new()) as Box<dyn Engine>, Some(why)));
        let adapters = nullcline_gpu::adapters();
        if !adapters
            .iter()
            .any(|adapter| Request::Best.accepts(adapter))
        {
            return on_cpu("training on the CPU: there is no graphics card".to_owned());
        }
        let stopped = || control.is_stopped();
        let tried = self.gpu(Request::Best).and_then(|mut gpu| {
            let seconds = trainer.seconds_per_update(&mut gpu, TRIED_SECONDS, &stopped)?;
            Ok((gpu, seconds))
        });
        let (gpu, on_gpu) = match tried {
            Ok(tried) => tried,
            Err(error) => return on_cpu(format!("training on the CPU: {error}")),
        };
        let seconds = trainer.seconds_per_update(&mut cpu, TRIED_SECONDS, &stopped)?;
        let (cpu_name, gpu_name) = (cpu.name(), gpu.name());
        let (engine, other): (Box<dyn Engine>, String) = if on_gpu < seconds {
            (Box::new(gpu), cpu_name)
        } else {
            (Box::new(cpu), gpu_name)
        };
        let why = format!(
            "training on {}: tried, {:.1} ms an update against {:.1} ms on {other}",
            engine.name(),
            on_gpu.min(seconds) * 1e3,
            on_gpu.max(seconds) * 1e3
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
        let asked = if adapter.is_software() {
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
    fn a_run_goes_on_where_it_was() {
        assert_eq!(Device::recorded("cpu (AVX-512)"), Some(Device::Cpu));
        assert_eq!(
            Device::recorded("gpu: llvmpipe (LLVM 15.0.6, 256 bits) (vulkan)"),
            Some(Device::Named("llvmpipe (LLVM 15.0.6, 256 bits)".into()))
        );
        assert_eq!(Device::recorded("imported"), None);
    }

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
