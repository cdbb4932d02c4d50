//! Training on graphics cards: [`GpuEngine`] is an [`Engine`](nullcline_models::engine::Engine) for Vulkan, Metal
//! and DirectX 12, by way of wgpu and shaders in WGSL.
//!
//! A network is one workgroup for every tile of its trials; the whole sequence runs inside the kernel. The
//! shaders are written from the cells' own bodies ([`nullcline_models::cells`]), so a new cell needs nothing
//! here. The backward pass runs through time once; it gathers the gradients of small networks in registers on the
//! way, and of larger ones it leaves the derivatives by the gates, from which the gradients follow as batched
//! products over (time, trial). Trials are drawn on the device where the task can
//! ([`nullcline_tasks::TrialShader`]), and a whole update, optimiser included, needs nothing from the host.
//!
//! Sums have a fixed order: results are equal bit for bit from run to run on one device, whatever the groups that an
//! ensemble goes through in. With the size of the ensemble the tiles change, and with them whether gradients are
//! gathered and how a compiler rounds: then, as between devices, and between device and CPU, results differ by
//! rounding.
//!
//! Limits: one network with its batch must fit in one buffer of the device (`adapters` shows the bytes), and
//! tasks with Gaussian noise draw their trials on the host.

pub mod adapters;
mod device;
mod engine;
mod groups;
mod kernels;
mod launch;
mod layout;
mod pace;
mod stopwatch;
mod sweeps;
mod text;
mod trials;

pub use adapters::{AdapterDescription, Request, adapters, device_descriptor};
pub use engine::{GpuEngine, Restriction};
pub use stopwatch::KernelTime;
