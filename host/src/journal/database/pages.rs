//! The pages that lead to the records, checked before redb opens a file that was closed in order: it would believe
//! them.
//!
//! redb verifies pages only when it repairs. Otherwise it follows what a damaged page says, which may be to take
//! terabytes of memory or to write over pages that are in use. Here the checksums are compared from the header down, by
//! redb's file format 3 (its `docs/design.md`), but for the leaves with records and pieces of snapshots, which are most
//! of the file and have checksums of their own.

use xxhash_rust::xxh3::xxh3_128;

use super::storage::Storage;

const PAGE_BYTES: u64 = 4096;
const HEADER_BYTES: usize = 320;
const FLAGS: usize = 9;
const PRIMARY_FLAG: u8 = 1;
const REGION_PAGES: usize = 20;
/// Where the two slots of the header begin, and what stands where in one.
const SLOTS: [usize; 2] = [64, 192];
const SLOT_ROOTS: [(usize, usize); 2] = [(1, 8), (2, 40)];
const SLOT_CHECKSUM: usize = 112;
const FORMAT: u8 = 3;

const LEAF: u8 = 1;
const BRANCH: u8 = 2;

/// Tables whose leaves need no check here.
const CHECKED_BY_THEMSELVES: [&[u8]; 2] = [b"records", b"pieces"];

/// A page, and what it must be.
#[derive(Clone, Copy)]
struct Expected {
    number: u64,
    checksum: u128,
}

/// How many bytes each key and value of a tree has; none: that differs.
#[derive(Clone, Copy)]
struct Widths {
    key: Option<usize>,
    value: Option<usize>,
}

/// A tree of tables.
const TABLES: Widths = Widths { key: None, value: None };

/// One table.
struct Table {
    root: Option<Expected>,
    widths: Widths,
    with_leaves: bool,
}

struct Pages<'a> {
    storage: &'a Storage,
    length: u64,
    region_bytes: u64,
}

/// Whether the pages that lead to the records are what they were. None: they are not.
pub(super) fn lead_to_records(storage: &Storage) -> Option<()> {
    let (pages, header) = Pages::of(storage)?;
    let slot = whole_slot(&header, primary(&header))?;
    pages.tables(slot, &mut |_, table| pages.check(table))
}

/// A leaf, as it is.
pub(super) struct Leaf<'a> {
    /// Whether it is what it was.
    pub(super) whole: bool,
    /// Its keys and values; none where they cannot be told apart.
    pub(super) entries: Vec<(&'a [u8], &'a [u8])>,
}

/// Visits the leaves of a table of the last commit, damaged or not. None: the pages that lead to them are damaged, or
/// `visit` gave none.
pub(super) fn leaves(storage: &Storage, name: &str, visit: &mut dyn FnMut(Leaf<'_>) -> Option<()>) -> Option<()> {
    let (pages, header) = Pages::of(storage)?;
    let slot = whole_slot(&header, primary(&header)).or_else(|| whole_slot(&header, 1 - primary(&header)))?;
    pages.tables(slot, &mut |found, table| {
        let Some(root) = table.root.filter(|_| found == name.as_bytes()) else { return Some(()) };
        pages.walk_branches(root, table.widths, pages.depth(root, table.widths)?, &mut |leaf| {
            let bytes = pages.bytes(leaf.number)?;
            let whole = used_of(&bytes, table.widths).is_some_and(|used| xxh3_128(used) == leaf.checksum);
            visit(Leaf { whole, entries: entries(&bytes, table.widths).unwrap_or_default() })
        })
    })
}

fn primary(header: &[u8; HEADER_BYTES]) -> usize {
    usize::from(header[FLAGS] & PRIMARY_FLAG)
}

fn whole_slot(header: &[u8; HEADER_BYTES], which: usize) -> Option<&[u8]> {
    let slot = &header[SLOTS[which]..][..128];
    let whole = slot[0] == FORMAT && number128(slot, SLOT_CHECKSUM)? == xxh3_128(&slot[..SLOT_CHECKSUM]);
    whole.then_some(slot)
}

impl Pages<'_> {
    /// The pages of a storage, and its header.
    fn of(storage: &Storage) -> Option<(Pages<'_>, [u8; HEADER_BYTES])> {
        let mut header = [0; HEADER_BYTES];
        storage.peek(0, &mut header).ok()?;
        let region_bytes = u64::from(number32(&header, REGION_PAGES)?).checked_mul(PAGE_BYTES)?;
        Some((Pages { storage, length: storage.length().ok()?, region_bytes }, header))
    }

    /// Visits the tables of a commit, with their names.
    fn tables(&self, slot: &[u8], visit: &mut dyn FnMut(&[u8], &Table) -> Option<()>) -> Option<()> {
        SLOT_ROOTS.iter().filter(|(there, _)| slot[*there] != 0).try_for_each(|(_, root)| {
            self.walk(expected(slot, *root)?, TABLES, &mut |leaf| {
                entries(leaf, TABLES)?
                    .into_iter()
                    .try_for_each(|(name, definition)| visit(name, &table(name, definition)?))
            })
        })
    }

    /// Checks a table.
    fn check(&self, table: &Table) -> Option<()> {
        let Some(root) = table.root else { return Some(()) };
        match table.with_leaves {
            true => self.walk(root, table.widths, &mut |_| Some(())),
            false => self.walk_branches(root, table.widths, self.depth(root, table.widths)?, &mut |_| Some(())),
        }
    }

    /// Checks a whole tree, and each leaf with `leaf` too.
    fn walk(&self, page: Expected, widths: Widths, leaf: &mut dyn FnMut(&[u8]) -> Option<()>) -> Option<()> {
        let bytes = self.checked(page, widths)?;
        if bytes[0] == LEAF {
            return leaf(&bytes);
        }
        children(&bytes)?.into_iter().try_for_each(|child| self.walk(child, widths, leaf))
    }

    /// Checks a tree down to its leaves, which lie so many pages below: `leaf` is given what they must be.
    fn walk_branches(
        &self,
        page: Expected,
        widths: Widths,
        depth: u32,
        leaf: &mut dyn FnMut(Expected) -> Option<()>,
    ) -> Option<()> {
        if depth == 0 {
            return leaf(page);
        }
        let bytes = self.checked(page, widths)?;
        children(&bytes)?.into_iter().try_for_each(|child| self.walk_branches(child, widths, depth - 1, leaf))
    }

    /// How far below a page the leaves are: all as far.
    fn depth(&self, mut page: Expected, widths: Widths) -> Option<u32> {
        let mut depth = 0;
        while self.bytes(page.number)?[0] != LEAF {
            page = *children(&self.checked(page, widths)?)?.first()?;
            depth += 1;
        }
        Some(depth)
    }

    /// A page that is what it was.
    fn checked(&self, page: Expected, widths: Widths) -> Option<Vec<u8>> {
        let bytes = self.bytes(page.number)?;
        (xxh3_128(used_of(&bytes, widths)?) == page.checksum).then_some(bytes)
    }

    /// A page number is: 20 bits of place, 20 bits of region, in the highest 5 the page's size as a power of two.
    fn bytes(&self, number: u64) -> Option<Vec<u8>> {
        let order = number >> 59;
        let bytes = PAGE_BYTES << order;
        let (place, region) = (number & (0xf_ffff >> order), number >> 20 & 0xf_ffff);
        let offset = PAGE_BYTES + region.checked_mul(self.region_bytes)? + place * bytes;
        if offset.checked_add(bytes)? > self.length {
            return None;
        }
        let mut page = vec![0; usize::try_from(bytes).ok()?];
        self.storage.peek(offset, &mut page).ok()?;
        Some(page)
    }
}

/// What of a page is used.
fn used_of(page: &[u8], widths: Widths) -> Option<&[u8]> {
    page.get(..used(page, widths)?)
}

/// How many bytes of a page are used.
fn used(page: &[u8], widths: Widths) -> Option<usize> {
    let count = usize::from(number16(page, 2)?);
    let last = count.checked_sub(1)?;
    match (page[0], widths.key) {
        (BRANCH, Some(key)) => Some(8 + 24 * (count + 1) + key * count),
        (BRANCH, None) => end(page, 8 + 24 * (count + 1), last),
        (LEAF, key) => {
            let value_ends = 4 + if key.is_none() { 4 * count } else { 0 };
            let keys = value_ends + if widths.value.is_none() { 4 * count } else { 0 };
            let key_end = key.map_or_else(|| end(page, 4, last), |key| Some(keys + key * count))?;
            widths.value.map_or_else(|| end(page, value_ends, last), |value| Some(key_end + value * count))
        }
        _ => None,
    }
}

/// The children of a branch.
fn children(page: &[u8]) -> Option<Vec<Expected>> {
    let count = usize::from(number16(page, 2)?) + 1;
    let child = |child| {
        let checksum = number128(page, 8 + 16 * child)?;
        Some(Expected { number: number64(page, 8 + 16 * count + 8 * child)?, checksum })
    };
    (0..count).map(child).collect()
}

/// The keys and values in a leaf.
fn entries(leaf: &[u8], widths: Widths) -> Option<Vec<(&[u8], &[u8])>> {
    let count = usize::from(number16(leaf, 2)?);
    let value_ends = 4 + if widths.key.is_none() { 4 * count } else { 0 };
    let keys = value_ends + if widths.value.is_none() { 4 * count } else { 0 };
    let ends = |width: Option<usize>, row: usize, first: usize, entry: usize| match width {
        Some(width) => Some(first + width * (entry + 1)),
        None => end(leaf, row, entry),
    };
    let part = |width, row, first, entry: usize| {
        let start = entry.checked_sub(1).map_or(Some(first), |before| ends(width, row, first, before))?;
        leaf.get(start..ends(width, row, first, entry)?)
    };
    let values = ends(widths.key, 4, keys, count.checked_sub(1)?)?;
    let entry = |entry| Some((part(widths.key, 4, keys, entry)?, part(widths.value, value_ends, values, entry)?));
    (0..count).map(entry).collect()
}

/// A table by its definition: kind, length, root, widths.
fn table(name: &[u8], definition: &[u8]) -> Option<Table> {
    let width = |at: usize| match definition.get(at)? {
        0 => Some(None),
        _ => Some(Some(usize::try_from(number32(definition, at + 1)?).ok()?)),
    };
    let root = match definition.get(9)? {
        0 => None,
        _ => Some(expected(definition, 10)?),
    };
    let widths = Widths { key: width(42)?, value: width(47)? };
    Some(Table { root, widths, with_leaves: !CHECKED_BY_THEMSELVES.contains(&name) })
}

fn expected(bytes: &[u8], at: usize) -> Option<Expected> {
    Some(Expected { number: number64(bytes, at)?, checksum: number128(bytes, at + 8)? })
}

/// The end of an entry, in a row of ends that begins at `ends`.
fn end(page: &[u8], ends: usize, entry: usize) -> Option<usize> {
    usize::try_from(number32(page, ends + 4 * entry)?).ok()
}

fn number16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn number32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn number64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn number128(bytes: &[u8], at: usize) -> Option<u128> {
    Some(u128::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}
