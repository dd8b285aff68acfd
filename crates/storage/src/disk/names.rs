//! File names of big-data items.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Longest file name Linux takes.
const LONGEST: usize = 255;

/// The file name of an item: the key itself when it consists of `a-z`, `0-9` and `.`, otherwise `=` and its base64.
/// `None` for a key that cannot be a file name.
///
/// Standard base64 contains `/`, and containers/storage joins that into the path: such an item lies in a directory that
/// nobody makes, so it cannot be stored by either program. Text keys meet it only with unusual characters (`?`, `~`).
pub(crate) fn file_name(key: &str) -> Option<String> {
    if key.is_empty() || matches!(key, "." | "..") {
        return None;
    }
    let plain = key.bytes().all(|b| matches!(b, b'.' | b'0'..=b'9' | b'a'..=b'z'));
    let name = if plain { key.to_owned() } else { format!("={}", STANDARD.encode(key)) };
    (name.len() <= LONGEST && !name.contains('/')).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_those_of_the_go_library() {
        let digest = "5fac730bde8580ac6026e49e136fb89b052d000cacf319d9eb35956094c7c3f4";
        let encoded = "=bWFuaWZlc3Qtc2hhMjU2OjVmYWM3MzBiZGU4NTgwYWM2MDI2ZTQ5ZTEzNmZiODliMDUyZDAwMGNhY2YzMTlkOWViMzU5NTYwOTRjN2MzZjQ=";
        assert_eq!(file_name("manifest").unwrap(), "manifest");
        assert_eq!(file_name(&format!("manifest-sha256:{digest}")).unwrap(), encoded);
        assert_eq!(file_name("Manifest").unwrap(), "=TWFuaWZlc3Q=");
        assert_eq!(file_name("a.9").unwrap(), "a.9");
    }

    proptest! {
        #[test]
        fn no_key_leaves_the_directory(key in ".{0,400}") {
            if let Some(name) = file_name(&key) {
                prop_assert!(!name.is_empty() && !name.contains('/') && !name.contains('\0'));
                prop_assert!(name != "." && name != ".." && name.len() <= LONGEST);
            }
        }
    }
}
