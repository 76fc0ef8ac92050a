//! The command's allocator, and what it takes to have it give back what was freed. It knows nothing of what is allocated.
//!
//! A crate of its own for one call of C, which is the only `unsafe` of the product.

/// Chosen over the system's for its lower cost under many threads; a proxy allocates on every request.
pub use mimalloc::MiMalloc as Allocator;

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
}
