//! How many pages a B-tree index would have if it were built anew: what is more than that is bloat.
//!
//! Sizes of headers are from PostgreSQL's manual, "Database Page Layout"; what duplicates take, from
//! "B-Tree Indexes", "Deduplication", and the server's `nbtsort.c`. Whether it is counted or estimated, it
//! is compared with the same thing.

use serde::Deserialize;

/// A page's header.
const HEADER: f64 = 24.0;

/// A B-tree page's own data at its end.
const SPECIAL: f64 = 16.0;

/// A line pointer, one for each entry.
const POINTER: f64 = 4.0;

/// An entry's header: a row's address and the entry's length.
const ENTRY: f64 = 8.0;

/// The same of one with a null in it: with a map of the nulls, aligned.
const ENTRY_WITH_NULLS: f64 = 16.0;

/// A row's address in an entry for several rows.
const ADDRESS: f64 = 6.0;

/// What entries begin at: `MAXALIGN` of a machine with 64 bits.
const ALIGNMENT: f64 = 8.0;

/// How full inner pages are made, in percent (`BTREE_NONLEAF_FILLFACTOR`).
const INNER_FILL: f64 = 70.0;

/// The longest value with a header of one byte, which needs no alignment.
const SHORT: f64 = 127.0;

/// By how much the header is longer of a value that was computed: an index shortens it.
const COMPUTED: f64 = 3.0;

/// A table that is this many times as large as when its rows were estimated, and by some pages more, is
/// another one than was estimated.
const OUTDATED: f64 = 1.5;

/// See [`OUTDATED`].
const FEW_PAGES: f64 = 10.0;

/// Of more columns with nulls than this, the others count as if they had none.
const MOST_WITH_NULLS: usize = 8;

/// What statistics say of a column of an index.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Column {
    /// The average length in bytes; null without statistics.
    pub width: Option<f64>,
    /// The share of nulls.
    pub nulls: Option<f64>,
    /// How many different values: below 0 as a share of the rows (`pg_stats.n_distinct`).
    pub distinct: Option<f64>,
    /// `pg_attribute.attlen`: -1 where values differ in length, -2 for a C string.
    pub length: i32,
    /// `pg_attribute.attalign`.
    pub align: char,
    /// Whether it is computed, so that statistics know its value and not what is stored.
    pub computed: bool,
}

/// What is known of an index.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Shape {
    /// The size of a page in bytes.
    pub block: f64,
    /// Its entries, by the server's estimate.
    pub rows: f64,
    /// The rows of its table, by the same.
    pub table_rows: f64,
    /// The pages that its table had when its rows were estimated.
    pub table_pages: f64,
    /// What its table takes now in bytes; null where it is locked.
    pub table_bytes: Option<f64>,
    /// How full its leaves are made, in percent.
    pub fillfactor: f64,
    /// Whether equal values share an entry.
    pub deduplicates: bool,
    /// Its columns, in order.
    pub columns: Vec<Column>,
}

/// Entries of one kind: those that have a null in the same columns.
struct Entries {
    rows: f64,
    /// The length of one.
    length: f64,
    /// How many different ones there are, as if the columns had nothing to do with one another.
    different: f64,
}

impl Shape {
    /// How many pages it would have; `None` without statistics.
    pub fn pages(&self) -> Option<f64> {
        if self.is_outdated() || self.columns.iter().any(|column| column.length == -2) {
            return None;
        }
        let (mut bytes, mut longest) = (0.0, 0.0_f64);
        for entries in self.kinds()? {
            longest = longest.max(entries.length);
            bytes += match self.deduplicates {
                true => entries.shared(self.block),
                false => entries.rows * (entries.length + POINTER),
            };
        }
        let each = longest + POINTER;
        // The last entry of a leaf is a copy of the next one's first.
        let leaf = room(self.block, self.fillfactor) - each;
        let leaves = (bytes / leaf.max(each)).ceil().max(1.0);
        let fan = (room(self.block, INNER_FILL) / each).max(2.0);
        Some(1.0 + leaves + above(leaves, fan))
    }

    /// Whether most rows came after they were estimated, as after TRUNCATE: a full index would look empty.
    fn is_outdated(&self) -> bool {
        let known = self.rows >= 0.0 && self.table_rows >= 0.0;
        let pages = self.table_bytes.map(|bytes| bytes / self.block);
        !known || pages.is_some_and(|pages| pages > FEW_PAGES + OUTDATED * self.table_pages)
    }

    /// The entries by the columns in which they have a null, as if nulls had nothing to do with one
    /// another.
    fn kinds(&self) -> Option<Vec<Entries>> {
        let mut kinds = vec![(1.0, Vec::new())];
        for (at, column) in self.columns.iter().enumerate() {
            let nulls = column.nulls?;
            if nulls <= 0.0 || kinds.len() >= 1 << MOST_WITH_NULLS {
                continue;
            }
            let mut with = kinds.clone();
            for (share, columns) in &mut with {
                *share *= nulls;
                columns.push(at);
            }
            for (share, _) in &mut kinds {
                *share *= 1.0 - nulls;
            }
            kinds.extend(with);
        }
        let entries = |(share, nulls): &(f64, Vec<usize>)| self.entries(*share, nulls);
        kinds.iter().map(entries).collect()
    }

    fn entries(&self, share: f64, nulls: &[usize]) -> Option<Entries> {
        let (mut data, mut different) = (0.0, 1.0);
        for (at, column) in self.columns.iter().enumerate() {
            if nulls.contains(&at) {
                continue;
            }
            data = column.after(data)?;
            different *= match column.distinct? {
                part if part < 0.0 => (-part * self.table_rows).max(1.0),
                number => number.max(1.0),
            };
        }
        let header = match nulls {
            [] => ENTRY,
            _ => ENTRY_WITH_NULLS,
        };
        Some(Entries {
            rows: self.rows * share,
            length: aligned(header + data, ALIGNMENT),
            different,
        })
    }
}

impl Column {
    /// Where its value ends that begins after `data` bytes.
    fn after(&self, data: f64) -> Option<f64> {
        let width = self.width?;
        let varies = self.length == -1;
        if varies && self.computed && width - COMPUTED < SHORT {
            return Some(data + (width - COMPUTED).max(1.0));
        }
        if varies && width < SHORT {
            return Some(data + width);
        }
        let align = match self.align {
            's' => 2.0,
            'i' => 4.0,
            'd' => 8.0,
            _ => 1.0,
        };
        Some(aligned(data, align) + width)
    }
}

impl Entries {
    /// What they take in bytes where equal ones share an entry.
    fn shared(&self, block: f64) -> f64 {
        let each = self.length + POINTER;
        let different = self.different.clamp(1.0, self.rows.max(1.0));
        let copies = self.rows / different;
        // A tenth of a page, less a line pointer: `_bt_load()`.
        let longest = aligned(block / 10.0 - ALIGNMENT, ALIGNMENT) - POINTER;
        let addresses = ((longest - self.length) / ADDRESS).floor().max(1.0);
        let shared = (copies / addresses).ceil() * (each + ALIGNMENT / 2.0) + ADDRESS * copies;
        (shared * different).min(self.rows * each)
    }
}

/// The pages above this many leaves, where each is of `fan` pages below it.
fn above(leaves: f64, fan: f64) -> f64 {
    let (mut level, mut sum) = (leaves, 0.0);
    while level > 1.0 {
        level = (level / fan).ceil();
        sum += level;
    }
    sum
}

/// What `pgstatindex()` has counted: the manual, "pgstattuple".
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Counted {
    pub index_size: f64,
    pub internal_pages: f64,
    pub leaf_pages: f64,
    /// Of the room of the leaves, how much is used, in percent; null where there is no leaf.
    pub density: Option<f64>,
}

impl Counted {
    /// How many pages the same entries would have.
    pub fn pages(&self, block: f64, fillfactor: f64) -> f64 {
        let whole = block - HEADER - SPECIAL;
        let full = room(block, fillfactor) / whole * 100.0;
        let share = (self.density.unwrap_or(0.0) / full).min(1.0);
        let leaves = (self.leaf_pages * share).ceil().max(1.0);
        1.0 + leaves + (self.internal_pages * share).ceil()
    }
}

/// What entries have of a page that is filled up to `fill` percent of it.
fn room(block: f64, fill: f64) -> f64 {
    block - HEADER - SPECIAL - block * (100.0 - fill) / 100.0
}

fn aligned(length: f64, to: f64) -> f64 {
    (length / to).ceil() * to
}

#[cfg(test)]
mod tests {
    use super::{Column, Counted, Shape};

    fn column(width: f64, length: i32, align: char) -> Column {
        Column {
            width: Some(width),
            nulls: Some(0.0),
            distinct: Some(-1.0),
            length,
            align,
            computed: false,
        }
    }

    fn shape(rows: f64, columns: Vec<Column>) -> Shape {
        Shape {
            block: 8192.0,
            rows,
            table_rows: rows,
            table_pages: 100.0,
            table_bytes: Some(819_200.0),
            fillfactor: 90.0,
            deduplicates: false,
            columns,
        }
    }

    /// What PostgreSQL 15 made of 200,000 rows by `CREATE INDEX`: their `pg_relation_size()` in pages.
    #[test]
    fn a_fresh_index_is_as_large_as_expected() {
        let values = |columns: &[Column], deduplicates| Shape {
            deduplicates,
            ..shape(200_000.0, columns.to_vec())
        };
        let (id, number) = (column(4.0, 4, 'i'), column(8.0, 8, 'd'));
        let few = Column {
            distinct: Some(100.0),
            ..id.clone()
        };
        let half = Column {
            nulls: Some(0.5),
            distinct: Some(-0.5),
            ..id.clone()
        };
        let half_full = Shape {
            fillfactor: 50.0,
            ..values(std::slice::from_ref(&number), true)
        };
        let computed = Column {
            computed: true,
            ..column(10.0, -1, 'i')
        };
        for (what, shape, pages) in [
            (
                "an integer",
                values(std::slice::from_ref(&id), false),
                551.0,
            ),
            ("two columns", values(&[id.clone(), number], true), 772.0),
            ("fillfactor 50", half_full, 997.0),
            (
                "32 characters",
                values(&[column(33.0, -1, 'i')], true),
                1444.0,
            ),
            ("an expression", values(&[computed], false), 551.0),
            (
                "100 different",
                values(std::slice::from_ref(&few), true),
                180.0,
            ),
            (
                "half of it null",
                values(std::slice::from_ref(&half), true),
                362.0,
            ),
            ("both", values(&[few, half], true), 366.0),
        ] {
            let expected = shape.pages().unwrap();
            let off = (expected - pages).abs() / pages;
            assert!(off < 0.06, "{what}: {expected} for {pages}");
        }
    }

    #[test]
    fn without_statistics_nothing_is_claimed() {
        let mut unknown = shape(1000.0, vec![column(4.0, 4, 'i')]);
        unknown.columns[0].width = None;
        assert_eq!(unknown.pages(), None);
        assert_eq!(shape(-1.0, vec![column(4.0, 4, 'i')]).pages(), None);
        let mut filled = shape(0.0, vec![column(4.0, 4, 'i')]);
        filled.table_bytes = Some(8_192_000.0);
        assert_eq!(filled.pages(), None);
        assert_eq!(shape(9.0, vec![column(64.0, -2, 'c')]).pages(), None);
        assert!(shape(0.0, vec![column(4.0, 4, 'i')]).pages().is_some());
    }

    #[test]
    fn what_was_counted_is_compared_with_the_same() {
        let counted = |leaf_pages, density| Counted {
            index_size: 0.0,
            internal_pages: 10.0,
            leaf_pages,
            density,
        };
        // A fresh index has no bloat, whatever its fill factor.
        assert_eq!(counted(1000.0, Some(90.1)).pages(8192.0, 90.0), 1011.0);
        assert_eq!(counted(1000.0, Some(49.9)).pages(8192.0, 50.0), 1011.0);
        let half = counted(1000.0, Some(45.0)).pages(8192.0, 90.0);
        assert!((half - 507.0).abs() < 2.0, "{half}");
        assert_eq!(counted(0.0, None).pages(8192.0, 90.0), 2.0);
    }
}
