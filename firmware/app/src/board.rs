//! What the application wants to know of a board.

/// A board, beside its stream and its flash.
pub trait Board {
    /// Its name.
    fn name(&self) -> &str;

    /// Frequency of what counts cycles.
    fn clock_hz(&self) -> u32;

    /// Starts to count cycles from 0.
    fn start_cycles(&mut self);

    /// Cycles since the start.
    fn elapsed_cycles(&mut self) -> u64;

    /// Most bytes of stack that were ever in use, 0 where that is not known.
    fn stack_bytes(&mut self) -> u32 {
        0
    }
}
