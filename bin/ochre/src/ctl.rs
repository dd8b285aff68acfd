//! `ochre ctl …`, and the program called as `crictl`: everything behind the name is the client's.

use std::ffi::OsString;
use std::path::Path;

/// The client's words when the client is meant.
pub(crate) fn words(called: &[OsString]) -> Option<Vec<String>> {
    let name = called.first().and_then(|name| Path::new(name).file_name());
    let skip = if name.is_some_and(|name| name == "crictl") {
        1
    } else if called.get(1).is_some_and(|verb| verb == "ctl") {
        2
    } else {
        return None;
    };
    Some(called.iter().skip(skip).map(|word| word.to_string_lossy().into_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_is_meant_by_its_verb_or_by_the_programs_name() {
        let words = |line: &str| words(&line.split(' ').map(OsString::from).collect::<Vec<_>>());
        assert_eq!(words("/usr/bin/crictl ps -a"), Some(vec!["ps".to_owned(), "-a".to_owned()]));
        assert_eq!(words("ochre ctl"), Some(Vec::new()));
        assert_eq!(words("ochre ctl ctl"), Some(vec!["ctl".to_owned()]));
        assert_eq!((words("ochre"), words("crio ctlx"), words("ochre serve ctl")), (None, None, None));
    }
}
