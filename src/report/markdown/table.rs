//! A table in GitHub's dialect. Cells are Markdown already.

/// How a column is aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// A head and rows of cells.
#[derive(Debug)]
pub(super) struct Table {
    columns: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(columns: &[&str]) -> Self {
        let columns = columns.iter();
        Self::aligned(
            columns
                .map(|name| ((*name).to_owned(), Align::Left))
                .collect(),
        )
    }

    pub(super) fn aligned(columns: Vec<(String, Align)>) -> Self {
        Self {
            columns,
            rows: Vec::new(),
        }
    }

    /// A row; missing cells at its end are empty.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// How many rows it has.
    pub(super) fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Appends the table and an empty line; nothing where it has no rows.
    pub(super) fn write(&self, out: &mut String) {
        if self.is_empty() {
            return;
        }
        line(out, self.columns.iter().map(|(name, _)| name.as_str()));
        line(
            out,
            self.columns.iter().map(|(_, align)| match align {
                Align::Left => "---",
                Align::Right => "--:",
            }),
        );
        for row in &self.rows {
            let cells = (0..self.columns.len()).map(|at| row.get(at).map_or("", String::as_str));
            line(out, cells);
        }
        out.push('\n');
    }
}

fn line<'a>(out: &mut String, cells: impl Iterator<Item = &'a str>) {
    out.push('|');
    for cell in cells {
        out.push(' ');
        out.push_str(cell);
        out.push_str(" |");
    }
    out.push('\n');
}
