//! `WWW-Authenticate`: what a registry wants to see (RFC 9110, section 11.6.1; distribution token specification).

/// Longest header value that is looked at.
const LENGTH_MAX: usize = 8 << 10;

/// A challenge that can be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// Fetch a token from the realm.
    Bearer { realm: String, service: Option<String> },
    /// Send user name and password.
    Basic,
}

/// The first challenge that can be answered, Bearer before Basic.
pub(super) fn choose<'a>(values: impl Iterator<Item = &'a str>) -> Option<Challenge> {
    let all: Vec<_> = values.filter(|value| value.len() <= LENGTH_MAX).flat_map(parse).collect();
    let bearer = all.iter().find(|challenge| matches!(challenge, Challenge::Bearer { .. }));
    bearer.or_else(|| all.first()).cloned()
}

/// Reads a list of challenges: schemes and their parameters are separated by the same commas.
fn parse(value: &str) -> Vec<Challenge> {
    let mut found = Vec::new();
    let mut scheme = String::new();
    let mut parameters = Vec::new();
    for item in split_unquoted(value) {
        let item = item.trim();
        let (first, rest) = item.split_once(char::is_whitespace).unwrap_or((item, ""));
        let parameter = if first.contains('=') || rest.trim_start().starts_with('=') {
            item
        } else {
            found.extend(finish(&scheme, &parameters));
            parameters.clear();
            scheme = first.to_ascii_lowercase();
            rest.trim()
        };
        if let Some((name, value)) = parameter.split_once('=') {
            parameters.push((name.trim().to_ascii_lowercase(), unquote(value.trim())));
        }
    }
    found.extend(finish(&scheme, &parameters));
    found
}

fn finish(scheme: &str, parameters: &[(String, String)]) -> Option<Challenge> {
    let parameter =
        |name: &str| parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    match scheme {
        "basic" => Some(Challenge::Basic),
        "bearer" => Some(Challenge::Bearer { realm: parameter("realm")?, service: parameter("service") }),
        _ => None,
    }
}

fn split_unquoted(value: &str) -> Vec<&str> {
    let (mut items, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, byte) in value.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => {
                items.push(&value[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    items.push(&value[start..]);
    items
}

fn unquote(value: &str) -> String {
    let Some(inside) = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return value.to_owned();
    };
    let mut text = String::with_capacity(inside.len());
    let mut escaped = false;
    for c in inside.chars() {
        if c == '\\' && !escaped {
            escaped = true;
        } else {
            text.push(c);
            escaped = false;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bearer(realm: &str, service: Option<&str>) -> Option<Challenge> {
        Some(Challenge::Bearer { realm: realm.into(), service: service.map(Into::into) })
    }

    #[test]
    fn challenges_are_read_as_registries_write_them() {
        for (value, expected) in [
            (
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#,
                bearer("https://auth.docker.io/token", Some("registry.docker.io")),
            ),
            (r#"bearer realm=https://a/t"#, bearer("https://a/t", None)),
            (
                r#"Basic realm="x", Bearer realm="https://a/\"t\"", service="s""#,
                bearer("https://a/\"t\"", Some("s")),
            ),
            (r#"Basic realm="Registry Realm""#, Some(Challenge::Basic)),
            ("Basic", Some(Challenge::Basic)),
            ("Negotiate abc", None),
            ("Bearer service=\"s\"", None),
            ("", None),
        ] {
            assert_eq!(choose([value].into_iter()), expected, "{value}");
        }
        assert_eq!(choose(["Basic", "Bearer realm=\"r\""].into_iter()), bearer("r", None));
        let endless = format!("Bearer realm=\"{}\"", "a".repeat(LENGTH_MAX));
        assert_eq!(choose([endless.as_str()].into_iter()), None);
    }

    proptest! {
        #[test]
        fn any_header_is_answered(value in "[ -~]{0,200}") {
            drop(choose([value.as_str()].into_iter()));
        }
    }
}
