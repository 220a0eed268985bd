//! How memory is given out: a small block that came back, to whoever wants one of its size next.
//!
//! Most blocks are small and live for one call: the strings of a change or of a request, which the host has made one by
//! one, and what is built of them. dlmalloc looks for each and joins it with its neighbours when it comes back; a list of
//! free blocks for each size does both in a few instructions, which makes changes a tenth faster. What was a small block
//! once is never joined to a larger one: as much stays in the lists as the tenant had in small blocks at most.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::Cell;
use core::ptr::null_mut;

/// The sizes of small blocks are the multiples of this, in bytes.
const STEP: usize = 16;

/// How many sizes of small blocks there are.
const SIZES: usize = 16;

/// What every small block is aligned to, in bytes.
const ALIGN: usize = 8;

/// Small blocks by their sizes, above an allocator that has the rest. For one thread.
pub struct Heap<A> {
    rest: A,
    /// The first free block of each size; each begins with the address of the next.
    free: [Cell<*mut u8>; SIZES],
}

// SAFETY: an instance has one thread.
#[cfg(target_arch = "wasm32")]
unsafe impl<A> Sync for Heap<A> {}

impl<A: GlobalAlloc> Heap<A> {
    /// One without free blocks.
    pub const fn above(rest: A) -> Self {
        Self { rest, free: [const { Cell::new(null_mut()) }; SIZES] }
    }

    /// Where blocks of this layout are kept; none: it is not a small one.
    #[inline(always)]
    fn list(&self, layout: Layout) -> Option<&Cell<*mut u8>> {
        let index = layout.size().wrapping_sub(1) / STEP;
        if layout.align() <= ALIGN { self.free.get(index) } else { None }
    }

    /// A small block that was none before.
    #[cold]
    #[inline(never)]
    fn new_block(&self, layout: Layout) -> *mut u8 {
        let whole = Layout::from_size_align(layout.size().next_multiple_of(STEP), ALIGN);
        // SAFETY: it is not empty, because nobody asks for an empty block.
        whole.map_or(null_mut(), |whole| unsafe { self.rest.alloc(whole) })
    }
}

// SAFETY: a block is in no list while somebody has it, and every block of a list has the size and alignment of that list
// at least. What is not small is the other allocator's.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Heap<A> {
    #[inline(always)]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(list) = self.list(layout) else {
            // SAFETY: as promised to this function.
            return unsafe { self.rest.alloc(layout) };
        };
        let block = list.get();
        if block.is_null() {
            return self.new_block(layout);
        }
        // SAFETY: a block in a list begins with the address of the next.
        list.set(unsafe { block.cast::<*mut u8>().read() });
        block
    }

    #[inline(always)]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let Some(list) = self.list(layout) else {
            // SAFETY: as promised to this function; it came from there, having the same layout.
            return unsafe { self.rest.dealloc(block, layout) };
        };
        // SAFETY: nobody has it any more, and every small block has room for an address.
        unsafe { block.cast::<*mut u8>().write(list.get()) };
        list.set(block);
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as promised to this function.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        match (self.list(layout), self.list(wanted)) {
            (Some(one), Some(other)) if core::ptr::eq(one, other) => return block,
            // SAFETY: as promised to this function; it came from there, having the same layout.
            (None, None) => return unsafe { self.rest.realloc(block, layout, size) },
            _ => {}
        }
        // SAFETY: as promised to this function; the blocks are different ones.
        unsafe {
            let moved = self.alloc(wanted);
            if !moved.is_null() {
                moved.copy_from_nonoverlapping(block, layout.size().min(size));
                self.dealloc(block, layout);
            }
            moved
        }
    }
}

/// How the host has room made for what it hands over: `realloc` of the component model's canonical ABI.
///
/// # Safety
///
/// As [`GlobalAlloc::realloc`], but that a `before` of no `length` is none.
#[cfg(target_arch = "wasm32")]
#[unsafe(no_mangle)]
unsafe extern "C" fn cabi_realloc(before: *mut u8, length: usize, align: usize, size: usize) -> *mut u8 {
    if size == 0 {
        return core::ptr::without_provenance_mut(align);
    }
    // SAFETY: the host keeps to the canonical ABI.
    let block = unsafe {
        match length {
            0 => crate::HEAP.alloc(Layout::from_size_align_unchecked(size, align)),
            _ => crate::HEAP.realloc(before, Layout::from_size_align_unchecked(length, align), size),
        }
    };
    if block.is_null() {
        core::arch::wasm32::unreachable();
    }
    block
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::alloc::System;

    /// A block, and the byte that all of it holds.
    struct Block {
        start: *mut u8,
        layout: Layout,
        byte: u8,
    }

    impl Block {
        fn fill(start: *mut u8, layout: Layout, byte: u8) -> Block {
            assert!(!start.is_null() && start.addr().is_multiple_of(layout.align()), "{layout:?}");
            // SAFETY: the block is as long.
            unsafe { start.write_bytes(byte, layout.size()) };
            Block { start, layout, byte }
        }

        fn is_whole(&self, length: usize) -> bool {
            // SAFETY: the block was written, and is as long.
            let bytes = unsafe { core::slice::from_raw_parts(self.start, length) };
            bytes.iter().all(|byte| *byte == self.byte)
        }
    }

    /// Blocks of all sizes come, grow, shrink and go by chance; each keeps what was written into it.
    #[test]
    fn nobody_has_what_another_has() {
        let (heap, mut blocks, mut random) = (Heap::above(System), Vec::<Block>::new(), 1u64);
        let mut below = |most: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) as usize % most
        };
        for step in 0..100_000 {
            let byte = step as u8;
            let layout = Layout::from_size_align(1 + below(STEP * SIZES + 40), 1 << below(6)).expect("a layout");
            if blocks.len() < 100 || below(2) == 0 {
                // SAFETY: it is not empty.
                blocks.push(Block::fill(unsafe { heap.alloc(layout) }, layout, byte));
                continue;
            }
            let block = blocks.swap_remove(below(blocks.len()));
            assert!(block.is_whole(block.layout.size()));
            if below(3) == 0 {
                // SAFETY: it was given out for this layout.
                unsafe { heap.dealloc(block.start, block.layout) };
                continue;
            }
            let wanted = Layout::from_size_align(layout.size(), block.layout.align()).expect("a layout");
            // SAFETY: it was given out for this layout.
            let start = unsafe { heap.realloc(block.start, block.layout, wanted.size()) };
            let moved = Block { start, layout: wanted, byte: block.byte };
            assert!(moved.is_whole(wanted.size().min(block.layout.size())));
            blocks.push(Block::fill(start, wanted, byte));
        }
        for block in blocks {
            assert!(block.is_whole(block.layout.size()));
            // SAFETY: it was given out for this layout.
            unsafe { heap.dealloc(block.start, block.layout) };
        }
    }

    #[test]
    fn a_small_block_that_came_back_is_given_out_again() {
        let heap = Heap::above(System);
        let [small, as_small, larger] = [1, STEP, STEP + 1].map(|size| Layout::from_size_align(size, 1).expect("one"));
        // SAFETY: none is empty, and each goes back as it came.
        unsafe {
            let first = heap.alloc(small);
            heap.dealloc(first, small);
            let other = heap.alloc(larger);
            assert_ne!(other, first);
            let again = heap.alloc(as_small);
            assert_eq!(again, first);
            assert_eq!(heap.realloc(again, as_small, 2), first, "it has room");
            heap.dealloc(first, small);
            heap.dealloc(other, larger);
        }
    }
}
