//! Regions: where in the one large array of the data path each Maglev table is.
//!
//! A program may be reading a table at any moment, so a table is never changed in place: another is written to a
//! region that nobody uses, and then those that lead to it are switched over. That holds through a whole plan: what
//! was in use before it is in nobody's new region.

use std::collections::BTreeMap;

/// Some places of the array in a row, at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Region {
    offset: u32,
    size: u32,
}

impl Region {
    /// The array's size, in places.
    pub const ROOM: u32 = 1 << 22;

    /// From the first place's index and the number of places; `None` if that is none, or not all are in the array.
    pub fn new(offset: u32, size: u32) -> Option<Self> {
        let fits = size > 0 && offset.checked_add(size).is_some_and(|end| end <= Self::ROOM);
        fits.then_some(Self { offset, size })
    }

    /// The first place's index.
    pub const fn offset(self) -> u32 {
        self.offset
    }

    /// How many places.
    pub const fn size(self) -> u32 {
        self.size
    }

    /// The index after the last place.
    pub const fn end(self) -> u32 {
        self.offset + self.size
    }
}

/// A table that is in the array.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Table {
    /// Where it is.
    pub region: Region,
    /// What it was made of: [`super::maglev::digest`].
    pub digest: u64,
}

/// Which tables are in the array, and what of it is free.
#[derive(Debug, Clone, Default)]
pub struct Regions {
    tables: BTreeMap<u64, Table>,
    /// By offset.
    taken: BTreeMap<u32, Region>,
}

impl Regions {
    /// As they were found.
    pub fn observed(found: impl IntoIterator<Item = Table>) -> Self {
        let mut regions = Self::default();
        for table in found {
            regions.tables.entry(table.digest).or_insert(table);
            let region = regions.taken.entry(table.region.offset).or_insert(table.region);
            *region = table.region.max(*region);
        }
        regions
    }

    /// The table of that digest where it is, or else in the first free region of that size; `None` if there is none.
    pub fn place(&mut self, digest: u64, size: u32) -> Option<Table> {
        if let Some(table) = self.tables.get(&digest) {
            return Some(*table);
        }
        let table = Table { region: self.first_free(size)?, digest };
        self.taken.insert(table.region.offset, table.region);
        self.tables.insert(digest, table);
        Some(table)
    }

    fn first_free(&self, size: u32) -> Option<Region> {
        let mut start = 0;
        for region in self.taken.values() {
            if region.offset.saturating_sub(start) >= size {
                break;
            }
            start = region.end().max(start);
        }
        Region::new(start, size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(offset: u32, size: u32, digest: u64) -> Table {
        Table { region: Region::new(offset, size).unwrap(), digest }
    }

    #[test]
    fn a_table_stays_and_a_new_one_gets_the_first_gap_that_is_large_enough() {
        let mut regions = Regions::observed([table(10, 10, 1), table(25, 10, 2), table(30, 10, 3)]);
        assert_eq!(regions.place(2, 10), Some(table(25, 10, 2)));
        assert_eq!(regions.place(4, 5), Some(table(0, 5, 4)));
        assert_eq!(regions.place(5, 6), Some(table(40, 6, 5)));
        assert_eq!(regions.place(6, 5), Some(table(5, 5, 6)));
        assert_eq!(regions.place(7, 5), Some(table(20, 5, 7)));
        assert_eq!(regions.place(8, 1), Some(table(46, 1, 8)));
        assert_eq!(regions.place(4, 5), Some(table(0, 5, 4)));
    }

    #[test]
    fn the_array_comes_to_an_end() {
        let mut regions = Regions::observed([table(1, Region::ROOM - 2, 1)]);
        assert_eq!(regions.place(2, 2), None);
        assert_eq!(regions.place(3, 1), Some(table(0, 1, 3)));
        assert_eq!(regions.place(4, 1), Some(table(Region::ROOM - 1, 1, 4)));
        assert_eq!(regions.place(5, 1), None);
        for (offset, size) in [(0, 0), (Region::ROOM, 1), (1, Region::ROOM), (u32::MAX, 1)] {
            assert_eq!(Region::new(offset, size), None);
        }
    }
}
