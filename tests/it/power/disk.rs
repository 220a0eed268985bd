//! A disk that fails, fills up and loses power as the test says.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use postbell::journal::StorageBackend;
use postbell_tests::histories::Random;

/// What a disk writes at once, or not at all.
const SECTOR_BYTES: usize = 512;

/// Two handles are the same disk.
#[derive(Clone, Default)]
pub struct Disk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// What is read.
    content: Vec<u8>,
    /// What is there whatever happens.
    synced: Vec<u8>,
    /// What happened since.
    unsynced: Vec<Change>,
    failing: Failing,
    counted: Counted,
}

enum Change {
    Written(usize, Vec<u8>),
    Length(usize),
}

/// Which operations fail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Failing {
    /// None.
    #[default]
    Nothing,
    /// The one with this number of this kind, counted from 0; the next works again.
    Once(Operation, u64),
    /// All that need space.
    Full,
    /// All from the one with this number on, counted without regard to the kind: the power is gone.
    PowerAfter(u64),
}

/// Kinds of operations that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Write,
    Grow,
    Sync,
}

/// How many there were.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    writes: u64,
    grows: u64,
    syncs: u64,
}

/// What lost power does to what was not synced.
#[derive(Clone, Copy, Debug)]
pub enum Loss {
    /// All of it is gone.
    Everything,
    /// Of each write some sectors are there, as this seed says.
    Sectors(u64),
}

impl Disk {
    /// A disk with this content, all of it synced.
    pub fn with(content: Vec<u8>) -> Disk {
        Disk(Arc::new(Mutex::new(State { synced: content.clone(), content, ..State::default() })))
    }

    /// Decides what fails from now on; counting begins anew.
    pub fn fail(&self, failing: Failing) {
        let mut state = self.state();
        (state.failing, state.counted) = (failing, Counted::default());
    }

    /// What another process finds: nothing is lost.
    pub fn content(&self) -> Vec<u8> {
        self.state().content.clone()
    }

    /// What is there when the power is back.
    pub fn after(&self, loss: Loss) -> Vec<u8> {
        let state = self.state();
        let mut left = state.synced.clone();
        let Loss::Sectors(seed) = loss else { return left };
        let mut random = Random(seed);
        let lengths = state.unsynced.iter().filter_map(|change| match change {
            Change::Length(length) => Some(*length),
            Change::Written(..) => None,
        });
        let lengths: Vec<usize> = std::iter::once(left.len()).chain(lengths).collect();
        left.resize(lengths[random.below(lengths.len() as u64) as usize], 0);
        for change in &state.unsynced {
            let Change::Written(offset, bytes) = change else { continue };
            for (sector, at) in bytes.chunks(SECTOR_BYTES).zip((*offset..).step_by(SECTOR_BYTES)) {
                if let Some(place) = left.get_mut(at..at + sector.len())
                    && random.below(2) == 0
                {
                    place.copy_from_slice(sector);
                }
            }
        }
        left
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nothing panics while this lock is held")
    }
}

impl State {
    /// Counts an operation, and says whether it works.
    fn attempt(&mut self, operation: Operation) -> io::Result<()> {
        let Counted { writes, grows, syncs } = &mut self.counted;
        let all = *writes + *grows + *syncs;
        let count = match operation {
            Operation::Write => writes,
            Operation::Grow => grows,
            Operation::Sync => syncs,
        };
        let number = *count;
        *count += 1;
        let fails = match self.failing {
            Failing::Nothing => false,
            Failing::Once(which, once) => which == operation && once == number,
            Failing::Full => operation != Operation::Sync,
            Failing::PowerAfter(last) => all >= last,
        };
        if fails { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Disk").field("bytes", &self.state().content.len()).finish_non_exhaustive()
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().content.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state();
        let bytes = usize::try_from(offset).ok().and_then(|offset| state.content.get(offset..)?.get(..out.len()));
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut state = self.state();
        let length = length as usize;
        if length > state.content.len() {
            state.attempt(Operation::Grow)?;
        }
        state.content.resize(length, 0);
        state.unsynced.push(Change::Length(length));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.state();
        state.attempt(Operation::Sync)?;
        state.synced = state.content.clone();
        state.unsynced.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        state.attempt(Operation::Write)?;
        let offset = offset as usize;
        let Some(place) = state.content.get_mut(offset..offset + data.len()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        place.copy_from_slice(data);
        state.unsynced.push(Change::Written(offset, data.to_vec()));
        Ok(())
    }
}
