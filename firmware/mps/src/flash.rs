//! Flash, as far as QEMU's boards have it: RAM that obeys the rules of NOR flash. Backed by a file
//! of the host (`-object memory-backend-file,share=on`) it outlives QEMU, and even its being killed.
//! A real board erases and writes the pages of its flash here.

use core::slice;
use core::sync::atomic::{Ordering, compiler_fence};

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash, check_erase, check_read, check_write,
};
use vod_firmware::Slot;

/// Memory of one slot.
pub struct RamFlash {
    bytes: &'static mut [u8],
}

impl RamFlash {
    /// The memory at `address`.
    ///
    /// # Safety
    /// There are `length` bytes of RAM that nothing else uses.
    pub unsafe fn new(address: usize, length: usize) -> Self {
        Self {
            // SAFETY: the caller's promise.
            bytes: unsafe { slice::from_raw_parts_mut(address as *mut u8, length) },
        }
    }

    fn range(&mut self, from: u32, to: u32) -> Result<&mut [u8], NorFlashErrorKind> {
        self.bytes
            .get_mut(from as usize..to as usize)
            .ok_or(NorFlashErrorKind::OutOfBounds)
    }
}

impl ErrorType for RamFlash {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for RamFlash {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        check_read(self, offset, bytes.len())?;
        let stored = self.bytes.iter().skip(offset as usize);
        for (byte, &stored) in bytes.iter_mut().zip(stored) {
            *byte = stored;
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.bytes.len()
    }
}

impl NorFlash for RamFlash {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = 4096;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        check_erase(self, from, to)?;
        self.range(from, to)?.fill(0xff);
        // What is written next is written after this, also as seen by who cuts the power.
        compiler_fence(Ordering::SeqCst);
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        check_write(self, offset, bytes.len())?;
        let end = offset.saturating_add(bytes.len() as u32);
        for (stored, byte) in self.range(offset, end)?.iter_mut().zip(bytes) {
            // Writing only clears bits.
            *stored &= byte;
        }
        compiler_fence(Ordering::SeqCst);
        Ok(())
    }
}

impl Slot for RamFlash {
    fn bytes(&self) -> &[u8] {
        self.bytes
    }
}
