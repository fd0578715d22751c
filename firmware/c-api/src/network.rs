//! Camera pixels to patch features.

use vod_core::conv::Network;

use crate::object::{close, open, put, slice, slice_mut, value, vod_camera, vod_network};
use crate::status::{status, vod_status, vod_status::*};

/// Sizes for frames of a network.
#[repr(C)]
#[allow(non_camel_case_types)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct vod_network_info {
    /// Channels of a patch feature.
    pub dimension: usize,
    /// Height of a frame in patches.
    pub grid_height: usize,
    /// Width of a frame in patches.
    pub grid_width: usize,
    /// Bytes of scratch that a frame needs.
    pub scratch_bytes: usize,
}

/// Checks a network (of `vod export --part network`) and opens it. `bytes` stay in use as long as
/// `network`.
///
/// # Safety
/// Pointers are null or valid for their length.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vod_network_open(
    network: *mut vod_network,
    bytes: *const u8,
    length: usize,
) -> vod_status {
    status(|| {
        // SAFETY: the caller's promise, for all of these.
        unsafe {
            close(network)?;
            let opened = Network::from_bytes(slice(bytes, length)?)?;
            open(network, opened)?;
        }
        Ok(())
    })
}

/// Says what a frame of `height x width` pixels needs and gives.
///
/// # Safety
/// Pointers are null or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vod_network_describe(
    network: *const vod_network,
    height: usize,
    width: usize,
    info: *mut vod_network_info,
) -> vod_status {
    status(|| {
        // SAFETY: the caller's promise.
        let network = unsafe { &*value(network)? };
        let sizes = network
            .grid(height, width)
            .zip(network.scratch_len(height, width));
        let (grid, scratch_bytes) = sizes.ok_or(VOD_GRID)?;
        let description = vod_network_info {
            dimension: network.dimension(),
            grid_height: grid.height(),
            grid_width: grid.width(),
            scratch_bytes,
        };
        // SAFETY: the caller's promise.
        unsafe { put(info, description) }
    })
}

/// Starts a frame of `height x width` pixels whose rows arrive one by one. `network` and `scratch`
/// stay in use as long as `camera`.
///
/// # Safety
/// Pointers are null or valid for their length.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vod_camera_start(
    camera: *mut vod_camera,
    network: *const vod_network,
    height: usize,
    width: usize,
    scratch: *mut i8,
    scratch_length: usize,
) -> vod_status {
    status(|| {
        // SAFETY: the caller's promise, for all of these; the network's place is good as long as the
        // camera is in use.
        unsafe {
            close(camera)?;
            let network: &'static Network = &*value(network)?;
            let scratch = slice_mut(scratch, scratch_length)?;
            open(camera, network.stream(height, width, scratch)?)?;
        }
        Ok(())
    })
}

/// Takes the next pixel row: `3 * width` bytes of RGB or `width` of grey. Take all feature rows that
/// are ready before.
///
/// # Safety
/// Pointers are null or valid for their length.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vod_camera_push(
    camera: *mut vod_camera,
    pixels: *const u8,
    length: usize,
) -> vod_status {
    status(|| {
        // SAFETY: the caller's promise, for all of these.
        unsafe { (*value(camera)?).push_row(slice(pixels, length)?)? };
        Ok(())
    })
}

/// Points `features` to the next row of patch features, of `length` values, for vod_stream_push; to
/// null where none is ready. The row is good until the next call on `camera`.
///
/// # Safety
/// Pointers are null or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vod_camera_next(
    camera: *mut vod_camera,
    features: *mut *const i8,
    length: *mut usize,
) -> vod_status {
    status(|| {
        if features.is_null() || length.is_null() {
            return Err(VOD_NULL);
        }
        // SAFETY: the caller's promise, for all of these.
        unsafe {
            let row = (*value(camera)?).next_row();
            put(features, row.map_or(core::ptr::null(), <[i8]>::as_ptr))?;
            put(length, row.map_or(0, <[i8]>::len))
        }
    })
}
