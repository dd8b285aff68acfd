//! As much of DER (X.690) as public keys and certificates need: values of one tag after the other, no recursion.

/// What is left of a sequence.
#[derive(Debug, Clone, Copy)]
pub(super) struct Der<'a>(&'a [u8]);

pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OBJECT_ID: u8 = 0x06;
pub(super) const UTF8_STRING: u8 = 0x0c;
pub(super) const SEQUENCE: u8 = 0x30;

/// The context-specific constructed tag `[number]`.
pub(super) const fn explicit(number: u8) -> u8 {
    0xa0 | number
}

impl<'a> Der<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The next value, if it has this tag; nothing is taken otherwise.
    pub(super) fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (found, value) = self.peek()?;
        if found != tag {
            return None;
        }
        self.take_any();
        Some(value)
    }

    /// The next value and its tag.
    pub(super) fn take_any(&mut self) -> Option<(u8, &'a [u8])> {
        let (tag, value, rest) = self.split()?;
        self.0 = rest;
        Some((tag, value))
    }

    /// The only value, which has this tag.
    pub(super) fn only(bytes: &'a [u8], tag: u8) -> Option<Self> {
        let mut outer = Self(bytes);
        let value = outer.take(tag)?;
        outer.is_empty().then_some(Self(value))
    }

    fn peek(self) -> Option<(u8, &'a [u8])> {
        self.split().map(|(tag, value, _)| (tag, value))
    }

    fn split(self) -> Option<(u8, &'a [u8], &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            // Two bytes of length reach 64 KiB, which no certificate or key of interest exceeds.
            0x81 | 0x82 => {
                let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                let length = digits.iter().fold(0, |sum, digit| (sum << 8) | usize::from(*digit));
                // The shortest form is the only one.
                let shortest = length >= if digits.len() == 1 { 0x80 } else { 0x100 };
                shortest.then_some((length, rest))?
            }
            _ => return None,
        };
        // Tags of more than one byte are not used in what is read here.
        let (value, rest) = (tag & 0x1f != 0x1f).then(|| rest.split_at_checked(length))??;
        Some((tag, value, rest))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_are_taken_in_turn_and_odd_lengths_refused() {
        let mut der = Der::new(&[0x02, 1, 7, 0x30, 0, 0x04, 0x81, 0x80]);
        assert_eq!(der.take(SEQUENCE), None);
        assert_eq!(der.take(INTEGER), Some(&[7][..]));
        assert_eq!(der.take(SEQUENCE), Some(&[][..]));
        assert_eq!(der.take_any(), None);
        for odd in
            [&[0x02, 0x81, 1, 7][..], &[0x30, 0x80, 0, 0], &[0x1f, 1, 0], &[0x02], &[0x02, 0x82, 0, 1, 7]]
        {
            assert!(Der::new(odd).take_any().is_none(), "{odd:?}");
        }
        assert!(Der::only(&[0x30, 0, 0], SEQUENCE).is_none());
    }

    proptest! {
        #[test]
        fn any_bytes_are_walked_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut der = Der::new(&bytes);
            let mut sum = 0;
            while let Some((_, value)) = der.take_any() {
                sum += value.len() + 2;
            }
            prop_assert!(sum <= bytes.len());
        }
    }
}
