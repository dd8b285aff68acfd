//! Where a redirection leads, and who may learn what there.

use http::Uri;
use http::uri::{Authority, Scheme};

use super::RegistryError;

/// Longest `Location`.
const LOCATION_MAX: usize = 16 << 10;

/// A URL without query, for messages.
pub(super) fn shown(uri: &Uri) -> String {
    let authority = uri.authority().map_or("", Authority::as_str);
    format!("{}://{authority}{}", uri.scheme_str().unwrap_or("https"), uri.path())
}

/// Scheme, host and port: what credentials are bound to.
pub(super) fn origin(uri: &Uri) -> (String, String, u16) {
    let scheme = uri.scheme_str().unwrap_or("https").to_ascii_lowercase();
    let port = uri.port_u16().unwrap_or(if scheme == "http" { 80 } else { 443 });
    (scheme, uri.host().unwrap_or_default().to_ascii_lowercase(), port)
}

/// The target of a redirection from `base`.
pub(super) fn target(base: &Uri, location: &str) -> Result<Uri, RegistryError> {
    let refused = |reason| RegistryError::Redirect { url: shown(base), reason };
    if location.len() > LOCATION_MAX {
        return Err(refused("the location is too long"));
    }
    let location = location.split('#').next().unwrap_or_default();
    let (scheme, authority) =
        (base.scheme_str().unwrap_or("https"), base.authority().map_or("", Authority::as_str));
    let absolute = if location.contains("://") && !location.starts_with(['/', '?']) {
        location.to_owned()
    } else if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else if location.is_empty() {
        return Err(refused("there is no location"));
    } else {
        let directory = base.path().rsplit_once('/').map_or("", |(directory, _)| directory);
        format!("{scheme}://{authority}{directory}/{location}")
    };
    let uri: Uri = absolute.parse().map_err(|_| refused("the location is not a URL"))?;
    let has_host = uri.host().is_some_and(|host| !host.is_empty());
    if !has_host || uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(refused("the location has no host, or a user in it"));
    }
    match (base.scheme() == Some(&Scheme::HTTPS), uri.scheme()) {
        (true, Some(scheme)) if *scheme == Scheme::HTTP => Err(refused("it leads from https to http")),
        (_, Some(scheme)) if *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS => Ok(uri),
        _ => Err(refused("the scheme is not https")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_resolved_and_downgrades_refused() {
        let base: Uri = "https://r.io:5000/v2/a/blobs/x?q=1".parse().unwrap();
        for (location, expected) in [
            ("https://cdn.io/b?sig=1#frag", "https://cdn.io/b?sig=1"),
            ("//cdn.io/b", "https://cdn.io/b"),
            ("/other?next=http://x", "https://r.io:5000/other?next=http://x"),
            ("y", "https://r.io:5000/v2/a/blobs/y"),
        ] {
            assert_eq!(target(&base, location).unwrap().to_string(), expected);
        }
        for location in [
            "http://cdn.io/b",
            "ftp://cdn.io/b",
            "file:///etc/passwd",
            "https://user:x@cdn.io/b",
            "",
            "https:///b",
            "https://a b/",
        ] {
            assert!(target(&base, location).is_err(), "{location}");
        }
        let plain: Uri = "http://r.io/v2/".parse().unwrap();
        assert!(target(&plain, "http://cdn.io/b").is_ok());
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let at = |text: &str| origin(&text.parse().unwrap());
        assert_eq!(at("https://A.io/x"), at("https://a.io:443/y"));
        assert_ne!(at("https://a.io"), at("https://a.io:444"));
        assert_ne!(at("https://a.io:80"), at("http://a.io"));
    }
}
