//! The native provider: throwaway local processes on ephemeral ports of 127.0.0.1.
//!
//! One file per service prepares it and returns how to run it ([`plan::Plan`]). [`service`] starts plans, waits until
//! they are ready, and disturbs and stops them; [`provider`] starts all three.

mod files;
mod plan;
mod postgres;
pub(super) mod programs;
pub(super) mod provider;
mod qdrant;
mod redis;
pub(super) mod service;
pub(super) mod shared_memory;

pub(super) use plan::launch_environment;
pub(super) use programs::is_executable;
