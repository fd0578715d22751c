//! Objects in the caller's memory, and slices from pointers.

use core::mem::{align_of, size_of};
use core::slice;

use vod_core::conv::{FeatureStream, Network};
use vod_core::{Bank, Scorer, Stream};

use crate::status::vod_status::{self, *};

/// Words of a `vod_bank`.
pub const VOD_BANK_WORDS: usize = 40;
/// Words of a `vod_stream`.
pub const VOD_STREAM_WORDS: usize = 32;
/// Words of a `vod_network`.
pub const VOD_NETWORK_WORDS: usize = 256;
/// Words of a `vod_camera`.
pub const VOD_CAMERA_WORDS: usize = 260;

/// An open bank. Its contents are the library's.
#[repr(C)]
#[allow(non_camel_case_types)]
pub struct vod_bank {
    /// The library's.
    pub words: [usize; VOD_BANK_WORDS],
}

/// A frame whose rows of features arrive one by one. Its contents are the library's.
#[repr(C)]
#[allow(non_camel_case_types)]
pub struct vod_stream {
    /// The library's.
    pub words: [usize; VOD_STREAM_WORDS],
}

/// An open int8 network. Its contents are the library's.
#[repr(C)]
#[allow(non_camel_case_types)]
pub struct vod_network {
    /// The library's.
    pub words: [usize; VOD_NETWORK_WORDS],
}

/// A frame whose pixel rows arrive one by one. Its contents are the library's.
#[repr(C)]
#[allow(non_camel_case_types)]
pub struct vod_camera {
    /// The library's.
    pub words: [usize; VOD_CAMERA_WORDS],
}

/// What lies in an object: a tag, then the value where the tag is right.
#[repr(C)]
pub(crate) struct Tagged<T> {
    tag: usize,
    value: T,
}

/// A stream with the scorer that it refers to.
pub(crate) struct StreamState {
    /// Drops nothing: neither has anything to drop.
    pub stream: Option<Stream<'static, 'static>>,
    pub scorer: Scorer<'static>,
}

/// An object type and what lies in it.
///
/// # Safety
/// `Self` is plain words, at least as large and as aligned as `Tagged<Value>`.
pub(crate) unsafe trait Object: Sized {
    type Value;
    /// Tells the kinds of object apart.
    const TAG: usize;
    /// Fails to compile where the words are too few.
    const FITS: () = assert!(
        size_of::<Tagged<Self::Value>>() <= size_of::<Self>()
            && align_of::<Tagged<Self::Value>>() <= align_of::<Self>()
    );
}

macro_rules! object {
    ($object:ty, $value:ty, $tag:literal) => {
        // SAFETY: `FITS` is evaluated here, so that the sizes are checked on every target.
        unsafe impl Object for $object {
            type Value = $value;
            const TAG: usize = $tag;
        }
        const _: () = <$object as Object>::FITS;
    };
}

object!(vod_bank, Bank<'static>, 0x564f_4442);
object!(vod_stream, StreamState, 0x564f_4453);
object!(vod_network, Network<'static>, 0x564f_444e);
object!(vod_camera, FeatureStream<'static, 'static>, 0x564f_4443);

/// Where an object's tag and value lie.
fn tagged<O: Object>(object: *mut O) -> Result<*mut Tagged<O::Value>, vod_status> {
    if object.is_null() {
        return Err(VOD_NULL);
    }
    Ok(object.cast())
}

/// Marks an object as not open.
///
/// # Safety
/// `object` is null or points to an object that nothing else uses.
pub(crate) unsafe fn close<O: Object>(object: *mut O) -> Result<(), vod_status> {
    let place = tagged(object)?;
    // SAFETY: the caller's promise; the tag is a plain number.
    unsafe { (&raw mut (*place).tag).write(0) };
    Ok(())
}

/// Puts a value into an object; gives its place, which is good as long as the object's memory.
///
/// # Safety
/// As for [`close`].
pub(crate) unsafe fn open<O: Object>(
    object: *mut O,
    value: O::Value,
) -> Result<&'static mut O::Value, vod_status> {
    let place = tagged(object)?;
    // SAFETY: the caller's promise, and `FITS`. What was there before needs no drop.
    unsafe {
        place.write(Tagged { tag: O::TAG, value });
        Ok(&mut (*place).value)
    }
}

/// The value in an open object.
///
/// # Safety
/// `object` is null or points to an object's memory, which stays in place as long as what was made
/// from it is in use; nothing else uses the value at the same time unless both only read.
pub(crate) unsafe fn value<O: Object>(object: *const O) -> Result<*mut O::Value, vod_status> {
    let place = tagged(object.cast_mut())?;
    // SAFETY: the caller's promise; the tag is a plain number.
    if unsafe { (&raw const (*place).tag).read() } != O::TAG {
        return Err(VOD_NOT_OPEN);
    }
    // SAFETY: within the object.
    Ok(unsafe { &raw mut (*place).value })
}

/// A slice that the caller lends to read.
///
/// # Safety
/// `data` is null or valid for `len` values as long as what was made from it is in use.
pub(crate) unsafe fn slice<'a, T>(data: *const T, len: usize) -> Result<&'a [T], vod_status> {
    if data.is_null() {
        return Err(VOD_NULL);
    }
    // SAFETY: the caller's promise.
    Ok(unsafe { slice::from_raw_parts(data, len) })
}

/// A slice that the caller lends to write.
///
/// # Safety
/// As for [`slice()`], and nothing else uses the memory meanwhile.
pub(crate) unsafe fn slice_mut<'a, T>(data: *mut T, len: usize) -> Result<&'a mut [T], vod_status> {
    if data.is_null() {
        return Err(VOD_NULL);
    }
    // SAFETY: the caller's promise.
    Ok(unsafe { slice::from_raw_parts_mut(data, len) })
}

/// Writes a result to where the caller wants it.
///
/// # Safety
/// `out` is null or valid for a value.
pub(crate) unsafe fn put<T>(out: *mut T, value: T) -> Result<(), vod_status> {
    if out.is_null() {
        return Err(VOD_NULL);
    }
    // SAFETY: the caller's promise.
    unsafe { out.write(value) };
    Ok(())
}
