//! Tables: columns of at least a width, three blanks apart, the last one unpadded, as Go's tabwriter does it.

/// Rows that are aligned when shown.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    minimum: usize,
}

/// Blanks between columns.
const PADDING: usize = 3;

impl Table {
    /// A table with crictl's columns of at least 20 characters.
    pub(crate) fn new() -> Self {
        Self::with_minimum(20)
    }

    /// A table with columns of at least `minimum` characters.
    pub(crate) fn with_minimum(minimum: usize) -> Self {
        Self { rows: Vec::new(), minimum }
    }

    /// Adds a row.
    pub(crate) fn row<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// The text; nothing for an empty table.
    ///
    /// A column's width belongs to the consecutive rows that have it: a shorter row ends the column above it.
    pub(crate) fn text(&self) -> String {
        let mut widths: Vec<Vec<usize>> = self.rows.iter().map(|_| Vec::new()).collect();
        let padded = |row: &Vec<String>| row.len().saturating_sub(1);
        let columns = self.rows.iter().map(padded).max().unwrap_or(0);
        for column in 0..columns {
            let mut start = 0;
            while start < self.rows.len() {
                let run = self.rows[start..].iter().take_while(|row| padded(row) > column).count();
                let cells = self.rows[start..start + run].iter().map(|row| row[column].chars().count());
                let width = cells.max().map_or(0, |longest| self.minimum.max(longest + PADDING));
                widths[start..start + run].iter_mut().for_each(|row| row.push(width));
                start += run.max(1);
            }
        }
        let mut out = String::new();
        for (row, widths) in self.rows.iter().zip(&widths) {
            for (cell, width) in row.iter().zip(widths.iter().chain([&0])) {
                out.push_str(cell);
                out.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count())));
            }
            out.push('\n');
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_longest_cell_and_never_narrower_than_the_minimum() {
        let mut table = Table::with_minimum(5);
        table.row(["A", "BB", "C"]);
        table.row(["longer", "x", "last   "]);
        table.row(["größe", "", ""]);
        assert_eq!(table.text(), "A        BB   C\nlonger   x    last   \ngröße         \n");
        assert_eq!(Table::new().text(), "");
    }

    #[test]
    fn a_shorter_row_ends_a_column() {
        let mut table = Table::with_minimum(0);
        table.row(["aaaaaa", "b"]);
        table.row(["x"]);
        table.row(["c", "d"]);
        assert_eq!(table.text(), "aaaaaa   b\nx\nc   d\n");
    }
}
