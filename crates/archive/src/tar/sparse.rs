//! Sparse maps: where the stored bytes of a file belong.
//!
//! Four writings of the same list of (offset, length) pairs: old GNU (in the header block and extension blocks), and
//! GNU's PAX formats 0.0 and 0.1 (records) and 1.0 (decimal lines in front of the content). Go's CVE-2025-58183 is
//! the reason for the limit: a map may not cost more memory than the archive paid for.

use super::error::Fault;
use super::header::{field, number};
use super::pax::{SparseRecords, decimal};
use super::{BLOCK, Extent};

/// Most bytes a map may take in the archive.
pub(super) const LARGEST_MAP: usize = 1 << 20;

/// How the PAX records say the map is stored.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PaxMap {
    /// In the records (0.0, 0.1).
    Known(Vec<Extent>),
    /// As lines in front of the content (1.0).
    InContent,
}

/// The map that PAX records announce; `None` where the file is not sparse.
pub(super) fn from_records(records: &SparseRecords) -> Result<Option<PaxMap>, Fault> {
    let version = match (records.major, records.minor) {
        (None, None) if records.is_empty() => return Ok(None),
        (Some(1), Some(0)) => {
            let clean = records.map.is_none() && records.pairs.is_empty() && records.blocks.is_none();
            return if clean { Ok(Some(PaxMap::InContent)) } else { Err(Fault::SparseMap) };
        }
        (None | Some(0), version) => version,
        (Some(_), _) => return Err(Fault::SparseMap),
    };
    let numbers = match (version, &records.map, records.pairs.as_slice()) {
        (None | Some(1), Some(map), []) => map.as_slice(),
        (None | Some(0), None, pairs) => pairs,
        _ => return Err(Fault::SparseMap),
    };
    let count = records.blocks.ok_or(Fault::SparseMap)?;
    if count.checked_mul(2) != Some(numbers.len() as u64) {
        return Err(Fault::SparseMap);
    }
    Ok(Some(PaxMap::Known(pairs(numbers))))
}

/// How many lines a 1.0 map has by its first line, which must be complete.
pub(super) fn lines_wanted(lines: &[u8]) -> Result<usize, Fault> {
    let count = lines.split(|byte| *byte == b'\n').next().and_then(decimal);
    let count = count.and_then(|count| usize::try_from(count).ok()).filter(|count| *count <= LARGEST_MAP / 4);
    Ok(1 + 2 * count.ok_or(Fault::SparseMap)?)
}

/// The map out of the complete lines of a 1.0 map; padding may follow.
pub(super) fn from_lines(lines: &[u8]) -> Result<Vec<Extent>, Fault> {
    let wanted = lines_wanted(lines)?;
    let numbers = lines.split(|byte| *byte == b'\n').take(wanted).skip(1);
    let numbers: Option<Vec<u64>> = numbers.map(decimal).collect();
    Ok(pairs(&numbers.filter(|numbers| numbers.len() + 1 == wanted).ok_or(Fault::SparseMap)?))
}

/// The map in an old GNU header; the `bool` tells that extension blocks follow.
pub(super) fn from_old_header(block: &[u8; BLOCK], map: &mut Vec<Extent>) -> Result<bool, Fault> {
    entries(block, 386, 4, map)?;
    Ok(field(block, 482, 1) != [0])
}

/// The map in an old GNU extension block, as above.
pub(super) fn from_old_extension(block: &[u8; BLOCK], map: &mut Vec<Extent>) -> Result<bool, Fault> {
    entries(block, 0, 21, map)?;
    Ok(field(block, 504, 1) != [0])
}

/// The real size in an old GNU header.
pub(super) fn old_real_size(block: &[u8; BLOCK]) -> Result<u64, Fault> {
    u64::try_from(number(field(block, 483, 12), "realsize")?).map_err(|_| Fault::Number { field: "realsize" })
}

/// Checks order, bounds and that the extents account for every stored byte.
pub(super) fn validate(map: &[Extent], size: u64, stored: u64) -> Result<(), Fault> {
    let (mut end, mut sum) = (0, 0);
    for extent in map {
        if extent.offset < end {
            return Err(Fault::SparseMap);
        }
        // Both are below 2^63, so neither addition overflows before the comparisons stop it.
        end = extent.offset.checked_add(extent.length).filter(|end| *end <= size).ok_or(Fault::SparseMap)?;
        sum += extent.length;
    }
    if sum == stored { Ok(()) } else { Err(Fault::SparseMap) }
}

fn pairs(numbers: &[u64]) -> Vec<Extent> {
    let (pairs, _) = numbers.as_chunks();
    pairs.iter().map(|[offset, length]| Extent { offset: *offset, length: *length }).collect()
}

/// Entries of 12 + 12 bytes; an entry that starts with NUL ends the list of its block, as in GNU and BSD tar.
fn entries(block: &[u8; BLOCK], at: usize, count: usize, map: &mut Vec<Extent>) -> Result<(), Fault> {
    for at in (0..count).map(|index| at + index * 24) {
        if field(block, at, 1) == [0] {
            break;
        }
        let offset =
            u64::try_from(number(field(block, at, 12), "sparse offset")?).map_err(|_| Fault::SparseMap)?;
        let length = u64::try_from(number(field(block, at + 12, 12), "sparse length")?)
            .map_err(|_| Fault::SparseMap)?;
        map.push(Extent { offset, length });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(offset: u64, length: u64) -> Extent {
        Extent { offset, length }
    }

    #[test]
    fn lines_are_numbers_or_refused() {
        assert_eq!(from_lines(b"2\n0\n5\n10\n6\n\0\0").unwrap(), [extent(0, 5), extent(10, 6)]);
        assert_eq!(from_lines(b"0\n").unwrap(), []);
        assert_eq!(lines_wanted(b"2\n0\n"), Ok(5));
        for bad in [&b"x\n"[..], b"-1\n", b"99999999\n", b"1\n+1\n1\n", b"2\n0\n5\n", b""] {
            assert_eq!(from_lines(bad), Err(Fault::SparseMap), "{bad:?}");
        }
    }

    #[test]
    fn only_ordered_maps_inside_the_file_are_valid() {
        let map = [extent(0, 5), extent(10, 0), extent(10, 6), extent(20, 0)];
        assert_eq!(validate(&map, 20, 11), Ok(()));
        assert!(validate(&map, 19, 11).is_err());
        assert!(validate(&map, 20, 12).is_err());
        assert!(validate(&[extent(5, 1), extent(0, 1)], 20, 2).is_err());
        assert!(validate(&[extent(0, 5), extent(4, 1)], 20, 6).is_err());
        assert!(validate(&[extent(u64::MAX, 5)], u64::MAX, 5).is_err());
    }

    #[test]
    fn versions_and_counts_must_agree() {
        let known = |records: &SparseRecords| from_records(records);
        let map = SparseRecords { blocks: Some(1), map: Some(vec![0, 5]), ..Default::default() };
        assert_eq!(known(&map).unwrap(), Some(PaxMap::Known(vec![extent(0, 5)])));
        assert!(known(&SparseRecords { blocks: Some(2), ..map.clone() }).is_err());
        assert!(known(&SparseRecords { major: Some(1), minor: Some(0), ..map.clone() }).is_err());
        assert!(known(&SparseRecords { major: Some(2), ..map.clone() }).is_err());
        assert!(known(&SparseRecords { pairs: vec![0, 5], ..map }).is_err());
        let new = SparseRecords { major: Some(1), minor: Some(0), ..Default::default() };
        assert_eq!(known(&new).unwrap(), Some(PaxMap::InContent));
        assert_eq!(known(&SparseRecords::default()).unwrap(), None);
    }
}
