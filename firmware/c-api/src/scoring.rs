//! Banks, frames, regions.

use vod_core::{
    Bank, FrameScore, Grid, Level, LevelFeatures, Levels, MAX_REGIONS, Scorer, Stream,
    merge_levels, regions, take_off_background,
};

use crate::object::{StreamState, close, open, put, slice, slice_mut, value, vod_bank, vod_stream};
use crate::status::{status, vod_status, vod_status::*};

/// Most levels at which a bank looks at a frame.
pub const VOD_MAX_LEVELS: usize = 3;
const _: () = assert!(VOD_MAX_LEVELS == Levels::ALL.len());

/// Most regions of a frame.
pub const VOD_MAX_REGIONS: usize = 16;
const _: () = assert!(VOD_MAX_REGIONS == MAX_REGIONS);

/// What is in a bank.
#[repr(C)]
#[allow(non_camel_case_types)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct vod_bank_info {
    /// Reference rows.
    pub rows: u32,
    /// Channels of a patch feature.
    pub dimension: u32,
    /// Height of a frame in patches; 0 where frames of any size are taken.
    pub grid_height: u32,
    /// Width of a frame in patches; 0 where frames of any size are taken.
    pub grid_width: u32,
    /// Image score from which a frame is anomalous.
    pub threshold: i32,
    /// Median image score of normal frames.
    pub normal_score: i32,
    /// Map value from which a patch belongs to a region.
    pub map_threshold: i32,
    /// Levels at which it looks at a frame: its input size; then half of it; then a quarter.
    pub levels: u32,
}

/// Features of a frame at one level.
#[repr(C)]
#[allow(non_camel_case_types)]
#[derive(Clone, Copy, Debug)]
pub struct vod_level_features {
    /// Rows of patches.
    pub height: usize,
    /// Patches of a row.
    pub width: usize,
    /// `[height, width, dimension]`.
    pub features: *const i8,
    /// How many they are.
    pub length: usize,
}

/// A level of a frame whose rows were all scored.
#[repr(C)]
#[allow(non_camel_case_types)]
#[derive(Clone, Copy, Debug)]
pub struct vod_level {
    /// Rows of patches.
    pub height: usize,
    /// Patches of a row.
    pub width: usize,
    /// What vod_stream_finish_level gave.
    pub score: i32,
}

/// Verdict on a frame.
#[repr(C)]
#[allow(non_camel_case_types)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct vod_verdict {
    /// Image score.
    pub score: i32,
    /// The bank's threshold.
    pub threshold: i32,
    /// Highest value of the map.
    pub map_max: i32,
    /// Whether the score reaches the threshold.
    pub anomalous: bool,
}

impl From<FrameScore> for vod_verdict {
    fn from(frame: FrameScore) -> Self {
        Self {
            score: frame.score,
            threshold: frame.threshold,
            map_max: frame.map_max,
            anomalous: frame.anomalous(),
        }
    }
}

/// A connected part of the map at or above a threshold, in patches.
#[repr(C)]
#[allow(non_camel_case_types)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct vod_region {
    /// First row of its box.
    pub top: u16,
    /// First column of its box.
    pub left: u16,
    /// Last row of its box.
    pub bottom: u16,
    /// Last column of its box.
    pub right: u16,
    /// Patches in it.
    pub area: u32,
    /// Highest map value in it.
    pub peak: i32,
}

/// Checks a bank (of `vod export`) and opens it. `bytes` stay in use as long as `bank`.
///
/// # Safety
/// Pointers are null or valid for their length.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vod_bank_open(
    bank: *mut vod_bank,
    bytes: *const u8,
    length: usize,
) -> vod_status {
    status(|| {
        // SAFETY: the caller's promise, for all of these.
        unsafe {
            close(bank)?;
            open(bank, Bank::from_bytes(slice(bytes, length)?)?)?;
        }
        Ok(())
    })
}

/// Says what is in a bank.
///
/// # Safety
/// Pointers are null or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vod_bank_describe(
    bank: *const vod_bank,
    info: *mut vod_bank_info,
) -> vod_status {
    status(|| {
        // SAFETY: the caller's promise.
        let bank = unsafe { &*value(bank)? };
        let parts = bank.parts();
        let (height, width) = parts.grid;
        let description = vod_bank_info {
            rows: parts.row_count,
            dimension: parts.dimension.into(),
            grid_height: height.into(),
            grid_width: width.into(),
            threshold: parts.threshold,
            normal_score: parts.normal_score,
            map_threshold: parts.map_threshold,
            // At most three.
            levels: parts.image_score.levels.count() as u32,
        };
        // SAFETY: the caller's promise.
        unsafe { put(info, description) }
    })
}

/// Says how many 32-bit words of scratch a frame of `height x width` patches needs.
///
/// # Safety
/// Pointers are null or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vod_scratch_words(
    bank: *const vod_bank,
    height: usize,
    width: usize,
    words: *mut usize,
) -> vod_status {
    status(|| {
        // SAFETY: the caller's promise.
        let bank = unsafe { &*value(bank)? };
        let grid = Grid::new(height, width).ok_or(VOD_GRID)?;
        // SAFETY: the caller's promise.
        unsafe { put(words, Scorer::new(bank).scratch_len_for(grid)) }
    })
}

/// Scores a whole frame against a bank of one level. `features` are `[height, width, dimension]`, `map`
/// (written) is `[height, width]`, `scratch` has at least as many words as vod_scratch_words says.
///
/// # Safety
/// Pointers are null or valid for their length.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vod_score_frame(
    bank: *const vod_bank,
    height: usize,
    width: usize,
    features: *const i8,
    features_length: usize,
    map: *mut i32,
    map_length: usize,
    scratch: *mut i32,
    scratch_length: usize,
    verdict: *mut vod_verdict,
) -> vod_status {
    status(|| {
        // SAFETY: the caller's promise, for all of these.
        let (bank, features, map, scratch) = unsafe {
            (
                &*value(bank)?,
                slice(features, features_length)?,
                slice_mut(map, map_length)?,
                slice_mut(scratch, scratch_length)?,
            )
        };
        let grid = Grid::new(height, width).ok_or(VOD_GRID)?;
        let frame = Scorer::new(bank).score_frame(grid, features, map, scratch)?;
        // SAFETY: the caller's promise.
        unsafe { put(verdict, frame.into()) }
    })
}

/// Scores a whole frame at the levels that the bank looks at, the input size first. `map` has room for
/// the patches of all of them; those of the input size, which come first, are the frame's map.
/// `scratch` has at least as many words as vod_scratch_words says of the input size.
///
/// # Safety
/// Pointers are null or valid for their length, those within `levels` too.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vod_score_levels(
    bank: *const vod_bank,
    levels: *const vod_level_features,
    count: usize,
    map: *mut i32,
    map_length: usize,
    scratch: *mut i32,
    scratch_length: usize,
    verdict: *mut vod_verdict,
) -> vod_status {
    status(|| {
        // SAFETY: the caller's promise, for all of these.
        let (bank, given, map, scratch) = unsafe {
            (
                &*value(bank)?,
                slice(levels, count)?,
                slice_mut(map, map_length)?,
                slice_mut(scratch, scratch_length)?,
            )
        };
        let grid = Grid::new(1, 1).ok_or(VOD_GRID)?;
        let features = &[][..];
        let mut levels = [LevelFeatures { grid, features }; VOD_MAX_LEVELS];
        let slots = levels.get_mut(..count).ok_or(VOD_LEVELS)?;
        for (slot, level) in slots.iter_mut().zip(given) {
            // SAFETY: the caller's promise.
            let features = unsafe { slice(level.features, level.length)? };
            let grid = Grid::new(level.height, level.width).ok_or(VOD_GRID)?;
            *slot = LevelFeatures { grid, features };
        }
        let frame = Scorer::new(bank).score_levels(slots, map, scratch)?;
        // SAFETY: the caller's promise.
        unsafe { put(verdict, frame.into()) }
    })
}

/// Starts a frame of `height x width` patches, or one level of it, whose rows arrive one by one. `bank`
/// and `scratch` stay in use as long as `stream`.
///
/// # Safety
/// Pointers are null or valid for their length.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vod_stream_start(
    stream: *mut vod_stream,
    bank: *const vod_bank,
    height: usize,
    width: usize,
    scratch: *mut i32,
    scratch_length: usize,
) -> vod_status {
    status(|| {
        // SAFETY: the caller's promise, for all of these; the bank's place is good as long as the
        // stream is in use.
        unsafe {
            close(stream)?;
            let bank: &'static Bank = &*value(bank)?;
            let scratch = slice_mut(scratch, scratch_length)?;
            let grid = Grid::new(height, width).ok_or(VOD_GRID)?;
            let state = StreamState {
                stream: None,
                scorer: Scorer::new(bank),
            };
            let state: *mut StreamState = open(stream, state)?;
            let scorer: &'static Scorer = &(*state).scorer;
            match scorer.stream(grid, scratch) {
                Ok(started) => (&raw mut (*state).stream).write(Some(started)),
                Err(error) => {
                    close(stream)?;
                    return Err(error.into());
                }
            }
        }
        Ok(())
    })
}

/// The stream in a started object.
///
/// # Safety
/// As for [`value`].
unsafe fn started<'a>(
    stream: *mut vod_stream,
) -> Result<&'a mut Stream<'static, 'static>, vod_status> {
    // SAFETY: the caller's promise; the scorer beside it is only read.
    let place = unsafe { &mut (*value(stream)?).stream };
    place.as_mut().ok_or(VOD_NOT_OPEN)
}

/// Scores the next row, `[width, dimension]`. Take all rows of the map that are ready before.
///
/// # Safety
/// Pointers are null or valid for their length.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vod_stream_push(
    stream: *mut vod_stream,
    features: *const i8,
    length: usize,
) -> vod_status {
    status(|| {
        // SAFETY: the caller's promise.
        unsafe { started(stream)?.push_row(slice(features, length)?)? };
        Ok(())
    })
}

/// Writes the next row of the map, `[width]`, and sets `popped`, where one is ready.
///
/// # Safety
/// Pointers are null or valid for their length.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vod_stream_pop(
    stream: *mut vod_stream,
    row: *mut i32,
    length: usize,
    popped: *mut bool,
) -> vod_status {
    status(|| {
        // SAFETY: the caller's promise, for all of these.
        unsafe {
            let stream = started(stream)?;
            let row = slice_mut(row, length)?;
            let ready = stream.ready();
            if ready && !stream.pop_row(row) {
                return Err(VOD_MAP_LENGTH);
            }
            put(popped, ready)
        }
    })
}

/// Writes the scores of the row that was pushed last, `[width]`, before smoothing, and drops what is
/// ready of the smoothed map: for a level below the input size, whose patches are not smoothed.
///
/// # Safety
/// Pointers are null or valid for their length.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vod_stream_scores(
    stream: *mut vod_stream,
    row: *mut i32,
    length: usize,
) -> vod_status {
    status(|| {
        // SAFETY: the caller's promise, for both of these.
        let (stream, row) = unsafe { (started(stream)?, slice_mut(row, length)?) };
        let scores = stream.patch_scores();
        if scores.len() != row.len() {
            return Err(VOD_MAP_LENGTH);
        }
        for (slot, &score) in row.iter_mut().zip(scores) {
            *slot = score;
        }
        while stream.skip_row() {}
        Ok(())
    })
}

/// Ends a frame against a bank of one level once all rows were pushed and popped; the stream can then
/// be started again. `map_max` is that of the rows that were popped: where the map is kept, end the frame
/// by vod_stream_finish_level and vod_merge_levels.
///
/// # Safety
/// Pointers are null or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vod_stream_finish(
    stream: *mut vod_stream,
    verdict: *mut vod_verdict,
) -> vod_status {
    status(|| {
        if verdict.is_null() {
            return Err(VOD_NULL);
        }
        // SAFETY: the caller's promise, for both of these.
        unsafe {
            let levels = (*value(stream)?).scorer.bank().parts().image_score.levels;
            if levels != Levels::One {
                close(stream)?;
                return Err(VOD_LEVELS);
            }
            put(verdict, finish(stream)?.into())
        }
    })
}

/// Ends one level of a frame once all its rows were pushed and taken; the stream can then be started
/// with the next. `score` is what vod_merge_levels asks for; alone it says nothing.
///
/// # Safety
/// Pointers are null or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vod_stream_finish_level(
    stream: *mut vod_stream,
    score: *mut i32,
) -> vod_status {
    status(|| {
        if score.is_null() {
            return Err(VOD_NULL);
        }
        // SAFETY: the caller's promise, for both of these.
        unsafe { put(score, finish(stream)?.score) }
    })
}

/// Closes a stream; gives what it came to.
///
/// # Safety
/// As for [`value`].
unsafe fn finish(stream: *mut vod_stream) -> Result<FrameScore, vod_status> {
    // SAFETY: the caller's promise, for all of these.
    unsafe {
        let place = &mut (*value(stream)?).stream;
        let ended = place.take().ok_or(VOD_NOT_OPEN)?;
        close(stream)?;
        Ok(ended.finish()?)
    }
}

/// Gives the verdict on a frame whose levels were scored row by row, the input size first. `map` holds
/// the smoothed map of the input size, then the scores of each coarser level; the first,
/// `[height, width]`, becomes the frame's map. Also for a bank of one level whose map is kept: it takes the
/// map's background off.
///
/// # Safety
/// Pointers are null or valid for their length.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vod_merge_levels(
    bank: *const vod_bank,
    levels: *const vod_level,
    count: usize,
    map: *mut i32,
    map_length: usize,
    verdict: *mut vod_verdict,
) -> vod_status {
    status(|| {
        // SAFETY: the caller's promise, for all of these.
        let (bank, levels, map) = unsafe {
            (
                &*value(bank)?,
                slice(levels, count)?,
                slice_mut(map, map_length)?,
            )
        };
        let parts = bank.parts();
        if parts.image_score.levels.count() != count {
            return Err(VOD_LEVELS);
        }
        let frame = |level: &vod_level| FrameScore {
            score: level.score,
            threshold: parts.threshold,
            map_max: i32::MIN,
        };
        let grid = |level: &vod_level| Grid::new(level.height, level.width).ok_or(VOD_GRID);
        let (fine, coarser) = levels.split_first().ok_or(VOD_LEVELS)?;
        let fine_grid = grid(fine)?;
        let split = map.split_at_mut_checked(fine_grid.len());
        let (map, behind) = split.ok_or(VOD_MAP_LENGTH)?;
        let mut behind = &*behind;
        let mut below = [Level {
            frame: frame(fine),
            grid: fine_grid,
            map: &[],
        }; VOD_MAX_LEVELS];
        for (slot, level) in below.iter_mut().zip(coarser) {
            let grid = grid(level)?;
            let (map, rest) = behind.split_at_checked(grid.len()).ok_or(VOD_MAP_LENGTH)?;
            *slot = Level {
                frame: frame(level),
                grid,
                map,
            };
            behind = rest;
        }
        if !behind.is_empty() {
            return Err(VOD_MAP_LENGTH);
        }
        let below = below.get(..coarser.len()).ok_or(VOD_LEVELS)?;
        let merged = merge_levels(frame(fine), fine_grid, map, below)?;
        let merged = take_off_background(bank, merged, fine_grid, map)?;
        // SAFETY: the caller's promise.
        unsafe { put(verdict, merged.into()) }
    })
}

/// Finds the regions of a map of `height x width` patches at or above `threshold`, the highest peak
/// first; writes at most `capacity` of them, and how many. `labels` is scratch of the map's length.
///
/// # Safety
/// Pointers are null or valid for their length.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vod_regions(
    map: *const i32,
    height: usize,
    width: usize,
    threshold: i32,
    labels: *mut u32,
    labels_length: usize,
    found: *mut vod_region,
    capacity: usize,
    count: *mut usize,
) -> vod_status {
    status(|| {
        let grid = Grid::new(height, width).ok_or(VOD_GRID)?;
        // SAFETY: the caller's promise, for all of these.
        let (map, labels, found) = unsafe {
            (
                slice(map, grid.len())?,
                slice_mut(labels, labels_length)?,
                slice_mut(found, capacity)?,
            )
        };
        let regions = regions(map, grid, threshold, labels)?;
        let pairs = found.iter_mut().zip(&regions);
        for (slot, region) in pairs {
            *slot = vod_region {
                top: region.top,
                left: region.left,
                bottom: region.bottom,
                right: region.right,
                area: region.area,
                peak: region.peak,
            };
        }
        // SAFETY: the caller's promise.
        unsafe { put(count, regions.len().min(capacity)) }
    })
}
