//! Training on graphics cards: [`GpuEngine`] is an [`Engine`](nullcline_models::engine::Engine) for Vulkan, Metal
//! and DirectX 12, by way of wgpu and shaders in WGSL.
//!
//! A network is one workgroup for every tile of its trials; the whole sequence runs inside the kernel. The
//! shaders are written from the cells' own bodies ([`nullcline_models::cells`]), so a new cell needs nothing
//! here. The backward pass runs through time once and leaves the derivatives by the gates; the gradients of all
//! matrices follow as batched products over (time, trial). Trials are drawn on the device where the task can
//! ([`nullcline_tasks::TrialShader`]), and a whole update, optimiser included, needs nothing from the host.
//!
//! Sums have a fixed order that depends on neither tiles nor groups: results are equal bit for bit from run to
//! run on one device. Between devices, and between device and CPU, they differ by rounding.
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
