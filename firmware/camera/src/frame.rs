//! The frame's file, by semihosting.

use cortex_m_semihosting::{nr, syscall};

/// An open `frame.rgb`.
pub struct FrameFile {
    handle: usize,
    pub width: usize,
    pub height: usize,
}

impl FrameFile {
    pub fn open() -> Result<Self, &'static str> {
        let name = b"frame.rgb\0";
        // SAFETY: SYS_OPEN reads a string that ends with 0, and its length; mode 1 is reading bytes.
        let handle = unsafe { syscall!(OPEN, name.as_ptr(), nr::open::R_BINARY, name.len() - 1) };
        if handle == usize::MAX {
            return Err("frame.rgb can't be opened");
        }
        let mut file = Self {
            handle,
            width: 0,
            height: 0,
        };
        let mut sides = [0; 4];
        file.read_row(&mut sides)?;
        file.width = usize::from(u16::from_le_bytes([sides[0], sides[1]]));
        file.height = usize::from(u16::from_le_bytes([sides[2], sides[3]]));
        Ok(file)
    }

    /// Fills `row`.
    pub fn read_row(&mut self, row: &mut [u8]) -> Result<(), &'static str> {
        // SAFETY: SYS_READ writes at most as many bytes as it is told, into `row`.
        let missing = unsafe { syscall!(READ, self.handle, row.as_mut_ptr(), row.len()) };
        if missing == 0 {
            Ok(())
        } else {
            Err("frame.rgb is too short")
        }
    }
}
