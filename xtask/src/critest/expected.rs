//! The table of what every spec has to come to (tests/critest/expected.txt), and the comparison with a report.
//!
//! A line is `VERDICT  NAME`; the verdicts, with the condition or reason after a colon:
//!
//! | verdict | what the spec has to do |
//! |---|---|
//! | `pass` | pass |
//! | `pass:CONDITION` | pass where the condition holds, skip where it does not |
//! | `fail:REASON` | fail: passing is as wrong as another spec's failing |
//! | `off` | stay out of a run unless it is asked for |
//!
//! Lines `condition NAME  WORDS` and `reason NAME  WORDS` say what the words after the colons mean.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, bail};

use super::report::{Outcome, Spec};

/// What is expected of one spec.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    Pass,
    PassIf(String),
    Fail(String),
    Off,
}

/// The whole table.
#[derive(Debug)]
pub(super) struct Expected {
    specs: BTreeMap<String, Verdict>,
    words: BTreeMap<String, String>,
}

/// A report compared with the table.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Comparison {
    pub(super) passed: usize,
    /// Specs that skipped or failed as the table says, with the table's words.
    pub(super) explained: BTreeMap<String, Vec<String>>,
    /// What is not as the table says; each names a spec.
    pub(super) differences: Vec<String>,
}

impl Expected {
    /// Reads the table.
    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        let mut expected = Self { specs: BTreeMap::new(), words: BTreeMap::new() };
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (head, rest) = line.split_once("  ").with_context(|| format!("no two spaces in {line:?}"))?;
            let rest = rest.trim().to_owned();
            if let Some(name) = head.strip_prefix("condition ").or(head.strip_prefix("reason ")) {
                expected.words.insert(name.to_owned(), rest);
                continue;
            }
            let verdict = match head.split_once(':') {
                None if head == "pass" => Verdict::Pass,
                None if head == "off" => Verdict::Off,
                Some(("pass", name)) => Verdict::PassIf(name.to_owned()),
                Some(("fail", name)) => Verdict::Fail(name.to_owned()),
                _ => bail!("{head:?} is no verdict"),
            };
            if let Verdict::PassIf(name) | Verdict::Fail(name) = &verdict
                && !expected.words.contains_key(name)
            {
                bail!("{name:?} is not explained above {line:?}");
            }
            if expected.specs.insert(rest.clone(), verdict).is_some() {
                bail!("{rest:?} is there twice");
            }
        }
        Ok(expected)
    }

    /// Compares a run in which these conditions hold; `whole` when nothing but what is `off` was left out of it.
    pub(super) fn compare(&self, specs: &[Spec], conditions: &BTreeSet<&str>, whole: bool) -> Comparison {
        let mut comparison = Comparison::default();
        for Spec { name, outcome } in specs {
            let Some(verdict) = self.specs.get(name) else {
                comparison.differences.push(format!("not in the table: {name}"));
                continue;
            };
            match (verdict, outcome) {
                (Verdict::Off, Outcome::Off) => {}
                (_, Outcome::Off) if !whole => {}
                (Verdict::Pass | Verdict::Off, Outcome::Passed) => comparison.passed += 1,
                (Verdict::PassIf(condition), Outcome::Passed) if conditions.contains(condition.as_str()) => {
                    comparison.passed += 1;
                }
                (Verdict::PassIf(reason), Outcome::Skipped(_)) if !conditions.contains(reason.as_str()) => {
                    comparison.explain(&self.words[reason], name);
                }
                (Verdict::Fail(reason), Outcome::Failed(_)) => comparison.explain(&self.words[reason], name),
                _ => comparison.differences.push(difference(name, verdict, outcome)),
            }
        }
        let reported: BTreeSet<_> = specs.iter().map(|spec| spec.name.as_str()).collect();
        let missing = self.specs.keys().filter(|name| !reported.contains(name.as_str()));
        comparison.differences.extend(missing.map(|name| format!("not in the report: {name}")));
        comparison
    }
}

impl Comparison {
    fn explain(&mut self, words: &str, name: &str) {
        self.explained.entry(words.to_owned()).or_default().push(name.to_owned());
    }

    /// How many specs skipped or failed as the table says.
    pub(super) fn explained_count(&self) -> usize {
        self.explained.values().map(Vec::len).sum()
    }
}

fn difference(name: &str, verdict: &Verdict, outcome: &Outcome) -> String {
    let expected = match verdict {
        Verdict::Pass | Verdict::PassIf(_) => "pass",
        Verdict::Fail(_) => "fail",
        Verdict::Off => "stay out",
    };
    let words = match outcome {
        Outcome::Passed => "it passed".to_owned(),
        Outcome::Off => "it was left out".to_owned(),
        Outcome::Skipped(message) => format!("it skipped: {message}"),
        // The rest is the text of Go's structures; the suite's log has it.
        Outcome::Failed(message) => message.lines().take(3).collect::<Vec<_>>().join("\n    "),
    };
    format!("{name}\n    expected to {expected} here, but {words}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "# A table.\ncondition glue  No glue here.\nreason far  Too far.\n\npass  A > one\npass:glue  A > two\nfail:far  B\noff  C\n";

    fn specs(outcomes: [Outcome; 4]) -> Vec<Spec> {
        let names = ["A > one", "A > two", "B", "C"];
        names.into_iter().zip(outcomes).map(|(name, outcome)| Spec { name: name.into(), outcome }).collect()
    }

    #[test]
    fn a_run_as_the_table_has_it_differs_in_nothing() -> anyhow::Result<()> {
        use Outcome::{Failed, Off, Passed, Skipped};
        let table = Expected::parse(TABLE)?;
        let run = [Passed, Skipped("why".into()), Failed("far".into()), Off];
        let comparison = table.compare(&specs(run), &BTreeSet::new(), true);
        assert_eq!((comparison.passed, comparison.explained_count()), (1, 2));
        assert_eq!(comparison.differences, Vec::<String>::new());
        let run = [Passed, Passed, Failed("far".into()), Passed];
        let comparison = table.compare(&specs(run), &BTreeSet::from(["glue"]), true);
        assert_eq!((comparison.passed, comparison.explained_count()), (3, 1));
        assert_eq!(comparison.differences, Vec::<String>::new());
        Ok(())
    }

    #[test]
    fn every_other_outcome_is_a_difference() -> anyhow::Result<()> {
        use Outcome::{Failed, Off, Passed, Skipped};
        let table = Expected::parse(TABLE)?;
        let skipped = || Skipped("why".into());
        for (run, with_glue, count) in [
            ([Failed("x".into()), Passed, Passed, Failed("y".into())], false, 4),
            ([skipped(), skipped(), skipped(), skipped()], true, 4),
            ([Off, Off, Off, Off], true, 3),
        ] {
            let conditions: BTreeSet<_> = with_glue.then_some("glue").into_iter().collect();
            let comparison = table.compare(&specs(run), &conditions, true);
            assert_eq!(comparison.differences.len(), count, "{comparison:?}");
        }
        let some = [Off, Off, Off, Off];
        assert!(table.compare(&specs(some), &BTreeSet::new(), false).differences.is_empty());
        Ok(())
    }

    #[test]
    fn a_spec_on_one_side_only_is_a_difference() -> anyhow::Result<()> {
        let table = Expected::parse(TABLE)?;
        let strange = [Spec { name: "D".into(), outcome: Outcome::Passed }];
        assert_eq!(table.compare(&strange, &BTreeSet::new(), true).differences.len(), 5);
        Ok(())
    }

    #[test]
    fn a_table_that_explains_too_little_is_refused() {
        for text in ["pass:glue  A\n", "maybe  A\n", "pass A\n", "pass  A\noff  A\n"] {
            assert!(Expected::parse(text).is_err(), "{text:?}");
        }
    }
}
