//! How a backbone's outputs are averaged over neighbours.

use ndarray::{Array3, Axis};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Average of each place of an output over its neighbours, over those inside the map at its edges.
///
/// In a manifest `pool = 3` or `pool = [1, 2, 1]`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Pool {
    /// Over `size x size` neighbours (odd), all alike, as in PatchCore; 1 leaves the output as it is.
    Mean(u32),
    /// Over 3 x 3 neighbours, weighted `side : centre : side` along each axis.
    Weighted {
        /// Weight of a neighbour.
        side: u16,
        /// Weight of the place itself.
        centre: u16,
    },
}

/// Marks [`Pool::Weighted`] in a bank, above all numbers that readers knowing none would take for a size.
const WEIGHTED: u64 = 1 << 32;

impl Pool {
    /// Whether more than the place itself has a part.
    pub fn looks_around(self) -> bool {
        match self {
            Self::Mean(size) => size > 1,
            Self::Weighted { side, .. } => side > 0,
        }
    }

    /// The map `[height, width, channels]`, averaged.
    pub fn apply(self, map: &Array3<f32>) -> Array3<f32> {
        if !self.looks_around() {
            return map.clone();
        }
        self.along(&self.along(map, Axis(0)), Axis(1))
    }

    fn along(self, map: &Array3<f32>, axis: Axis) -> Array3<f32> {
        let len = map.len_of(axis);
        let reach = match self {
            Self::Mean(size) => size as usize / 2,
            Self::Weighted { .. } => 1,
        };
        let mut out = Array3::<f32>::zeros(map.dim());
        for i in 0..len {
            let mut target = out.index_axis_mut(axis, i);
            let mut sum = 0.0;
            for j in i.saturating_sub(reach)..(i + reach + 1).min(len) {
                let weight = match self {
                    Self::Mean(_) => 1.0,
                    Self::Weighted { side, .. } if j != i => f32::from(side),
                    Self::Weighted { centre, .. } => f32::from(centre),
                };
                sum += weight;
                target.scaled_add(weight, &map.index_axis(axis, j));
            }
            target /= sum;
        }
        out
    }

    /// What is wrong with it, if something is.
    pub(super) fn check(self) -> Result<(), &'static str> {
        match self {
            Self::Mean(size) if size % 2 == 0 => Err("features.pool must be odd"),
            Self::Weighted { centre: 0, .. } => Err("features.pool weighs the place itself by 0"),
            _ => Ok(()),
        }
    }
}

/// As in a manifest: part of what features are cached under.
impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            Self::Mean(size) => write!(f, "{size}"),
            Self::Weighted { side, centre } => write!(f, "[{side}, {centre}, {side}]"),
        }
    }
}

impl Serialize for Pool {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(match *self {
            Self::Mean(size) => u64::from(size),
            Self::Weighted { side, centre } => WEIGHTED | u64::from(side) << 16 | u64::from(centre),
        })
    }
}

impl<'de> Deserialize<'de> for Pool {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return match Written::deserialize(deserializer)? {
                Written::Size(size) => Ok(Self::Mean(size)),
                Written::Weights([left, centre, right]) if left == right => {
                    Ok(Self::Weighted { side: left, centre })
                }
                Written::Weights(_) => Err(D::Error::custom("pool weighs its sides differently")),
            };
        }
        let code = u64::deserialize(deserializer)?;
        match u32::try_from(code) {
            Ok(size) => Ok(Self::Mean(size)),
            Err(_) if code >> 33 == 0 => Ok(Self::Weighted {
                side: (code >> 16) as u16,
                centre: code as u16,
            }),
            Err(_) => Err(D::Error::custom("unknown pool")),
        }
    }
}

/// A [`Pool`] in a manifest.
#[derive(Deserialize)]
#[serde(untagged, expecting = "pool is an odd number or three weights")]
enum Written {
    Size(u32),
    Weights([u16; 3]),
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEIGHTED_131: Pool = Pool::Weighted { side: 1, centre: 3 };

    #[test]
    fn averages_over_the_neighbours_inside() {
        let map = Array3::from_shape_vec((2, 3, 1), vec![1.0, 2.0, 6.0, 3.0, 4.0, 5.0]).unwrap();
        let mean = Pool::Mean(3).apply(&map);
        assert_eq!(mean[[0, 0, 0]], 2.5);
        assert_eq!(mean[[1, 1, 0]], 3.5);
        // Rows by 3 : 1, columns by 3 : 1 at the edge and 1 : 3 : 1 inside.
        let weighted = WEIGHTED_131.apply(&map);
        assert_eq!(weighted[[0, 0, 0]], (1.5 * 3.0 + 2.5) / 4.0);
        assert_eq!(weighted[[1, 1, 0]], (2.5 + 3.5 * 3.0 + 5.25) / 5.0);
        assert_eq!(Pool::Mean(1).apply(&map), map);
    }

    #[test]
    fn is_read_as_it_was_written() {
        for pool in [Pool::Mean(1), Pool::Mean(3), WEIGHTED_131] {
            let bytes = postcard::to_stdvec(&pool).unwrap();
            assert_eq!(postcard::from_bytes::<Pool>(&bytes).unwrap(), pool);
        }
        // A size lies in a bank as the number itself; weights are no size to any reader.
        assert_eq!(postcard::to_stdvec(&Pool::Mean(3)).unwrap(), [3]);
        let bytes = postcard::to_stdvec(&WEIGHTED_131).unwrap();
        assert!(postcard::from_bytes::<u32>(&bytes).is_err());
    }

    #[test]
    fn manifests_give_a_size_or_weights() {
        #[derive(Debug, Deserialize)]
        struct Table {
            pool: Pool,
        }
        let read = |text: &str| toml::from_str::<Table>(text).map(|table| table.pool);
        assert_eq!(read("pool = 3").unwrap(), Pool::Mean(3));
        assert_eq!(read("pool = [1, 3, 1]").unwrap(), WEIGHTED_131);
        assert!(read("pool = [1, 3, 2]").is_err());
        assert!(read("pool = \"wide\"").is_err());
        assert!(Pool::Mean(2).check().is_err());
    }
}
