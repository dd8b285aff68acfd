//! Image references: `[domain/]path[:tag][@digest]`.
//!
//! The grammar is the distribution project's (`reference` package, also cited by the OCI distribution specification):
//!
//! ```text
//! domain    := (component("."component)* | "[" ipv6 "]") [":" port]
//! component := [a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?
//! path      := part("/"part)*          part := [a-z0-9]+(([_.]|__|-+)[a-z0-9]+)*
//! tag       := [A-Za-z0-9_][A-Za-z0-9_.-]{0,127}
//! ```
//!
//! The text before the first `/` is a domain only if it has a `.` or a `:`, is `localhost`, or has an upper-case
//! letter (no path may). Anything else is a *short name*: which registry it means is not for this file to guess, but
//! for the aliases and search registries of `registries.conf`.

use std::fmt;

use ochre_types::Digest;

/// Longest text that is looked at; longer than every valid reference.
const TEXT_MAX: usize = 1024;
/// Longest domain or path (distribution: 255).
const NAME_MAX: usize = 255;
const TAG_MAX: usize = 128;
/// The domain of Docker Hub in references.
pub(crate) const DOCKER_HUB: &str = "docker.io";

/// The text is not an image reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// Nothing was given.
    #[error("the image reference is empty")]
    Empty,
    /// Longer than any reference may be.
    #[error("the image reference is {length} characters long; {TEXT_MAX} are allowed")]
    TooLong {
        /// Length in bytes.
        length: usize,
    },
    /// The part in front of the first slash is no host name.
    #[error("{text:?} is not an image reference: {domain:?} is not a registry host")]
    Domain {
        /// The whole text.
        text: String,
        /// The refused part.
        domain: String,
    },
    /// The repository path breaks the grammar.
    #[error(
        "{text:?} is not an image reference: {path:?} is not a repository path (lower case, digits, `.`, `_`, `-`)"
    )]
    Path {
        /// The whole text.
        text: String,
        /// The refused part.
        path: String,
    },
    /// The tag breaks the grammar.
    #[error("{text:?} is not an image reference: {tag:?} is not a tag")]
    Tag {
        /// The whole text.
        text: String,
        /// The refused part.
        tag: String,
    },
    /// The digest is none.
    #[error("{text:?} is not an image reference")]
    Digest {
        /// The whole text.
        text: String,
        /// What is wrong with the digest.
        #[source]
        source: ochre_types::InvalidDigest,
    },
    /// A path of 64 hexadecimal characters would be taken for an image id.
    #[error("{text:?} is an image id, not an image reference")]
    LooksLikeId {
        /// The whole text.
        text: String,
    },
}

/// A reference that names its registry. At least one of tag and digest is set.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// A reference without a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShortName {
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// What a text turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parsed {
    /// It names its registry.
    Qualified(Reference),
    /// It does not.
    Short(ShortName),
}

impl Parsed {
    /// Reads a reference as users write it.
    ///
    /// # Errors
    /// The first rule of the grammar that is broken.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        if text.is_empty() {
            return Err(ReferenceError::Empty);
        }
        if text.len() > TEXT_MAX {
            return Err(ReferenceError::TooLong { length: text.len() });
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                let digest = digest
                    .parse()
                    .map_err(|source| ReferenceError::Digest { text: text.to_owned(), source })?;
                (rest, Some(digest))
            }
            None => (text, None),
        };
        let (domain, rest) = split_domain(rest);
        let (path, tag) = match rest.split_once(':') {
            Some((path, tag)) if is_tag(tag) => (path, Some(tag.to_owned())),
            Some((_, tag)) => return Err(ReferenceError::Tag { text: text.to_owned(), tag: tag.to_owned() }),
            None => (rest, None),
        };
        if let Some(domain) = domain
            && !is_domain(domain)
        {
            return Err(ReferenceError::Domain { text: text.to_owned(), domain: domain.to_owned() });
        }
        if !is_path(path) {
            return Err(ReferenceError::Path { text: text.to_owned(), path: path.to_owned() });
        }
        let short = ShortName { path: path.to_owned(), tag, digest };
        match domain {
            Some(domain) => Ok(Self::Qualified(short.at(domain))),
            None if path.len() == 64 && path.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) => {
                Err(ReferenceError::LooksLikeId { text: text.to_owned() })
            }
            None => Ok(Self::Short(short)),
        }
    }
}

impl ShortName {
    /// The reference that this name means in the registry `domain` (a host, or a host with a path in front).
    pub(crate) fn at(&self, domain: &str) -> Reference {
        let (host, prefix) = domain.split_once('/').unwrap_or((domain, ""));
        let domain = if host == "index.docker.io" { DOCKER_HUB } else { host };
        let mut path = if prefix.is_empty() { self.path.clone() } else { format!("{prefix}/{}", self.path) };
        if domain == DOCKER_HUB && !path.contains('/') {
            path.insert_str(0, "library/");
        }
        let tag = match (&self.tag, &self.digest) {
            (None, None) => Some("latest".to_owned()),
            (tag, _) => tag.clone(),
        };
        Reference { domain: domain.to_owned(), path, tag, digest: self.digest.clone() }
    }

    /// The same tag and digest under the repository of an alias.
    pub(crate) fn aliased(&self, target: &Reference) -> Reference {
        let tag = match (&self.tag, &self.digest) {
            (None, None) => Some("latest".to_owned()),
            (tag, _) => tag.clone(),
        };
        Reference {
            domain: target.domain.clone(),
            path: target.path.clone(),
            tag,
            digest: self.digest.clone(),
        }
    }

    /// The path as written: the key of an alias.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }
}

impl fmt::Display for ShortName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_reference(f, &self.path, self.tag.as_deref(), self.digest.as_ref())
    }
}

impl Reference {
    /// Reads a reference; a short name means Docker Hub, as Docker itself has it.
    ///
    /// # Errors
    /// As [`Parsed::parse`].
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        Ok(match Parsed::parse(text)? {
            Parsed::Qualified(reference) => reference,
            Parsed::Short(short) => short.at(DOCKER_HUB),
        })
    }

    /// The registry's host, with the port if one was given.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository inside the registry.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest; it wins over the tag.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// `domain/path`.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// The name under which an image pulled by this reference is recorded: with a digest the tag proves nothing about
    /// the content and is left out.
    pub fn recorded_name(&self) -> String {
        match &self.digest {
            Some(digest) => format!("{}@{digest}", self.repository()),
            None => self.to_string(),
        }
    }

    /// What to ask the registry for: digest or tag.
    pub(crate) fn selector(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".to_owned(),
        }
    }

    /// The same tag and digest under another `domain/path`.
    pub(crate) fn moved_to(&self, repository: &str) -> Result<Self, ReferenceError> {
        let refused =
            |domain: &str| ReferenceError::Domain { text: repository.to_owned(), domain: domain.to_owned() };
        let (domain, path) = repository.split_once('/').ok_or_else(|| refused(repository))?;
        if !is_domain(domain) {
            return Err(refused(domain));
        }
        if !is_path(path) {
            return Err(ReferenceError::Path { text: repository.to_owned(), path: path.to_owned() });
        }
        Ok(Self {
            domain: domain.to_owned(),
            path: path.to_owned(),
            tag: self.tag.clone(),
            digest: self.digest.clone(),
        })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/", self.domain)?;
        write_reference(f, &self.path, self.tag.as_deref(), self.digest.as_ref())
    }
}

fn write_reference(
    f: &mut fmt::Formatter<'_>,
    path: &str,
    tag: Option<&str>,
    digest: Option<&Digest>,
) -> fmt::Result {
    f.write_str(path)?;
    if let Some(tag) = tag {
        write!(f, ":{tag}")?;
    }
    if let Some(digest) = digest {
        write!(f, "@{digest}")?;
    }
    Ok(())
}

fn split_domain(text: &str) -> (Option<&str>, &str) {
    match text.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.bytes().any(|b| b.is_ascii_uppercase()) =>
        {
            (Some(first), rest)
        }
        _ => (None, text),
    }
}

/// Whether `text` is a registry host, with or without a port.
pub(crate) fn is_domain(text: &str) -> bool {
    if text.len() > NAME_MAX {
        return false;
    }
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => {
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return false;
            }
            match rest.strip_prefix(':') {
                Some(port) => ("v6", Some(port)),
                None if rest.is_empty() => ("v6", None),
                None => return false,
            }
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let component = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    let port_fits = port.is_none_or(|port| {
        port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|p| p > 0)
    });
    port_fits && host.split('.').all(component)
}

fn is_path(text: &str) -> bool {
    text.len() <= NAME_MAX && text.split('/').all(is_path_part)
}

/// `[a-z0-9]+(([_.]|__|-+)[a-z0-9]+)*`, read from left to right.
fn is_path_part(part: &str) -> bool {
    let mut separator = String::new();
    let mut any = false;
    for c in part.chars() {
        match c {
            'a'..='z' | '0'..='9' => {
                let fits = match separator.as_str() {
                    "" => true,
                    "." | "_" | "__" => any,
                    dashes => any && dashes.chars().all(|c| c == '-'),
                };
                if !fits {
                    return false;
                }
                separator.clear();
                any = true;
            }
            '.' | '_' | '-' => separator.push(c),
            _ => return false,
        }
    }
    any && separator.is_empty()
}

fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let mut bytes = text.bytes();
    text.len() <= TAG_MAX
        && bytes.next().is_some_and(word)
        && bytes.all(|b| word(b) || b == b'.' || b == b'-')
}

#[cfg(test)]
mod tests;
