//! The worker's own side: lock up, apply, answer.

use std::fs::File;
use std::io::Write;
use std::process::ExitCode;

use ochre_sys::rooted::Root;
use ochre_sys::spawn::inherited;
use ochre_types::ErrorKind;

use super::answer::{Answer, LONGEST};
use super::sandbox;
use crate::apply::{ApplyOptions, Limits, apply_confined, open_descriptors};

/// The worker's `main`, called before anything else of the program has run. Arguments: the limits and the options, as
/// [`super::Worker::start`] writes them. The exit code says nothing; the answer does.
pub fn main(arguments: impl Iterator<Item = String>) -> ExitCode {
    let arguments: Vec<String> = arguments.collect();
    let answer = match run(&arguments) {
        Ok(answer) => answer,
        Err(error) => Answer::refusal(ErrorKind::Internal, &error),
    };
    let mut text = serde_json::to_vec(&answer).unwrap_or_default();
    if text.len() >= LONGEST {
        let error = std::io::Error::other("the layer's files have too many different owners");
        text = serde_json::to_vec(&Answer::refusal(ErrorKind::Exhausted, &error)).unwrap_or_default();
    }
    // Without its engine there is nobody to tell.
    drop(std::io::stdout().write_all(&text));
    ExitCode::SUCCESS
}

fn run(arguments: &[String]) -> std::io::Result<Answer> {
    let options = parse(arguments).ok_or_else(|| {
        std::io::Error::new(
            std::io::ErrorKind::InvalidInput,
            "this is the engine's own helper, not for use by hand",
        )
    })?;
    let (blob, root, tar_split) = (inherited(0)?, inherited(3)?, inherited(4)?);
    let descriptors = open_descriptors()?;
    sandbox::enter(&root)?;
    let (blob, root, mut tar_split) = (File::from(blob), Root::from_fd(root), File::from(tar_split));
    Ok(Answer::of(apply_confined(blob, &root, descriptors, Some(&mut tar_split), &options)))
}

/// `<max entries> <max bytes> <max ratio> <max attributes> <device nodes: 0 or 1>`
fn parse(arguments: &[String]) -> Option<ApplyOptions> {
    let [entries, bytes, ratio, xattrs, devices] = arguments else { return None };
    Some(ApplyOptions {
        limits: Limits {
            max_entries: entries.parse().ok()?,
            max_bytes: bytes.parse().ok()?,
            max_ratio: ratio.parse().ok()?,
            max_entry_xattrs: xattrs.parse().ok()?,
        },
        device_nodes: devices == "1",
    })
}

/// The other direction of [`parse`].
pub(super) fn arguments(options: &ApplyOptions) -> Vec<String> {
    let Limits { max_entries, max_bytes, max_ratio, max_entry_xattrs } = options.limits;
    let devices = u8::from(options.device_nodes);
    vec![
        max_entries.to_string(),
        max_bytes.to_string(),
        max_ratio.to_string(),
        max_entry_xattrs.to_string(),
        devices.to_string(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_survive_the_way() {
        let options = ApplyOptions { device_nodes: true, ..ApplyOptions::default() };
        assert_eq!(parse(&arguments(&options)), Some(options));
        assert_eq!(parse(&[]), None);
        assert_eq!(parse(&["-1", "1", "1", "1", "1"].map(String::from)), None);
    }
}
