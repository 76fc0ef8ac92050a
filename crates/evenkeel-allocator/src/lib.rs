//! The command's allocator, and the one call that returns freed memory to the system. It knows nothing of what is allocated.
//!
//! A crate of its own, because calls of C are the only `unsafe` of the product.

use std::alloc::{GlobalAlloc, Layout};

use libmimalloc_sys::{
    mi_free, mi_malloc, mi_malloc_aligned, mi_realloc, mi_realloc_aligned, mi_zalloc, mi_zalloc_aligned,
};

/// mimalloc, chosen over the system's allocator for its lower cost under many threads.
///
/// Ordinary sizes take mimalloc's ordinary calls. Its calls for an alignment, which the crate `mimalloc` always makes, take a
/// slow path for every size above 1 KiB and for sizes that share a page with no other.
#[derive(Clone, Copy, Debug, Default)]
pub struct Allocator;

/// What mimalloc aligns every block to that is at least so large (`MI_MAX_ALIGN_SIZE`). A smaller block is aligned to its size,
/// which is a power of two.
const NATURAL: usize = 16;

/// Whether mimalloc's ordinary calls align a block of this size as required.
#[inline]
const fn is_natural(size: usize, align: usize) -> bool {
    align <= NATURAL && align <= size
}

#[expect(unsafe_code, reason = "an allocator is unsafe by its trait, and its functions are C's")]
// SAFETY: each block comes from mimalloc with at least the size asked for. It is aligned as asked for: by the calls that take
// an alignment, or, where `is_natural`, by every call, because a block is at least as large as the alignment, and mimalloc
// aligns a block to 16 bytes or to its own size if that is less. mimalloc frees and grows every block by its address alone,
// whichever call made it. A block that grows in place keeps its address and so its alignment. No call unwinds.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (size, align) = (layout.size(), layout.align());
        let block = if is_natural(size, align) {
            // SAFETY: the function takes any size.
            unsafe { mi_malloc(size) }
        } else {
            // SAFETY: the function takes any size; an alignment of `Layout` is a power of two.
            unsafe { mi_malloc_aligned(size, align) }
        };
        block.cast()
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let (size, align) = (layout.size(), layout.align());
        let block = if is_natural(size, align) {
            // SAFETY: as in `alloc`.
            unsafe { mi_zalloc(size) }
        } else {
            // SAFETY: as in `alloc`.
            unsafe { mi_zalloc_aligned(size, align) }
        };
        block.cast()
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, _: Layout) {
        // SAFETY: the caller promises that `block` came from this allocator, so from mimalloc, and is not used any more.
        unsafe { mi_free(block.cast()) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let (block, align) = (block.cast(), layout.align());
        let block = if is_natural(size, align) {
            // SAFETY: `block` is mimalloc's, as in `dealloc`; the size is as in `alloc`.
            unsafe { mi_realloc(block, size) }
        } else {
            // SAFETY: the same, and the alignment is as in `alloc`.
            unsafe { mi_realloc_aligned(block, size, align) }
        };
        block.cast()
    }
}

/// Gives back to the system what was freed on this thread, and what no thread holds.
///
/// By itself the allocator keeps some of it for what may be allocated next: of 10,000 connections that were idle and have
/// left, some two mebibytes. What it takes is some ten microseconds, and the faults of the pages that are needed after all.
pub fn give_back() {
    #[expect(unsafe_code, reason = "the function is C's")]
    // SAFETY: `mi_collect` takes no pointer and gives none. It frees what no allocation is in any more, in structures that
    // are the calling thread's, or that it locks; it may be called on any thread at any time, and where mimalloc allocates
    // nothing, it finds nothing.
    unsafe {
        libmimalloc_sys::mi_collect(true);
    }
}

#[cfg(test)]
mod tests {
    use std::alloc::{Layout, alloc, alloc_zeroed, dealloc, realloc};
    use std::hint::black_box;

    #[global_allocator]
    static ALLOCATOR: super::Allocator = super::Allocator;

    fn resident_kib() -> usize {
        let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
        let line = status.lines().find(|line| line.starts_with("RssAnon:")).expect("it is there");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("it is a number")
    }

    #[test]
    fn what_was_freed_leaves_the_process() {
        let before = resident_kib();
        let crowd: Vec<Box<[u8; 1000]>> = (0..20_000_u32).map(|at| Box::new([at as u8; 1000])).collect();
        let with = resident_kib();
        // A few stay, as in a program that goes on.
        let (stay, leave): (Vec<_>, Vec<_>) =
            crowd.into_iter().enumerate().partition(|(at, _)| at % 5_000 == 0);
        drop(black_box(leave));
        super::give_back();
        let after = resident_kib();
        drop(black_box(stay));
        assert!(with > before + 15_000, "{before} KiB, then {with}: the test itself is wrong");
        assert!(after < before + 4_000, "{before} KiB, then {with}, and {after} are left");
    }

    #[test]
    #[expect(unsafe_code, reason = "what is tested is unsafe")]
    fn every_block_is_aligned_and_keeps_what_is_in_it() {
        let mut blocks = Vec::new();
        for align in (0..=12).map(|bits| 1_usize << bits) {
            for size in (1..=40).chain([63, 64, 65, 100, 576, 1_000, 1_024, 1_025, 4_095, 70_000]) {
                let layout = Layout::from_size_align(size, align).expect("it is valid");
                let larger = Layout::from_size_align(size * 3, align).expect("it is valid");
                // SAFETY: the size is not zero.
                let block = unsafe { alloc(layout) };
                // SAFETY: as above.
                let zeroed = unsafe { alloc_zeroed(layout) };
                assert!(!zeroed.is_null() && zeroed.addr().is_multiple_of(align), "{layout:?}");
                // SAFETY: the block is so large, and zeroed.
                assert!(unsafe { std::slice::from_raw_parts(zeroed, size) }.iter().all(|byte| *byte == 0));
                assert!(!block.is_null() && block.addr().is_multiple_of(align), "{layout:?}");
                // SAFETY: the block is so large.
                unsafe { block.write_bytes(7, size) };
                // SAFETY: the block has this layout, and is not used any more.
                let block = unsafe { realloc(block, layout, larger.size()) };
                assert!(!block.is_null() && block.addr().is_multiple_of(align), "{layout:?}, grown");
                // SAFETY: so much of the block was written before it grew.
                assert!(unsafe { std::slice::from_raw_parts(block, size) }.iter().all(|byte| *byte == 7));
                blocks.extend([(block, larger), (zeroed, layout)]);
            }
        }
        for (block, layout) in blocks {
            // SAFETY: the block has this layout, and is not used any more.
            unsafe { dealloc(block, layout) }
        }
    }
}
