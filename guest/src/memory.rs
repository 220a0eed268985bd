//! How memory is compared: sixteen bytes at a time. What the compiler brings for WebAssembly compares byte by byte, and
//! names of accounts and folders, which begin alike, are compared all the time.

use core::arch::wasm32::{i8x16_bitmask, i8x16_ne, v128, v128_load};

const LANES: usize = size_of::<v128>();

/// As in C: less than, equal to or greater than 0, by the first byte that differs.
///
/// # Safety
///
/// Both must be readable for `length` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(one: *const u8, other: *const u8, length: usize) -> i32 {
    let mut at = 0;
    // SAFETY: a chunk is read only where it lies before `length`.
    unsafe {
        while at + LANES <= length {
            let (left, right) = (v128_load(one.add(at).cast()), v128_load(other.add(at).cast()));
            let differ = i8x16_bitmask(i8x16_ne(left, right));
            if differ != 0 {
                let at = at + differ.trailing_zeros() as usize;
                return i32::from(*one.add(at)) - i32::from(*other.add(at));
            }
            at += LANES;
        }
        if at + 8 <= length {
            let left = u64::from_be(one.add(at).cast::<u64>().read_unaligned());
            let right = u64::from_be(other.add(at).cast::<u64>().read_unaligned());
            if left != right {
                return if left < right { -1 } else { 1 };
            }
            at += 8;
        }
        while at < length {
            let (left, right) = (*one.add(at), *other.add(at));
            if left != right {
                return i32::from(left) - i32::from(right);
            }
            at += 1;
        }
    }
    0
}
