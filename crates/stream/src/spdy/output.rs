//! What waits to be sent, in the order of the wire, and what it costs.

use std::collections::VecDeque;

use super::frame::Frame;

/// What a queued frame costs besides its data, bytes.
pub(super) const OVERHEAD: usize = 64;

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Output {
    frames: VecDeque<Frame>,
    unsent: usize,
    controls: usize,
}

impl Output {
    pub(super) fn push(&mut self, frame: Frame) {
        self.count(&frame, usize::wrapping_add);
        self.frames.push_back(frame);
    }

    pub(super) fn pop(&mut self) -> Option<Frame> {
        let frame = self.frames.pop_front()?;
        self.count(&frame, usize::wrapping_sub);
        Some(frame)
    }

    /// Removes the data of one stream.
    pub(super) fn remove(&mut self, stream: u32) {
        let frames = std::mem::take(self).frames;
        let others = |frame: &Frame| !matches!(frame, Frame::Data { id, .. } if *id == stream);
        frames.into_iter().filter(others).for_each(|frame| self.push(frame));
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// What the data that waits costs, bytes.
    pub(super) fn unsent(&self) -> usize {
        self.unsent
    }

    /// How many frames without data wait.
    pub(super) fn controls(&self) -> usize {
        self.controls
    }

    fn count(&mut self, frame: &Frame, change: fn(usize, usize) -> usize) {
        match cost(frame) {
            0 => self.controls = change(self.controls, 1),
            cost => self.unsent = change(self.unsent, cost),
        }
    }
}

/// What a frame with data costs, an end mark being none.
pub(super) fn cost(frame: &Frame) -> usize {
    match frame {
        Frame::Data { bytes, .. } if !bytes.is_empty() => bytes.len() + OVERHEAD,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_counts_are_those_of_the_frames(steps in proptest::collection::vec((0u8..4, 1u32..4, 0usize..100), 0..100)) {
            let mut output = Output::default();
            for (step, id, length) in steps {
                match step {
                    0 => output.push(Frame::Ping { id }),
                    1 => output.push(Frame::Data { id, fin: false, bytes: Bytes::from(vec![0; length]) }),
                    2 => drop(output.pop()),
                    _ => output.remove(id),
                }
                prop_assert_eq!(output.unsent, output.frames.iter().map(cost).sum::<usize>());
                prop_assert_eq!(output.controls, output.frames.iter().filter(|frame| cost(frame) == 0).count());
            }
        }
    }
}
