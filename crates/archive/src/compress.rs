//! The other direction of `decompress`: layers compressed for other programs.

use std::io::{self, Write};

use flate2::write::GzEncoder;

use crate::Compression;

/// Compresses what is written to it. The same bytes give the same output: no times, no names.
pub struct Compressor<W: Write> {
    codec: Codec<W>,
}

enum Codec<W: Write> {
    None(W),
    Gzip(GzEncoder<W>),
    Zstd(zstd::stream::write::Encoder<'static, W>),
}

impl<W: Write> Compressor<W> {
    /// Starts compressing.
    ///
    /// # Errors
    /// `Unsupported` for what layers may not have; an error of the codec.
    pub fn new(output: W, compression: Compression) -> io::Result<Self> {
        let codec = match compression {
            Compression::None => Codec::None(output),
            Compression::Gzip => Codec::Gzip(GzEncoder::new(output, flate2::Compression::default())),
            Compression::Zstd => Codec::Zstd(zstd::stream::write::Encoder::new(output, 0)?),
            Compression::Bzip2 | Compression::Xz => return Err(io::ErrorKind::Unsupported.into()),
        };
        Ok(Self { codec })
    }

    /// Writes the end and gives the output back.
    ///
    /// # Errors
    /// An error of writing.
    pub fn finish(self) -> io::Result<W> {
        match self.codec {
            Codec::None(output) => Ok(output),
            Codec::Gzip(encoder) => encoder.finish(),
            Codec::Zstd(encoder) => encoder.finish(),
        }
    }
}

impl<W: Write> Write for Compressor<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.codec {
            Codec::None(output) => output.write(bytes),
            Codec::Gzip(encoder) => encoder.write(bytes),
            Codec::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.codec {
            Codec::None(output) => output.flush(),
            Codec::Gzip(encoder) => encoder.flush(),
            Codec::Zstd(encoder) => encoder.flush(),
        }
    }
}
