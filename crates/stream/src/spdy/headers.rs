//! Header blocks: names and values in one zlib stream per direction, primed with the dictionary of SPDY/3.
//!
//! Each block ends with a sync flush and continues the stream of the blocks before it, so every block has to be
//! inflated, also those of streams that are refused.

use std::sync::LazyLock;

use bytes::{Buf, BufMut, BytesMut};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// Most bytes that one header block may have once inflated.
const INFLATED_LIMIT: usize = 64 * 1024;
/// Most headers in one block.
const COUNT_LIMIT: usize = 64;
/// Output space given to zlib at a time.
const STEP: usize = 4 * 1024;

/// The first part of the dictionary: each word follows its length in four bytes (SPDY/3, section 2.6.10.1).
const WORDS: &str = "options head post put delete trace accept accept-charset accept-encoding accept-language \
    accept-ranges age allow authorization cache-control connection content-base content-encoding content-language \
    content-length content-location content-md5 content-range content-type date etag expect expires from host \
    if-match if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma \
    proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade \
    user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url public set-cookie \
    keep-alive origin";
/// The second part, as it stands.
const TEXT: &str = concat!(
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505",
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized",
    "403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable",
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT",
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,",
    "text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.",
);

static DICTIONARY: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut bytes = Vec::with_capacity(1423);
    for word in WORDS.split_ascii_whitespace() {
        let word = word.replace('_', " ");
        bytes.put_u32(word.len() as u32);
        bytes.extend_from_slice(word.as_bytes());
    }
    bytes.extend_from_slice(TEXT.as_bytes());
    bytes
});

/// Why a header block is refused; the connection cannot go on after that.
#[derive(Debug, thiserror::Error)]
pub enum HeadersError {
    /// Not a continuation of the session's zlib stream.
    #[error("the header block is not valid zlib")]
    Zlib,
    /// More bytes than any header block of these protocols has.
    #[error("the header block inflates to more than {INFLATED_LIMIT} bytes")]
    TooLong,
    /// More headers than any block of these protocols has.
    #[error("the header block has {count} headers, more than {COUNT_LIMIT}")]
    TooMany {
        /// How many it announces.
        count: u32,
    },
    /// A length points behind the end of the block.
    #[error("the header block ends early")]
    Short,
}

/// Names and values in the order of the wire. Names are lower case there and compared without case here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, String)>);

impl Headers {
    /// The block with these names and values.
    pub fn new<const N: usize>(pairs: [(&str, &str); N]) -> Self {
        Self(pairs.iter().map(|(name, value)| (name.to_ascii_lowercase(), (*value).to_owned())).collect())
    }

    /// The first value of the header, `None` when there is none or it is empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(own, _)| own.eq_ignore_ascii_case(name))?;
        // Several values of one name are separated by NUL.
        value.split('\0').next().filter(|first| !first.is_empty())
    }

    fn parse(mut block: &[u8]) -> Result<Self, HeadersError> {
        let count = block.try_get_u32().map_err(|_| HeadersError::Short)?;
        if count as usize > COUNT_LIMIT {
            return Err(HeadersError::TooMany { count });
        }
        let mut pairs = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let name = text(&mut block)?.to_ascii_lowercase();
            pairs.push((name, text(&mut block)?));
        }
        Ok(Self(pairs))
    }

    fn render(&self) -> Vec<u8> {
        let mut block = Vec::new();
        block.put_u32(self.0.len() as u32);
        for text in self.0.iter().flat_map(|(name, value)| [name, value]) {
            block.put_u32(text.len() as u32);
            block.extend_from_slice(text.as_bytes());
        }
        block
    }
}

fn text(block: &mut &[u8]) -> Result<String, HeadersError> {
    let length = block.try_get_u32().map_err(|_| HeadersError::Short)? as usize;
    let (text, rest) = block.split_at_checked(length).ok_or(HeadersError::Short)?;
    *block = rest;
    Ok(String::from_utf8_lossy(text).into_owned())
}

/// The zlib stream of the blocks that come in.
#[derive(Debug)]
pub(super) struct Inflater(Decompress);

impl Inflater {
    pub(super) fn new() -> Self {
        Self(Decompress::new(true))
    }

    pub(super) fn read(&mut self, mut input: &[u8]) -> Result<Headers, HeadersError> {
        let mut block = Vec::new();
        let mut step = [0u8; STEP];
        loop {
            let (consumed, produced) = (self.0.total_in(), self.0.total_out());
            let result = self.0.decompress(input, &mut step, FlushDecompress::Sync);
            let taken = (self.0.total_in() - consumed) as usize;
            let given = (self.0.total_out() - produced) as usize;
            input = input.get(taken..).ok_or(HeadersError::Zlib)?;
            block.extend_from_slice(step.get(..given).ok_or(HeadersError::Zlib)?);
            if block.len() > INFLATED_LIMIT {
                return Err(HeadersError::TooLong);
            }
            match result {
                Ok(Status::StreamEnd) => return Err(HeadersError::Zlib),
                // Output space left over means that zlib has nothing more to say about this input.
                Ok(Status::Ok | Status::BufError) if given < STEP => break,
                Ok(Status::Ok | Status::BufError) => {}
                Err(error) if error.needs_dictionary().is_some() => {
                    self.0.set_dictionary(&DICTIONARY).map_err(|_| HeadersError::Zlib)?;
                }
                Err(_) => return Err(HeadersError::Zlib),
            }
        }
        if !input.is_empty() {
            return Err(HeadersError::Zlib);
        }
        Headers::parse(&block)
    }
}

/// The zlib stream of the blocks that go out.
#[derive(Debug)]
pub(super) struct Deflater(Compress);

impl Deflater {
    pub(super) fn new() -> Result<Self, HeadersError> {
        let mut compress = Compress::new(Compression::default(), true);
        compress.set_dictionary(&DICTIONARY).map_err(|_| HeadersError::Zlib)?;
        Ok(Self(compress))
    }

    pub(super) fn write(&mut self, headers: &Headers, output: &mut BytesMut) -> Result<(), HeadersError> {
        let block = headers.render();
        let mut input = block.as_slice();
        let mut step = [0u8; STEP];
        loop {
            let (consumed, produced) = (self.0.total_in(), self.0.total_out());
            self.0.compress(input, &mut step, FlushCompress::Sync).map_err(|_| HeadersError::Zlib)?;
            let taken = (self.0.total_in() - consumed) as usize;
            let given = (self.0.total_out() - produced) as usize;
            input = input.get(taken..).ok_or(HeadersError::Zlib)?;
            output.extend_from_slice(step.get(..given).ok_or(HeadersError::Zlib)?);
            if given < STEP {
                break;
            }
        }
        if input.is_empty() { Ok(()) } else { Err(HeadersError::Zlib) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dictionary_is_the_one_of_the_specification() {
        assert_eq!(DICTIONARY.len(), 1423);
        let (mut low, mut high) = (1u32, 0u32);
        for byte in DICTIONARY.iter() {
            low = (low + u32::from(*byte)) % 65521;
            high = (high + low) % 65521;
        }
        assert_eq!(high << 16 | low, 0xe3c6_a7c2, "the Adler-32 sum every SPDY/3 peer announces");
    }

    #[test]
    fn blocks_of_one_session_continue_each_other() {
        let (mut deflater, mut inflater) = (Deflater::new().unwrap(), Inflater::new());
        for round in 0..100 {
            let headers =
                Headers::new([("streamType", "data"), ("port", "80"), ("requestID", &round.to_string())]);
            let mut wire = BytesMut::new();
            deflater.write(&headers, &mut wire).unwrap();
            let read = inflater.read(&wire).unwrap();
            assert_eq!(read, headers);
            assert_eq!(read.get("requestid"), Some(round.to_string().as_str()));
        }
    }

    #[test]
    fn a_small_block_cannot_become_a_large_one() {
        let (mut deflater, mut inflater) = (Deflater::new().unwrap(), Inflater::new());
        let mut wire = BytesMut::new();
        deflater.write(&Headers::new([("a", &"x".repeat(INFLATED_LIMIT))]), &mut wire).unwrap();
        assert!(wire.len() < 2000);
        assert!(matches!(inflater.read(&wire), Err(HeadersError::TooLong)));
    }

    #[test]
    fn counts_and_lengths_from_the_wire_are_not_believed() {
        for (block, name) in [
            (&[0xff; 4][..], "count"),
            (&[0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff], "length of the name"),
            (&[0, 0, 0, 1, 0, 0, 0, 1, b'a', 0, 0, 0, 9, b'b'], "length of the value"),
            (&[0, 0], "no count"),
        ] {
            assert!(Headers::parse(block).is_err(), "{name}");
        }
    }
}
