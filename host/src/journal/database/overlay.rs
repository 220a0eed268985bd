//! A storage on top of another, which is only read: the store's own repair and check run on it and change nothing.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use redb::StorageBackend;

use super::storage::Storage;

const BLOCK_BYTES: u64 = 4096;

/// Keeps in memory what is written. Nobody may write to the storage below meanwhile.
#[derive(Debug)]
pub(super) struct Overlay {
    below: Arc<Storage>,
    below_length: u64,
    written: Mutex<Written>,
}

#[derive(Debug)]
struct Written {
    length: u64,
    blocks: BTreeMap<u64, Vec<u8>>,
}

impl Overlay {
    /// On top of what this storage has now.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub(super) fn over(below: Arc<Storage>) -> io::Result<Overlay> {
        let below_length = below.length()?;
        let written = Mutex::new(Written { length: below_length, blocks: BTreeMap::new() });
        Ok(Overlay { below, below_length, written })
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().expect("nothing panics while this lock is held")
    }

    /// A block as it is below; zeros where nothing is.
    fn block_below(&self, number: u64) -> io::Result<Vec<u8>> {
        let mut block = vec![0; BLOCK_BYTES as usize];
        let offset = number.saturating_mul(BLOCK_BYTES);
        let there = self.below_length.saturating_sub(offset).min(BLOCK_BYTES) as usize;
        self.below.peek(offset, &mut block[..there])?;
        Ok(block)
    }
}

/// The blocks that `length` bytes from `offset` lie in: number, where in the block, how many.
fn blocks(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let within = (at % BLOCK_BYTES) as usize;
        let count = (length - done).min(BLOCK_BYTES as usize - within);
        done += count;
        (count > 0).then_some((at / BLOCK_BYTES, within, count))
    })
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.written().length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let written = self.written();
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > written.length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut rest = out;
        for (number, within, count) in blocks(offset, rest.len()) {
            let (piece, behind) = rest.split_at_mut(count);
            match written.blocks.get(&number) {
                Some(block) => piece.copy_from_slice(&block[within..within + count]),
                None => piece.copy_from_slice(&self.block_below(number)?[within..within + count]),
            }
            rest = behind;
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut written = self.written();
        written.length = length;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut written = self.written();
        let mut rest = data;
        for (number, within, count) in blocks(offset, data.len()) {
            let (piece, behind) = rest.split_at(count);
            let mut block = match written.blocks.remove(&number) {
                Some(block) => block,
                None => self.block_below(number)?,
            };
            block[within..within + count].copy_from_slice(piece);
            written.blocks.insert(number, block);
            rest = behind;
        }
        Ok(())
    }
}
