//! Walks the members of an archive in one pass.
//!
//! [`Reader::next`] digests header blocks until a real member stands; [`Reader::content`] then lends its stored bytes
//! piece by piece out of the input's own buffer. With raw bytes kept, everything that is not content (headers,
//! extension headers, sparse maps, padding, end marker) is handed out too, in order, which is what tar-split stores.

use std::io::{self, BufRead};

use super::entry::{Entry, Kind};
use super::error::{Fault, TarError};
use super::header::{self, Header, LONGEST_PATH};
use super::pax::{self, Records};
use super::sparse::{self, LARGEST_MAP, PaxMap};
use super::{BLOCK, Extent};

/// Largest PAX header (Go's limit for special files).
const LARGEST_PAX: u64 = 1 << 20;
/// All extension headers and maps of one member together; a chain of global headers may not grow without end.
const MOST_METADATA: u64 = 8 << 20;

/// Whether [`Reader::raw`] is filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Raw {
    Dropped,
    Kept,
}

/// A strict reader over an archive.
pub struct Reader<R> {
    input: R,
    offset: u64,
    remaining: u64,
    padding: u64,
    keep: Raw,
    raw: Vec<u8>,
    metadata: u64,
    special: Vec<u8>,
}

/// Extension headers waiting for their member.
#[derive(Default)]
struct Pending {
    records: Option<Records>,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

impl<R: BufRead> Reader<R> {
    /// A reader that drops raw bytes.
    pub fn new(input: R) -> Self {
        let (raw, special) = (Vec::new(), Vec::new());
        Self { input, offset: 0, remaining: 0, padding: 0, keep: Raw::Dropped, raw, metadata: 0, special }
    }

    /// A reader whose [`raw`](Self::raw) bytes and content together are the archive.
    pub fn keeping_raw(input: R) -> Self {
        Self { keep: Raw::Kept, ..Self::new(input) }
    }

    /// The input, wherever it stands.
    pub fn into_input(self) -> R {
        self.input
    }

    /// Bytes other than content that were read since the last [`clear_raw`](Self::clear_raw).
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// Forgets the raw bytes.
    pub fn clear_raw(&mut self) {
        self.raw.clear();
    }

    /// Goes to the next member, past what is left of the current one, and describes it in `entry` (reused, to spare
    /// allocations). `false` at the end of the archive; what follows the end marker is then left for
    /// [`trailing`](Self::trailing).
    ///
    /// # Errors
    /// The input fails, ends early, or is refused. The reader is of no use after that.
    pub fn next(&mut self, entry: &mut Entry) -> Result<bool, TarError> {
        while self.content()?.is_some() {
            self.advance(usize::MAX);
        }
        self.metadata = 0;
        self.skip_padding()?;
        let mut pending = Pending::default();
        loop {
            let Some(block) = self.header_block()? else {
                return if pending.is_empty() { Ok(false) } else { Err(self.truncated()) };
            };
            let header = Header::parse(&block).map_err(|fault| self.malformed(&pending, &[], fault))?;
            let special = self.read_special(&header, &mut pending)?;
            if !special {
                let name = header.name.clone();
                return match self.describe(header, &block, &mut pending, entry) {
                    Ok(()) => Ok(true),
                    Err(Stop::Fault(fault)) => Err(self.malformed(&pending, &name, fault)),
                    Err(Stop::Tar(error)) => Err(error),
                };
            }
        }
    }

    /// Lends the next piece of the member's stored content; `None` when all of it was taken. For a sparse member
    /// these are the stored runs, to be placed by [`Entry::sparse`].
    ///
    /// # Errors
    /// The input fails or ends early.
    pub fn content(&mut self) -> Result<Option<&[u8]>, TarError> {
        if self.remaining == 0 {
            return Ok(None);
        }
        if fill(&mut self.input)?.is_empty() {
            return Err(self.truncated());
        }
        let piece = fill(&mut self.input)?;
        let length = usize::try_from(self.remaining).unwrap_or(usize::MAX).min(piece.len());
        Ok(piece.get(..length))
    }

    /// Marks bytes that [`content`](Self::content) lent as taken: at most as many as it lent.
    pub fn advance(&mut self, count: usize) {
        let available = fill(&mut self.input).map_or(0, <[u8]>::len);
        let count = usize::try_from(self.remaining).unwrap_or(usize::MAX).min(available).min(count);
        self.input.consume(count);
        self.remaining -= count as u64;
        self.offset += count as u64;
    }

    /// After the last member: reads up to the end of the input, where only zeros may be, one piece a call into
    /// [`raw`](Self::raw). `false` when there is no more.
    ///
    /// # Errors
    /// The input fails, or something other than zeros is there.
    pub fn trailing(&mut self) -> Result<bool, TarError> {
        let piece = fill(&mut self.input)?;
        if piece.iter().any(|byte| *byte != 0) {
            return Err(TarError::AfterEnd { offset: self.offset + piece.len() as u64 });
        }
        let count = piece.len();
        if self.keep == Raw::Kept {
            self.raw.extend_from_slice(piece);
        }
        self.input.consume(count);
        self.offset += count as u64;
        Ok(count > 0)
    }

    /// The next header block; `None` at the end marker or where the input ends at a block boundary.
    fn header_block(&mut self) -> Result<Option<[u8; BLOCK]>, TarError> {
        let Some(block) = self.block()? else { return Ok(None) };
        if block.iter().any(|byte| *byte != 0) {
            return Ok(Some(block));
        }
        match self.block()? {
            Some(second) if second.iter().any(|byte| *byte != 0) => {
                Err(TarError::AfterEnd { offset: self.offset })
            }
            _ => Ok(None),
        }
    }

    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, TarError> {
        let mut block = [0; BLOCK];
        let mut length = 0;
        while let Some(free) = block.get_mut(length..).filter(|free| !free.is_empty()) {
            let piece = fill(&mut self.input)?;
            if piece.is_empty() {
                return if length == 0 { Ok(None) } else { Err(self.truncated()) };
            }
            let count = io::Read::read(&mut &*piece, free).map_err(|source| TarError::Read { source })?;
            self.input.consume(count);
            self.offset += count as u64;
            length += count;
        }
        self.account(&block)?;
        Ok(Some(block))
    }

    fn account(&mut self, bytes: &[u8]) -> Result<(), TarError> {
        self.metadata += bytes.len() as u64;
        if self.metadata > MOST_METADATA {
            let fault = Fault::TooMuchMetadata { limit: MOST_METADATA };
            return Err(self.malformed(&Pending::default(), &[], fault));
        }
        if self.keep == Raw::Kept {
            self.raw.extend_from_slice(bytes);
        }
        Ok(())
    }

    fn skip_padding(&mut self) -> Result<(), TarError> {
        while self.padding > 0 {
            let piece = fill(&mut self.input)?;
            let count = piece.len().min(usize::try_from(self.padding).unwrap_or(usize::MAX));
            if count == 0 {
                return Err(self.truncated());
            }
            if self.keep == Raw::Kept {
                self.raw.extend_from_slice(piece.get(..count).unwrap_or_default());
            }
            self.input.consume(count);
            self.offset += count as u64;
            self.padding -= count as u64;
        }
        Ok(())
    }

    /// Takes in an extension header; `false` if `header` is none. PAX records never apply to other extension headers.
    fn read_special(&mut self, header: &Header, pending: &mut Pending) -> Result<bool, TarError> {
        let limit = match header.flag {
            b'x' | b'g' => LARGEST_PAX,
            b'L' | b'K' => LONGEST_PATH as u64 + 1,
            _ => return Ok(false),
        };
        if header.size > limit {
            return Err(self.malformed(pending, &header.name, Fault::TooMuchMetadata { limit }));
        }
        let mut content = std::mem::take(&mut self.special);
        content.clear();
        while (content.len() as u64) < header.size {
            let block = self.block()?.ok_or_else(|| self.truncated())?;
            content.extend_from_slice(&block);
        }
        content.truncate(usize::try_from(header.size).unwrap_or_default());
        let result = pending.take(header.flag, &content);
        self.special = content;
        result.map_err(|fault| self.malformed(pending, &header.name, fault))?;
        Ok(true)
    }

    fn describe(
        &mut self,
        mut header: Header,
        block: &[u8; BLOCK],
        pending: &mut Pending,
        entry: &mut Entry,
    ) -> Result<(), Stop> {
        let records = pending.records.take().unwrap_or_default();
        let stored = header.size_with(records.size)?;
        entry.kind = kind(&header)?;
        entry.mode = header.mode;
        entry.uid = owner(records.uid, header.uid, "uid")?;
        entry.gid = owner(records.gid, header.gid, "gid")?;
        entry.mtime = records.mtime.unwrap_or(header.mtime);
        let is_sparse = header.flag == b'S' || !records.sparse.is_empty();
        entry.name = choose(
            &pending.long_name,
            [records.sparse.name.clone(), records.path],
            std::mem::take(&mut header.name),
            "name",
        )?;
        entry.link =
            choose(&pending.long_link, [None, records.link], std::mem::take(&mut header.link), "link")?;
        if header.flag == 0 && entry.name.ends_with(b"/") {
            entry.kind = Kind::Directory;
        }
        check_names(entry)?;
        if entry.kind != Kind::File && (stored > 0 || is_sparse) {
            return Err(Fault::UnexpectedContent { size: stored }.into());
        }
        entry.xattrs = records.xattrs;
        (self.remaining, self.padding) = (stored, stored.wrapping_neg() % BLOCK as u64);
        (entry.size, entry.stored, entry.sparse) = (stored, stored, None);
        if is_sparse {
            let (size, map) = match (header.flag, records.sparse.is_empty()) {
                (b'S', true) => self.old_map(&header, block)?,
                (b'S', false) => return Err(Fault::SparseMap.into()),
                _ => self.pax_map(&records.sparse)?,
            };
            sparse::validate(&map, size, self.remaining)?;
            (entry.size, entry.stored, entry.sparse) = (size, self.remaining, Some(map));
        }
        Ok(())
    }

    fn old_map(&mut self, header: &Header, block: &[u8; BLOCK]) -> Result<(u64, Vec<Extent>), Stop> {
        if !header.is_gnu {
            return Err(Fault::SparseMap.into());
        }
        let mut map = Vec::new();
        let mut more = sparse::from_old_header(block, &mut map)?;
        let mut read = 0;
        while more {
            read += BLOCK;
            if read > LARGEST_MAP {
                return Err(Fault::TooMuchMetadata { limit: LARGEST_MAP as u64 }.into());
            }
            let extension = self.block()?.ok_or_else(|| self.truncated())?;
            more = sparse::from_old_extension(&extension, &mut map)?;
        }
        Ok((sparse::old_real_size(block)?, map))
    }

    fn pax_map(&mut self, records: &pax::SparseRecords) -> Result<(u64, Vec<Extent>), Stop> {
        let size = match (records.size, records.real_size) {
            (Some(size), None) | (None, Some(size)) => size,
            (Some(_), Some(_)) | (None, None) => return Err(Fault::SparseMap.into()),
        };
        match sparse::from_records(records)? {
            Some(PaxMap::Known(map)) => Ok((size, map)),
            Some(PaxMap::InContent) => Ok((size, self.map_in_content()?)),
            None => Err(Fault::SparseMap.into()),
        }
    }

    /// Format 1.0: whole blocks of decimal lines, which belong to the stored size.
    fn map_in_content(&mut self) -> Result<Vec<Extent>, Stop> {
        let (mut lines, mut newlines, mut wanted) = (Vec::new(), 0, None);
        loop {
            if self.remaining < BLOCK as u64 || lines.len() >= LARGEST_MAP {
                return Err(Fault::SparseMap.into());
            }
            let block = self.block()?.ok_or_else(|| self.truncated())?;
            self.remaining -= BLOCK as u64;
            lines.extend_from_slice(&block);
            newlines += block.iter().filter(|byte| **byte == b'\n').count();
            if wanted.is_none() && newlines > 0 {
                wanted = Some(sparse::lines_wanted(&lines)?);
            }
            if wanted.is_some_and(|wanted| newlines >= wanted) {
                return Ok(sparse::from_lines(&lines)?);
            }
        }
    }

    fn truncated(&self) -> TarError {
        TarError::Truncated { offset: self.offset }
    }

    fn malformed(&self, pending: &Pending, name: &[u8], fault: Fault) -> TarError {
        let records = pending.records.as_ref().and_then(|records| records.path.as_deref());
        let name = pending.long_name.as_deref().or(records).unwrap_or(name);
        let name = String::from_utf8_lossy(name.get(..name.len().min(256)).unwrap_or_default()).into_owned();
        TarError::Malformed { offset: self.offset, name, fault }
    }
}

/// Either kind of failure while a member is described.
enum Stop {
    Fault(Fault),
    Tar(TarError),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<TarError> for Stop {
    fn from(error: TarError) -> Self {
        Self::Tar(error)
    }
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.records.is_none() && self.long_name.is_none() && self.long_link.is_none()
    }

    fn take(&mut self, flag: u8, content: &[u8]) -> Result<(), Fault> {
        let long = || header::text(content).to_vec();
        match flag {
            b'x' => put(&mut self.records, pax::parse(content)?, "records"),
            b'L' => put(&mut self.long_name, long(), "name"),
            b'K' => put(&mut self.long_link, long(), "link"),
            _ => pax::check(content),
        }
    }
}

fn put<T>(place: &mut Option<T>, value: T, field: &'static str) -> Result<(), Fault> {
    if place.is_some() {
        return Err(Fault::Repeated { field });
    }
    *place = Some(value);
    Ok(())
}

fn fill<R: BufRead>(input: &mut R) -> Result<&[u8], TarError> {
    loop {
        match input.fill_buf() {
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => return Err(TarError::Read { source }),
        }
    }
    // Asked twice because a borrow returned from inside the loop would hold on; the second call answers from memory.
    input.fill_buf().map_err(|source| TarError::Read { source })
}

fn kind(header: &Header) -> Result<Kind, Fault> {
    let number = |value, field| u32::try_from(value).map_err(|_| Fault::Number { field });
    let device = || Ok::<_, Fault>((number(header.major, "devmajor")?, number(header.minor, "devminor")?));
    Ok(match header.flag {
        0 | b'0' | b'S' => Kind::File,
        b'1' => Kind::HardLink,
        b'2' => Kind::Symlink,
        b'3' => device().map(|(major, minor)| Kind::CharDevice { major, minor })?,
        b'4' => device().map(|(major, minor)| Kind::BlockDevice { major, minor })?,
        b'5' => Kind::Directory,
        b'6' => Kind::Fifo,
        other => return Err(Fault::MemberType { flag: char::from(other) }),
    })
}

/// `u32::MAX` is the kernel's "leave as it is".
fn owner(pax: Option<u32>, header: i64, field: &'static str) -> Result<u32, Fault> {
    pax.or_else(|| u32::try_from(header).ok()).filter(|id| *id != u32::MAX).ok_or(Fault::Number { field })
}

fn choose(
    long: &Option<Vec<u8>>,
    records: [Option<Vec<u8>>; 2],
    header: Vec<u8>,
    field: &'static str,
) -> Result<Vec<u8>, Fault> {
    let record = records.into_iter().flatten().next();
    match (long, record) {
        // Go takes the GNU name, GNU tar the record.
        (Some(long), Some(record)) if *long != record => Err(Fault::Repeated { field }),
        (Some(long), _) => Ok(long.clone()),
        (None, record) => Ok(record.unwrap_or(header)),
    }
}

fn check_names(entry: &mut Entry) -> Result<(), Fault> {
    header::check_path(&entry.name, "name")?;
    match entry.kind {
        Kind::HardLink => header::check_path(&entry.link, "link")?,
        // A symbolic link's target is text to the kernel; only its whole length counts.
        Kind::Symlink if entry.link.is_empty() => return Err(Fault::Empty { field: "link" }),
        Kind::Symlink if entry.link.len() >= LONGEST_PATH => {
            return Err(Fault::TooLong { field: "link", length: entry.link.len() });
        }
        Kind::Symlink => {}
        Kind::File if entry.name.ends_with(b"/") => return Err(Fault::FileNamedAsDirectory),
        Kind::File | Kind::Directory | Kind::Fifo | Kind::CharDevice { .. } | Kind::BlockDevice { .. } => {
            entry.link.clear();
        }
    }
    Ok(())
}
