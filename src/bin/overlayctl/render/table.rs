//! Columns, as Docker's listings have them: left-aligned, three spaces apart, titles in capitals.

const GAP: usize = 3;

/// A table of `titles` and `rows`, a line each, without trailing spaces.
pub(super) fn table<const N: usize>(
    titles: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut lines = vec![titles.map(str::to_owned)];
    lines.extend(rows);
    let mut widths = [0; N];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = cell.chars().count().max(*width);
        }
    }
    lines.iter().map(|line| row(line, &widths)).collect()
}

fn row(cells: &[String], widths: &[usize]) -> String {
    let mut line = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        line.push_str(&format!("{cell:<padded$}", padded = width + GAP));
    }
    line.truncate(line.trim_end().len());
    line.push('\n');
    line
}
