//! The colon-separated records of passwd(5) and group(5), read and written.
//!
//! A record that does not have the right form is skipped, as the C library does. A field that would change the form
//! of a record can never be written (CVE-2022-4318: a line break in `HOME` added users).

/// Longest record that counts, in bytes. Longer ones are skipped.
const LINE_LIMIT: usize = 64 * 1024;

/// A record of `/etc/passwd`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct User<'a> {
    pub(super) name: &'a str,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Home directory; may be empty.
    pub(super) home: &'a str,
}

/// A record of `/etc/group`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Group<'a> {
    pub(super) name: &'a str,
    pub(super) gid: u32,
    members: &'a str,
}

impl Group<'_> {
    pub(super) fn has_member(&self, name: &str) -> bool {
        !name.is_empty() && self.members.split(',').any(|member| member == name)
    }
}

/// The valid records of a passwd file.
pub(super) fn users(content: &[u8]) -> impl Iterator<Item = User<'_>> {
    lines(content).filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _password) = (fields.next()?, fields.next()?);
        let (uid, gid) = (id(fields.next()?)?, id(fields.next()?)?);
        let home = fields.nth(1).unwrap_or_default();
        (!name.is_empty()).then_some(User { name, uid, gid, home })
    })
}

/// The valid records of a group file.
pub(super) fn groups(content: &[u8]) -> impl Iterator<Item = Group<'_>> {
    lines(content).filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _password) = (fields.next()?, fields.next()?);
        let gid = id(fields.next()?)?;
        (!name.is_empty()).then_some(Group { name, gid, members: fields.next().unwrap_or_default() })
    })
}

fn lines(content: &[u8]) -> impl Iterator<Item = &str> {
    content
        .split(|byte| *byte == b'\n')
        .filter(|line| line.len() <= LINE_LIMIT)
        .filter_map(|line| std::str::from_utf8(line).ok())
        .map(|line| line.strip_suffix('\r').unwrap_or(line))
        .filter(|line| !line.starts_with('#'))
}

fn id(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().filter(|id| *id != u32::MAX)
}

/// A field that would break the record it is put into.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {value:?} contains a character that a user record cannot hold")]
pub struct UnsafeField {
    /// `name` or `home`.
    pub field: &'static str,
    /// Its value, shortened.
    pub value: String,
}

/// One record for `/etc/passwd`, with its line break; the shell is `/sbin/nologin`.
///
/// # Errors
/// [`UnsafeField`] when `name` or `home` holds `:`, a line break or NUL.
pub fn passwd_line(name: &str, uid: u32, gid: u32, home: &str) -> Result<String, UnsafeField> {
    let (name, home) = (safe("name", name)?, safe("home", home)?);
    Ok(format!("{name}:x:{uid}:{gid}:{name} user:{home}:/sbin/nologin\n"))
}

/// One record for `/etc/group`, with its line break.
///
/// # Errors
/// [`UnsafeField`] when `name` holds `:`, a line break or NUL.
pub fn group_line(name: &str, gid: u32) -> Result<String, UnsafeField> {
    Ok(format!("{}:x:{gid}:\n", safe("name", name)?))
}

fn safe<'a>(field: &'static str, value: &'a str) -> Result<&'a str, UnsafeField> {
    if value.contains([':', '\n', '\r', '\0']) {
        return Err(UnsafeField { field, value: value.chars().take(80).collect() });
    }
    Ok(value)
}
