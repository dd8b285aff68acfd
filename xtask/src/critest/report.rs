//! What a run of the suite says in its JSON report (ginkgo 2, `--json-report`).

use std::path::Path;

use anyhow::{Context, bail};
use serde_json::Value;

/// How a spec came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It did what it should.
    Passed,
    /// It looked at the engine or the machine and gave up, with its own words.
    Skipped(String),
    /// Neither; what it said.
    Failed(String),
    /// Left out by the command line.
    Off,
}

/// One spec of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spec {
    /// The texts around it and its own, outermost first.
    pub(super) name: String,
    pub(super) outcome: Outcome,
}

/// Reads a report.
///
/// A failed set-up of the whole suite is an error: then nothing that it says about specs means anything.
pub(super) fn read(path: &Path) -> anyhow::Result<Vec<Spec>> {
    let text = std::fs::read(path).with_context(|| format!("the suite has left no {}", path.display()))?;
    let report: Value = serde_json::from_slice(&text)?;
    let suites = report.as_array().context("a report is a list of suites")?;
    let mut specs = Vec::new();
    for entry in suites.iter().flat_map(|suite| suite["SpecReports"].as_array().into_iter().flatten()) {
        let outcome = outcome(entry);
        if entry["LeafNodeType"] == "It" {
            specs.push(Spec { name: name(entry), outcome });
        } else if let Outcome::Failed(message) = outcome {
            bail!("{} failed: {message}", entry["LeafNodeType"]);
        }
    }
    specs.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(specs)
}

fn name(entry: &Value) -> String {
    let around = entry["ContainerHierarchyTexts"].as_array().into_iter().flatten();
    let texts = around.chain([&entry["LeafNodeText"]]).filter_map(Value::as_str);
    let texts: Vec<_> = texts.map(|text| text.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    texts.join(" > ").trim_start_matches("[k8s.io] ").to_owned()
}

fn outcome(entry: &Value) -> Outcome {
    let message = entry["Failure"]["Message"].as_str().unwrap_or_default().trim().to_owned();
    match entry["State"].as_str().unwrap_or_default() {
        "passed" => Outcome::Passed,
        "skipped" if message.is_empty() => Outcome::Off,
        "skipped" => Outcome::Skipped(message),
        "pending" => Outcome::Off,
        state => Outcome::Failed(format!("{state}: {message}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read_value(value: &Value) -> anyhow::Result<Vec<Spec>> {
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), value.to_string())?;
        read(file.path())
    }

    #[test]
    fn a_filtered_spec_is_not_a_skipped_one() -> anyhow::Result<()> {
        let spec = |text: &str, state: &str, message: &str| {
            json!({
                "ContainerHierarchyTexts": ["[k8s.io] Pod", "when it  runs"], "LeafNodeType": "It",
                "LeafNodeText": text, "State": state, "Failure": { "Message": message },
            })
        };
        let report = json!([{ "SpecReports": [
            { "LeafNodeType": "BeforeSuite", "State": "passed" },
            spec("d", "timedout", "too late"), spec("a", "passed", ""), spec("b", "skipped", ""),
            spec("c", "skipped", "no such thing here"),
        ] }]);
        let names = ["a", "b", "c", "d"].map(|name| format!("Pod > when it runs > {name}"));
        let outcomes = [
            Outcome::Passed,
            Outcome::Off,
            Outcome::Skipped("no such thing here".into()),
            Outcome::Failed("timedout: too late".into()),
        ];
        let expected: Vec<_> =
            names.into_iter().zip(outcomes).map(|(name, outcome)| Spec { name, outcome }).collect();
        assert_eq!(read_value(&report)?, expected);
        Ok(())
    }

    #[test]
    fn a_suite_that_could_not_start_is_an_error() {
        let report = json!([{ "SpecReports": [
            { "LeafNodeType": "BeforeSuite", "State": "failed", "Failure": { "Message": "no engine" } },
        ] }]);
        assert!(read_value(&report).is_err_and(|error| error.to_string().contains("no engine")));
    }
}
