//! A reader that proves what passed through it.
//!
//! The digest covers exactly the bytes handed to the caller, so whatever the caller made of them was made of the
//! content that the digest names (never: hash once, read again).

use std::io::{self, Read};

use ochre_types::{Algorithm, Digest, ErrorKind};
use sha2::{Digest as _, Sha256, Sha512};

/// Why bytes are not what their descriptor promised.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// More bytes came than the descriptor's size; seen at the first surplus byte.
    #[error("{expected}: more than the promised {size} bytes")]
    TooLong {
        /// Digest the content should have.
        expected: Digest,
        /// Size the content should have, in bytes.
        size: u64,
    },
    /// The stream was left or ended before the descriptor's size.
    #[error("{expected}: {read} of the promised {size} bytes")]
    TooShort {
        /// Digest the content should have.
        expected: Digest,
        /// Size the content should have, in bytes.
        size: u64,
        /// Bytes that came.
        read: u64,
    },
    /// The content has another digest.
    #[error("{expected}: the {read} bytes received hash to {actual}")]
    Mismatch {
        /// Digest the content should have.
        expected: Digest,
        /// Hexadecimal hash of what came, by the same algorithm.
        actual: String,
        /// Bytes that came.
        read: u64,
    },
}

impl VerifyError {
    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::TooLong { .. } | Self::Mismatch { .. } => ErrorKind::InvalidArgument,
            Self::TooShort { .. } => ErrorKind::Unavailable,
        }
    }
}

enum Hash {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Hash {
    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(bytes),
            Self::Sha512(hash) => hash.update(bytes),
        }
    }

    fn hex(self) -> String {
        let bytes = match self {
            Self::Sha256(hash) => hash.finalize().to_vec(),
            Self::Sha512(hash) => hash.finalize().to_vec(),
        };
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Counts and hashes the bytes read from `R`; [`finish`](Self::finish) compares them with what was promised.
pub struct VerifyingReader<R> {
    source: R,
    expected: Digest,
    size: Option<u64>,
    hash: Hash,
    read: u64,
}

impl<R: Read> VerifyingReader<R> {
    /// Wraps `source`, whose whole content should have the digest `expected` and, where known, `size` bytes.
    pub fn new(source: R, expected: Digest, size: Option<u64>) -> Self {
        let hash = match expected.algorithm() {
            Algorithm::Sha256 => Hash::Sha256(Sha256::new()),
            Algorithm::Sha512 => Hash::Sha512(Sha512::new()),
        };
        Self { source, expected, size, hash, read: 0 }
    }

    /// Bytes read so far.
    pub fn bytes_read(&self) -> u64 {
        self.read
    }

    /// Compares size and digest of the bytes read so far and returns their number. Call it after the end of the
    /// stream: what was not read does not count.
    ///
    /// # Errors
    /// The first promise that does not hold.
    pub fn finish(self) -> Result<u64, VerifyError> {
        let Self { expected, size, hash, read, .. } = self;
        if let Some(size) = size
            && read < size
        {
            return Err(VerifyError::TooShort { expected, size, read });
        }
        let actual = hash.hex();
        if actual != expected.hex() {
            return Err(VerifyError::Mismatch { expected, actual, read });
        }
        Ok(read)
    }
}

impl<R: Read> Read for VerifyingReader<R> {
    /// # Errors
    /// Those of the source, and a [`VerifyError::TooLong`] inside an `InvalidData` error.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.read += count as u64;
        if let Some(size) = self.size
            && self.read > size
        {
            let error = VerifyError::TooLong { expected: self.expected.clone(), size };
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
        self.hash.update(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // `printf abc | sha256sum`, `printf abc | sha512sum` (also FIPS 180-4's own examples).
    const ABC_256: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    const ABC_512: &str = "sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
                           2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";

    fn read(
        content: &[u8],
        digest: &str,
        size: Option<u64>,
    ) -> (io::Result<usize>, Result<u64, VerifyError>) {
        let mut reader = VerifyingReader::new(content, digest.parse().unwrap(), size);
        let result = reader.read_to_end(&mut Vec::new());
        (result, reader.finish())
    }

    #[test]
    fn the_right_content_passes_with_either_algorithm() {
        for digest in [ABC_256, ABC_512] {
            for size in [None, Some(3)] {
                assert_eq!(read(b"abc", digest, size).1.unwrap(), 3);
            }
        }
    }

    #[test]
    fn other_content_and_other_sizes_are_refused() {
        assert!(matches!(read(b"abd", ABC_256, Some(3)).1, Err(VerifyError::Mismatch { read: 3, .. })));
        assert!(matches!(read(b"abd", ABC_512, None).1, Err(VerifyError::Mismatch { .. })));
        assert!(matches!(
            read(b"ab", ABC_256, Some(3)).1,
            Err(VerifyError::TooShort { read: 2, size: 3, .. })
        ));
    }

    #[test]
    fn a_surplus_byte_is_refused_while_reading() {
        let mut reader = VerifyingReader::new(io::repeat(b'a'), ABC_256.parse().unwrap(), Some(3));
        let error = reader.read_to_end(&mut Vec::new()).unwrap_err();
        let cause = error.get_ref().unwrap().downcast_ref::<VerifyError>().unwrap();
        assert!(matches!(cause, VerifyError::TooLong { size: 3, .. }));
        assert!(reader.finish().is_err());
    }
}
