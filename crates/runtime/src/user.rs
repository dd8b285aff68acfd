//! Who a container's first process runs as: request, image `USER` and the image's passwd and group files in, numbers out.
//!
//! An identity is strict (invariant I6): text that looks like a number is that number, in the range of a user id, or
//! the container is refused. It is never looked up as a name, because an image could carry a passwd line with that
//! name and uid 0 (CVE-2024-40635, CVE-2016-3697). The image's files are read inside its root, as regular files of at
//! most [`FILE_LIMIT`] bytes; a link to the host, a FIFO or a huge sparse file is an error, not a hang.

use std::io;
use std::path::Path;

use ochre_sys::rooted::Root;
use ochre_types::ErrorKind;

use crate::config::{GroupsPolicy, RunAs};

mod database;

pub use database::{UnsafeField, group_line, passwd_line};

/// Largest passwd or group file that is read, in bytes.
pub const FILE_LIMIT: u64 = 1 << 20;

/// Path of the user database inside a root file system.
pub const PASSWD: &str = "/etc/passwd";
/// Path of the group database inside a root file system.
pub const GROUP: &str = "/etc/group";

/// The identity a process gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EffectiveUser {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary groups, sorted; the primary one is always among them (CVE-2022-2995).
    pub additional_gids: Vec<u32>,
    /// Login name, where the image's passwd file has the user id.
    pub name: Option<String>,
    /// Home directory of that record, where it is an absolute path.
    pub home: Option<String>,
    /// Whether the image's group file has the primary group.
    pub group_known: bool,
}

/// No identity could be derived.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A user or group that looks like a number and is not one in range.
    #[error("{field} {text:?} is not a number from 0 to 4294967294 and cannot be a name")]
    NotAnId {
        /// What it names: `user`, `group`, …
        field: &'static str,
        /// As written.
        text: String,
    },
    /// A user name the image does not have.
    #[error("user {name:?} is not in /etc/passwd of image {image}")]
    UnknownUser {
        /// The name.
        name: String,
        /// The image.
        image: String,
    },
    /// A group name the image does not have.
    #[error("group {name:?} is not in /etc/group of image {image}")]
    UnknownGroup {
        /// The name.
        name: String,
        /// The image.
        image: String,
    },
    /// `run_as_group` without a user.
    #[error("run_as_group is set without run_as_user or run_as_username")]
    GroupWithoutUser,
    /// Both spellings of the user.
    #[error("run_as_user and run_as_username exclude each other")]
    TwoUsers,
    /// The image's database cannot be read safely.
    #[error("{path} of image {image} cannot be read")]
    Database {
        /// `/etc/passwd` or `/etc/group`.
        path: &'static str,
        /// The image.
        image: String,
        /// Why: not a regular file, too large, a link that leaves the image, …
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotAnId { .. }
            | Self::UnknownUser { .. }
            | Self::UnknownGroup { .. }
            | Self::GroupWithoutUser
            | Self::TwoUsers
            | Self::Database { .. } => ErrorKind::InvalidArgument,
        }
    }
}

/// A user or group as somebody wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// A number.
    Id(u32),
    /// A name, to be looked up in the image.
    Name(String),
}

impl Identity {
    /// Reads a user or group. Decimal digits are an id; anything else that begins like a number (a digit of any
    /// script, a sign, a blank) is refused, and so are characters that a passwd record cannot hold.
    ///
    /// # Errors
    /// [`Error::NotAnId`].
    pub fn parse(field: &'static str, text: &str) -> Result<Self, Error> {
        let refused = || Error::NotAnId { field, text: text.chars().take(80).collect() };
        if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
            return in_range(text.parse::<u64>().ok()).map(Self::Id).ok_or_else(refused);
        }
        let like_a_number = |c: char| c.is_numeric() || c.is_whitespace() || matches!(c, '+' | '-' | '.');
        if text.starts_with(like_a_number)
            || text.chars().any(|c| c.is_control() || c.is_whitespace() || c == ':')
        {
            return Err(refused());
        }
        if text.is_empty() { Err(refused()) } else { Ok(Self::Name(text.to_owned())) }
    }
}

/// The image's `USER`: `user`, `user:group`, each a number or a name; both `None` when it is empty.
///
/// # Errors
/// [`Error::NotAnId`].
pub fn parse_image_user(text: &str) -> Result<(Option<Identity>, Option<Identity>), Error> {
    if text.is_empty() {
        return Ok((None, None));
    }
    let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
    let user = (!user.is_empty()).then(|| Identity::parse("user of the image", user)).transpose()?;
    // `user:` means the user's own group, as Docker reads it.
    let group = group.filter(|group| !group.is_empty());
    let group = group.map(|group| Identity::parse("group of the image", group)).transpose()?;
    Ok((user, group))
}

/// Derives the identity. What the request says wins over the image's `USER`; nothing at all is root.
///
/// # Errors
/// [`Error`]; every variant means that this request cannot succeed with this image.
pub fn resolve(root: &Root, run_as: &RunAs, image_user: &str, image: &str) -> Result<EffectiveUser, Error> {
    let (user, group, asked_by_image) = wanted(run_as, image_user)?;
    let passwd = read(root, PASSWD, image)?;
    let groups = read(root, GROUP, image)?;

    let account = match &user {
        Identity::Id(uid) => database::users(&passwd).find(|user| user.uid == *uid),
        Identity::Name(name) => Some(
            database::users(&passwd)
                .find(|user| user.name == name)
                .ok_or_else(|| Error::UnknownUser { name: name.clone(), image: image.to_owned() })?,
        ),
    };
    let uid = match (&user, &account) {
        (Identity::Id(uid), _) => *uid,
        (Identity::Name(_), Some(account)) => account.uid,
        (Identity::Name(name), None) => {
            return Err(Error::UnknownUser { name: name.clone(), image: image.to_owned() });
        }
    };
    let gid = match &group {
        Some(Identity::Id(gid)) => *gid,
        Some(Identity::Name(name)) => database::groups(&groups)
            .find(|group| group.name == name)
            .map(|group| group.gid)
            .ok_or_else(|| Error::UnknownGroup { name: name.clone(), image: image.to_owned() })?,
        None => account.as_ref().map_or(0, |account| account.gid),
    };

    let mut additional_gids = vec![gid];
    for id in &run_as.supplemental_groups {
        additional_gids.push(id_of("supplemental group", *id)?);
    }
    // An image that says `user:group` has chosen its groups (Docker's reading); a request that sets only the group has not.
    let image_chose_groups = asked_by_image && group.is_some();
    if let (GroupsPolicy::Merge, Some(account), false) = (run_as.groups_policy, &account, image_chose_groups)
    {
        let memberships = database::groups(&groups).filter(|group| group.has_member(account.name));
        additional_gids.extend(memberships.map(|group| group.gid));
    }
    additional_gids.sort_unstable();
    additional_gids.dedup();
    Ok(EffectiveUser {
        uid,
        gid,
        additional_gids,
        home: account.map(|account| account.home).filter(|home| home.starts_with('/')).map(str::to_owned),
        name: account.map(|account| account.name.to_owned()),
        group_known: database::groups(&groups).any(|group| group.gid == gid),
    })
}

/// User, group, and whether both come from the image.
fn wanted(run_as: &RunAs, image_user: &str) -> Result<(Identity, Option<Identity>, bool), Error> {
    let user = match (run_as.user, run_as.username.as_str()) {
        (Some(_), name) if !name.is_empty() => return Err(Error::TwoUsers),
        (Some(id), _) => Some(Identity::Id(id_of("run_as_user", id)?)),
        (None, "") => None,
        (None, name) => Some(Identity::parse("run_as_username", name)?),
    };
    let group = run_as.group.map(|id| id_of("run_as_group", id).map(Identity::Id)).transpose()?;
    match (user, group) {
        (None, Some(_)) => Err(Error::GroupWithoutUser),
        (Some(user), group) => Ok((user, group, false)),
        (None, None) => {
            let (user, group) = parse_image_user(image_user)?;
            Ok((user.unwrap_or(Identity::Id(0)), group, true))
        }
    }
}

fn id_of(field: &'static str, id: i64) -> Result<u32, Error> {
    in_range(u64::try_from(id).ok()).ok_or_else(|| Error::NotAnId { field, text: id.to_string() })
}

/// 4294967295 is "no change" to the kernel (setreuid(2)) and so nobody's id.
fn in_range(id: Option<u64>) -> Option<u32> {
    id.and_then(|id| u32::try_from(id).ok()).filter(|id| *id != u32::MAX)
}

fn read(root: &Root, path: &'static str, image: &str) -> Result<Vec<u8>, Error> {
    match root.read_limited(Path::new(path), FILE_LIMIT) {
        Ok(content) => Ok(content),
        // Images without user databases are normal ("FROM scratch").
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(Vec::new())
        }
        Err(source) => Err(Error::Database { path, image: image.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests;
