//! The one read buffer of the process, made so that an idle monitor does not pay for it.
//!
//! The C library maps an allocation this large on its own and does not clear it, so that its pages become memory only as
//! they are read into; a buffer of just the useful size would be taken from the heap and zeroed, all of it, at once.

use std::ops::{Deref, DerefMut};

/// Above the C library's threshold (128 KiB) for separate mappings.
const RESERVED: usize = 160 * 1024;
/// One read from a pipe or socket. What a busy container has once made memory stays memory, so it is not more.
const USED: usize = 16 * 1024;

pub(crate) struct Buffer(Vec<u8>);

impl Buffer {
    pub(crate) fn new() -> Self {
        Self(vec![0; RESERVED])
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0[..USED]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0[..USED]
    }
}
