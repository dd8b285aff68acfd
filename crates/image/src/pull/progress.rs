//! How far a pull is, for whoever wants to look.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// A running pull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullProgress {
    /// The reference as requested.
    pub reference: String,
    /// Bytes of layers received.
    pub bytes_done: u64,
    /// Bytes of layers to receive; 0 until the manifest is known.
    pub bytes_total: u64,
    /// Layers that are unpacked or were here already.
    pub layers_done: usize,
    /// Layers of the image; 0 until the manifest is known.
    pub layers_total: usize,
}

/// The counters behind it. Each stands for itself, so relaxed order is enough.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    bytes_done: AtomicU64,
    bytes_total: AtomicU64,
    layers_done: AtomicUsize,
    layers_total: AtomicUsize,
}

impl Progress {
    pub(crate) fn expect(&self, bytes: u64, layers: usize) {
        self.bytes_total.store(bytes, Ordering::Relaxed);
        self.layers_total.store(layers, Ordering::Relaxed);
    }

    pub(crate) fn add_bytes(&self, bytes: u64) {
        self.bytes_done.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn add_layers(&self, layers: usize) {
        self.layers_done.fetch_add(layers, Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self, reference: &str) -> PullProgress {
        PullProgress {
            reference: reference.to_owned(),
            bytes_done: self.bytes_done.load(Ordering::Relaxed),
            bytes_total: self.bytes_total.load(Ordering::Relaxed),
            layers_done: self.layers_done.load(Ordering::Relaxed),
            layers_total: self.layers_total.load(Ordering::Relaxed),
        }
    }
}
