//! Nearest reference row of a patch, and the residual to it (method, step 3).

/// The nearest bank row of a patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nearest {
    /// Row number; of rows at the same distance the lowest.
    pub row: u32,
    /// Squared Euclidean distance in int8 units.
    pub distance2: u32,
}

/// Residual `q - b`, channel by channel; each in `-255..=255`.
pub fn residual<'a>(query: &'a [i8], row: &'a [i8]) -> impl Iterator<Item = i16> + 'a {
    query
        .iter()
        .zip(row)
        .map(|(&q, &b)| i16::from(q) - i16::from(b))
}
