//! Everything that firmware calls in `vod-core`, linked without a runtime. `check.sh` looks at the
//! result: its size, and whether anything of `core::panicking` is left.
#![no_std]
#![no_main]

use core::panic::PanicInfo;
use core::slice::{from_raw_parts, from_raw_parts_mut};
use vod_core::{Bank, Grid, Kernel, Nearest, Scorer, regions};

#[panic_handler]
fn panic(_: &PanicInfo) -> ! {
    loop {}
}

/// Memory that the caller lends, as lengths and pointers.
#[repr(C)]
pub struct Lent {
    bank: *const u8,
    bank_len: usize,
    height: usize,
    width: usize,
    features: *const i8,
    features_len: usize,
    #[cfg(feature = "levels")]
    levels: *const vod_core::LevelFeatures<'static>,
    #[cfg(feature = "levels")]
    levels_len: usize,
    map: *mut i32,
    map_len: usize,
    scratch: *mut i32,
    scratch_len: usize,
    labels: *mut u32,
    labels_len: usize,
    values: *mut i16,
    order: *mut u16,
    channels: usize,
    nearest: *mut Nearest,
    nearest_len: usize,
}

/// A frame at once, with the feature `levels` at several of them; a frame by rows; a patch and its explanation; regions. Minus one on any error.
///
/// # Safety
/// Every pointer is valid for its length.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn score(lent: &Lent) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { run(lent) }.unwrap_or(-1)
}

unsafe fn run(lent: &Lent) -> Option<i32> {
    #[cfg(feature = "levels")]
    // SAFETY: the caller's promise.
    let levels = unsafe { from_raw_parts(lent.levels, lent.levels_len) };
    // SAFETY: the caller's promise, for all of these.
    let (bytes, features, map, scratch, labels, values, order, nearest) = unsafe {
        (
            from_raw_parts(lent.bank, lent.bank_len),
            from_raw_parts(lent.features, lent.features_len),
            from_raw_parts_mut(lent.map, lent.map_len),
            from_raw_parts_mut(lent.scratch, lent.scratch_len),
            from_raw_parts_mut(lent.labels, lent.labels_len),
            from_raw_parts_mut(lent.values, lent.channels),
            from_raw_parts_mut(lent.order, lent.channels),
            from_raw_parts_mut(lent.nearest, lent.nearest_len),
        )
    };
    let bank = Bank::from_bytes(bytes).ok()?;
    let grid = Grid::new(lent.height, lent.width)?;
    let scorer = Scorer::new(&bank);
    let definition = Scorer::with_kernel(&bank, Kernel::SCALAR);
    #[cfg(feature = "levels")]
    let frame = scorer.score_levels(levels, map, scratch).ok()?;
    #[cfg(not(feature = "levels"))]
    let frame = scorer.score_frame(grid, features, map, scratch).ok()?;
    let found = regions(map, grid, bank.parts().map_threshold, labels).ok()?;
    let mut stream = scorer.stream(grid, scratch).ok()?;
    stream.push_row(features).ok()?;
    while stream.ready() {
        stream.pop_row(map);
    }
    let streamed = stream.finish().ok()?;
    scorer.nearest_of_all(features, nearest);
    definition.nearest_of_all(features, nearest);
    let patch = scorer.score_patch(features)?;
    let parts = scorer.decompose(features, values, order)?;
    let count = found.len() + parts.values.len() + parts.order.len();
    Some(frame.score + streamed.score + patch.score + count as i32)
}

/// Entry point that keeps `score`.
#[unsafe(no_mangle)]
pub extern "C" fn _start() -> ! {
    let address = 0x2000_0000 as *const Lent;
    loop {
        // SAFETY: never run; it keeps the linker from dropping the code.
        unsafe { score(&*core::hint::black_box(address)) };
    }
}
