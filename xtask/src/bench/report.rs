//! Samples, their percentiles, and the table.

use std::collections::BTreeMap;
use std::time::Duration;

/// Durations of one operation.
#[derive(Default)]
pub(crate) struct Samples(Vec<Duration>);

impl Samples {
    pub(crate) fn add(&mut self, sample: Duration) {
        self.0.push(sample);
    }

    /// The sample that `share` of all are at or below, milliseconds.
    fn percentile(&mut self, share: f64) -> f64 {
        self.0.sort_unstable();
        let last = self.0.len().saturating_sub(1);
        let at = ((last as f64) * share).round() as usize;
        self.0.get(at).map_or(0.0, |sample| sample.as_secs_f64() * 1000.0)
    }
}

/// Rows in the order of their first appearance; a column per engine.
pub(crate) struct Report {
    engines: Vec<String>,
    order: Vec<String>,
    rows: BTreeMap<String, Vec<Cell>>,
}

#[derive(Default)]
enum Cell {
    #[default]
    Empty,
    Number(f64),
    Times(Samples),
}

impl Report {
    pub(crate) fn new(engines: Vec<String>) -> Self {
        Self { engines, order: Vec::new(), rows: BTreeMap::new() }
    }

    /// A number such as KiB or lives per second.
    pub(crate) fn number(&mut self, row: &str, column: usize, value: f64) {
        *self.cell(row, column) = Cell::Number(value);
    }

    /// One more sample of an operation.
    pub(crate) fn sample(&mut self, row: &str, column: usize, sample: Duration) {
        let cell = self.cell(row, column);
        if !matches!(cell, Cell::Times(_)) {
            *cell = Cell::Times(Samples::default());
        }
        if let Cell::Times(samples) = cell {
            samples.add(sample);
        }
    }

    fn cell(&mut self, row: &str, column: usize) -> &mut Cell {
        if !self.rows.contains_key(row) {
            self.order.push(row.to_owned());
        }
        let cells = self.rows.entry(row.to_owned()).or_default();
        if cells.len() <= column {
            cells.resize_with(column + 1, Cell::default);
        }
        &mut cells[column]
    }

    /// Prints the table; ratios compare medians, or numbers, with the first engine.
    pub(crate) fn print(&mut self) {
        print!("{:<36}", "ms: p50 / p90 / p99");
        for name in &self.engines {
            print!("  {name:>28}");
        }
        println!();
        for row in &self.order {
            print!("{row:<36}");
            let cells = self.rows.entry(row.clone()).or_default();
            let mut first = None;
            for (column, cell) in cells.iter_mut().enumerate() {
                let (text, value) = match cell {
                    Cell::Empty => ("-".to_owned(), 0.0),
                    Cell::Number(value) => (format!("{value:.1}"), *value),
                    Cell::Times(samples) => {
                        let (p50, p90, p99) =
                            (samples.percentile(0.5), samples.percentile(0.9), samples.percentile(0.99));
                        (format!("{p50:.2} / {p90:.2} / {p99:.2}"), p50)
                    }
                };
                let ratio = match first {
                    Some(base) if base > 0.0 && column > 0 => format!(" ×{:.2}", value / base),
                    _ => String::new(),
                };
                first.get_or_insert(value);
                print!("  {:>28}", format!("{text}{ratio}"));
            }
            println!();
        }
    }
}
