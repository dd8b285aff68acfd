//! Layer compression, told by the content's first bytes and never by the media type.
//!
//! Media types lie in practice (Docker schema 2 layers pushed by tools that mislabel them), and every engine detects
//! by magic. gzip may have many members (eStargz: one per file), zstd many frames, skippable ones included
//! (zstd:chunked, pzstd). bzip2 and xz are recognised only to be refused by name: no media type of the OCI image
//! specification allows them.

use std::io::{self, BufRead, BufReader, Chain, Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use flate2::bufread::GzDecoder;
use ochre_types::ErrorKind;

use crate::VerifyError;

/// Largest zstd window accepted, as a power of two: 128 MiB, what the zstd tool itself accepts by default.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;
const BUFFER: usize = 128 * 1024;
const LONGEST_MAGIC: usize = 6;

/// How the content is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
    /// Recognised, refused.
    Bzip2,
    /// Recognised, refused.
    Xz,
}

impl Compression {
    /// Tells the compression from the first bytes (six suffice) of the content.
    pub fn detect(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, 0x08, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [b'B', b'Z', b'h', ..] => Self::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            _ => Self::None,
        }
    }
}

/// Why content cannot be decompressed.
#[derive(Debug, thiserror::Error)]
pub enum DecompressError {
    /// The compressed bytes could not be read.
    #[error("reading the compressed bytes")]
    Input {
        /// The reader's error; holds a [`VerifyError`] where that reader found more bytes than promised.
        #[source]
        source: io::Error,
    },
    /// A compression that layers may not have.
    #[error("{compression:?} compression is not supported")]
    Unsupported {
        /// Which.
        compression: Compression,
    },
    /// The compressed bytes are damaged or cut short.
    #[error("damaged {compression:?} content after {output} bytes of output")]
    Corrupt {
        /// Which format was being read.
        compression: Compression,
        /// Bytes that came out before.
        output: u64,
        /// What the codec says.
        #[source]
        source: io::Error,
    },
    /// More output than the limit.
    #[error("unpacks to more than {limit} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit: u64,
    },
    /// Too much output for the input: a bomb.
    #[error("{output} bytes from {input} compressed ones: more than {limit} to 1")]
    Bomb {
        /// Compressed bytes consumed.
        input: u64,
        /// Bytes that came out.
        output: u64,
        /// Largest ratio accepted.
        limit: u64,
    },
    /// The decompressing thread ended without saying how (it panicked).
    #[error("the decompressing thread was lost")]
    StageLost,
}

impl DecompressError {
    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Input { source } => {
                match source.get_ref().and_then(|cause| cause.downcast_ref::<VerifyError>()) {
                    Some(cause) => cause.kind(),
                    None => ErrorKind::Unavailable,
                }
            }
            Self::Unsupported { .. } | Self::Corrupt { .. } => ErrorKind::InvalidArgument,
            Self::TooLarge { .. } | Self::Bomb { .. } => ErrorKind::Exhausted,
            Self::StageLost => ErrorKind::Internal,
        }
    }
}

/// Compressed bytes in, plain bytes out, until the very end of the input.
pub struct Decompressor<R: Read> {
    codec: Codec<R>,
    compression: Compression,
    meter: Arc<Meter>,
    output: u64,
}

type Source<R> = Metered<Chain<Cursor<Vec<u8>>, R>>;

enum Codec<R: Read> {
    None(Source<R>),
    Gzip(GzipMembers<Source<R>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, Source<R>>>),
}

impl<R: Read> Decompressor<R> {
    /// Looks at the first bytes of `input` and prepares the codec.
    ///
    /// # Errors
    /// Reading fails, or the compression is not supported.
    pub fn new(mut input: R) -> Result<Self, DecompressError> {
        let mut start = Vec::with_capacity(LONGEST_MAGIC);
        (&mut input)
            .take(LONGEST_MAGIC as u64)
            .read_to_end(&mut start)
            .map_err(|source| DecompressError::Input { source })?;
        let compression = Compression::detect(&start);
        let meter = Arc::new(Meter::default());
        let source = Metered {
            buffered: BufReader::with_capacity(BUFFER, Cursor::new(start).chain(input)),
            meter: Arc::clone(&meter),
        };
        let codec = match compression {
            Compression::None => Codec::None(source),
            Compression::Gzip => Codec::Gzip(GzipMembers::Reading(Box::new(GzDecoder::new(source)))),
            Compression::Zstd => {
                Codec::Zstd(Box::new(zstd_decoder(source).map_err(|source| DecompressError::Corrupt {
                    compression,
                    output: 0,
                    source,
                })?))
            }
            Compression::Bzip2 | Compression::Xz => return Err(DecompressError::Unsupported { compression }),
        };
        Ok(Self { codec, compression, meter, output: 0 })
    }

    /// What [`new`](Self::new) recognised.
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// Compressed bytes consumed so far.
    pub fn input_bytes(&self) -> u64 {
        self.meter.consumed.load(Ordering::Relaxed)
    }

    /// Plain bytes produced so far.
    pub fn output_bytes(&self) -> u64 {
        self.output
    }

    /// Reads some plain bytes; 0 means that the input ended too.
    ///
    /// # Errors
    /// The input's own error, or damaged content; the two are told apart.
    pub fn decompress(&mut self, buffer: &mut [u8]) -> Result<usize, DecompressError> {
        loop {
            let result = match &mut self.codec {
                Codec::None(source) => source.read(buffer),
                Codec::Gzip(members) => members.read(buffer),
                Codec::Zstd(decoder) => decoder.read(buffer),
            };
            match result {
                Ok(count) => {
                    self.output += count as u64;
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) if self.meter.failed.load(Ordering::Relaxed) => {
                    return Err(DecompressError::Input { source });
                }
                Err(source) => {
                    let (compression, output) = (self.compression, self.output);
                    return Err(DecompressError::Corrupt { compression, output, source });
                }
            }
        }
    }
}

fn zstd_decoder<R: BufRead>(source: R) -> io::Result<zstd::stream::read::Decoder<'static, R>> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(source)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
    Ok(decoder)
}

/// What the codec took from the input, and whether the input (not the codec) failed.
#[derive(Default)]
struct Meter {
    consumed: AtomicU64,
    failed: AtomicBool,
}

struct Metered<R> {
    buffered: BufReader<R>,
    meter: Arc<Meter>,
}

impl<R: Read> BufRead for Metered<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let meter = &self.meter;
        self.buffered.fill_buf().inspect_err(|error| {
            if error.kind() != io::ErrorKind::Interrupted {
                meter.failed.store(true, Ordering::Relaxed);
            }
        })
    }

    fn consume(&mut self, count: usize) {
        self.meter.consumed.fetch_add(count as u64, Ordering::Relaxed);
        self.buffered.consume(count);
    }
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = {
            let mut available = self.fill_buf()?;
            available.read(buffer)?
        };
        self.consume(count);
        Ok(count)
    }
}

/// gzip members one after another. flate2's own multi-member reader refuses zero padding behind the last member,
/// which GNU gzip and Docker-era tools leave there; anything else behind it is an error here too.
enum GzipMembers<R: BufRead> {
    Reading(Box<GzDecoder<R>>),
    Padding(R),
    Lost,
}

impl<R: BufRead> Read for GzipMembers<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            match self {
                Self::Reading(decoder) => match decoder.read(buffer)? {
                    0 => {}
                    count => return Ok(count),
                },
                Self::Padding(source) => return skip_zeros(source),
                Self::Lost => return Err(io::ErrorKind::InvalidData.into()),
            }
            if let Self::Reading(decoder) = std::mem::replace(self, Self::Lost) {
                let mut source = decoder.into_inner();
                *self = match source.fill_buf()?.first() {
                    Some(0x1f) => Self::Reading(Box::new(GzDecoder::new(source))),
                    _ => Self::Padding(source),
                };
            }
        }
    }
}

fn skip_zeros(source: &mut impl BufRead) -> io::Result<usize> {
    loop {
        let available = source.fill_buf()?;
        if available.is_empty() {
            return Ok(0);
        }
        if available.iter().any(|byte| *byte != 0) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "bytes after the last gzip member"));
        }
        let count = available.len();
        source.consume(count);
    }
}

#[cfg(test)]
mod tests;
