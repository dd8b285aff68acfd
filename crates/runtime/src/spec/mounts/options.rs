//! Further options of a volume's bind mount (CRI `mount_options`): words that take something away.
//!
//! Words that would give something (`exec`, `suid`, `dev`) are refused: a volume must not open what the node has closed
//! for the file system it lies on.

use super::super::Error;
use super::super::error::shortened;

/// Words that can stand together.
const RESTRICTIONS: [&str; 4] = ["nodev", "nodiratime", "noexec", "nosuid"];
/// Words of which there can be one.
const ACCESS_TIMES: [&str; 2] = ["noatime", "relatime"];
/// Words that are said by fields of their own.
const FIELDS: [&str; 12] = [
    "ro", "rw", "rro", "bind", "rbind", "private", "rprivate", "slave", "rslave", "shared", "rshared",
    "remount",
];

/// Refuses unknown, repeated and contradictory words.
///
/// # Errors
/// [`Error::MountOption`].
pub(super) fn check(options: &[String], path: &str) -> Result<(), Error> {
    let mut seen: Vec<&str> = Vec::new();
    for option in options {
        let refused =
            |reason| Err(Error::MountOption { path: path.to_owned(), option: shortened(option), reason });
        let word = option.as_str();
        if FIELDS.contains(&word) {
            return refused("is said by another field of the mount");
        }
        if !RESTRICTIONS.contains(&word) && !ACCESS_TIMES.contains(&word) {
            return refused("is none of noexec, nodev, nosuid, noatime, nodiratime and relatime");
        }
        if seen.contains(&word) {
            return refused("is given twice");
        }
        if ACCESS_TIMES.contains(&word) && seen.iter().any(|known| ACCESS_TIMES.contains(known)) {
            return refused("contradicts an earlier one");
        }
        seen.push(word);
    }
    Ok(())
}

/// All options of a bind mount. `held` is what the source's own mount holds back: said again, since some runtimes (crun
/// 1.8 always, runc when it applies any option) mount a second time and lift what they are not told.
pub(super) fn bind(propagation: &str, readonly: bool, held: &[&str], asked: &[String]) -> Vec<String> {
    let mut options = vec!["rbind".to_owned(), propagation.to_owned()];
    // No `rw`: newer runtimes take it as the wish to make a read-only mount of the node writable.
    options.extend(readonly.then(|| "ro".to_owned()));
    for word in held.iter().map(|word| (*word).to_owned()).chain(asked.iter().cloned()) {
        if !options.contains(&word) {
            options.push(word);
        }
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn only_restrictions_that_fit_together_are_taken() {
        for (text, refusal) in [
            ("", None),
            ("noexec nodev nosuid", None),
            ("noatime nodiratime", None),
            ("relatime", None),
            ("exec", Some("is none of")),
            ("suid", Some("is none of")),
            ("size=1g", Some("is none of")),
            ("NOEXEC", Some("is none of")),
            ("noexec,nodev", Some("is none of")),
            ("ro", Some("another field")),
            ("rshared", Some("another field")),
            ("noexec noexec", Some("twice")),
            ("noatime relatime", Some("contradicts")),
        ] {
            let got = check(&words(text), "/v").err().map(|error| error.to_string());
            match refusal {
                None => assert_eq!(got, None, "{text}"),
                Some(reason) => assert!(got.unwrap().contains(reason), "{text}"),
            }
        }
        assert!(check(&[String::new()], "/v").is_err());
    }

    #[test]
    fn a_second_mount_keeps_what_the_first_one_held_back() {
        let held = ["nosuid", "noexec"];
        assert_eq!(bind("rprivate", false, &[], &[]), ["rbind", "rprivate"]);
        assert_eq!(bind("rprivate", false, &["ro", "nodev"], &[]), ["rbind", "rprivate", "ro", "nodev"]);
        assert_eq!(bind("rslave", true, &["ro", "nosuid"], &[]), ["rbind", "rslave", "ro", "nosuid"]);
        assert_eq!(
            bind("rprivate", false, &held, &words("noexec nodev")),
            ["rbind", "rprivate", "nosuid", "noexec", "nodev"]
        );
    }
}
